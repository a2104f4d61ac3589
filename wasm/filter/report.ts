// What goes up to the agent once a second: this VM's counters and, per pod, what it sent there and what came back.
import { opRuns, opTime } from "../core/op-times";
import { podOwnPending, podOwnRequests } from "../core/pod-counts";
import { podAddress, podAddressSize, podHigh, podKnown } from "../core/pods";
import { KIND_REPORT } from "../shared/frame-layout";
import { MAX_PODS } from "../shared/pods-layout";
import { OP_KINDS } from "../shared/program-layout";
import {
  REPORT_COUNTER_COUNT,
  REPORT_COUNTERS,
  REPORT_HEAD_BYTES,
  REPORT_OP_BYTES,
  REPORT_OPS,
  REPORT_ROW_BYTES,
} from "../shared/report-layout";
import { counter } from "./metrics";
import { processId, streamPayload, streamRoom, streamSend, vmId } from "./table-stream";

// Per pod: requests, prompt tokens, predicted tokens, first tokens, first token µs, their uncached tokens.
const sums: usize = heap.alloc(MAX_PODS * 48);
memory.fill(sums, 0, MAX_PODS * 48);

// @ts-ignore: decorator
@inline
function add(pod: u32, field: u32, by: u64): void {
  const at = sums + <usize>pod * 48 + (field << 3);
  store<u64>(at, load<u64>(at) + by);
}

export function recordRequest(pod: u32, promptTokens: u32, predicted: u32): void {
  add(pod, 0, 1);
  add(pod, 1, promptTokens);
  add(pod, 2, predicted);
}

export function recordFirstToken(pod: u32, micros: u64, uncached: u32): void {
  add(pod, 3, 1);
  add(pod, 4, micros);
  add(pod, 5, uncached);
}

/** Sends the report; pods beyond the room of one frame are left out. */
export function sendReport(): void {
  const p = streamPayload();
  memory.fill(p, 0, REPORT_HEAD_BYTES);
  store<u64>(p, processId);
  store<u64>(p, vmId, 8);
  for (let i: u32 = 0; i < REPORT_COUNTER_COUNT; i++) store<u64>(p + REPORT_COUNTERS + (i << 3), counter(i));
  let at = writeOps(p);
  let rows: u32 = 0;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (!podKnown(pod)) continue;
    const size = podAddressSize(pod);
    const next = at + REPORT_ROW_BYTES + ((size + 7) & ~7);
    if (next > streamRoom()) break;
    const row = p + at;
    memory.fill(row, 0, next - at);
    store<u32>(row, size);
    store<u32>(row, podOwnRequests(pod), 4);
    store<u64>(row, <u64>podOwnPending(pod), 8);
    memory.copy(row + 16, sums + <usize>pod * 48, 48);
    memory.copy(row + REPORT_ROW_BYTES, podAddress(pod), size);
    at = next;
    rows++;
  }
  store<u32>(p, rows, 20);
  streamSend(KIND_REPORT, at);
}

/** Writes what operations took; returns where the pods' rows begin. */
function writeOps(p: usize): u32 {
  let at: u32 = REPORT_HEAD_BYTES;
  for (let kind: u32 = 0; kind < OP_KINDS; kind++) {
    if (!opRuns(kind)) continue;
    store<u64>(p + at, kind);
    store<u64>(p + at, opRuns(kind), 8);
    store<u64>(p + at, opTime(kind), 16);
    at += REPORT_OP_BYTES;
  }
  store<u32>(p, (at - REPORT_HEAD_BYTES) / REPORT_OP_BYTES, REPORT_OPS);
  return at;
}
