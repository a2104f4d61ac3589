// What is under way on the pods, one array per column: by the process's own counts, and by what the agent says of other
// gateways.
import { MAX_PODS } from "../shared/pods-layout";

// The process's own counts, refreshed by the filter.
const requests: usize = heap.alloc(MAX_PODS << 2); // in flight
const pendings: usize = heap.alloc(MAX_PODS << 3); // prefill work without a first token, f64
const pendingRequests: usize = heap.alloc(MAX_PODS << 2);
const pendingTokens: usize = heap.alloc(MAX_PODS << 3); // f64, uncached prompt tokens without a first token
const headStarts: usize = heap.alloc(MAX_PODS << 3); // ns when the pod's prefill queue began or moved on
// The same of other gateways, from the agent.
const foreignRequests: usize = heap.alloc(MAX_PODS << 2);
const foreignPending: usize = heap.alloc(MAX_PODS << 3);
const foreignPendingRequests: usize = heap.alloc(MAX_PODS << 2);
const foreignPendingTokens: usize = heap.alloc(MAX_PODS << 3);

/** Forgets the process's own counts. */
export function countsClear(): void {
  memory.fill(requests, 0, MAX_PODS << 2);
  memory.fill(pendings, 0, MAX_PODS << 3);
  memory.fill(pendingRequests, 0, MAX_PODS << 2);
  memory.fill(pendingTokens, 0, MAX_PODS << 3);
  memory.fill(headStarts, 0, MAX_PODS << 3);
}

/** Forgets those of one slot. */
export function countsForget(slot: u32): void {
  store<u32>(requests + (<usize>slot << 2), 0);
  store<f64>(pendings + (<usize>slot << 3), 0);
  store<u32>(pendingRequests + (<usize>slot << 2), 0);
  store<f64>(pendingTokens + (<usize>slot << 3), 0);
  store<u64>(headStarts + (<usize>slot << 3), 0);
}

/** Requests under way on the pod. */
// @ts-ignore: decorator
@inline
export function podRequests(i: u32): u32 {
  return podOwnRequests(i) + load<u32>(foreignRequests + (<usize>i << 2));
}
/** Work of its prefills without a first token (prefillWork). */
// @ts-ignore: decorator
@inline
export function podPending(i: u32): f64 {
  return podOwnPending(i) + load<f64>(foreignPending + (<usize>i << 3));
}
/** Uncached prompt tokens that were routed to the pod and have no first token yet. */
// @ts-ignore: decorator
@inline
export function podPendingTokens(i: u32): f64 {
  return podOwnPendingTokens(i) + load<f64>(foreignPendingTokens + (<usize>i << 3));
}
/** Its prefills without a first token. */
// @ts-ignore: decorator
@inline
export function podPendingRequests(i: u32): u32 {
  return podOwnPendingRequests(i) + load<u32>(foreignPendingRequests + (<usize>i << 2));
}
/** ns since when the head of the pod's prefill queue is at work; 0 when the queue is empty. */
// @ts-ignore: decorator
@inline
export function podHeadStart(i: u32): u64 {
  return load<u64>(headStarts + (<usize>i << 3));
}
export function podSetTokens(i: u32, tokens: f64): void {
  store<f64>(pendingTokens + (<usize>i << 3), tokens);
}
/** Puts the process's counts in the columns: requests in flight, pending prefills and their work (prefillWork). */
export function podSetCounts(i: u32, inFlight: u32, pending: u32, work: f64): void {
  store<u32>(requests + (<usize>i << 2), inFlight);
  store<u32>(pendingRequests + (<usize>i << 2), pending);
  store<f64>(pendings + (<usize>i << 3), work);
}
/** The same, and when the head of the prefill queue began: with the first one, and anew with each that leaves. */
export function podMoveCounts(i: u32, inFlight: u32, pending: u32, work: f64, nowNs: u64): void {
  const before = podOwnPendingRequests(i);
  podSetCounts(i, inFlight, pending, work);
  if (pending == 0) podSetHeadStart(i, 0);
  else if (before == 0 || before > pending || podHeadStart(i) == 0) podSetHeadStart(i, nowNs);
}
export function podSetHeadStart(i: u32, ns: u64): void {
  store<u64>(headStarts + (<usize>i << 3), ns);
}

/** The same without what other gateways have under way. */
// @ts-ignore: decorator
@inline
export function podOwnRequests(i: u32): u32 {
  return load<u32>(requests + (<usize>i << 2));
}
// @ts-ignore: decorator
@inline
export function podOwnPending(i: u32): f64 {
  return load<f64>(pendings + (<usize>i << 3));
}
// @ts-ignore: decorator
@inline
export function podOwnPendingTokens(i: u32): f64 {
  return load<f64>(pendingTokens + (<usize>i << 3));
}
// @ts-ignore: decorator
@inline
export function podOwnPendingRequests(i: u32): u32 {
  return load<u32>(pendingRequests + (<usize>i << 2));
}
/** Puts in what other gateways have under way on a pod. */
export function podSetForeign(i: u32, inFlight: u32, pending: u32, work: f64, tokens: f64): void {
  store<u32>(foreignRequests + (<usize>i << 2), inFlight);
  store<u32>(foreignPendingRequests + (<usize>i << 2), pending);
  store<f64>(foreignPending + (<usize>i << 3), work);
  store<f64>(foreignPendingTokens + (<usize>i << 3), tokens);
}
export function podsClearForeign(): void {
  memory.fill(foreignRequests, 0, MAX_PODS << 2);
  memory.fill(foreignPendingRequests, 0, MAX_PODS << 2);
  memory.fill(foreignPending, 0, MAX_PODS << 3);
  memory.fill(foreignPendingTokens, 0, MAX_PODS << 3);
}

podsClearForeign();
