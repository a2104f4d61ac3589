// A response on its way out, and the end of a request: which pod really served it, the first token, giving back what
// was counted.
import { podAddress, podAddressSize, podByAddress, podObserveRate } from "../core/pods";
import { blockBytes } from "../core/policy";
import { speculativeCount, speculativeDrop, speculativeSettle } from "../core/speculative";
import { text } from "./abi/memory";
import {
  CONTINUE,
  FLAG_UPSTREAM_CONNECTION_FAILURE,
  FLAG_UPSTREAM_CONNECTION_TERMINATION,
  FLAG_UPSTREAM_REMOTE_RESET,
  OK,
  STOP,
} from "./abi/types";
import { usageBegin, usageEnd, usageRead } from "./answer-usage";
import { bodyMode } from "./configuration";
import { HELD_BYTES, shortJson, writeDebugHeaders, writeUsage } from "./debug-headers";
import { now, property, resultAt, resultSize } from "./host";
import { countPrefill, countRequest, countWithPrefill, gaugeSlot, leaveOut } from "./inflight";
import { C_LEFT_OUT, C_MOVED, C_QUEUE_LEFT, count } from "./metrics";
import { recordAnnounced } from "./prediction-report";
import { sidecarPrefillEnds } from "./prefill";
import { prefillEnd, prefillResponse, prefillUsed } from "./prefill-answered";
import { queueForget } from "./queue";
import { recordFirstToken, recordRequest } from "./report";
import { debugShown } from "./request-controls";
import { routedAnswered, routedDrop } from "./routed-prompts";
import { DISPATCHED, QUEUED, Stream, streamDrop, WAITING, waitingAdd } from "./streams";
import { workersServing } from "./worker-roster";

const UPSTREAM_ADDRESS = text("upstream\0address");
const RESPONSE_FLAGS = text("response\0flags");

/** Uncached tokens from which a first token's time says something about the pod's rate. */
// @ts-ignore: decorator
@inline
const CALIBRATE_TOKENS: u32 = 1024;

/** CONTINUE, or STOP for a short JSON answer whose usage goes into its headers. */
export function onResponseHeaders(s: Stream, endOfStream: bool): u32 {
  if (s.state != DISPATCHED) return CONTINUE;
  if (s.pod >= 0) followHost(s);
  prefillResponse(s);
  if (endOfStream) s.responseDone = true;
  else usageBegin(s);
  if (!debugShown(s)) return CONTINUE;
  writeDebugHeaders(s);
  if (endOfStream || s.streaming || s.promptTokens == 0 || !bodyMode || !shortJson()) return CONTINUE;
  s.holdResponse = true;
  return STOP;
}

/** After a retry Envoy has another host than we chose: counts follow it, and the hosts passed over are left out. */
function followHost(s: Stream): void {
  if (property(UPSTREAM_ADDRESS) != OK || resultSize == 0) return;
  const pod = <u32>s.pod;
  if (resultSize == podAddressSize(pod) && memory.compare(resultAt, podAddress(pod), resultSize) == 0) return;
  const actual = podByAddress(resultAt, <u32>resultSize);
  const t = now();
  count(C_MOVED);
  speculativeDrop(s.speculation);
  routedDrop(s.ticket);
  s.ticket = 0;
  for (let i: u32 = 0; i < s.candidates; i++) {
    const c = candidate(s, i);
    if (<i32>c == actual) break;
    leaveOut(c, t);
    count(C_LEFT_OUT);
  }
  const slot = actual >= 0 ? gaugeSlot(actual) : 0;
  if (s.prefillCounted && !s.prefillGauge) {
    countWithPrefill(s.gauge, s.pod, -1, s.work, t, s.uncached);
    countWithPrefill(slot, actual, 1, s.work, t, s.uncached);
  } else {
    countRequest(s.gauge, s.pod, -1);
    countRequest(slot, actual, 1);
  }
  s.gauge = slot;
  s.pod = actual;
  s.predicted = 0;
  s.compared = false;
  s.textBlockTokens = 0;
  s.alone = false;
}

// @ts-ignore: decorator
@inline
function candidate(s: Stream, i: u32): u32 {
  return i == 0 ? s.candidate0 : i == 1 ? s.candidate1 : s.candidate2;
}

/**
 * CONTINUE; STOP only while a short JSON answer is held. Of a stream's frames only the first one's arrival matters,
 * unless it ends with its usage.
 */
export function onResponseBody(s: Stream, size: u32, endOfStream: bool): u32 {
  firstToken(s, size, endOfStream);
  if (!s.holdResponse) {
    usageRead(s, size);
    answerCounted(s);
    return CONTINUE;
  }
  if (!endOfStream && size <= HELD_BYTES) return STOP;
  s.holdResponse = false;
  if (endOfStream) writeUsage(s, size);
  else usageRead(s, size);
  answerCounted(s);
  return CONTINUE;
}

/** Takes the engine's count of the prompt, before the client has it and can go on. */
function answerCounted(s: Stream): void {
  if (s.countedTokens && s.ticket) answerOver(s, speculativeCount(s.ticket, s.countedTokens, blockBytes));
}

/** Tells the other workers that the answer is over. Idempotent. */
function answerOver(s: Stream, counted: u32): void {
  if (workersServing() > 1) routedAnswered(s.ticket, counted, now() / 1000000);
  s.ticket = 0;
}

function firstToken(s: Stream, size: u32, endOfStream: bool): void {
  if (endOfStream) s.responseDone = true;
  if (s.firstToken || size == 0) return;
  s.firstToken = true;
  if (s.state != DISPATCHED) return;
  const t = now();
  answerBegins(s, t);
  prefillUsed(s);
  if (s.pod < 0 || s.dispatchNs == 0) return;
  const micros = (t - s.dispatchNs) / 1000;
  recordFirstToken(<u32>s.pod, micros, s.uncached);
  if (s.alone && s.streaming && s.uncached >= CALIBRATE_TOKENS && micros > 0) {
    podObserveRate(<u32>s.pod, (<f64>s.work * 1e6) / <f64>micros);
  }
}

/** The prefill is over, and what it leaves in the cache is about to be announced. Idempotent. */
function answerBegins(s: Stream, t: u64): void {
  speculativeSettle(s.speculation, t / 1000000);
  s.speculation = 0;
  if (!s.prefillCounted) return;
  s.prefillCounted = false;
  if (s.prefillGauge) sidecarPrefillEnds(s, t);
  else countPrefill(s.gauge, s.pod, -1, s.work, t, s.uncached);
}

/** Ends a request, whatever its end was. Idempotent: the record is gone afterwards. */
export function onStreamEnd(s: Stream): void {
  prefillEnd(s);
  if (s.state == WAITING) waitingAdd(-1);
  if (s.state == DISPATCHED && s.pod >= 0) {
    if (!s.responseDone) blame(s);
    recordRequest(<u32>s.pod, s.promptTokens, s.predicted);
    if (s.compared) recordAnnounced(s);
  }
  usageEnd(s);
  if (s.state == QUEUED) {
    queueForget(s);
    count(C_QUEUE_LEFT);
  }
  // No answer ever began; also a request that was refused after its decision, when its body grew over the limit.
  if (s.prefillCounted || s.speculation) answerBegins(s, now());
  if (s.ticket) answerOver(s, 0);
  countRequest(s.gauge, s.pod, -1);
  streamDrop(s);
}

/** Leaves out a pod that refused or reset the connection. */
function blame(s: Stream): void {
  if (property(RESPONSE_FLAGS) != OK || resultSize != 8) return;
  const flags = load<u64>(resultAt);
  const faults =
    FLAG_UPSTREAM_CONNECTION_FAILURE | FLAG_UPSTREAM_CONNECTION_TERMINATION | FLAG_UPSTREAM_REMOTE_RESET;
  if (!(flags & faults)) return;
  let pod = s.pod;
  if (property(UPSTREAM_ADDRESS) == OK && resultSize) pod = podByAddress(resultAt, <u32>resultSize);
  if (pod < 0) return;
  leaveOut(pod, now());
  count(C_LEFT_OUT);
}

