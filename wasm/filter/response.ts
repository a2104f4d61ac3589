// A response on its way out, and the end of a request: which pod really served it, the first token, giving back what
// was counted.
import {
  podAddress,
  podAddressSize,
  podByAddress,
  podName,
  podNameSize,
  podObserveRate,
} from "../core/pods";
import { blockBytes } from "../core/policy";
import { speculativeCount, speculativeDrop, speculativeSettle } from "../core/speculative";
import { Text, text } from "./abi/memory";
import {
  BUFFER_RESPONSE_BODY,
  CONTINUE,
  FLAG_UPSTREAM_CONNECTION_FAILURE,
  FLAG_UPSTREAM_CONNECTION_TERMINATION,
  FLAG_UPSTREAM_REMOTE_RESET,
  MAP_RESPONSE,
  OK,
  STOP,
} from "./abi/types";
import { USAGE_BYTES, usageBegin, usageEnd, usageFeed, usageRead } from "./answer-usage";
import { bodyMode } from "./configuration";
import { digits } from "./decimal";
import { buffer, getHeader, now, property, resultAt, resultSize, scratch, setHeader } from "./host";
import { countPrefill, countRequest, countWithPrefill, gaugeSlot, leaveOut } from "./inflight";
import { C_LEFT_OUT, C_MOVED, C_QUEUE_LEFT, count } from "./metrics";
import { queueForget } from "./queue";
import { recordAnnounced } from "./prediction-report";
import { sidecarPrefillEnds } from "./prefill";
import { prefillEnd, prefillResponse, prefillUsed } from "./prefill-answered";
import { routedAnswered, routedDrop } from "./routed-prompts";
import { workersServing } from "./worker-roster";
import { recordFirstToken, recordRequest } from "./report";
import { debugShown } from "./request-controls";
import {
  DISPATCHED,
  QUEUED,
  requestIdAt,
  Stream,
  streamDrop,
  traceAt,
  WAITING,
  waitingAdd,
} from "./streams";

const UPSTREAM_ADDRESS = text("upstream\0address");
const RESPONSE_FLAGS = text("response\0flags");

const SELECTED_POD = text("x-selected-pod");
const DECODE_POD = text("x-decode-pod");
const PREFILL_POD = text("x-prefill-pod");
const PREFILL_TIME = text("x-prefill-time-ms");
const CACHE_HIT = text("x-cache-hit");
const PREFIX_LENGTH = text("x-cache-prefix-length");
const SCHEDULING_TIME = text("x-scheduling-time-ms");
const FILTER_TIME = text("x-filter-time-ms");
const SCORER_TIME = text("x-scorer-time-ms");
const TOTAL_TIME = text("x-total-time-ms");
const REQUEST_ID = text("x-request-id");
const TRACE_ID = text("x-trace-id");
const TOKENS_GENERATED = text("x-tokens-generated");
const TOKENS_PER_SECOND = text("x-tokens-per-second");
const CONTENT_TYPE = text("content-type");
const CONTENT_LENGTH = text("content-length");
const JSON_TYPE = text("application/json");
const COMPLETION_TOKENS = text('"completion_tokens":');
const OUTPUT_TOKENS = text('"output_tokens":');
const TRUE = text("true");
const FALSE = text("false");

/** Longest JSON answer that is held until its usage is known. */
// @ts-ignore: decorator
@inline
const HELD_BYTES: u32 = 262144;
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

/** Whether the answer is JSON that says its length and is at most HELD_BYTES. */
function shortJson(): bool {
  if (getHeader(MAP_RESPONSE, CONTENT_TYPE) != OK || resultSize < JSON_TYPE.size) return false;
  if (memory.compare(resultAt, JSON_TYPE.at, JSON_TYPE.size) != 0) return false;
  if (getHeader(MAP_RESPONSE, CONTENT_LENGTH) != OK || resultSize == 0 || resultSize > 6) return false;
  let length: u32 = 0;
  for (let i: usize = 0; i < resultSize; i++) {
    const digit = <u32>load<u8>(resultAt + i) - 48;
    if (digit > 9) return false;
    length = length * 10 + digit;
  }
  return length <= HELD_BYTES;
}

/** Puts what the answer's usage says into its headers. */
function writeUsage(s: Stream, size: u32): void {
  // usage stands near the end of an answer; the text before it may be long.
  const n = min(size, USAGE_BYTES);
  if (buffer(BUFFER_RESPONSE_BODY, size - n, n) != OK) return;
  usageFeed(s, size > n);
  let tokens = numberAfter(COMPLETION_TOKENS);
  if (tokens < 0) tokens = numberAfter(OUTPUT_TOKENS);
  const p = scratch(32);
  if (tokens < 0 || !p) return;
  put(TOKENS_GENERATED, p, digits(p, tokens));
  const micros = (now() - s.dispatchNs) / 1000;
  if (s.dispatchNs == 0 || micros == 0) return;
  const tenths = (<u64>tokens * 10000000) / micros;
  let k = digits(p, tenths / 10);
  store<u8>(p + k, 0x2e);
  store<u8>(p + k + 1, <u8>(48 + (tenths % 10)));
  k += 2;
  put(TOKENS_PER_SECOND, p, k);
}

/** Number behind the last unescaped `"name":` in the bytes read last, -1 when there is none. */
function numberAfter(name: Text): i64 {
  if (resultSize < name.size + 1) return -1;
  for (let at = resultAt + resultSize - name.size - 1; at >= resultAt; at--) {
    if (memory.compare(at, name.at, name.size) != 0 || (at > resultAt && load<u8>(at - 1) == 0x5c)) continue;
    const end = resultAt + resultSize;
    let q = at + name.size;
    while (q < end && load<u8>(q) == 0x20) q++;
    let v: i64 = -1;
    for (; q < end && v < 1000000000; q++) {
      const digit = <u32>load<u8>(q) - 48;
      if (digit > 9) break;
      v = (v < 0 ? 0 : v * 10) + digit;
    }
    return v;
  }
  return -1;
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

function put(name: Text, p: usize, n: usize): void {
  if (n) setHeader(MAP_RESPONSE, name, p, n);
}

/** Milliseconds with three decimals from microseconds. */
function putMs(name: Text, p: usize, us: u64): void {
  let n = digits(p, us / 1000);
  store<u8>(p + n, 0x2e);
  const rest = <u32>(us % 1000);
  store<u8>(p + n + 1, <u8>(48 + rest / 100));
  store<u8>(p + n + 2, <u8>(48 + (rest / 10) % 10));
  store<u8>(p + n + 3, <u8>(48 + (rest % 10)));
  n += 4;
  put(name, p, n);
}

function writeDebugHeaders(s: Stream): void {
  const p = scratch(32);
  if (!p) return;
  if (s.pod >= 0) {
    put(SELECTED_POD, podName(s.pod), podNameSize(s.pod));
    put(DECODE_POD, podName(s.pod), podNameSize(s.pod));
  }
  if (s.prefillPod) {
    const prefill = <u32>s.prefillPod - 1;
    put(PREFILL_POD, podName(prefill), podNameSize(prefill));
    // A sidecar says it itself.
    if (s.prefillUs) putMs(PREFILL_TIME, p, s.prefillUs);
  }
  if (s.promptTokens) {
    const hit = s.predicted ? TRUE : FALSE;
    put(CACHE_HIT, hit.at, hit.size);
    put(PREFIX_LENGTH, p, digits(p, s.predicted));
    putMs(SCHEDULING_TIME, p, s.schedulingUs);
    putMs(FILTER_TIME, p, s.matchUs);
    putMs(SCORER_TIME, p, s.pickUs);
  }
  putMs(TOTAL_TIME, p, (now() - s.startNs) / 1000);
  put(REQUEST_ID, requestIdAt(s), s.requestIdSize);
  put(TRACE_ID, traceAt(s), s.traceSize);
}
