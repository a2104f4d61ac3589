// Whether a request is split, and over which pods. By the gateway it is held until the prefill pod has answered; by the
// sidecar it goes on at once with the names of prefill pods.
import { splitBy, splitMode, splitTimeoutMs } from "../core/disaggregation";
import { matchTokens } from "../core/matched-pods";
import {
  pairCommit,
  pairDecode,
  pickPair,
  prefillPicked,
  prefillsPicked,
  prefillsReady,
  splitConsidered,
} from "../core/pick-pair";
import { podModel } from "../core/pods";
import { prefillWork } from "../core/warm-until-busy";
import { SPLIT_BY_SIDECAR, SPLIT_NONE } from "../shared/disaggregation-layout";
import { text } from "./abi/memory";
import { decisionPair, decisionsWatched } from "./decision-record";
import { writeCandidates, writePods } from "./destination";
import { now, scratch } from "./host";
import { countPrefill, countRequest, countWithPrefill, gaugeSlot } from "./inflight";
import { callFor, callsFull, callStarts, sendNext, splitReads } from "./prefill-calls";
import { countPrefillEvent, P_BUSY, P_NO_POD, P_SPLIT } from "./prefill-metrics";
import { Stream } from "./streams";

const PREFILLERS = text("x-prefiller-host-port");

/** Whether a request whose body is there, `whole` or its beginning, may be split. */
// @ts-ignore: decorator
@inline
export function splitPossible(whole: bool): bool {
  return splitMode != SPLIT_NONE && (splitBy == SPLIT_BY_SIDECAR || (whole && splitReads() > 0));
}

/** The pod that the last `prefillBegin` chose for the prefill. */
export let prefillBegun: u32 = 0;
/** Whether it holds the request: its answer resumes it. */
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
  if (callsFull()) {
    countPrefillEvent(P_BUSY);
    return false;
  }
  const c = callFor(s);
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
  if (!sendNext(c, s)) {
    c.token = 0;
    return false;
  }
  callStarts(c, s);
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
