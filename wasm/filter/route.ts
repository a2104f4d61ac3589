// The decision of a request: the pod, what it takes there, and the header that carries the choice.
import { matchBlocks, matchRestore, matchTokens, matchWeigh } from "../core/matched-pods";
import { foundRoot } from "../core/models";
import { timeOps } from "../core/op-times";
import { pick, pickCandidates, pickCommit, pickPassed } from "../core/pick";
import { picked } from "../core/pickers";
import { podPendingRequests } from "../core/pod-counts";
import { ANY_MODEL, podsReady, podsShow } from "../core/pods";
import { headerCount, headerName, headerNameSize } from "../core/program";
import { factsHeader, factsSet } from "../core/request-facts";
import { ruleFlags } from "../core/request-rules";
import { hideFullPods } from "../core/saturation";
import { prefillWork } from "../core/warm-until-busy";
import {
  DECISION_FILTERED_OUT,
  DECISION_NO_PODS,
  DECISION_NO_TABLE,
  DECISION_NOT_CACHED,
  DECISION_ROUTED,
  DECISION_SUBSET_EMPTY,
} from "../shared/decision-layout";
import { fnv64 } from "../shared/fnv";
import { RULES_QUEUE_ON } from "../shared/rules-layout";
import { Text, text } from "./abi/memory";
import { CONTINUE, MAP_REQUEST, OK, STOP } from "./abi/types";
import { timingPicked } from "./callback-timing";
import { SUBSET } from "./control-headers";
import { decisionPicked, decisionRecord, decisionsWatched } from "./decision-record";
import { writeCandidates } from "./destination";
import { getHeader, now, random, removeHeader, resultAt, resultSize } from "./host";
import { countRequest, countWithPrefill, gaugeSlot, inflightRefresh } from "./inflight";
import {
  C_CANDIDATES,
  C_FALLBACK,
  C_FILTERED_OUT,
  C_NO_PODS,
  C_PASSED,
  C_SUCCESS,
  count,
  recordScheduling,
} from "./metrics";
import { notePromise, promptBlocks, speculate } from "./prompt-match";
import { tryRefuse } from "./refusal";
import { NOT_CACHED, NOT_IN_SUBSET, Reply } from "./replies";
import {
  CONTROL_BALANCED,
  CONTROL_IF_CACHED,
  CONTROL_IGNORE_CACHE,
  CONTROL_SUBSET,
  debugShown,
} from "./request-controls";
import { routedTell } from "./routed-prompts";
import { DISPATCHED, sessionSpread, Stream } from "./streams";
import { keepSubset, SUBSET_EMPTY, SUBSET_NONE, subsetAsked } from "./subset";
import { tableUsable } from "./table-stream";
import { workersServing } from "./worker-roster";

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

/** Pods are hidden from the request that is being decided, be it outside its subset or full. */
let hidden: bool = false;

/** Pods that were hidden from a request are there for the next one. */
export function showPods(): void {
  if (hidden) podsShow();
  hidden = false;
}

/**
 * Picks for the prompt that was looked up last, counts and writes the header that carries the choice. CONTINUE, or STOP
 * when the request was refused. Pods that it must not go to stay hidden for the choice of a prefill pod: `showPods` is due.
 */
export function route(s: Stream, model: u32, promptTokens: f64, spread: u64, t0: u64, t1: u64): u32 {
  s.state = DISPATCHED;
  s.promptTokens = <u32>promptTokens;
  const known = tableUsable(t0);
  if (!known || podsReady == 0) {
    count(known ? C_NO_PODS : C_FALLBACK);
    s.dispatchNs = t0;
    if (s.controls & CONTROL_SUBSET) removeHeader(MAP_REQUEST, SUBSET.at, SUBSET.size);
    if (decisionsWatched()) decisionRecord(s, known ? DECISION_NO_PODS : DECISION_NO_TABLE, model, false);
    return CONTINUE;
  }
  tellFacts(s, model == ANY_MODEL ? 0 : foundRoot);
  // Metrics sample; tellFacts has drawn anew.
  const timed = debugShown(s) || decisionsWatched() || chanceState >>> 32 < SCHEDULING_SAMPLE;
  timeOps(timed ? now : null);
  const subset = subsetAsked(s) ? keepSubset(s) : SUBSET_NONE;
  if (subset == SUBSET_EMPTY) {
    if (decisionsWatched()) decisionRecord(s, DECISION_SUBSET_EMPTY, model, false);
    return refuseRouted(s, NOT_IN_SUBSET);
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
    return refuseRouted(s, NOT_IN_SUBSET);
  }
  s.candidates = found;
  s.candidate0 = <u16>picked(0);
  s.candidate1 = found > 1 ? <u16>picked(1) : 0xffff;
  s.candidate2 = found > 2 ? <u16>picked(2) : 0xffff;
  const pod = picked(0);
  if (s.controls & CONTROL_IF_CACHED && promptTokens > 0 && matchTokens(pod) == 0) {
    if (decisionsWatched()) decisionRecord(s, DECISION_NOT_CACHED, model, true);
    showPods();
    return refuseRouted(s, NOT_CACHED);
  }
  writeCandidates(s);
  s.pod = pod;
  s.predicted = matchTokens(pod);
  notePromise(s, pod);
  // The engine counted the matched part; dense scripts have far more tokens than bytes suggest.
  if (s.predicted) promptTokens = max(promptTokens, <f64>s.predicted + 1);
  s.uncached = promptBlocks ? <u32>max(promptTokens - <f64>s.predicted, 1) : <u32>promptTokens;
  s.work = <u32>min(prefillWork(<f64>s.predicted, <f64>s.uncached), 1e9);
  s.alone = podPendingRequests(pod) == 0;
  s.gauge = gaugeSlot(pod);
  if (promptTokens > 0) {
    countWithPrefill(s.gauge, s.pod, 1, s.work, t2, s.uncached);
    s.prefillCounted = true;
  } else countRequest(s.gauge, s.pod, 1);
  speculate(s, pod, t0);
  if (s.speculation) routedTell(s.speculation, pod, matchBlocks(pod), promptBlocks, s.predicted, t0 / 1000000);
  pickCommit(pod, t0);
  count(C_SUCCESS);
  s.dispatchNs = t0;
  if (timed) {
    s.dispatchNs = now();
    s.schedulingUs = <u32>((s.dispatchNs - t0) / 1000);
    s.matchUs = <u32>((t1 - t0) / 1000);
    s.pickUs = <u32>((t2 - t1) / 1000);
    recordScheduling(s.schedulingUs);
  }
  if (decisionsWatched()) decisionRecord(s, DECISION_ROUTED, model, true);
  return CONTINUE;
}

/** Refuses a request after its decision; where the host will not, it goes on to whichever pod Envoy chooses. */
function refuseRouted(s: Stream, r: Reply): u32 {
  return tryRefuse(s, r) ? STOP : CONTINUE;
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
