// What the filter counts. Counters are added up in memory and handed to Envoy once a second: a host call costs more
// than the rest of the counting.
import { sessionHits, sessionMisses, sessionMoves } from "../core/session-table";
import { prefixBytes } from "../shared/prefix-table";
import { regionsBytes } from "../shared/regions";
import { REPORT_COUNTER_COUNT } from "../shared/report-layout";
import { liveBuckets, liveEntries } from "../shared/table-reader";
import { Text, text } from "./abi/memory";
import { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } from "./abi/types";
import { addMetric, defineMetric, metricValue, recordMetric } from "./host";

// @ts-ignore: decorator
@inline
export const C_SUCCESS: u32 = 0;
// @ts-ignore: decorator
@inline
export const C_NO_PODS: u32 = 1;
// @ts-ignore: decorator
@inline
export const C_FILTERED_OUT: u32 = 2;
// @ts-ignore: decorator
@inline
export const C_FALLBACK: u32 = 3;
// @ts-ignore: decorator
@inline
export const C_REFUSED: u32 = 4;
// @ts-ignore: decorator
@inline
export const C_RESERVED: u32 = 5;
// @ts-ignore: decorator
@inline
export const C_STRIPPED: u32 = 6;
// @ts-ignore: decorator
@inline
export const C_MOVED: u32 = 7;
// @ts-ignore: decorator
@inline
export const C_LEFT_OUT: u32 = 8;
// @ts-ignore: decorator
@inline
export const C_FRAMES: u32 = 9;
// @ts-ignore: decorator
@inline
export const C_GAPS: u32 = 10;
// @ts-ignore: decorator
@inline
export const C_INEXACT: u32 = 11;
// @ts-ignore: decorator
@inline
export const C_WATCHDOG: u32 = 12;
// @ts-ignore: decorator
@inline
export const C_CANDIDATES: u32 = 13;
// @ts-ignore: decorator
@inline
export const C_PASSED: u32 = 14;
// @ts-ignore: decorator
@inline
const C_SCHEDULING_US: u32 = 15;
// @ts-ignore: decorator
@inline
export const C_LOST_VMS: u32 = 16;
/** Snapshots that did not fit tableMiB beside the live table, or at all. */
// @ts-ignore: decorator
@inline
export const C_OVER_LIMIT: u32 = 17;
// @ts-ignore: decorator
@inline
export const C_SHED: u32 = 18;
// @ts-ignore: decorator
@inline
export const C_QUEUED: u32 = 19;
// @ts-ignore: decorator
@inline
export const C_QUEUE_EVICTED: u32 = 20;
// @ts-ignore: decorator
@inline
export const C_QUEUE_EXPIRED: u32 = 21;
// @ts-ignore: decorator
@inline
export const C_QUEUE_LEFT: u32 = 22;
// @ts-ignore: decorator
@inline
export const C_SLOW_SHARING: u32 = 23;
// Of session-table.ts, which counts them.
// @ts-ignore: decorator
@inline
const C_SESSION_HITS: u32 = 24;
// @ts-ignore: decorator
@inline
const C_SESSION_MISSES: u32 = 25;
// @ts-ignore: decorator
@inline
const C_SESSION_MOVES: u32 = 26;
/** Approximate prompts that were not told to the agent as a whole. */
// @ts-ignore: decorator
@inline
export const C_ROUTED_CUT: u32 = 27;
/** Decisions that C_SCHEDULING_US adds up. */
// @ts-ignore: decorator
@inline
const C_TIMED: u32 = 28;

const NAMES: StaticArray<Text> = [
  text("warmgate_decisions_success_total"),
  text("warmgate_decisions_no_pods_total"),
  text("warmgate_decisions_filtered_out_total"),
  text("warmgate_fallback_total"),
  text("warmgate_refused_total"),
  text("warmgate_reserved_fields_total"),
  text("warmgate_stripped_headers_total"),
  text("warmgate_moved_total"),
  text("warmgate_left_out_total"),
  text("warmgate_frames_total"),
  text("warmgate_gaps_total"),
  text("warmgate_inexact_total"),
  text("warmgate_watchdog_total"),
  text("warmgate_candidate_pods_total"),
  text("warmgate_passed_pods_total"),
  text("warmgate_scheduling_us_total"),
  text("warmgate_lost_vms_total"),
  text("warmgate_table_over_limit_total"),
  text("warmgate_shed_total"),
  text("warmgate_queued_total"),
  text("warmgate_queue_evicted_total"),
  text("warmgate_queue_expired_total"),
  text("warmgate_queue_left_total"),
  text("warmgate_slow_sharing_total"),
  text("warmgate_session_affinity_hits_total"),
  text("warmgate_session_affinity_misses_total"),
  text("warmgate_session_affinity_moves_total"),
  text("warmgate_routed_cut_total"),
  text("warmgate_scheduling_timed_total"),
];
// Of the VM that reported last: workers of one process hold the same table.
const MEMORY = text("warmgate_memory_bytes");
const TABLE = text("warmgate_table_bytes");
const REGIONS = text("warmgate_table_region_bytes");
const ENTRIES = text("warmgate_table_entries");
const SHARING = text("warmgate_sharing_delay_us");
const QUEUE = text("warmgate_queue_requests");
const SCHEDULING = text("warmgate_scheduling_duration_us");

const values: usize = heap.alloc(REPORT_COUNTER_COUNT << 3);
const flushed: usize = heap.alloc(REPORT_COUNTER_COUNT << 3);
const ids: usize = heap.alloc(REPORT_COUNTER_COUNT << 2);
memory.fill(values, 0, REPORT_COUNTER_COUNT << 3);
memory.fill(flushed, 0, REPORT_COUNTER_COUNT << 3);
memory.fill(ids, 0, REPORT_COUNTER_COUNT << 2);
let scheduling: u32 = 0;
let memoryGauge: u32 = 0;
let tableGauge: u32 = 0;
let regionsGauge: u32 = 0;
let entriesGauge: u32 = 0;
let queue: u32 = 0;
let sharing: u32 = 0;

export function metricsDefine(): void {
  for (let i: u32 = 0; i < REPORT_COUNTER_COUNT; i++) metricId(i);
  scheduling = defineMetric(METRIC_HISTOGRAM, SCHEDULING.at, SCHEDULING.size);
  memoryGauge = defineMetric(METRIC_GAUGE, MEMORY.at, MEMORY.size);
  tableGauge = defineMetric(METRIC_GAUGE, TABLE.at, TABLE.size);
  regionsGauge = defineMetric(METRIC_GAUGE, REGIONS.at, REGIONS.size);
  sharing = defineMetric(METRIC_GAUGE, SHARING.at, SHARING.size);
  queue = defineMetric(METRIC_GAUGE, QUEUE.at, QUEUE.size);
  entriesGauge = defineMetric(METRIC_GAUGE, ENTRIES.at, ENTRIES.size);
}

/** Id of a counter; one that could not be defined is defined at its next use. */
function metricId(i: u32): u32 {
  const at = ids + (<usize>i << 2);
  if (!load<u32>(at)) {
    const t = unchecked(NAMES[i]);
    store<u32>(at, defineMetric(METRIC_COUNTER, t.at, t.size));
  }
  return load<u32>(at);
}

// @ts-ignore: decorator
@inline
export function count(i: u32, by: u64 = 1): void {
  const at = values + (<usize>i << 3);
  store<u64>(at, load<u64>(at) + by);
}

/** This VM's value of a counter. */
export function counter(i: u32): u64 {
  return load<u64>(values + (<usize>i << 3));
}

/** What a decision took that was timed, which not all are. */
export function recordScheduling(micros: u64): void {
  recordMetric(scheduling, micros);
  count(C_SCHEDULING_US, micros);
  count(C_TIMED);
}

/** How long in-flight counts take to the agent and back, or are without an answer; of the VM that said so last. */
export function recordSharingDelay(micros: u64): void {
  recordMetric(sharing, micros);
}

/** Counts requests that wait, of all workers. */
export function queueGauge(by: i64): void {
  addMetric(queue, by);
}

export function metricsFlush(): void {
  store<u64>(values + (C_SESSION_HITS << 3), sessionHits);
  store<u64>(values + (C_SESSION_MISSES << 3), sessionMisses);
  store<u64>(values + (C_SESSION_MOVES << 3), sessionMoves);
  for (let i: u32 = 0; i < REPORT_COUNTER_COUNT; i++) {
    const v = load<u64>(values + (i << 3));
    if (addMetric(metricId(i), <i64>(v - load<u64>(flushed + (i << 3))))) store<u64>(flushed + (i << 3), v);
  }
  recordMetric(memoryGauge, <u64>memory.size() << 16);
  recordMetric(tableGauge, <u64>prefixBytes(liveBuckets));
  recordMetric(regionsGauge, <u64>regionsBytes);
  recordMetric(entriesGauge, liveEntries);
}

/** Process-wide value of a counter as last flushed by all workers. */
export function processCounter(i: u32): u64 {
  return metricValue(load<u32>(ids + (<usize>i << 2)));
}
