// What is under way on each pod, right across workers: gauges that every worker adds to and reads. Each worker also
// knows its own share of them. When a worker is lost with requests under way, nobody gives its share back; so the
// others then move to gauges of the next era, where each one's share is all that counts (worker-roster.ts).
import {
  podMoveCounts,
  podOwnPending,
  podOwnPendingRequests,
  podOwnPendingTokens,
  podOwnRequests,
  podSetCounts,
  podSetTokens,
} from "../core/pod-counts";
import { podHigh, podKnown, podOut, podSetOut } from "../core/pods";
import { MAX_PODS } from "../shared/pods-layout";
import {
  GAUGE_COUNTS,
  GAUGE_OUT,
  GAUGE_TOKENS,
  gaugeId,
  gaugeSlotOf,
  slotsBind,
  slotsUsed,
} from "./gauge-slots";
import { addMetric, metricValue, recordMetric } from "./host";

/** A pod that refused or reset a connection is left out this long. */
// @ts-ignore: decorator
@inline
const OUT_NS: u64 = 10000000000;
/** Eras have so many names; after the last one the first is used again. */
// @ts-ignore: decorator
@inline
export const ERAS: u32 = 4;

/** Name of the gauges in use. */
let era: u32 = 0;
// Per gauge slot this VM's share of its two gauges, i64 each, then as much of each as the gauges hold. Where the host
// refused a change the two differ until a later one, or the tick, settles it.
// @ts-ignore: decorator
@inline
const SHARE_BYTES: u32 = 32;
// @ts-ignore: decorator
@inline
const HELD: u32 = 16;
const shares: usize = heap.alloc(MAX_PODS * SHARE_BYTES);
memory.fill(shares, 0, MAX_PODS * SHARE_BYTES);
let unsettled: bool = false;

/** A lone worker reads its own counts back so often: a pod's slot may be another one's, a worker may have come or gone. */
// @ts-ignore: decorator
@inline
const READ_NS: u64 = 1000000000;
/** When all gauges were read last; 0 when that is due. */
let readNs: u64 = 0;

/** Gives every known pod its gauges. Called when the pod section changes. */
export function inflightBind(): bool {
  readNs = 0;
  return slotsBind(era);
}

/** Gauge slot + 1 of a pod slot, 0 for none; a stream keeps it so that it gives back what it took, whatever comes. */
export function gaugeSlot(pod: u32): u32 {
  return gaugeSlotOf(pod);
}

// @ts-ignore: decorator
@inline
function shareAt(slot: u32, gauge: u32): usize {
  return shares + <usize>slot * SHARE_BYTES + (gauge << 3);
}

/** This VM's share of a gauge of a gauge slot: two counts of 32 bits. */
// @ts-ignore: decorator
@inline
export function shareOf(slot: u32, gauge: u32): u64 {
  return load<u64>(shareAt(slot, gauge));
}

/** Two counts as one gauge has them. */
// @ts-ignore: decorator
@inline
function both(first: i64, second: i64): i64 {
  return first + (second << 32);
}

// @ts-ignore: decorator
@inline
function add(slot: u32, gauge: u32, by: i64): void {
  const at = shareAt(slot, gauge);
  store<i64>(at, load<i64>(at) + by);
  settle(slot, gauge);
}

/** Brings a gauge to this VM's share. */
function settle(slot: u32, gauge: u32): void {
  const at = shareAt(slot, gauge);
  const share = load<i64>(at);
  const owed = share - load<i64>(at, HELD);
  if (owed == 0) return;
  if (addMetric(gaugeId(era, slot, gauge), owed)) store<i64>(at, share, HELD);
  else unsettled = true;
}

function settleAll(): void {
  unsettled = false;
  for (let slot: u32 = 0; slot < MAX_PODS; slot++) {
    for (let gauge: u32 = 0; gauge < GAUGE_OUT; gauge++) settle(slot, gauge);
  }
}

/**
 * Counts a request in (by = 1) or out (by = -1) on a gauge slot + 1, and in the columns of `pod`, -1 for none: what
 * other workers do comes with the next reading, what this one does is known at once.
 */
export function countRequest(slot: u32, pod: i32, by: i64): void {
  move(slot, pod, by, 0, 0, 0, 0);
}

/** Counts a prefill of `work` units (core/pick.ts) and uncached `tokens` in or out, as `countRequest` does. */
export function countPrefill(slot: u32, pod: i32, by: i64, work: u32, nowNs: u64, tokens: u32): void {
  move(slot, pod, 0, by, work, nowNs, tokens);
}

/** Both in one: a request whose prefill begins, or ended only with it. */
export function countWithPrefill(slot: u32, pod: i32, by: i64, work: u32, nowNs: u64, tokens: u32): void {
  move(slot, pod, by, by, work, nowNs, tokens);
}

function move(slot: u32, pod: i32, requests: i64, prefills: i64, work: u32, nowNs: u64, tokens: u32): void {
  if (!slot) return;
  add(slot - 1, GAUGE_COUNTS, both(requests, prefills));
  if (prefills) add(slot - 1, GAUGE_TOKENS, prefills * both(tokens, work));
  if (pod < 0 || gaugeSlotOf(<u32>pod) != slot) {
    // The gauges are another pod's by now, or nobody's: the next tick reads all.
    readNs = 0;
    return;
  }
  const p = <u32>pod;
  podSetCounts(p, <u32>max<i64>(<i64>podOwnRequests(p) + requests, 0), podOwnPendingRequests(p), podOwnPending(p));
  if (prefills) prefillColumns(p, prefills, work, nowNs, tokens);
}

function prefillColumns(p: u32, by: i64, work: u32, nowNs: u64, tokens: u32): void {
  const pending = <u64>max<i64>(<i64>podOwnPendingRequests(p) + by, 0);
  podSetTokens(p, pending ? max<f64>(podOwnPendingTokens(p) + <f64>by * <f64>tokens, 0) : 0);
  podMoveCounts(p, podOwnRequests(p), <u32>pending, pending ? max<f64>(podOwnPending(p) + <f64>by * <f64>work, 0) : 0, nowNs);
}

/** Leaves a pod out for OUT_NS, for all workers of the process. */
export function leaveOut(pod: u32, nowNs: u64): void {
  podSetOut(pod, nowNs + OUT_NS);
  const slot = gaugeSlotOf(pod);
  if (slot) recordMetric(gaugeId(era, slot - 1, GAUGE_OUT), (nowNs + OUT_NS) / 1000000);
}

/** Reads the process-wide counts of one pod into its columns; `tokens`: what that gauge said. */
function inflightRead(pod: u32, slot: u32, tokens: u64, nowNs: u64): void {
  const counts = metricValue(gaugeId(era, slot - 1, GAUGE_COUNTS));
  podSetTokens(pod, <f64>first(tokens));
  podMoveCounts(pod, first(counts), second(counts), <f64>second(tokens), nowNs);
}

// A count below zero would be a fault of a lost VM; it reads as a huge number and counts as nothing.
// @ts-ignore: decorator
@inline
export function first(v: u64): u32 {
  return <i32>v < 0 ? 0 : <u32>v;
}
// @ts-ignore: decorator
@inline
export function second(v: u64): u32 {
  return <i64>v < 0 ? 0 : <u32>(v >> 32);
}

/**
 * Reads a pod's counts anew if its prefill work is another than the columns say; true when it was. Work comes and goes
 * with every prefill, so one host call tells nearly always; what only ends decodes waits for the tick.
 */
export function inflightRefresh(pod: u32, nowNs: u64): bool {
  const slot = gaugeSlotOf(pod);
  if (!slot) return false;
  const tokens = metricValue(gaugeId(era, slot - 1, GAUGE_TOKENS));
  if (<f64>second(tokens) == podOwnPending(pod)) return false;
  inflightRead(pod, slot, tokens, nowNs);
  return true;
}

/** Settles what is owed, and reads all pods: each time where others count on them, too (`shared`). From the tick. */
export function inflightTick(nowNs: u64, shared: bool): void {
  if (unsettled) settleAll();
  if (!shared && readNs && nowNs - readNs < READ_NS) return;
  readNs = nowNs;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    const slot = podKnown(pod) ? gaugeSlotOf(pod) : 0;
    if (!slot) continue;
    inflightRead(pod, slot, metricValue(gaugeId(era, slot - 1, GAUGE_TOKENS)), nowNs);
    const until = metricValue(gaugeId(era, slot - 1, GAUGE_OUT));
    if (until * 1000000 > nowNs && !podOut(pod, nowNs)) podSetOut(pod, until * 1000000);
  }
}

/** Moves this VM's share to the gauges of another era. */
export function inflightEnter(next: u32): void {
  era = next & (ERAS - 1);
  readNs = 0;
  for (let slot: u32 = 0; slot < MAX_PODS; slot++) memory.fill(shareAt(slot, 0) + HELD, 0, HELD);
  settleAll();
}

/** Empties the gauges of an era that nobody counts on; false when the host did not let it. */
export function inflightEmpty(other: u32): bool {
  const used = slotsUsed();
  let all = used >= 0;
  for (let slot: i32 = 0; slot < used; slot++) {
    for (let gauge: u32 = 0; gauge < GAUGE_OUT; gauge++) {
      if (!recordMetric(gaugeId(other & (ERAS - 1), slot, gauge), 0)) all = false;
    }
  }
  return all;
}
