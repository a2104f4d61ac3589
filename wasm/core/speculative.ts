// What this worker has routed and the engines have not announced yet: (block hash, pod), so that a burst sharing a cold
// prefix stays together. Five-way sets of one cache line, chosen by the block alone, so that one look says whether any pod
// is on its way to hold it: mostly none is. A full set loses an entry that has ended, or the one that will end first.
//
// All entries of a request live and end together, by its ticket. Once the engine has begun to answer, its prefill is
// done and announced: what is held beyond that would outlive an eviction or a reset that the table already knows. An
// answer that counts its prompt's tokens tells how many the entries stand for, which text alone does not.

// @ts-ignore: decorator
@inline
const SETS: usize = 16384;
// @ts-ignore: decorator
@inline
const WAYS: usize = 5;
/** Tickets that may be live; with more requests in SPECULATIVE_MS the oldest end before their time. */
// @ts-ignore: decorator
@inline
const TICKETS: u32 = 16384;
/** ms a ticket lives: longer than a request normally waits for its prefill. */
// @ts-ignore: decorator
@inline
export const SPECULATIVE_MS: u32 = 10000;
/** ms from the answer's beginning until the engine's events have come here for certain; five times the promised 100. */
// @ts-ignore: decorator
@inline
export const SETTLE_MS: u32 = 500;

// Set: five words u64 (the block's hash without the bits that choose the set, above the pod's ten), then five tickets u32
// (0 = unused).
// @ts-ignore: decorator
@inline
const SET_BYTES: usize = 64;
// @ts-ignore: decorator
@inline
const TICKET: usize = WAYS << 3;
// @ts-ignore: decorator
@inline
const POD_BITS: u64 = 10;
// @ts-ignore: decorator
@inline
const SET_SHIFT: u64 = 40;
// @ts-ignore: decorator
@inline
const SET_BITS: u64 = 14;
const sets: usize = (heap.alloc(SETS * SET_BYTES + SET_BYTES) + SET_BYTES - 1) & ~(SET_BYTES - 1);
memory.fill(sets, 0, SETS * SET_BYTES);
// Ticket: expiry ms u64, number u32, 1 once the engine answers u32, block that its entries begin with u32, blocks of the
// prompt u32, tokens of the blocks before its entries u32, tokens of all blocks u32 (0 = not counted), hash of its first
// block u64, bytes behind the last block u32 (NO_TAIL = the prompt is not known to its end); at its number modulo TICKETS.
// @ts-ignore: decorator
@inline
const TICKET_BYTES: u32 = 48;
const tickets: usize = heap.alloc(TICKETS * TICKET_BYTES);
memory.fill(tickets, 0, TICKETS * TICKET_BYTES);
let lastTicket: u32 = 0;
/** When it began, ms. */
let begunMs: u64 = 0;
/** In place of a tail's bytes: how the prompt ends is not known, so a count of its tokens says nothing of its blocks. */
// @ts-ignore: decorator
@inline
export const NO_TAIL: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline
function setOf(hash: u64): usize {
  return sets + (<usize>(hash >> SET_SHIFT) & (SETS - 1)) * SET_BYTES;
}

/** What is left of a hash within its set. */
// @ts-ignore: decorator
@inline
function tagOf(hash: u64): u64 {
  return (hash & ((1 << SET_SHIFT) - 1)) | ((hash >> (SET_SHIFT + SET_BITS)) << SET_SHIFT);
}

// @ts-ignore: decorator
@inline
function wordOf(hash: u64, pod: u32): u64 {
  return (tagOf(hash) << POD_BITS) | pod;
}

/** Ticket of the entry for a block and a pod, be it over; 0 when there is no entry. */
// @ts-ignore: decorator
@inline
function entryTicket(hash: u64, pod: u32): u32 {
  const set = setOf(hash);
  const word = wordOf(hash, pod);
  for (let i: usize = 0; i < WAYS; i++) {
    if (load<u64>(set + (i << 3)) == word) return load<u32>(set + (i << 2), TICKET);
  }
  return 0;
}

// @ts-ignore: decorator
@inline
function ticketAt(ticket: u32): usize {
  return tickets + <usize>(ticket & (TICKETS - 1)) * TICKET_BYTES;
}

/** When a ticket ends; 0 for one that has. */
// @ts-ignore: decorator
@inline
function expiryOf(ticket: u32): u64 {
  const t = ticketAt(ticket);
  return load<u32>(t, 8) == ticket ? load<u64>(t) : 0;
}

/**
 * A ticket for a request's entries; never 0. They are of its blocks from number `first`, which has the hash `start`, to
 * before number `last`; the blocks before them have `tokens` tokens, and `tail` bytes follow the last (or NO_TAIL).
 */
export function speculativeBegin(nowMs: u64, first: u32, last: u32, tokens: u32, start: u64, tail: u32): u32 {
  lastTicket = lastTicket == 0xffffffff ? 1 : lastTicket + 1;
  begunMs = nowMs;
  const t = ticketAt(lastTicket);
  store<u64>(t, nowMs + SPECULATIVE_MS);
  store<u32>(t, lastTicket, 8);
  store<u32>(t, 0, 12);
  store<u32>(t, first, 16);
  store<u32>(t, last, 20);
  store<u32>(t, tokens, 24);
  store<u32>(t, 0, 28);
  store<u64>(t, start, 32);
  store<u32>(t, tail, 40);
  return lastTicket;
}

/** The ticket has entries of another pod, too, which begin with block `first`. */
export function speculativeAlso(ticket: u32, first: u32): void {
  const t = ticketAt(ticket);
  if (load<u32>(t, 16) < first) store<u32>(t, first, 16);
}

export function speculativeAdd(hash: u64, pod: u32, ticket: u32): void {
  const set = setOf(hash);
  const word = wordOf(hash, pod);
  let place: usize = 0;
  let most: u32 = 0;
  for (let i: usize = 0; i < WAYS; i++) {
    if (load<u64>(set + (i << 3)) == word) {
      store<u32>(set + (i << 2), ticket, TICKET);
      return;
    }
    const age = lastTicket - load<u32>(set + (i << 2), TICKET);
    if (age <= most) continue;
    most = age;
    place = i;
  }
  // Mostly the oldest has ended long ago; each ticket that is looked at is a cache miss more.
  if (expiryOf(load<u32>(set + (place << 2), TICKET)) > begunMs) place = endsFirst(set);
  store<u64>(set + (place << 3), word);
  store<u32>(set + (place << 2), ticket, TICKET);
}

/** The entry of a set that ends before the others. */
function endsFirst(set: usize): usize {
  let place: usize = 0;
  let least: u64 = u64.MAX_VALUE;
  for (let i: usize = 0; i < WAYS; i++) {
    const expiry = expiryOf(load<u32>(set + (i << 2), TICKET));
    if (expiry >= least) continue;
    least = expiry;
    place = i;
  }
  return place;
}

/** The engine answers: from now on its events say what it holds. Without effect on 0 and on tickets that have ended. */
export function speculativeSettle(ticket: u32, nowMs: u64): void {
  const expiry = expiryOf(ticket);
  if (!expiry) return;
  store<u32>(ticketAt(ticket), 1, 12);
  if (expiry > nowMs + SETTLE_MS) store<u64>(ticketAt(ticket), nowMs + SETTLE_MS);
}

/**
 * The engine counted `tokens` in the whole prompt, whose text blocks have `blockBytes`. Returns how many of them its
 * blocks have, 0 when that cannot be told.
 */
export function speculativeCount(ticket: u32, tokens: u32, blockBytes: u32): u32 {
  const t = ticketAt(ticket);
  if (load<u32>(t, 8) != ticket || load<u32>(t, 40) == NO_TAIL) return 0;
  const bytes = <u64>load<u32>(t, 20) * blockBytes;
  const tail = load<u32>(t, 40);
  // What follows the last block is as dense as the rest; too many tokens for it rather than too few.
  const rest = tail ? <u32>((<u64>tail * tokens) / (bytes + tail)) + 1 : 0;
  if (rest >= tokens) return 0;
  store<u32>(t, tokens - rest, 28);
  return tokens - rest;
}

/** The request went elsewhere: its pod holds nothing of it. */
export function speculativeDrop(ticket: u32): void {
  if (expiryOf(ticket)) store<u64>(ticketAt(ticket), 0);
}

/**
 * Ticket by which a pod is on its way to hold a block, 0 for none. The table says that it holds `known` blocks of the
 * prompt: a ticket of a prefill that is over and of which the table has a part is outdone by it, since what is missing
 * there was evicted.
 */
export function speculativeFind(hash: u64, pod: u32, nowMs: u64, known: u32): u32 {
  const ticket = entryTicket(hash, pod);
  if (!ticket) return 0;
  const t = ticketAt(ticket);
  return expiryOf(ticket) > nowMs && (!load<u32>(t, 12) || load<u32>(t, 16) >= known) ? ticket : 0;
}

/**
 * Number of the first block behind `block` of the prompt with `count` hashes that `ticket` does not bring to the pod; it
 * brings `block`. A later block of both prompts says that all before it are the same.
 */
export function speculativeEnd(ticket: u32, hashes: usize, block: u32, count: u32, pod: u32): u32 {
  let end = min(load<u32>(ticketAt(ticket), 20), count);
  if (end <= block + 1) return block + 1;
  if (entryTicket(load<u64>(hashes + (<usize>(end - 1) << 3)), pod) == ticket) return end;
  // From here on `block` is brought and block `end - 1` is not.
  while (end - block > 2) {
    const middle = (block + end - 1) >> 1;
    if (entryTicket(load<u64>(hashes + (<usize>middle << 3)), pod) == ticket) block = middle;
    else end = middle + 1;
  }
  return block + 1;
}

/**
 * Tokens of the first `count` blocks by a ticket whose prompt was counted, 0 by one that was not: as far between those
 * before it and all as the blocks are. The first `known` blocks have `tokens` for certain.
 */
export function speculativeTokens(ticket: u32, count: u32, known: u32, tokens: u32): u32 {
  const t = ticketAt(ticket);
  return tokensBetween(load<u32>(t, 16), load<u32>(t, 24), load<u32>(t, 20), load<u32>(t, 28), count, known, tokens);
}

/**
 * Tokens of the first `count` blocks where the first `first` have `firstTokens` and the first `last` have `lastTokens`
 * (0 = not counted, and so is the result); `known` and `tokens` as in `speculativeTokens`.
 */
export function tokensBetween(
  first: u32,
  firstTokens: u32,
  last: u32,
  lastTokens: u32,
  count: u32,
  known: u32,
  tokens: u32,
): u32 {
  if (known > first) {
    first = known;
    firstTokens = tokens;
  }
  if (!lastTokens || count < first || count > last || lastTokens < firstTokens) return 0;
  if (count == last) return lastTokens;
  return firstTokens + <u32>((<u64>(count - first) * (lastTokens - firstTokens)) / (last - first));
}

/** Whether some pod's entry for the block is here, ended or not: false says that `speculativeFind` is for no pod. */
export function speculativeAny(hash: u64): bool {
  const set = setOf(hash);
  const tag = tagOf(hash);
  for (let i: usize = 0; i < WAYS; i++) {
    if (load<u64>(set + (i << 3)) >> POD_BITS == tag && load<u32>(set + (i << 2), TICKET)) return true;
  }
  return false;
}

// What other workers are told of a ticket (filter/routed-prompts.ts).

/** Hash of the first block of a ticket's entries; 0 for a ticket that is gone. */
export function ticketStart(ticket: u32): u64 {
  const t = ticketAt(ticket);
  return load<u32>(t, 8) == ticket ? load<u64>(t, 32) : 0;
}
