// A request on its way in: headers, body, and what is wrong with them; what is right is decided.
import {
  foundBytesPerToken,
  foundModel,
  foundTemplate,
  modelDefault,
  modelFind,
  modelsKnown,
} from "../core/models";
import { ANY_MODEL } from "../core/pods";
import { bodyRead, isolated, reservedAction } from "../core/policy";
import { outLen } from "../core/render";
import { ruleAny, ruleFlags } from "../core/request-rules";
import { reserved } from "../core/reserved-fields";
import {
  hasModel,
  saltCount,
  SCAN_EMPTY,
  SCAN_NOT_OBJECT,
  SCAN_OK,
  SCAN_TOO_DEEP,
  scanRequest,
  stream as scannedStream,
  streamUsage,
} from "../core/scan";
import { DECISION_SATURATED } from "../shared/decision-layout";
import { RESERVED_REJECT } from "../shared/policy-layout";
import { RULE_REWRITE, RULES_QUEUE_ON } from "../shared/rules-layout";
import { BUFFER_REQUEST_BODY, CONTINUE, OK, STOP } from "./abi/types";
import { editedSize, editsBegin, editsWrite } from "./body-edits";
import { bodyLimit, bodyMode } from "./configuration";
import { decisionRecord, decisionsWatched } from "./decision-record";
import { buffer, now, resultAt, resultSize } from "./host";
import { editSalt } from "./isolation";
import { C_FALLBACK, C_RESERVED, C_STRIPPED, count } from "./metrics";
import { chooseModel, chosenModel, chosenModelSize, editModel, modelRewritten } from "./model-rewrite";
import { prefillBegin, prefillBegun, prefillHolds, splitPossible } from "./prefill";
import { splitReads } from "./prefill-calls";
import { matchScanned, promptUnknown, speculate } from "./prompt-match";
import { ADMIT, admit, SHED, WAIT } from "./queue";
import { tryRefuse } from "./refusal";
import {
  answer,
  BODY_NOT_WRITTEN,
  EMPTY_BODY,
  MALFORMED,
  MODEL_MISSING,
  MODEL_TYPE,
  MODEL_UNKNOWN,
  NOT_AN_OBJECT,
  NOT_ISOLATED,
  OVERRIDE_DENIED,
  Reply,
  RESERVED,
  SALT_TWICE,
  SATURATED,
  TOO_DEEP,
  TOO_LARGE,
  TOO_LARGE_TO_EDIT,
} from "./replies";
import { controlsRead, debugShown } from "./request-controls";
import { bodySession, earlySession, headerSession, sessionHeader } from "./request-session";
import { route, showPods } from "./route";
import {
  DISPATCHED,
  QUEUED,
  REFUSING,
  REQUEST_ID_MAX,
  requestIdAt,
  sessionSpread,
  setOwed,
  Stream,
  streamAdd,
  TRACE_MAX,
  traceAt,
  WAITING,
  waitingAdd,
} from "./streams";
import { tableUsable } from "./table-stream";
import { paceWake } from "./tick-pace";
import * as headers from "./request-headers";

/** Whether this VM ever saw the body of a request that it held. */
export let bodySeen: bool = false;
/** How many of those that the watchdog resumed had their body waiting behind it: after three, none is held any more. */
let bodiesHeldBack: u32 = 0;
/** A request was resumed in this tick. Envoy brings a body that it kept back right then, and not a slow client's. */
let resuming: bool = false;

/** The watchdog resumes a request without having seen its body. */
export function resumedBlind(s: Stream): void {
  s.blind = true;
  resuming = true;
}

/** A tick begins. */
export function resumingEnds(): void {
  resuming = false;
}

export function onRequestHeaders(id: u32, endOfStream: bool): u32 {
  paceWake();
  const removed = headers.readRequestHeaders();
  if (removed > 0) count(C_STRIPPED, removed);
  const s = streamAdd(id);
  if (!s) {
    count(C_FALLBACK);
    return isolated && headers.scheduledApi() >= 0 && answer(NOT_ISOLATED) == OK ? STOP : CONTINUE;
  }
  if (removed < 0) {
    // Unreadable headers: nothing to decide on, and nothing of ours is set.
    s.state = DISPATCHED;
    return CONTINUE;
  }
  keepIds(s);
  earlySession(s);
  controlsRead(s);
  if (debugShown(s)) s.startNs = now();
  const api = headers.scheduledApi();
  if (api < 0 || !bodyMode || (bodiesHeldBack >= 3 && !bodySeen)) {
    if (isolated && api >= 0) return refuseUnread(s);
    return decideOnHeaders(s);
  }
  s.api = <u8>api;
  if (endOfStream) return refuse(s, EMPTY_BODY);
  if (headers.contentLength > <i64>bodyLimit) return refuse(s, TOO_LARGE);
  s.state = WAITING;
  waitingAdd(1);
  return STOP;
}

function keepIds(s: Stream): void {
  s.requestIdSize = <u16>min(headers.requestIdSize, REQUEST_ID_MAX);
  memory.copy(requestIdAt(s), headers.requestIdAt, s.requestIdSize);
  // traceparent: version "-" 32 hex digits of the trace id "-" ...
  if (headers.traceSize >= 36) {
    s.traceSize = <u16>TRACE_MAX;
    memory.copy(traceAt(s), headers.traceAt + 3, TRACE_MAX);
  }
}

/** Decides on session and load alone. CONTINUE, or STOP when the request was refused. */
export function decideOnHeaders(s: Stream): u32 {
  const t0 = now();
  headerSession(s);
  sessionHeader(s);
  promptUnknown();
  const action = route(s, ANY_MODEL, 0, sessionSpread(s), t0, t0);
  showPods();
  return action;
}

/** `size`: bytes of the body so far; after the decision, of this piece alone. */
export function onRequestBody(s: Stream, size: u32, endOfStream: bool): u32 {
  if (s.blind) {
    s.blind = false;
    if (resuming) bodiesHeldBack++;
    return decided(s);
  }
  if (s.state == DISPATCHED && s.bodySize) return onStreamedBody(s, size);
  if (s.state != WAITING) return decided(s);
  bodySeen = true;
  if (size > bodyLimit) return refuse(s, TOO_LARGE);
  s.bodySize = size;
  if (!endOfStream && size <= max(bodyRead, splitReads())) return STOP;
  return decideOnBody(s, size, endOfStream);
}

/** What comes of a body after the decision, `size` bytes more: it goes on to the pod until it is over the limit. */
function onStreamedBody(s: Stream, size: u32): u32 {
  if (<u64>s.bodySize + size > <u64>bodyLimit) return refuse(s, TOO_LARGE);
  s.bodySize += size;
  return CONTINUE;
}

/** Trailers end a body whose last callback did not say so. */
export function onRequestTrailers(s: Stream): u32 {
  if (s.state != WAITING) return decided(s);
  return decideOnBody(s, s.bodySize, true);
}

/** A callback after the decision lets the request go on, and so is its resume; one to be refused stays held. */
function decided(s: Stream): u32 {
  if (s.state == REFUSING) return STOP;
  setOwed(s, false);
  return CONTINUE;
}

/** Refuses a request whose body cannot be read, so that no salt can be put into it. */
export function refuseUnread(s: Stream): u32 {
  return refuse(s, NOT_ISOLATED);
}

/**
 * Answers with an error. Where the host will not, a pod says what is wrong; reserved fields, and prompts without their
 * tenant's salt, must not come to one.
 */
function refuse(s: Stream, r: Reply): u32 {
  if (s.state == WAITING) waitingAdd(-1);
  if (tryRefuse(s, r)) return STOP;
  if (s.state == DISPATCHED) return CONTINUE;
  if (r == RESERVED || isolated) {
    s.state = REFUSING;
    setOwed(s, true);
    return STOP;
  }
  decideOnHeaders(s);
  return CONTINUE;
}

/** What is wrong with a body that the scan gave up. */
function unreadable(status: u32): Reply {
  if (status == SCAN_NOT_OBJECT) return NOT_AN_OBJECT;
  if (status == SCAN_TOO_DEEP) return TOO_DEEP;
  return status == SCAN_EMPTY ? EMPTY_BODY : MALFORMED;
}

/** Writes the model and the cache salt into the scanned body of `n` bytes; returns what stands against it, or null. */
function editBody(s: Stream, body: usize, n: u32, truncated: bool): Reply | null {
  if (truncated) return TOO_LARGE_TO_EDIT;
  if (isolated && saltCount > 1) return SALT_TWICE;
  editsBegin();
  if (modelRewritten) editModel();
  if (isolated) editSalt(s, body);
  if (!editsWrite(body, n)) return BODY_NOT_WRITTEN;
  s.bodySize = editedSize;
  return null;
}

/** Decides on the `size` bytes of body that are there, `whole` or its beginning. CONTINUE, or STOP when it is held or refused. */
function decideOnBody(s: Stream, size: u32, whole: bool): u32 {
  const t0 = now();
  const length = min(size, bodyRead);
  if (length == 0) return refuse(s, EMPTY_BODY);
  if (buffer(BUFFER_REQUEST_BODY, 0, length) != OK || resultSize == 0) {
    if (isolated) return refuseUnread(s);
    waitingAdd(-1);
    return decideOnHeaders(s);
  }
  const body = resultAt;
  const n = <u32>resultSize;
  store<u64>(body + n, 0);
  const truncated = n < size || !whole;
  modelDefault();
  const guess = foundTemplate;
  let status = scanRequest(body, n, s.api, truncated, guess);
  if (status != SCAN_OK) return refuse(s, unreadable(status));
  if (reserved && reservedAction == RESERVED_REJECT) {
    count(C_RESERVED);
    return refuse(s, RESERVED);
  }
  if (hasModel == 2) return refuse(s, MODEL_TYPE);
  if (hasModel == 0 && !truncated) return refuse(s, MODEL_MISSING);
  const usable = tableUsable(t0);
  if (ruleAny(RULE_REWRITE)) bodySession(s);
  if (!chooseModel(s)) return refuse(s, OVERRIDE_DENIED);
  if (hasModel == 1 && usable && modelsKnown()) {
    if (!modelFind(chosenModel, chosenModelSize)) return refuse(s, MODEL_UNKNOWN);
    if (foundTemplate != guess) {
      status = scanRequest(body, n, s.api, truncated, foundTemplate);
      if (status != SCAN_OK) return refuse(s, MALFORMED);
    }
  }
  if (s.priority < 0 || ruleFlags & RULES_QUEUE_ON) {
    const verdict = usable ? admit(s, modelsKnown() ? foundModel : ANY_MODEL, size, !truncated, t0) : ADMIT;
    if (verdict == SHED) {
      if (decisionsWatched()) decisionRecord(s, DECISION_SATURATED, foundModel, false);
      return refuse(s, SATURATED);
    }
    if (verdict == WAIT) {
      waitingAdd(-1);
      s.state = QUEUED;
      return STOP;
    }
  }
  if (modelRewritten || isolated) {
    const wrong = editBody(s, body, n, truncated);
    if (wrong) return refuse(s, wrong);
  }
  waitingAdd(-1);
  s.streaming = scannedStream;
  s.asksUsage = streamUsage;
  bodySession(s);
  sessionHeader(s);
  const model = usable && modelsKnown() ? foundModel : ANY_MODEL;
  const promptTokens = max(<f64>max(outLen, s.bodySize > bodyRead ? s.bodySize : outLen) / foundBytesPerToken, 1);
  const spread = matchScanned(s, usable, t0);
  const action = route(s, model, promptTokens, spread, t0, debugShown(s) ? now() : t0);
  const splits = action == CONTINUE && splitPossible(whole) && prefillBegin(s);
  showPods();
  if (!splits) return action;
  speculate(s, prefillBegun, t0);
  return prefillHolds ? STOP : CONTINUE;
}

/** Decides a request that has waited, whole, in the queue; CONTINUE, or STOP when it was refused after all. */
export function decideAgain(s: Stream): u32 {
  return decideOnBody(s, s.bodySize, true);
}
