// What is under way on each pod, right across workers: gauges named by slot, because Envoy never frees a metric's
// name. Which address has which slot is agreed inside the process through one shared-data key.
import {
  podAddress,
  podAddressSize,
  podHigh,
  podKnown,
  podOut,
  podPendingRequests,
  podHeadStart,
  podSetCounts,
  podSetHeadStart,
  podSetOut,
} from "../core/pods";
import { MAX_PODS } from "../shared/layout";
import { Text, text } from "./abi/memory";
import { CAS_MISMATCH, METRIC_GAUGE, NOT_FOUND, OK } from "./abi/types";
import {
  addMetric,
  defineMetric,
  getShared,
  metricValue,
  recordMetric,
  resultAt,
  resultSize,
  setShared,
  sharedCas,
} from "./host";

// Record of the shared map, in slot order: address 56 bytes, its length u8, 7 bytes unused.
// @ts-ignore: decorator
@inline
const RECORD: u32 = 64;
// @ts-ignore: decorator
@inline
const ADDRESS_MAX: u32 = 56;
/** A pod that refused or reset a connection is left out this long. */
// @ts-ignore: decorator
@inline
export const OUT_NS: u64 = 10000000000;

const SLOTS_KEY = text("warmgate.slots");
const NAME_REQUESTS = text("warmgate_inflight_requests_slot_");
const NAME_PENDING = text("warmgate_inflight_prefills_slot_");
const NAME_TOKENS = text("warmgate_inflight_prefill_tokens_slot_");
const NAME_OUT = text("warmgate_left_out_until_ms_slot_");

const shared: usize = heap.alloc(MAX_PODS * RECORD);
const nameScratch: usize = heap.alloc(128);
// Per gauge slot: ids of its four gauges; 0 = not defined yet.
const ids: usize = heap.alloc(MAX_PODS << 4);
memory.fill(ids, 0, MAX_PODS << 4);
// Per pod slot of the table: gauge slot + 1.
const gaugeOf: usize = heap.alloc(MAX_PODS << 1);
memory.fill(gaugeOf, 0, MAX_PODS << 1);

function gaugeName(prefix: Text, slot: u32): usize {
  memory.copy(nameScratch, prefix.at, prefix.size);
  let n = prefix.size;
  let divisor: u32 = 1000;
  let started = false;
  let rest = slot;
  while (divisor) {
    const digit = rest / divisor;
    rest -= digit * divisor;
    if (digit || started || divisor == 1) {
      store<u8>(nameScratch + n, <u8>(48 + digit));
      n++;
      started = true;
    }
    divisor /= 10;
  }
  return n;
}

function define(slot: u32): void {
  const at = ids + (<usize>slot << 4);
  if (load<u32>(at)) return;
  store<u32>(at, defineMetric(METRIC_GAUGE, nameScratch, gaugeName(NAME_REQUESTS, slot)));
  store<u32>(at, defineMetric(METRIC_GAUGE, nameScratch, gaugeName(NAME_PENDING, slot)), 4);
  store<u32>(at, defineMetric(METRIC_GAUGE, nameScratch, gaugeName(NAME_TOKENS, slot)), 8);
  store<u32>(at, defineMetric(METRIC_GAUGE, nameScratch, gaugeName(NAME_OUT, slot)), 12);
}

/** Gives every known pod its gauges. Called when the pod section changes; false when the host would not agree. */
export function inflightBind(): bool {
  for (let tries = 0; tries < 8; tries++) {
    const status = getShared(SLOTS_KEY);
    if (status != OK && status != NOT_FOUND) return false;
    let used: u32 = 0;
    if (status == OK && resultSize <= MAX_PODS * RECORD) {
      used = <u32>resultSize / RECORD;
      memory.copy(shared, resultAt, used * RECORD);
    }
    const before = used;
    const cas = sharedCas;
    for (let pod: u32 = 0; pod < podHigh; pod++) {
      store<u16>(gaugeOf + (<usize>pod << 1), 0);
      const size = podAddressSize(pod);
      if (!podKnown(pod) || size == 0 || size > ADDRESS_MAX) continue;
      let slot: u32 = 0;
      for (; slot < used; slot++) {
        const r = shared + <usize>slot * RECORD;
        if (load<u8>(r, ADDRESS_MAX) == <u8>size && memory.compare(r, podAddress(pod), size) == 0) break;
      }
      if (slot == MAX_PODS) continue;
      if (slot == used) {
        const r = shared + <usize>slot * RECORD;
        memory.fill(r, 0, RECORD);
        memory.copy(r, podAddress(pod), size);
        store<u8>(r, <u8>size, ADDRESS_MAX);
        used++;
      }
      store<u16>(gaugeOf + (<usize>pod << 1), <u16>(slot + 1));
    }
    if (used != before) {
      const wrote = setShared(SLOTS_KEY, shared, used * RECORD, cas);
      if (wrote == CAS_MISMATCH) continue;
      if (wrote != OK) return false;
    }
    for (let pod: u32 = 0; pod < podHigh; pod++) {
      const slot = load<u16>(gaugeOf + (<usize>pod << 1));
      if (slot) define(<u32>slot - 1);
    }
    return true;
  }
  return false;
}

// @ts-ignore: decorator
@inline
function gauges(pod: u32): usize {
  const slot = load<u16>(gaugeOf + (<usize>pod << 1));
  return slot ? ids + (<usize>(slot - 1) << 4) : 0;
}

/** Gauge slot + 1 of a pod slot, 0 for none; a stream keeps it so that it gives back what it took, whatever comes. */
export function gaugeSlot(pod: u32): u32 {
  return pod < MAX_PODS ? <u32>load<u16>(gaugeOf + (<usize>pod << 1)) : 0;
}

/** Counts a request in (by = 1) or out (by = -1) on a gauge slot + 1. */
export function countRequest(slot: u32, by: i64): void {
  if (slot) addMetric(load<u32>(ids + (<usize>(slot - 1) << 4)), by);
}

/** Counts a prefill of `tokens` units of work (core/pick.ts) in or out on a gauge slot + 1. */
export function countPrefill(slot: u32, by: i64, tokens: u32): void {
  if (!slot) return;
  const at = ids + (<usize>(slot - 1) << 4);
  addMetric(load<u32>(at, 4), by);
  addMetric(load<u32>(at, 8), by * <i64>tokens);
}

/** Leaves a pod out for OUT_NS, for all workers of the process. */
export function leaveOut(pod: u32, nowNs: u64): void {
  podSetOut(pod, nowNs + OUT_NS);
  const at = gauges(pod);
  if (at) recordMetric(load<u32>(at, 12), (nowNs + OUT_NS) / 1000000);
}

/** Reads the process-wide values of one pod into its columns. */
export function inflightRead(pod: u32, nowNs: u64): void {
  const at = gauges(pod);
  if (!at) return;
  const pendingBefore = podPendingRequests(pod);
  // A gauge below zero would be a fault of a trapped VM; it reads as a huge number and counts as nothing.
  const requests = sane(metricValue(load<u32>(at)));
  const pending = sane(metricValue(load<u32>(at, 4)));
  const tokens = sane(metricValue(load<u32>(at, 8)));
  podSetCounts(pod, <u32>requests, <u32>pending, <f64>tokens);
  if (pending == 0) podSetHeadStart(pod, 0);
  else if (pendingBefore == 0 || <u64>pendingBefore > pending || podHeadStart(pod) == 0) podSetHeadStart(pod, nowNs);
  const until = metricValue(load<u32>(at, 12));
  if (until * 1000000 > nowNs && !podOut(pod, nowNs)) podSetOut(pod, until * 1000000);
}

// @ts-ignore: decorator
@inline
function sane(v: u64): u64 {
  return v > 0xffffffff ? 0 : v;
}

/** Reads all pods; from the tick. */
export function inflightReadAll(nowNs: u64): void {
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (podKnown(pod)) inflightRead(pod, nowNs);
  }
}
