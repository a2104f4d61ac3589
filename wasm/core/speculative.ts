// What this worker has routed and the engines have not announced yet: (block hash, pod), so that a burst sharing a cold
// prefix stays together. Eight-way sets in one array, chosen by the block alone, so that one look says whether any pod
// is on its way to hold it: mostly none is. A full set loses its oldest.
//
// All entries of a request live and end together, by its ticket. Once the engine has begun to answer, its prefill is
// done and announced: what is held beyond that would outlive an eviction or a reset that the table already knows.

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
// Ticket: expiry ms u64, number u32, unused u32; at its number modulo TICKETS.
const tickets: usize = heap.alloc(TICKETS * 16);
memory.fill(tickets, 0, TICKETS * 16);
let lastTicket: u32 = 0;

// @ts-ignore: decorator
@inline
function setOf(hash: u64): usize {
  return entries + (<usize>(<u32>(hash >> 40) & (SETS - 1)) << 7);
}

// @ts-ignore: decorator
@inline
function ticketAt(ticket: u32): usize {
  return tickets + (<usize>(ticket & (TICKETS - 1)) << 4);
}

/** When a ticket ends; 0 for one that has. */
// @ts-ignore: decorator
@inline
function expiryOf(ticket: u32): u64 {
  const t = ticketAt(ticket);
  return load<u32>(t, 8) == ticket ? load<u64>(t) : 0;
}

/** A ticket for a request's entries; never 0. */
export function speculativeBegin(nowMs: u64): u32 {
  lastTicket = lastTicket == 0xffffffff ? 1 : lastTicket + 1;
  const t = ticketAt(lastTicket);
  store<u64>(t, nowMs + SPECULATIVE_MS);
  store<u32>(t, lastTicket, 8);
  return lastTicket;
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
  if (expiryOf(ticket) > nowMs + SETTLE_MS) store<u64>(ticketAt(ticket), nowMs + SETTLE_MS);
}

/** The request went elsewhere: its pod holds nothing of it. */
export function speculativeDrop(ticket: u32): void {
  if (expiryOf(ticket)) store<u64>(ticketAt(ticket), 0);
}

export function speculativeHas(hash: u64, pod: u32, nowMs: u64): bool {
  const set = setOf(hash);
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + (i << 4);
    if (load<u64>(e) == hash && load<u32>(e, 12) == pod) return expiryOf(load<u32>(e, 8)) > nowMs;
  }
  return false;
}

/** Whether some pod's entry for the block is here, ended or not: false says that `speculativeHas` is for no pod. */
export function speculativeAny(hash: u64): bool {
  const set = setOf(hash);
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + (i << 4);
    if (load<u64>(e) == hash && load<u32>(e, 8)) return true;
  }
  return false;
}
