// What is under way on the pods: by the process's own counts, and by what the agent says of other gateways.
import { MAX_PODS } from "../shared/pods-layout";
import { podRow, Row } from "./pod-rows";

/** Forgets the process's own counts of a slot. */
export function countsForget(slot: u32): void {
  store<u32>(podRow(slot), 0, Row.Requests);
  store<f64>(podRow(slot), 0, Row.Pending);
  store<u32>(podRow(slot), 0, Row.PendingRequests);
  store<f64>(podRow(slot), 0, Row.PendingTokens);
  store<u64>(podRow(slot), 0, Row.HeadStart);
}

/** Requests under way on the pod. */
// @ts-ignore: decorator
@inline
export function podRequests(i: u32): u32 {
  return podOwnRequests(i) + load<u32>(podRow(i), Row.ForeignRequests);
}
/** Work of its prefills without a first token (prefillWork). */
// @ts-ignore: decorator
@inline
export function podPending(i: u32): f64 {
  return podOwnPending(i) + load<f64>(podRow(i), Row.ForeignPending);
}
/** Uncached prompt tokens that were routed to the pod and have no first token yet. */
// @ts-ignore: decorator
@inline
export function podPendingTokens(i: u32): f64 {
  return podOwnPendingTokens(i) + load<f64>(podRow(i), Row.ForeignPendingTokens);
}
/** Its prefills without a first token. */
// @ts-ignore: decorator
@inline
export function podPendingRequests(i: u32): u32 {
  return podOwnPendingRequests(i) + load<u32>(podRow(i), Row.ForeignPendingRequests);
}
/** ns since when the head of the pod's prefill queue is at work; 0 when the queue is empty. */
// @ts-ignore: decorator
@inline
export function podHeadStart(i: u32): u64 {
  return load<u64>(podRow(i), Row.HeadStart);
}
/** What is left of the `wait` seconds that the prefills of `requests` take pod `i`: the first has been at work for a while. */
// @ts-ignore: decorator
@inline
export function podWaitLeft(i: u32, wait: f64, requests: u32, nowNs: u64): f64 {
  const since = podHeadStart(i);
  if (wait <= 0 || !since) return wait;
  return wait - min(<f64>(nowNs - since) / 1e9, wait / <f64>max(requests, 1));
}
export function podSetTokens(i: u32, tokens: f64): void {
  store<f64>(podRow(i), tokens, Row.PendingTokens);
}
/** Puts the process's counts in its row: requests in flight, pending prefills and their work (prefillWork). */
export function podSetCounts(i: u32, inFlight: u32, pending: u32, work: f64): void {
  store<u32>(podRow(i), inFlight, Row.Requests);
  store<u32>(podRow(i), pending, Row.PendingRequests);
  store<f64>(podRow(i), work, Row.Pending);
}
/** The same, and when the head of the prefill queue began: with the first one, and anew with each that leaves. */
export function podMoveCounts(i: u32, inFlight: u32, pending: u32, work: f64, nowNs: u64): void {
  const before = podOwnPendingRequests(i);
  podSetCounts(i, inFlight, pending, work);
  if (pending == 0) podSetHeadStart(i, 0);
  else if (before == 0 || before > pending || podHeadStart(i) == 0) podSetHeadStart(i, nowNs);
}
export function podSetHeadStart(i: u32, ns: u64): void {
  store<u64>(podRow(i), ns, Row.HeadStart);
}

/** The same without what other gateways have under way. */
// @ts-ignore: decorator
@inline
export function podOwnRequests(i: u32): u32 {
  return load<u32>(podRow(i), Row.Requests);
}
// @ts-ignore: decorator
@inline
export function podOwnPending(i: u32): f64 {
  return load<f64>(podRow(i), Row.Pending);
}
// @ts-ignore: decorator
@inline
export function podOwnPendingTokens(i: u32): f64 {
  return load<f64>(podRow(i), Row.PendingTokens);
}
// @ts-ignore: decorator
@inline
export function podOwnPendingRequests(i: u32): u32 {
  return load<u32>(podRow(i), Row.PendingRequests);
}
/** Puts in what other gateways have under way on a pod. */
export function podSetForeign(i: u32, inFlight: u32, pending: u32, work: f64, tokens: f64): void {
  store<u32>(podRow(i), inFlight, Row.ForeignRequests);
  store<u32>(podRow(i), pending, Row.ForeignPendingRequests);
  store<f64>(podRow(i), work, Row.ForeignPending);
  store<f64>(podRow(i), tokens, Row.ForeignPendingTokens);
}
export function podsClearForeign(): void {
  for (let i: u32 = 0; i < MAX_PODS; i++) podSetForeign(i, 0, 0, 0, 0);
}
