// Whether a request's prefill runs on another pod than its decode, and which pair of pods serves it: chosen together by
// predicted time, or, where the policy has a profile for prefill pods, by that. Pure, like pick.ts, whose candidates it
// starts from.
import { SPLIT_ALWAYS, SPLIT_NONE } from "../shared/disaggregation-layout";
import { MAX_PODS, ROLE_PREFILL } from "../shared/pods-layout";
import { NO_PROFILE } from "../shared/program-layout";
import {
  splitMode,
  splitPrompt,
  splitStallWeight,
  splitThreshold,
  splitTokensPerSecond,
} from "./disaggregation";
import { matchTokens } from "./matched-pods";
import { pickPrefill, pickTouch } from "./pick";
import { pickCost, picked, rendezvousHash, tieCost } from "./pickers";
import { podPending, podPendingRequests, podRequests, podWaitLeft } from "./pod-counts";
import { podHigh, podOut, podRate, podReady, podRunning, podServes } from "./pods";
import { prefillProfile } from "./program";
import { spread } from "./request-facts";
import { prefillWork } from "./warm-until-busy";

/** Prefill pods of one request: the best one and those that are tried after it. */
// @ts-ignore: decorator
@inline
export const PREFILL_CANDIDATES: u32 = 3;

/**
 * Seconds by which one more answer slows all others of a pod together, per answer that runs there: 0.0875 ms a token
 * (9.4 ms a token with 16 answers, 19.2 with 128, simulator/cost-model.ts) over a hundred tokens.
 */
// @ts-ignore: decorator
@inline
const DECODE_SHARE_SECONDS: f64 = 0.00875;

/**
 * Seconds that a split adds to a first token, however short the prompt: a second front end (3.4 ms) and step (9 ms), the
 * handshake (3 ms). Those are of simulator/cost-model.ts and kv-transfer.ts, fitted to an H200.
 */
// @ts-ignore: decorator
@inline
const SPLIT_SECONDS: f64 = 0.016;

const costs: usize = heap.alloc(MAX_PODS << 3);
const best: usize = heap.alloc(PREFILL_CANDIDATES << 2);

/** Predicted cost of the last pair, seconds, f64.MAX_VALUE without one; and of one pod alone, 0 where it was not asked. */
export let pairCost: f64 = 0;
export let aloneCost: f64 = 0;
/** Prefill candidates of the last `pickPair`. */
export let prefillsPicked: u32 = 0;
/** Its decode pod. */
export let pairDecode: u32 = 0;
/** Whether there was any ready prefill pod. */
export let prefillsReady: bool = false;

// @ts-ignore: decorator
@inline
export function prefillPicked(i: u32): u32 {
  return load<u32>(best + (i << 2));
}

/**
 * Seconds until the prefills that wait on pod `i` are done: their work, less what the first has already had. `own`: the
 * share of the request that is being placed, 0 where it is not counted.
 */
function queueSeconds(i: u32, own: f64, nowNs: u64): f64 {
  const requests = podPendingRequests(i);
  if (own > 0 && requests <= 1) return 0;
  const wait = max(podPending(i) - own, 0) / podRate(i);
  return podWaitLeft(i, wait, own > 0 ? requests - 1 : requests, nowNs);
}

// @ts-ignore: decorator
@inline
function answers(i: u32): f64 {
  return <f64>max(podRunning(i), podRequests(i) - min(podRequests(i), podPendingRequests(i)));
}

/** Seconds of prefill on pod `i`, each weighed by the answers that stand still there meanwhile. */
function prefillSeconds(i: u32, promptTokens: f64): f64 {
  const cached = min(<f64>matchTokens(i), promptTokens);
  const own = prefillWork(cached, max(promptTokens - cached, 1)) / podRate(i);
  return own * (1 + splitStallWeight * answers(i));
}

/**
 * Whether a prompt is long enough for a split, and what of it is not cached on its decode pod. Source: llm-d's
 * prefix-based-pd-decider, whose nonCachedTokens is `splitThreshold` + 1.
 */
export function splitConsidered(promptTokens: u32, uncached: u32): bool {
  return splitMode != SPLIT_NONE && uncached > splitThreshold && promptTokens >= splitPrompt;
}

/**
 * Chooses the pair for a prompt of `promptTokens` among the decode pods `decodes` (u32 each, `count` of them, the best
 * one for a request that is not split first, where it counts with `work` already) and the ready prefill pods of `model`.
 * False when one pod should do all. With a prefill profile the last pick is replaced, and the first decode pod stays.
 * A pair costs the prefill and its queue, the transfer, what any split costs, and what is left of the decode pod's own queue by then.
 */
export function pickPair(
  model: u32,
  promptTokens: f64,
  work: f64,
  decodes: usize,
  count: u32,
  nowNs: u64,
): bool {
  prefillsPicked = 0;
  prefillsReady = false;
  pairCost = f64.MAX_VALUE;
  aloneCost = 0;
  const local = load<u32>(decodes);
  const named = prefillProfile != NO_PROFILE;
  if (named) prefillsByProfile(model, promptTokens, local, nowNs);
  else prefillsByTime(model, promptTokens, local, nowNs);
  if (!prefillsPicked) return false;
  const first = prefillPicked(0);
  chooseDecode(promptTokens, work, decodes, named ? 1 : count, prefillCost(first, promptTokens, nowNs), nowNs);
  if (pairCost == f64.MAX_VALUE) return false;
  if (splitMode == SPLIT_ALWAYS) return true;
  aloneCost = localCost(local, promptTokens, work, nowNs);
  return pairCost < aloneCost;
}

/** The request is split as the last `pickPair` says: turns are remembered. */
export function pairCommit(): void {
  if (prefillProfile != NO_PROFILE) pickTouch(prefillPicked(0));
}

/** What the last pair's choice saw in a prefill on pod `i`: the profile's cost, or predicted seconds. Lower is better. */
export function pairPodCost(i: u32, promptTokens: f64, nowNs: u64): f64 {
  return prefillProfile != NO_PROFILE ? pickCost(i) : prefillCost(i, promptTokens, nowNs);
}

/** Predicted seconds to the end of a prefill on pod `i`. */
// @ts-ignore: decorator
@inline
function prefillCost(i: u32, promptTokens: f64, nowNs: u64): f64 {
  return queueSeconds(i, 0, nowNs) + prefillSeconds(i, promptTokens);
}

/** Predicted seconds of a request that the decode pod prefills itself. */
function localCost(local: u32, promptTokens: f64, work: f64, nowNs: u64): f64 {
  return queueSeconds(local, work, nowNs) + prefillSeconds(local, promptTokens) + answers(local) * DECODE_SHARE_SECONDS;
}

/** The prefill pods that the policy's profile puts first. */
function prefillsByProfile(model: u32, promptTokens: f64, local: u32, nowNs: u64): void {
  const found = pickPrefill(model, promptTokens, nowNs);
  for (let i: u32 = 0; i < found; i++) {
    const pod = picked(i);
    if (pod == local) continue;
    store<u32>(best + (prefillsPicked << 2), pod);
    prefillsPicked++;
  }
  prefillsReady = prefillsPicked > 0;
}

/** The prefill pods that are predicted to be done first. */
function prefillsByTime(model: u32, promptTokens: f64, local: u32, nowNs: u64): void {
  for (let i: u32 = 0; i < podHigh; i++) {
    const usable = podReady(i) && podServes(i, ROLE_PREFILL, model) && i != local && !podOut(i, nowNs);
    if (usable) prefillsReady = true;
    store<f64>(costs + (<usize>i << 3), usable ? prefillCost(i, promptTokens, nowNs) : f64.MAX_VALUE);
  }
  while (prefillsPicked < PREFILL_CANDIDATES) {
    let lowest: f64 = f64.MAX_VALUE;
    for (let i: u32 = 0; i < podHigh; i++) lowest = min(lowest, cost(i));
    if (lowest == f64.MAX_VALUE) break;
    // Near-equal ones by the prompt, so that its next request finds it where this one left it.
    const limit = tieCost(lowest);
    let next: i32 = -1;
    for (let i: u32 = 0; i < podHigh; i++) {
      if (cost(i) > limit) continue;
      if (next < 0 || rendezvousHash(spread, i) > rendezvousHash(spread, next)) next = i;
    }
    store<u32>(best + (prefillsPicked << 2), <u32>next);
    prefillsPicked++;
    store<f64>(costs + (<usize>next << 3), f64.MAX_VALUE);
  }
}

// @ts-ignore: decorator
@inline
function cost(i: u32): f64 {
  return load<f64>(costs + (<usize>i << 3));
}

/** The decode pod that goes best with a prefill of `prefill` seconds. */
function chooseDecode(promptTokens: f64, work: f64, decodes: usize, count: u32, prefill: f64, nowNs: u64): void {
  for (let i: u32 = 0; i < count; i++) {
    const d = load<u32>(decodes + (i << 2));
    if (d == prefillPicked(0)) continue;
    const missing = max(promptTokens - <f64>matchTokens(d), 0);
    const total =
      SPLIT_SECONDS +
      prefill +
      missing / splitTokensPerSecond +
      max(queueSeconds(d, i == 0 ? work : 0, nowNs) - prefill, 0) +
      answers(d) * DECODE_SHARE_SECONDS;
    if (total >= pairCost) continue;
    pairCost = total;
    pairDecode = d;
  }
}
