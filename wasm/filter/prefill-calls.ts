// Calls to prefill pods: one record each, which outlives a client that leaves, since a call cannot be cancelled; sent to one
// candidate after the other.
import { splitBodyBytes, splitBy, splitCalls, splitMode } from "../core/disaggregation";
import { podPendingRequests } from "../core/pod-counts";
import { podKnown, podReady } from "../core/pods";
import { EDIT_ROOM, editPrefill } from "../core/prefill-body";
import { SPLIT_BY_SIDECAR, SPLIT_NONE } from "../shared/disaggregation-layout";
import { memoryInit, memoryLimit } from "./abi/memory";
import { BUFFER_REQUEST_BODY, OK } from "./abi/types";
import { buffer, now, resultAt, resultSize } from "./host";
import { countWithPrefill, gaugeSlot } from "./inflight";
import { addInflight, countPrefillEvent, P_CALLS, P_FAILED } from "./prefill-metrics";
import { sendPrefill } from "./prefill-request";
import { Stream } from "./streams";

/** Calls under way in one VM at most; the policy's limit is lower or the same. */
// @ts-ignore: decorator
@inline
const MAX_CALLS: u32 = 1024;
/** Longest transfer parameters that are passed on. */
// @ts-ignore: decorator
@inline
export const PARAMETERS_MAX: u32 = 262144;
/** Envoy ends a call at its timeout; only if that failed would the tick end it, so much later. */
// @ts-ignore: decorator
@inline
const GRACE_NS: u64 = 1000000000;

@unmanaged
export class Call {
  /** 0 while the record is free. */
  token: u32;
  /** The client's stream; 0 when it has gone. */
  stream: u32;
  pod: u32;
  gauge: u32;
  work: u32;
  /** Prompt tokens, for the blocks that a prefill without a client leaves behind. */
  tokens: u32;
  uncached: u32;
  candidate0: u16;
  candidate1: u16;
  candidate2: u16;
  candidates: u8;
  tried: u8;
  alone: bool;
  timedOut: bool;
  startNs: u64;
  deadlineNs: u64;
}

// @ts-ignore: decorator
@inline
const CALL_BYTES: usize = 64;
const calls: usize = heap.alloc(<usize>MAX_CALLS * CALL_BYTES);
memory.fill(calls, 0, <usize>MAX_CALLS * CALL_BYTES);
let live: u32 = 0;
/** One more than the number of the highest record in use. */
export let callsHigh: u32 = 0;

/** Bodies are edited here, in `editedRoom` bytes; none before the policy asks for it. */
export let edited: usize = 0;
export let editedRoom: u32 = 0;

/** Record `i` of `callsHigh`; it may be free. */
// @ts-ignore: decorator
@inline
export function callAt(i: u32): Call {
  return changetype<Call>(calls + <usize>i * CALL_BYTES);
}

/** Gets the memory that bodies of the policy's size need; from the tick, so that no request waits for it. */
export function prefillMemory(): void {
  if (splitMode == SPLIT_NONE || splitBy == SPLIT_BY_SIDECAR) return;
  const room = splitBodyBytes + PARAMETERS_MAX + EDIT_ROOM;
  if (room > editedRoom) {
    edited = heap.alloc(room);
    memory.fill(edited, 0, room);
    editedRoom = room;
  }
  if (memoryLimit() < <usize>splitBodyBytes + 65536) memoryInit(splitBodyBytes + 1048576);
}

/** Bytes of a body that are waited for, so that it can be split; 0 when none is. */
// @ts-ignore: decorator
@inline
export function splitReads(): u32 {
  return splitMode != SPLIT_NONE && splitBy != SPLIT_BY_SIDECAR && editedRoom > splitBodyBytes ? splitBodyBytes : 0;
}

/** Whether the policy, or the room for records, allows one more call now. */
// @ts-ignore: decorator
@inline
export function callsFull(): bool {
  return live >= min(splitCalls, MAX_CALLS);
}

/** A record, empty, for a call of `s`; it is free again unless `callStarts` follows. Not while `callsFull`. */
export function callFor(s: Stream): Call {
  let i: u32 = 0;
  while (callAt(i).token) i++;
  const c = callAt(i);
  memory.fill(changetype<usize>(c), 0, CALL_BYTES);
  c.stream = s.id;
  return c;
}

/** The call of `s` is under way. */
export function callStarts(c: Call, s: Stream): void {
  const index = <u32>((changetype<usize>(c) - calls) / CALL_BYTES);
  live++;
  callsHigh = max(callsHigh, index + 1);
  s.prefillCall = <u16>(index + 1);
}

/** The client of a call has gone. */
export function callOrphaned(s: Stream): void {
  callAt(<u32>s.prefillCall - 1).stream = 0;
  s.prefillCall = 0;
}

/** Whether the call of record `i` should have been answered by `t`. */
export function callOverdue(i: u32, t: u64): bool {
  const c = callAt(i);
  return c.token != 0 && t > c.deadlineNs + GRACE_NS;
}

/** Sends the prefill to the next candidate; false when there is none left, no time, or nothing to send. */
export function sendNext(c: Call, s: Stream): bool {
  if (buffer(BUFFER_REQUEST_BODY, 0, s.bodySize) != OK || <u32>resultSize != s.bodySize) return false;
  store<u64>(resultAt + resultSize, 0);
  const n = editPrefill(resultAt, <u32>resultSize, s.api, edited);
  if (n == 0) return false;
  while (c.tried < c.candidates) {
    const pod = <u32>(c.tried == 0 ? c.candidate0 : c.tried == 1 ? c.candidate1 : c.candidate2);
    c.tried++;
    const t = now();
    if (t + 1000000 > c.deadlineNs) {
      c.timedOut = true;
      return false;
    }
    if (!podKnown(pod) || !podReady(pod)) continue;
    const token = sendPrefill(pod, edited, n, <u32>((c.deadlineNs - t) / 1000000));
    countPrefillEvent(P_CALLS);
    if (!token) {
      countPrefillEvent(P_FAILED);
      continue;
    }
    c.token = token;
    c.pod = pod;
    c.alone = podPendingRequests(pod) == 0;
    c.startNs = t;
    c.gauge = gaugeSlot(pod);
    countWithPrefill(c.gauge, <i32>pod, 1, c.work, t, c.uncached);
    addInflight(1);
    return true;
  }
  return false;
}

/** Gives back what the call took on its pod. */
export function settle(c: Call, t: u64): void {
  countWithPrefill(c.gauge, <i32>c.pod, -1, c.work, t, c.uncached);
  addInflight(-1);
}

/** Forgets a call that is over. */
export function callEnds(c: Call): void {
  c.token = 0;
  live--;
  while (callsHigh && !callAt(callsHigh - 1).token) callsHigh--;
}

/** The call that has `token`. */
export function callOf(token: u32): Call | null {
  for (let i: u32 = 0; i < callsHigh; i++) {
    if (callAt(i).token == token && token) return callAt(i);
  }
  return null;
}
