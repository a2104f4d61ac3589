// A request on its way in: headers, body, the decision, the headers that carry it.
import {
  ANY_MODEL,
  pick,
  pickCandidates,
  pickCommit,
  picked,
  pickPassed,
  prefillWork,
} from "../core/pick";
import {
  bestMatch,
  matchAside,
  matchBlocks,
  matchClear,
  matchMerge,
  matchPromised,
  matchPrompt,
  matchRestore,
  matchTokens,
  matchWeigh,
  promptKnownBy,
} from "../core/match";
import { foundBytesPerToken, foundModel, foundRoot, foundTemplate, modelDefault, modelFind, modelsKnown } from "../core/models";
import { podPendingRequests } from "../core/pod-counts";
import { podApproximate, podsApproximate, podsReady, podsShow } from "../core/pods";
import { blockBytes, blockKey, bodyRead, isolated, policyKnown, reservedAction, saltKey0, saltKey1 } from "../core/policy";
import { headerCount, headerName, headerNameSize } from "../core/program";
import { outLen, outPtr } from "../core/render";
import { factsHeader, factsSet } from "../core/request-facts";
import { ruleAny, ruleFlags } from "../core/request-rules";
import { reserved } from "../core/reserved-fields";
import { hideFullPods } from "../core/saturation";
import {
  approximateSeed,
  cacheKeyLen,
  cacheKeyPtr,
  hasModel,
  promptIsComplete,
  renderExact,
  saltCount,
  saltLen,
  saltPtr,
  SCAN_EMPTY,
  SCAN_NOT_OBJECT,
  SCAN_OK,
  SCAN_TOO_DEEP,
  scanRequest,
  stream as scannedStream,
  streamUsage,
  userLen,
  userPtr,
} from "../core/scan";
import { cookieValue, cookieValuePtr, cookieValueLen, deriveSession, keyedSession, validSession } from "../core/session";
import { NO_TAIL, speculativeAdd, speculativeAlso, speculativeBegin } from "../core/speculative";
import {
  DECISION_FILTERED_OUT,
  DECISION_NO_PODS,
  DECISION_NO_TABLE,
  DECISION_NOT_CACHED,
  DECISION_ROUTED,
  DECISION_SATURATED,
  DECISION_SUBSET_EMPTY,
} from "../shared/decision-layout";
import { fnv64 } from "../shared/fnv";
import { hashBlocks } from "../shared/hash";
import { RESERVED_REJECT } from "../shared/policy-layout";
import { RULE_REWRITE, RULES_QUEUE_ON } from "../shared/rules-layout";
import { sipHi, sipLo, siphash128, siphash64 } from "../shared/siphash";
import { Text, text } from "./abi/memory";
import { BUFFER_REQUEST_BODY, CONTINUE, MAP_REQUEST, OK, STOP } from "./abi/types";
import { timingHashed, timingPicked } from "./callback-timing";
import { editedSize, editsBegin, editsWrite } from "./body-edits";
import { bodyLimit, bodyMode, sessionCookie, sessionKey0, sessionKey1 } from "./configuration";
import { writeCandidates } from "./destination";
import { buffer, getHeader, now, random, removeHeader, resultAt, resultSize, scratch, setHeader } from "./host";
import { countRequest, countWithPrefill, gaugeSlot, inflightRefresh } from "./inflight";
import {
  C_CANDIDATES,
  C_FALLBACK,
  C_FILTERED_OUT,
  C_INEXACT,
  C_NO_PODS,
  C_PASSED,
  C_REFUSED,
  C_RESERVED,
  C_STRIPPED,
  C_SUCCESS,
  count,
  recordScheduling,
} from "./metrics";
import { decisionPicked, decisionRecord, decisionsWatched } from "./decision-record";
import { editSalt } from "./isolation";
import { chooseModel, chosenModel, chosenModelSize, editModel, modelRewritten } from "./model-rewrite";
import { SUBSET } from "./control-headers";
import { ADMIT, admit, SHED, WAIT } from "./queue";
import {
  answer,
  BODY_NOT_WRITTEN,
  EMPTY_BODY,
  MALFORMED,
  MODEL_MISSING,
  MODEL_TYPE,
  MODEL_UNKNOWN,
  NOT_AN_OBJECT,
  NOT_CACHED,
  NOT_ISOLATED,
  NOT_IN_SUBSET,
  OVERRIDE_DENIED,
  Reply,
  RESERVED,
  SALT_TWICE,
  SATURATED,
  TOO_DEEP,
  TOO_LARGE,
  TOO_LARGE_TO_EDIT,
} from "./replies";
import {
  CONTROL_BALANCED,
  CONTROL_IF_CACHED,
  CONTROL_IGNORE_CACHE,
  CONTROL_SUBSET,
  controlsRead,
  debugShown,
} from "./request-controls";
import { prefillBegin, prefillBegun, prefillHolds, splitPossible, splitReads } from "./prefill";
import { routedExtend, routedTell } from "./routed-prompts";
import * as headers from "./request-headers";
import {
  DISPATCHED,
  QUEUED,
  REFUSING,
  REPLIED,
  REQUEST_ID_MAX,
  requestIdAt,
  sessionAt,
  sessionSpread,
  setOwed,
  Stream,
  streamAdd,
  TRACE_MAX,
  traceAt,
  WAITING,
  waitingAdd,
} from "./streams";
import { routedAdd } from "./routed-blocks";
import { keepSubset, SUBSET_EMPTY, SUBSET_NONE, subsetAsked } from "./subset";
import { tableUsable } from "./table-stream";
import { workersServing } from "./worker-roster";

const SESSION = text("x-session-id");

/** Output and hash buffers hold a rendered prompt of this many bytes. */
// @ts-ignore: decorator
@inline
export const RENDER_BYTES: u32 = 1310720;
const hashes: usize = heap.alloc((RENDER_BYTES / 64) << 3);
/** The same under the root of what is only known approximately; made when something is. */
let approximateHashes: usize = 0;
/** Whether the prompt that is being routed is known exactly. */
let exact: bool = false;
const seed: usize = memory.data(8, 8);
/** "approxim": the label of the approximate roots' key. */
const APPROXIMATE: u64 = 0x6d69786f72707061;

/** One decision in eight is timed, by chance: of 32 random bits. What watches it closer times all. */
// @ts-ignore: decorator
@inline
const SCHEDULING_SAMPLE: u64 = 1 << 29;
/** Seeds of picks. */
let chanceState: u64 = 0;
/** A header that the policy names; made once, since a Text is never freed. */
const policyHeader: Text = text("");

/** Requests per second and pod, smoothed over all workers; set by the tick. */
let perPodRate: f64 = 0;
export function setArrivalRate(v: f64): void {
  perPodRate = v;
}

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

/** The session as far as headers give it: a valid header, else a cookie's keyed hash. */
function earlySession(s: Stream): void {
  if (headers.sessionSize && validSession(headers.sessionAt, headers.sessionSize)) {
    s.keepSession = true;
    s.sessionSize = <u16>headers.sessionSize;
    memory.copy(sessionAt(s), headers.sessionAt, headers.sessionSize);
    return;
  }
  siphash128(sessionKey0, sessionKey1, headers.credentialAt, headers.credentialSize);
  s.credentialLo = headers.credentialSize ? sipLo : 0;
  s.credentialHi = headers.credentialSize ? sipHi : 0;
  for (let i: u32 = 0; i < headers.cookieCount; i++) {
    if (cookieValue(headers.cookieAt(i), headers.cookieSize(i), sessionCookie.at, <u32>sessionCookie.size)) {
      s.sessionSize = <u16>keyedSession(sessionKey0, sessionKey1, cookieValuePtr, cookieValueLen, sessionAt(s));
      return;
    }
  }
}

/** A session for what has no body: the credential's hash, or chance where there is none, so that nothing piles up. */
function headerSession(s: Stream): void {
  if (s.sessionSize) return;
  const p = scratch(16);
  if (!p) return;
  store<u64>(p, s.credentialLo || s.credentialHi ? s.credentialLo : random());
  store<u64>(p, s.credentialHi, 8);
  s.sessionSize = <u16>keyedSession(sessionKey0, sessionKey1, p, 16, sessionAt(s));
}

/** Decides on session and load alone. CONTINUE, or STOP when the request was refused. */
export function decideOnHeaders(s: Stream): u32 {
  const t0 = now();
  headerSession(s);
  matchClear();
  const action = route(s, ANY_MODEL, 0, sessionSpread(s), 0, t0, t0);
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
  const before = s.state;
  if (before == WAITING) waitingAdd(-1);
  s.state = REPLIED;
  if (answer(r) == OK) {
    count(C_REFUSED);
    return STOP;
  }
  if (before == DISPATCHED) {
    s.state = DISPATCHED;
    return CONTINUE;
  }
  if (r == RESERVED || isolated) {
    s.state = REFUSING;
    setOwed(s, true);
    return STOP;
  }
  decideOnHeaders(s);
  return CONTINUE;
}

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
  if (status != SCAN_OK) {
    return refuse(
      s,
      status == SCAN_NOT_OBJECT
        ? NOT_AN_OBJECT
        : status == SCAN_TOO_DEEP
          ? TOO_DEEP
          : status == SCAN_EMPTY
            ? EMPTY_BODY
            : MALFORMED,
    );
  }
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
    if (truncated) return refuse(s, TOO_LARGE_TO_EDIT);
    if (isolated && saltCount > 1) return refuse(s, SALT_TWICE);
    editsBegin();
    if (modelRewritten) editModel();
    if (isolated) editSalt(s, body);
    if (!editsWrite(body, n)) return refuse(s, BODY_NOT_WRITTEN);
    s.bodySize = editedSize;
  }
  waitingAdd(-1);
  s.streaming = scannedStream;
  s.asksUsage = streamUsage;
  bodySession(s);
  const action = schedule(s, usable, t0);
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

/** The session of a request whose headers gave none, from its scanned body. */
function bodySession(s: Stream): void {
  if (s.sessionSize) return;
  const useKey = cacheKeyLen > 0;
  s.sessionSize = <u16>deriveSession(
    sessionKey0,
    sessionKey1,
    s.credentialLo,
    s.credentialHi,
    useKey ? cacheKeyPtr : userPtr,
    useKey ? cacheKeyLen : userLen,
    sessionAt(s),
  );
}

function schedule(s: Stream, usable: bool, t0: u64): u32 {
  const model = usable && modelsKnown() ? foundModel : ANY_MODEL;
  const promptTokens = <f64>max(outLen, s.bodySize > bodyRead ? s.bodySize : outLen) / foundBytesPerToken;
  exact = renderExact;
  const known = usable && policyKnown && outLen > 0 && (exact || modelsKnown() > 0);
  if (usable && policyKnown && !exact) count(C_INEXACT);
  if (!known) {
    matchClear();
    return route(s, model, max(promptTokens, 1), sessionSpread(s), 0, t0, debugShown(s) ? now() : t0);
  }
  const root = saltLen ? siphash64(saltKey0 ^ foundRoot, saltKey1, saltPtr, saltLen) : foundRoot;
  const blocks = min(outLen, RENDER_BYTES) / blockBytes;
  const ends = promptIsComplete && blocks * blockBytes == outLen;
  if (exact) {
    hashBlocks(blockKey, root, outPtr, blocks, blockBytes, hashes);
    timingHashed(t0);
    matchPrompt(hashes, blocks, blockBytes, foundBytesPerToken, ends, t0 / 1000000);
    routedExtend(t0 / 1000000);
  }
  if (!exact || podsApproximate) approximate(root, blocks, ends, t0 / 1000000);
  // The first block that no pod holds: what many prompts share says nothing of where this one should go.
  const first = exact ? hashes : approximateHashes;
  const spread = blocks ? load<u64>(first + (<usize>min(blocks - 1, bestMatch()) << 3)) : sessionSpread(s);
  return route(s, model, max(promptTokens, 1), spread, blocks, t0, debugShown(s) ? now() : t0);
}

/**
 * Matches what is only known approximately: a prompt that is not rendered exactly, or the pods that are not known better.
 * Its chains have a root of their own, so that nothing exact ever matches.
 */
function approximate(root: u64, blocks: u32, ends: bool, nowMs: u64): void {
  if (!approximateHashes) approximateHashes = heap.alloc((RENDER_BYTES / 64) << 3);
  store<u64>(seed, exact ? 0 : approximateSeed);
  const own = siphash64(saltKey0 ^ root, saltKey1 ^ APPROXIMATE, seed, 8);
  hashBlocks(blockKey, own, outPtr, blocks, blockBytes, approximateHashes);
  if (exact) matchAside();
  matchPrompt(approximateHashes, blocks, blockBytes, foundBytesPerToken, ends, nowMs);
  routedExtend(nowMs);
  if (exact) matchMerge();
}

/** The hashes by which the prompt that is being routed is known on `pod`. */
function hashesOn(pod: u32): usize {
  return exact && !podApproximate(pod) ? hashes : approximateHashes;
}

/** Pods are hidden from the request that is being decided, be it outside its subset or full. */
let hidden: bool = false;

/** Pods that were hidden from a request are there for the next one. */
function showPods(): void {
  if (hidden) podsShow();
  hidden = false;
}

/**
 * Picks, counts and writes the headers that carry the decision. Each header is written once. CONTINUE, or STOP when
 * the request was refused. Pods that it must not go to stay hidden for the choice of a prefill pod: `showPods` is due.
 */
function route(s: Stream, model: u32, promptTokens: f64, spread: u64, blocks: u32, t0: u64, t1: u64): u32 {
  s.state = DISPATCHED;
  s.promptTokens = <u32>promptTokens;
  if (!s.keepSession && s.sessionSize) setHeader(MAP_REQUEST, SESSION, sessionAt(s), s.sessionSize);
  const known = tableUsable(t0);
  if (!known || podsReady == 0) {
    count(known ? C_NO_PODS : C_FALLBACK);
    s.dispatchNs = t0;
    if (s.controls & CONTROL_SUBSET) removeHeader(MAP_REQUEST, SUBSET.at, SUBSET.size);
    if (decisionsWatched()) decisionRecord(s, known ? DECISION_NO_PODS : DECISION_NO_TABLE, model, false);
    return CONTINUE;
  }
  tellFacts(s, model == ANY_MODEL ? 0 : foundRoot);
  const subset = subsetAsked(s) ? keepSubset(s) : SUBSET_NONE;
  if (subset == SUBSET_EMPTY) {
    if (decisionsWatched()) decisionRecord(s, DECISION_SUBSET_EMPTY, model, false);
    return refuse(s, NOT_IN_SUBSET);
  }
  hidden = subset != SUBSET_NONE;
  if (ruleFlags & RULES_QUEUE_ON && hideFullPods(model, t0)) hidden = true;
  const weighed = (s.controls & (CONTROL_BALANCED | CONTROL_IGNORE_CACHE)) != 0;
  if (weighed) matchWeigh(s.controls & CONTROL_BALANCED ? 1 : 0);
  let found = pick(model, promptTokens, spread, perPodRate, t0);
  if (found && workersServing() > 1) {
    // What other workers did is up to a tick old; the best few are looked at live before the choice is final.
    let changed = false;
    for (let i: u32 = 0; i < found; i++) {
      if (inflightRefresh(picked(i), t0)) changed = true;
    }
    if (changed) found = pick(model, promptTokens, spread, perPodRate, t0);
  }
  if (decisionsWatched()) decisionPicked(s, model);
  if (weighed) matchRestore();
  count(C_CANDIDATES, pickCandidates);
  count(C_PASSED, pickPassed);
  timingPicked();
  // What a part took is only told in debug headers; each reading of the clock leaves the module.
  const t2 = debugShown(s) ? now() : t0;
  if (!found) {
    count(pickCandidates ? C_FILTERED_OUT : C_NO_PODS);
    s.dispatchNs = t2;
    if (decisionsWatched()) {
      const reason =
        subset != SUBSET_NONE ? DECISION_SUBSET_EMPTY : pickCandidates ? DECISION_FILTERED_OUT : DECISION_NO_PODS;
      decisionRecord(s, reason, model, true);
    }
    if (subset == SUBSET_NONE) return CONTINUE;
    // Nobody may send it elsewhere.
    showPods();
    return refuse(s, NOT_IN_SUBSET);
  }
  s.candidates = found;
  s.candidate0 = <u16>picked(0);
  s.candidate1 = found > 1 ? <u16>picked(1) : 0xffff;
  s.candidate2 = found > 2 ? <u16>picked(2) : 0xffff;
  const pod = picked(0);
  if (s.controls & CONTROL_IF_CACHED && promptTokens > 0 && matchTokens(pod) == 0) {
    if (decisionsWatched()) decisionRecord(s, DECISION_NOT_CACHED, model, true);
    showPods();
    return refuse(s, NOT_CACHED);
  }
  writeCandidates(s);
  s.pod = pod;
  s.predicted = matchTokens(pod);
  // Of a prompt that is only known in part, or is shorter than a text block, no answer says whether that was right.
  if (blocks && promptIsComplete) {
    s.textBlockTokens = <u16>Math.ceil(<f64>blockBytes / foundBytesPerToken);
    if (exact) notePromise(s, pod);
  }
  // The engine counted the matched part; dense scripts have far more tokens than bytes suggest.
  if (s.predicted) promptTokens = max(promptTokens, <f64>s.predicted + 1);
  s.uncached = blocks ? <u32>max(promptTokens - <f64>s.predicted, 1) : <u32>promptTokens;
  s.work = <u32>min(prefillWork(<f64>s.predicted, <f64>s.uncached), 1e9);
  s.alone = podPendingRequests(pod) == 0;
  s.gauge = gaugeSlot(pod);
  if (promptTokens > 0) {
    countWithPrefill(s.gauge, s.pod, 1, s.work, t2, s.uncached);
    s.prefillCounted = true;
  } else countRequest(s.gauge, s.pod, 1);
  routedBlocks = blocks;
  speculate(s, pod, t0);
  if (s.speculation) routedTell(s.speculation, pod, matchBlocks(pod), blocks, s.predicted, t0 / 1000000);
  pickCommit(pod, t0);
  count(C_SUCCESS);
  s.dispatchNs = t0;
  // The histogram samples; tellFacts has drawn anew.
  if (debugShown(s) || decisionsWatched() || chanceState >>> 32 < SCHEDULING_SAMPLE) {
    s.dispatchNs = now();
    s.schedulingUs = <u32>((s.dispatchNs - t0) / 1000);
    s.matchUs = <u32>((t1 - t0) / 1000);
    s.pickUs = <u32>((t2 - t1) / 1000);
    recordScheduling(s.schedulingUs);
  }
  if (decisionsWatched()) decisionRecord(s, DECISION_ROUTED, model, true);
  return CONTINUE;
}

/** What the pod's announced blocks promise is compared with the answer, unless some are only on their way to it. */
function notePromise(s: Stream, pod: u32): void {
  const promised = matchPromised(pod);
  s.compared = promised >= 0;
  s.announced = max(promised, 0);
}

/** What the policy's program looks at beside the prompt. The adapter's root is 0 when nothing is known of it. */
function tellFacts(s: Stream, adapterRoot: u64): void {
  if (!chanceState) chanceState = random() | 1;
  chanceState = chanceState * 6364136223846793005 + 1442695040888963407; // Knuth's MMIX generator: one host call in all
  factsSet(s.sessionSize ? sessionSpread(s) : 0, adapterRoot, chanceState);
  for (let i: u32 = 0; i < headerCount; i++) {
    policyHeader.at = headerName(i);
    policyHeader.size = headerNameSize(i);
    if (getHeader(MAP_REQUEST, policyHeader) == OK && resultSize) factsHeader(i, fnv64(resultAt, <u32>resultSize));
  }
}

/** Blocks of the prompt that was routed last. */
let routedBlocks: u32 = 0;

/** Counts on a pod to hold the prompt of `s`, which was routed last. */
function speculate(s: Stream, pod: u32, t: u64): void {
  if (!routedBlocks) return;
  const own = hashesOn(pod);
  promptKnownBy(own);
  if (own == approximateHashes) routedAdd(pod, own, routedBlocks, <f64>blockBytes / foundBytesPerToken);
  const first = matchBlocks(pod);
  if (first >= routedBlocks) return;
  if (s.speculation) speculativeAlso(s.speculation, first);
  else {
    const start = load<u64>(own + (<usize>first << 3));
    const tail = promptIsComplete ? outLen - routedBlocks * blockBytes : NO_TAIL;
    s.speculation = speculativeBegin(t / 1000000, first, routedBlocks, matchTokens(pod), start, tail);
    s.ticket = s.speculation;
  }
  for (let j = first; j < routedBlocks; j++) {
    speculativeAdd(load<u64>(own + (<usize>j << 3)), pod, s.speculation);
  }
}
