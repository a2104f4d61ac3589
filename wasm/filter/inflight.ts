// What is under way on each pod, right across workers: gauges that every worker adds to and reads. Each worker also
// knows its own share of them. When a worker is lost with requests under way, nobody gives its share back; so the
// others then move to gauges of the next era, where each one's share is all that counts (worker-roster.ts).
import {
  podHigh,
  podKnown,
  podMoveCounts,
  podOut,
  podOwnPending,
  podOwnPendingRequests,
  podOwnPendingTokens,
  podOwnRequests,
  podSetCounts,
  podSetOut,
  podSetTokens,
} from "../core/pods";
import { MAX_PODS } from "../shared/layout";
import {
  GAUGE_OUT,
  GAUGE_PREFILLS,
  GAUGE_REQUESTS,
  GAUGE_TOKENS,
  GAUGE_WORK,
  gaugeId,
  gaugeSlotOf,
  slotsBind,
  slotsUsed,
} from "./gauge-slots";
import { addMetric, metricValue, recordMetric } from "./host";

/** A pod that refused or reset a connection is left out this long. */
// @ts-ignore: decorator
@inline
export const OUT_NS: u64 = 10000000000;
/** Eras have so many names; after the last one the first is used again. */
// @ts-ignore: decorator
@inline
export const ERAS: u32 = 4;

/** Name of the gauges in use. */
let era: u32 = 0;
// Per gauge slot, i64 each: this VM's share of requests, prefills, prefill work and uncached tokens; then as much of
// each as the gauges hold. Where the host refused a change the two differ until a later one, or the tick, settles it.
// @ts-ignore: decorator
@inline
const SHARE_BYTES: u32 = 64;
// @ts-ignore: decorator
@inline
const HELD: u32 = 32;
const shares: usize = heap.alloc(MAX_PODS * SHARE_BYTES);
memory.fill(shares, 0, MAX_PODS * SHARE_BYTES);
let unsettled: bool = false;

/** Gives every known pod its gauges. Called when the pod section changes. */
export function inflightBind(): bool {
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

/** This VM's share of a gauge of a gauge slot. */
// @ts-ignore: decorator
@inline
export function shareOf(slot: u32, gauge: u32): i64 {
  return load<i64>(shareAt(slot, gauge));
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
  if (!slot) return;
  add(slot - 1, GAUGE_REQUESTS, by);
  if (pod < 0) return;
  const p = <u32>pod;
  podSetCounts(p, <u32>max<i64>(<i64>podOwnRequests(p) + by, 0), podOwnPendingRequests(p), podOwnPending(p));
}

/** Counts a prefill of `work` units (core/pick.ts) and uncached `tokens` in or out, as `countRequest` does. */
export function countPrefill(slot: u32, pod: i32, by: i64, work: u32, nowNs: u64, tokens: u32): void {
  if (!slot) return;
  add(slot - 1, GAUGE_PREFILLS, by);
  add(slot - 1, GAUGE_WORK, by * <i64>work);
  add(slot - 1, GAUGE_TOKENS, by * <i64>tokens);
  if (pod < 0) return;
  const p = <u32>pod;
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

/** Reads the process-wide counts of one pod into its columns; true when they were others. */
function inflightRead(pod: u32, nowNs: u64): bool {
  const slot = gaugeSlotOf(pod);
  if (!slot) return false;
  // A gauge below zero would be a fault of a lost VM; it reads as a huge number and counts as nothing.
  const requests = <u32>sane(metricValue(gaugeId(era, slot - 1, GAUGE_REQUESTS)));
  const pending = sane(metricValue(gaugeId(era, slot - 1, GAUGE_PREFILLS)));
  const work = <f64>sane(metricValue(gaugeId(era, slot - 1, GAUGE_WORK)));
  const tokens = <f64>sane(metricValue(gaugeId(era, slot - 1, GAUGE_TOKENS)));
  const moved = tokens != podOwnPendingTokens(pod);
  podSetTokens(pod, tokens);
  if (!moved && requests == podOwnRequests(pod) && <u32>pending == podOwnPendingRequests(pod) && work == podOwnPending(pod)) return false;
  podMoveCounts(pod, requests, <u32>pending, work, nowNs);
  return true;
}

// @ts-ignore: decorator
@inline
function sane(v: u64): u64 {
  return v > 0xffffffff ? 0 : v;
}

/**
 * Reads a pod's counts anew if its prefill work is another than the columns say; true when it was. Work comes and goes
 * with every prefill, so one host call tells nearly always; what only ends decodes waits for the tick.
 */
export function inflightRefresh(pod: u32, nowNs: u64): bool {
  const slot = gaugeSlotOf(pod);
  if (!slot || <f64>sane(metricValue(gaugeId(era, slot - 1, GAUGE_WORK))) == podOwnPending(pod)) return false;
  return inflightRead(pod, nowNs);
}

/** Reads all pods; from the tick. */
export function inflightReadAll(nowNs: u64): void {
  if (unsettled) settleAll();
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    const slot = podKnown(pod) ? gaugeSlotOf(pod) : 0;
    if (!slot) continue;
    inflightRead(pod, nowNs);
    const until = metricValue(gaugeId(era, slot - 1, GAUGE_OUT));
    if (until * 1000000 > nowNs && !podOut(pod, nowNs)) podSetOut(pod, until * 1000000);
  }
}

/** Moves this VM's share to the gauges of another era. */
export function inflightEnter(next: u32): void {
  era = next & (ERAS - 1);
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
