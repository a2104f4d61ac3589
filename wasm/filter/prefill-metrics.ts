// What prefill/decode counts, in Envoy's stats and, once a second, to the agent.
import { podAddress, podAddressSize, podHigh, podKnown } from "../core/pods";
import {
  TRANSFER_COUNTER_COUNT,
  TRANSFERS_COUNTERS,
  TRANSFERS_HEAD_BYTES,
  TRANSFERS_ROW_BYTES,
  TRANSFERS_ROWS,
} from "../shared/disaggregation-layout";
import { KIND_TRANSFERS } from "../shared/frame-layout";
import { MAX_PODS } from "../shared/pods-layout";
import { Text, text } from "./abi/memory";
import { METRIC_COUNTER, METRIC_GAUGE } from "./abi/types";
import { addMetric, defineMetric } from "./host";
import { processId, streamPayload, streamRoom, streamSend, vmId } from "./table-stream";

/** Requests whose prefill ran on another pod and whose decode got its parameters. */
// @ts-ignore: decorator
@inline
export const P_SPLIT: u32 = 0;
/** Prefill calls that were sent, tries after a failure included. */
// @ts-ignore: decorator
@inline
export const P_CALLS: u32 = 1;
/** Calls that ended with a connection fault or an error status. */
// @ts-ignore: decorator
@inline
export const P_FAILED: u32 = 2;
// @ts-ignore: decorator
@inline
export const P_TIMEOUT: u32 = 3;
/** Calls whose answer was no JSON object. */
// @ts-ignore: decorator
@inline
export const P_RUBBISH: u32 = 4;
/** Calls whose answer had no parameters: the decode pod would compute the prompt in silence. */
// @ts-ignore: decorator
@inline
export const P_NO_PARAMETERS: u32 = 5;
/** Calls that the prefill pod refused with a 4xx: the decode pod says why itself. */
// @ts-ignore: decorator
@inline
export const P_REFUSED: u32 = 6;
/** Split requests that one pod served after all. */
// @ts-ignore: decorator
@inline
export const P_LOCAL: u32 = 7;
/** Split requests that ended with an error of the filter. */
// @ts-ignore: decorator
@inline
export const P_ERROR: u32 = 8;
/** Clients that left while their prefill ran. */
// @ts-ignore: decorator
@inline
export const P_ORPHANED: u32 = 9;
/** Requests that were worth a split and found no ready prefill pod. */
// @ts-ignore: decorator
@inline
export const P_NO_POD: u32 = 10;
/** Requests that were worth a split beyond the limit of concurrent calls. */
// @ts-ignore: decorator
@inline
export const P_BUSY: u32 = 11;
/** Blocks left behind on prefill pods: nobody will pull them. */
// @ts-ignore: decorator
@inline
export const P_BLOCKS_LEFT: u32 = 12;

const NAMES: StaticArray<Text> = [
  text("warmgate_prefill_split_total"),
  text("warmgate_prefill_calls_total"),
  text("warmgate_prefill_failed_total"),
  text("warmgate_prefill_timeout_total"),
  text("warmgate_prefill_rubbish_total"),
  text("warmgate_prefill_no_parameters_total"),
  text("warmgate_prefill_refused_total"),
  text("warmgate_prefill_local_total"),
  text("warmgate_prefill_error_total"),
  text("warmgate_prefill_orphaned_total"),
  text("warmgate_prefill_no_pod_total"),
  text("warmgate_prefill_busy_total"),
  text("warmgate_prefill_blocks_left_total"),
];
const INFLIGHT = text("warmgate_prefill_inflight");
const HELD = text("warmgate_prefill_blocks_held");

const values: usize = heap.alloc(TRANSFER_COUNTER_COUNT << 3);
const ids: usize = heap.alloc(TRANSFER_COUNTER_COUNT << 2);
memory.fill(values, 0, TRANSFER_COUNTER_COUNT << 3);
memory.fill(ids, 0, TRANSFER_COUNTER_COUNT << 2);
let inflight: u32 = 0;
let held: u32 = 0;
// Per decode pod: transfers and tokens that were promised to it, u64 each.
const promised: usize = heap.alloc(MAX_PODS << 4);
memory.fill(promised, 0, MAX_PODS << 4);
let anything: bool = false;

export function prefillMetricsDefine(): void {
  for (let i: u32 = 0; i < TRANSFER_COUNTER_COUNT; i++) {
    const t = unchecked(NAMES[i]);
    store<u32>(ids + (i << 2), defineMetric(METRIC_COUNTER, t.at, t.size));
  }
  inflight = defineMetric(METRIC_GAUGE, INFLIGHT.at, INFLIGHT.size);
  held = defineMetric(METRIC_GAUGE, HELD.at, HELD.size);
}

export function countPrefillEvent(i: u32, by: u64 = 1): void {
  const at = values + (<usize>i << 3);
  store<u64>(at, load<u64>(at) + by);
  addMetric(load<u32>(ids + (<usize>i << 2)), <i64>by);
  anything = true;
}

/** Calls under way, over all workers. */
export function addInflight(by: i64): void {
  addMetric(inflight, by);
}

/** Blocks that prefill pods hold for nobody, over all workers. */
export function addHeld(by: i64): void {
  addMetric(held, by);
}

/** A decode pod has answered a request whose blocks were promised to it. */
export function recordTransfer(pod: u32, tokens: u32): void {
  const at = promised + (<usize>pod << 4);
  store<u64>(at, load<u64>(at) + 1);
  store<u64>(at, load<u64>(at, 8) + tokens, 8);
}

/** Tells the agent, so that it can compare with what decode pods say of themselves. */
export function sendTransfers(): void {
  if (!anything) return;
  const p = streamPayload();
  memory.fill(p, 0, TRANSFERS_HEAD_BYTES);
  store<u64>(p, processId);
  store<u64>(p, vmId, 8);
  memory.copy(p + TRANSFERS_COUNTERS, values, TRANSFER_COUNTER_COUNT << 3);
  let at: u32 = TRANSFERS_HEAD_BYTES;
  let rows: u32 = 0;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (!podKnown(pod) || load<u64>(promised + (<usize>pod << 4)) == 0) continue;
    const size = podAddressSize(pod);
    const next = at + TRANSFERS_ROW_BYTES + ((size + 7) & ~7);
    if (next > streamRoom()) break;
    const row = p + at;
    memory.fill(row, 0, next - at);
    store<u32>(row, size);
    memory.copy(row + 8, promised + (<usize>pod << 4), 16);
    memory.copy(row + TRANSFERS_ROW_BYTES, podAddress(pod), size);
    at = next;
    rows++;
  }
  store<u32>(p, rows, TRANSFERS_ROWS);
  streamSend(KIND_TRANSFERS, at);
}
