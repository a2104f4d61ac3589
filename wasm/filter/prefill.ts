// Prefill on another pod. By the gateway the client's request is held meanwhile: the call, its answer, and every way it
// can go wrong. A call cannot be cancelled, so its record outlives a client that leaves, until the answer or the
// deadline. By the sidecar the request goes on at once with the names of prefill pods.
import {
  splitBodyBytes,
  splitBy,
  splitCalls,
  splitFailure,
  splitMode,
  splitTimeoutMs,
} from "../core/disaggregation";
import { matchTokens } from "../core/match";
import {
  pairCommit,
  pairDecode,
  pickPair,
  prefillPicked,
  prefillsPicked,
  prefillsReady,
  splitConsidered,
} from "../core/pick-pair";
import { prefillWork } from "../core/pick";
import { podPendingRequests } from "../core/pod-counts";
import { podKnown, podModel, podObserveRate, podReady } from "../core/pods";
import { ANSWER_EMPTY, ANSWER_OK, answerAt, answerSize, answerTokens, readPrefillAnswer } from "../core/prefill-answer";
import { EDIT_ROOM, editDecode, editPrefill } from "../core/prefill-body";
import { FAILURE_ERROR, SPLIT_BY_SIDECAR, SPLIT_NONE } from "../shared/disaggregation-layout";
import { memoryInit, memoryLimit, text } from "./abi/memory";
import { BUFFER_CALL_BODY, BUFFER_REQUEST_BODY, MAP_CALL, MAP_REQUEST, MAP_RESPONSE, OK } from "./abi/types";
import { setNumber } from "./decimal";
import { decisionPair, decisionsWatched } from "./decision-record";
import { buffer, effectiveContext, getHeader, now, replaceBuffer, resultAt, resultSize, scratch } from "./host";
import { countPrefill, countRequest, countWithPrefill, gaugeSlot, leaveOut } from "./inflight";
import { resume } from "./owed";
import { leaveBlocks } from "./prefill-held";
import {
  addInflight,
  countPrefillEvent,
  P_BUSY,
  P_CALLS,
  P_ERROR,
  P_FAILED,
  P_LOCAL,
  P_NO_PARAMETERS,
  P_NO_POD,
  P_ORPHANED,
  P_REFUSED,
  P_RUBBISH,
  P_SPLIT,
  P_TIMEOUT,
  recordTransfer,
} from "./prefill-metrics";
import { sendPrefill } from "./prefill-request";
import { answer, PREFILL_FAILED, PREFILL_TIMEOUT } from "./replies";
import { writeCandidates, writePods } from "./destination";
import { REPLIED, Stream, streamFind } from "./streams";

/** Calls under way in one VM at most; the policy's limit is lower or the same. */
// @ts-ignore: decorator
@inline
const MAX_CALLS: u32 = 1024;
/** Longest transfer parameters that are passed on. */
// @ts-ignore: decorator
@inline
const PARAMETERS_MAX: u32 = 262144;
/** Envoy ends a call at its timeout; only if that failed would the tick end it, so much later. */
// @ts-ignore: decorator
@inline
const GRACE_NS: u64 = 1000000000;
/** Timers may be early by so much. */
// @ts-ignore: decorator
@inline
const TIMER_NS: u64 = 5000000;
/** Uncached tokens from which a prefill's time says something about the pod's rate. */
// @ts-ignore: decorator
@inline
const CALIBRATE_TOKENS: f64 = 1024;

@unmanaged
class Call {
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
/** One more than the highest record in use. */
let high: u32 = 0;

let edited: usize = 0;
let editedRoom: u32 = 0;
const parameters: usize = heap.alloc(PARAMETERS_MAX + 128);

const STATUS = text(":status");
const LENGTH = text("content-length");
const PREFILLERS = text("x-prefiller-host-port");

// @ts-ignore: decorator
@inline
function at(i: u32): Call {
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

/** Whether a request whose body is there, `whole` or its beginning, may be split. */
// @ts-ignore: decorator
@inline
export function splitPossible(whole: bool): bool {
  return splitMode != SPLIT_NONE && (splitBy == SPLIT_BY_SIDECAR || (whole && splitReads() > 0));
}

/** The pod that the last `prefillBegin` chose for the prefill. */
export let prefillBegun: u32 = 0;
/** Whether it holds the request: `prefillAnswered` resumes it. */
export let prefillHolds: bool = false;

/** Splits a scheduled request that may be split, if that is due. */
export function prefillBegin(s: Stream): bool {
  if (s.pod < 0 || s.api > 2) return false;
  prefillHolds = splitBy != SPLIT_BY_SIDECAR;
  if (prefillHolds && s.bodySize > splitReads()) return false;
  if (!splitConsidered(s.promptTokens, s.uncached)) return false;
  const decodes = scratch(12);
  if (!decodes) return false;
  store<u32>(decodes, s.candidate0);
  store<u32>(decodes, s.candidate1, 4);
  store<u32>(decodes, s.candidate2, 8);
  const t = now();
  const tokens = max(s.promptTokens, s.predicted + s.uncached);
  const model = podModel(<u32>s.pod);
  const work: f64 = s.prefillCounted ? <f64>s.work : 0;
  const splits = pickPair(model, <f64>tokens, work, decodes, s.candidates, t);
  if (decisionsWatched()) decisionPair(model, <f64>tokens, work, decodes, s.candidates, splits, t);
  if (!splits) {
    if (!prefillsReady) countPrefillEvent(P_NO_POD);
    return false;
  }
  pairCommit();
  if (!prefillHolds) {
    handToSidecar(s, tokens, t);
    return true;
  }
  if (live >= min(splitCalls, MAX_CALLS)) {
    countPrefillEvent(P_BUSY);
    return false;
  }
  let index: u32 = 0;
  while (at(index).token) index++;
  const c = at(index);
  memory.fill(changetype<usize>(c), 0, CALL_BYTES);
  c.stream = s.id;
  c.tokens = tokens;
  c.candidates = <u8>prefillsPicked;
  c.candidate0 = <u16>prefillPicked(0);
  if (prefillsPicked > 1) c.candidate1 = <u16>prefillPicked(1);
  if (prefillsPicked > 2) c.candidate2 = <u16>prefillPicked(2);
  c.startNs = t;
  c.deadlineNs = t + <u64>splitTimeoutMs * 1000000;
  const cached = min(<f64>matchTokens(c.candidate0), <f64>tokens);
  c.uncached = <u32>max(<f64>tokens - cached, 1);
  c.work = <u32>min(prefillWork(cached, <f64>c.uncached), 1e9);
  const decode = pairDecode;
  if (!tryNext(c, s)) {
    c.token = 0;
    return false;
  }
  live++;
  if (index >= high) high = index + 1;
  s.prefillCall = <u16>(index + 1);
  if (s.prefillCounted) {
    s.prefillCounted = false;
    countPrefill(s.gauge, s.pod, -1, s.work, t, s.uncached);
  }
  if (<u32>s.pod != decode) moveTo(s, decode);
  prefillBegun = c.pod;
  return true;
}

/** Names the prefill pods to the decode pod's sidecar. The prefill counts on the first one until an answer begins. */
function handToSidecar(s: Stream, tokens: u32, t: u64): void {
  const pod = prefillPicked(0);
  const second = prefillsPicked > 1 ? prefillPicked(1) : 0;
  const third = prefillsPicked > 2 ? prefillPicked(2) : 0;
  writePods(PREFILLERS, prefillsPicked, pod, second, third);
  if (s.prefillCounted) countPrefill(s.gauge, s.pod, -1, s.work, t, s.uncached);
  if (<u32>s.pod != pairDecode) moveTo(s, pairDecode);
  const cached = min(<f64>matchTokens(pod), <f64>tokens);
  s.uncached = <u32>max(<f64>tokens - cached, 1);
  s.work = <u32>min(prefillWork(cached, <f64>s.uncached), 1e9);
  s.prefillPod = <u16>(pod + 1);
  s.prefillGauge = gaugeSlot(pod);
  countWithPrefill(s.prefillGauge, <i32>pod, 1, s.work, t, s.uncached);
  s.prefillCounted = true;
  // The time to the first token is two pods' and says nothing of one.
  s.alone = false;
  prefillBegun = pod;
  countPrefillEvent(P_SPLIT);
}

/** Gives back what a prefill by the sidecar took on its pod: an answer begins, or the client has gone. */
export function sidecarPrefillEnds(s: Stream, t: u64): void {
  const pod = <i32>s.prefillPod - 1;
  countWithPrefill(s.prefillGauge, pod, -1, s.work, t, s.uncached);
  s.prefillGauge = 0;
  s.uncached = 1;
}

/** Puts the pair's decode pod first. */
function moveTo(s: Stream, pod: u32): void {
  const first = s.candidate0;
  if (<u32>s.candidate1 == pod) s.candidate1 = first;
  else if (<u32>s.candidate2 == pod) s.candidate2 = first;
  else return;
  s.candidate0 = <u16>pod;
  countRequest(s.gauge, s.pod, -1);
  s.pod = <i32>pod;
  s.gauge = gaugeSlot(pod);
  s.predicted = matchTokens(pod);
  s.compared = false;
  countRequest(s.gauge, s.pod, 1);
  writeCandidates(s);
}

/** Sends the prefill to the next candidate; false when there is none left, no time, or nothing to send. */
function tryNext(c: Call, s: Stream): bool {
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
function settle(c: Call, t: u64): void {
  countWithPrefill(c.gauge, <i32>c.pod, -1, c.work, t, c.uncached);
  addInflight(-1);
}

function free(c: Call): void {
  c.token = 0;
  live--;
  while (high && !at(high - 1).token) high--;
}

function find(token: u32): Call | null {
  for (let i: u32 = 0; i < high; i++) {
    if (at(i).token == token && token) return at(i);
  }
  return null;
}

/** Three digits of an answer's status; 0 when no answer came. */
function statusOf(map: u32): u32 {
  if (getHeader(map, STATUS) != OK || resultSize != 3) return 0;
  return (
    (<u32>load<u8>(resultAt) - 48) * 100 + (<u32>load<u8>(resultAt + 1) - 48) * 10 + (<u32>load<u8>(resultAt + 2) - 48)
  );
}

/** The answer of a call: `headers` = 0 when none came, by a reset or the deadline. */
export function prefillAnswered(token: u32, headers: u32, size: u32): void {
  const c = find(token);
  if (!c) return;
  const t = now();
  const status = headers ? statusOf(MAP_CALL) : 0;
  let good = false;
  let refused = false;
  let parametersSize: u32 = 0;
  if (status >= 200 && status < 300) {
    let read: u32 = 0;
    if (size && buffer(BUFFER_CALL_BODY, 0, size) == OK && resultSize) {
      store<u64>(resultAt + resultSize, 0);
      read = readPrefillAnswer(resultAt, <u32>resultSize);
    }
    if (read == ANSWER_OK && answerSize <= PARAMETERS_MAX) {
      good = true;
      parametersSize = answerSize;
      memory.copy(parameters, answerAt, answerSize);
    } else countPrefillEvent(read == ANSWER_EMPTY ? P_NO_PARAMETERS : P_RUBBISH);
  } else if ((status == 0 || status == 504) && t + TIMER_NS >= c.deadlineNs) {
    // Envoy answers 504 itself when a call's time is up.
    c.timedOut = true;
    countPrefillEvent(P_TIMEOUT);
  } else if (status >= 400 && status < 500 && status != 408 && status != 429) {
    refused = true;
    countPrefillEvent(P_REFUSED);
  } else {
    countPrefillEvent(P_FAILED);
    // Envoy says 503 for a pod that refuses connections, and nothing for one that breaks off.
    if (status == 0 || status == 503) leaveOut(c.pod, t);
  }
  settle(c, t);
  const s = c.stream ? streamFind(c.stream) : null;
  if (!s || effectiveContext(s.id) != OK) {
    if (good) leaveBlocks(c.pod, answerTokens ? answerTokens : c.tokens, t);
    free(c);
    return;
  }
  if (good) {
    const promised = answerTokens ? answerTokens : c.tokens;
    const pod = c.pod;
    if (c.alone && <f64>c.uncached >= CALIBRATE_TOKENS && t > c.startNs)
      podObserveRate(pod, (<f64>c.work * 1e9) / <f64>(t - c.startNs));
    const us = <u32>max(min((t - c.startNs) / 1000, <u64>u32.MAX_VALUE), 1);
    free(c);
    s.prefillCall = 0;
    if (handOver(s, parametersSize)) {
      s.prefillPod = <u16>(pod + 1);
      s.prefillUs = us;
      s.promised = promised;
      // The time to the first token is the transfer's now.
      s.alone = false;
      s.uncached = 1;
      s.dispatchNs = t;
      countPrefillEvent(P_SPLIT);
      resume(s);
    } else {
      leaveBlocks(pod, promised, t);
      alone(s, t, false);
    }
    return;
  }
  if (!refused && !c.timedOut && tryNext(c, s)) return;
  const timedOut = c.timedOut;
  free(c);
  s.prefillCall = 0;
  alone(s, t, !refused, timedOut);
}

/** Puts the parameters into the held request. */
function handOver(s: Stream, size: u32): bool {
  if (buffer(BUFFER_REQUEST_BODY, 0, s.bodySize) != OK || <u32>resultSize != s.bodySize) return false;
  store<u64>(resultAt + resultSize, 0);
  const n = editDecode(resultAt, <u32>resultSize, parameters, size, edited, editedRoom);
  if (n == 0 || replaceBuffer(BUFFER_REQUEST_BODY, s.bodySize, edited, n) != OK) return false;
  if (getHeader(MAP_REQUEST, LENGTH) == OK && resultSize) setNumber(MAP_REQUEST, LENGTH, n);
  return true;
}

/** The decode pod does all after all, or the client gets an error: `mayFail` and the policy say which. */
function alone(s: Stream, t: u64, mayFail: bool, timedOut: bool = false): void {
  if (mayFail && splitFailure == FAILURE_ERROR) {
    countPrefillEvent(P_ERROR);
    s.state = REPLIED;
    answer(timedOut ? PREFILL_TIMEOUT : PREFILL_FAILED);
    return;
  }
  countPrefillEvent(P_LOCAL);
  countPrefill(s.gauge, s.pod, 1, s.work, t, s.uncached);
  s.prefillCounted = true;
  s.dispatchNs = t;
  resume(s);
}

/** The client's stream ends: a call that runs on has nobody to answer, and blocks that were promised stay behind. */
export function prefillEnd(s: Stream): void {
  if (s.prefillCall) {
    at(<u32>s.prefillCall - 1).stream = 0;
    s.prefillCall = 0;
    countPrefillEvent(P_ORPHANED);
  } else if (s.promised && !s.firstToken) leaveBlocks(<u32>s.prefillPod - 1, s.promised, now());
}

/** The answer to a split request begins. One that failed did not pull the blocks, or not all of them. */
export function prefillResponse(s: Stream): void {
  if (!s.promised || statusOf(MAP_RESPONSE) < 500) return;
  leaveBlocks(<u32>s.prefillPod - 1, s.promised, now());
  s.promised = 0;
}

/** The decode pod has answered: what it was promised is compared with what it pulled. */
// @ts-ignore: decorator
@inline
export function prefillUsed(s: Stream): void {
  if (s.promised && s.pod >= 0) recordTransfer(<u32>s.pod, s.promised);
}

/** Ends calls whose answer never came; from the tick. */
export function prefillTick(t: u64): void {
  for (let i: u32 = 0; i < high; i++) {
    const c = at(i);
    if (c.token && t > c.deadlineNs + GRACE_NS) prefillAnswered(c.token, 0, 0);
  }
}
