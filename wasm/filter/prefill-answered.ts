// The answer of a prefill, and every way that it can go wrong.
import { splitFailure } from "../core/disaggregation";
import { podObserveRate } from "../core/pods";
import { ANSWER_EMPTY, ANSWER_OK, answerAt, answerSize, answerTokens, readPrefillAnswer } from "../core/prefill-answer";
import { editDecode } from "../core/prefill-body";
import { FAILURE_ERROR } from "../shared/disaggregation-layout";
import { text } from "./abi/memory";
import { BUFFER_CALL_BODY, BUFFER_REQUEST_BODY, MAP_CALL, MAP_REQUEST, MAP_RESPONSE, OK } from "./abi/types";
import { setNumber } from "./decimal";
import { buffer, effectiveContext, getHeader, now, replaceBuffer, resultAt, resultSize } from "./host";
import { countPrefill, leaveOut } from "./inflight";
import { resume } from "./owed";
import {
  callAt,
  callEnds,
  callOf,
  callOrphaned,
  callOverdue,
  callsHigh,
  edited,
  editedRoom,
  PARAMETERS_MAX,
  sendNext,
  settle,
} from "./prefill-calls";
import { leaveBlocks } from "./prefill-held";
import {
  countPrefillEvent,
  P_ERROR,
  P_FAILED,
  P_LOCAL,
  P_NO_PARAMETERS,
  P_ORPHANED,
  P_REFUSED,
  P_RUBBISH,
  P_SPLIT,
  P_TIMEOUT,
  recordTransfer,
} from "./prefill-metrics";
import { answer, PREFILL_FAILED, PREFILL_TIMEOUT } from "./replies";
import { REPLIED, Stream, streamFind } from "./streams";

/** Timers may be early by so much. */
// @ts-ignore: decorator
@inline
const TIMER_NS: u64 = 5000000;
/** Uncached tokens from which a prefill's time says something about the pod's rate. */
// @ts-ignore: decorator
@inline
const CALIBRATE_TOKENS: f64 = 1024;

/** Transfer parameters on their way from an answer to a request. */
const parameters: usize = heap.alloc(PARAMETERS_MAX + 128);

const STATUS = text(":status");
const LENGTH = text("content-length");

/** Three digits of an answer's status; 0 when no answer came. */
function statusOf(map: u32): u32 {
  if (getHeader(map, STATUS) != OK || resultSize != 3) return 0;
  return (
    (<u32>load<u8>(resultAt) - 48) * 100 + (<u32>load<u8>(resultAt + 1) - 48) * 10 + (<u32>load<u8>(resultAt + 2) - 48)
  );
}

/** The answer of a call: `headers` = 0 when none came, by a reset or the deadline. */
export function prefillAnswered(token: u32, headers: u32, size: u32): void {
  const c = callOf(token);
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
    callEnds(c);
    return;
  }
  if (good) {
    const promised = answerTokens ? answerTokens : c.tokens;
    const pod = c.pod;
    if (c.alone && <f64>c.uncached >= CALIBRATE_TOKENS && t > c.startNs)
      podObserveRate(pod, (<f64>c.work * 1e9) / <f64>(t - c.startNs));
    const us = <u32>max(min((t - c.startNs) / 1000, <u64>u32.MAX_VALUE), 1);
    callEnds(c);
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
  if (!refused && !c.timedOut && sendNext(c, s)) return;
  const timedOut = c.timedOut;
  callEnds(c);
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
    callOrphaned(s);
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
  for (let i: u32 = 0; i < callsHigh; i++) {
    if (callOverdue(i, t)) prefillAnswered(callAt(i).token, 0, 0);
  }
}
