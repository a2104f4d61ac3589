// What this worker has routed and the engines have not announced yet: (block hash, pod), so that a burst sharing a cold
// prefix stays together. Eight-way sets in one array, chosen by the block alone, so that one look says whether any pod
// is on its way to hold it: mostly none is. A full set loses its oldest.
//
// All entries of a request live and end together, by its ticket. Once the engine has begun to answer, its prefill is
// done and announced: what is held beyond that would outlive an eviction or a reset that the table already knows. An
// answer that counts its prompt's tokens tells how many the entries stand for, which text alone does not.

// @ts-ignore: decorator
@inline
const SETS: u32 = 8192;
// @ts-ignore: decorator
@inline
const WAYS: u32 = 8;
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

// Entry: block hash u64, ticket u32 (0 = unused), pod u32.
const entries: usize = heap.alloc(SETS * WAYS * 16);
memory.fill(entries, 0, SETS * WAYS * 16);
// Ticket: expiry ms u64, number u32, 1 once the engine answers u32, block that its entries begin with u32, blocks of the
// prompt u32, tokens of the blocks before its entries u32, tokens of all blocks u32 (0 = not counted), hash of its first
// block u64, bytes behind the last block u32 (NO_TAIL = the prompt is not known to its end); at its number modulo TICKETS.
// @ts-ignore: decorator
@inline
const TICKET_BYTES: u32 = 48;
const tickets: usize = heap.alloc(TICKETS * TICKET_BYTES);
memory.fill(tickets, 0, TICKETS * TICKET_BYTES);
let lastTicket: u32 = 0;
/** In place of a tail's bytes: how the prompt ends is not known, so a count of its tokens says nothing of its blocks. */
// @ts-ignore: decorator
@inline
export const NO_TAIL: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline
function setOf(hash: u64): usize {
  return entries + (<usize>(<u32>(hash >> 40) & (SETS - 1)) << 7);
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
  let victim = set;
  let oldest: u64 = u64.MAX_VALUE;
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + (i << 4);
    if (load<u64>(e) == hash && load<u32>(e, 12) == pod) {
      victim = e;
      break;
    }
    const expiry = expiryOf(load<u32>(e, 8));
    if (expiry < oldest) {
      oldest = expiry;
      victim = e;
    }
  }
  store<u64>(victim, hash);
  store<u32>(victim, ticket, 8);
  store<u32>(victim, pod, 12);
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
  const set = setOf(hash);
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + (i << 4);
    if (load<u64>(e) != hash || load<u32>(e, 12) != pod) continue;
    const ticket = load<u32>(e, 8);
    const t = ticketAt(ticket);
    return expiryOf(ticket) > nowMs && (!load<u32>(t, 12) || load<u32>(t, 16) >= known) ? ticket : 0;
  }
  return 0;
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
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + (i << 4);
    if (load<u64>(e) == hash && load<u32>(e, 8)) return true;
  }
  return false;
}

// What other workers are told of a ticket (filter/routed-prompts.ts).

/** Hash of the first block of a ticket's entries; 0 for a ticket that is gone. */
export function ticketStart(ticket: u32): u64 {
  const t = ticketAt(ticket);
  return load<u32>(t, 8) == ticket ? load<u64>(t, 32) : 0;
}
