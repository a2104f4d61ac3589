// The decision: which pod gets a request, and which ones come next. Pure: columns and the request's facts in, an
// ordered list out; the same code serves the filter, replays and the bench.
import { MAX_PODS, PROFILE_WEIGHTED } from "../shared/layout";
import { matchTokens } from "./match";
import {
  podAddressHash,
  podDecodes,
  podHeadStart,
  podHigh,
  podKnown,
  podLoadFresh,
  podModel,
  podOut,
  podPending,
  podPendingRequests,
  podRate,
  podReady,
  podRequests,
  podRunning,
  podUsage,
  podWaiting,
} from "./pods";
import { loadTtlMs, profile, weightInflight, weightLoad, weightPrefix } from "./policy";

/** Longest list of candidates: each host choice of Envoy's override_host policy consumes one. */
// @ts-ignore: decorator
@inline
export const CANDIDATES: u32 = 3;
/** No model restricts the choice. */
// @ts-ignore: decorator
@inline
export const ANY_MODEL: u32 = 0xffffffff;

/** Uncached tokens at which attention over the prompt doubles the cost of a token (reference/gpu-vllm.md, H200, 8B). */
// @ts-ignore: decorator
@inline
const ATTENTION_TOKENS: f64 = 22000;
/** How much each running decode slows a prefill: 6 % at 16, 13 % at 64, 22 % at 128 (the same measurement). */
// @ts-ignore: decorator
@inline
const DECODE_SLOWDOWN: f64 = 0.0019;
/**
 * How much more a second of own prefill weighs than a second of waiting, because a miss also evicts what others would
 * have hit; and how much that grows with what waits. docs/rationale.md has the measurement.
 */
// @ts-ignore: decorator
@inline
const MISS_WEIGHT: f64 = 15;
// @ts-ignore: decorator
@inline
const MISS_WEIGHT_BUSY: f64 = 3;
/** Costs this close (seconds) or closer than one part in a hundred are a tie. */
// @ts-ignore: decorator
@inline
const TIE_SECONDS: f64 = 0.0005;
// @ts-ignore: decorator
@inline
const TIE_SHARE: f64 = 1.01;

const best: usize = heap.alloc(CANDIDATES << 2);
const costs: usize = heap.alloc(MAX_PODS << 3);

/** How many candidates the last pick found. */
export let pickCount: u32 = 0;
/** Pods that were considered and that passed the filters. */
export let pickCandidates: u32 = 0;
export let pickPassed: u32 = 0;

/** Slot of candidate `i`, best first. */
// @ts-ignore: decorator
@inline
export function picked(i: u32): u32 {
  return load<u32>(best + (i << 2));
}

/** Cost (lower is better) of pod `i` in the last pick. */
export function pickCost(i: u32): f64 {
  return load<f64>(costs + (<usize>i << 3));
}

/**
 * Picks among the ready pods of `model`. `promptTokens`: the prompt's estimated length. `spread`: a hash of the
 * prompt's first blocks (or of the session), by which near-equal pods are ordered, so that all workers and gateways
 * choose the same pod for the same cold prefix without a word. `perPodRate`: requests per second and pod.
 */
export function pick(model: u32, promptTokens: f64, spread: u64, perPodRate: f64, nowNs: u64): u32 {
  pickCount = 0;
  pickCandidates = 0;
  pickPassed = 0;
  let lowest = f64.MAX_VALUE;
  let most: f64 = 1;
  if (profile == PROFILE_WEIGHTED) {
    for (let i: u32 = 0; i < podHigh; i++) most = max(most, <f64>podRequests(i));
  }
  // When every pod was left out, the fault is not theirs: then all count again.
  let allOut = true;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (eligible(i, model) && podReady(i) && !podOut(i, nowNs)) allOut = false;
  }
  for (let i: u32 = 0; i < podHigh; i++) {
    store<f64>(costs + (<usize>i << 3), f64.MAX_VALUE);
    if (!eligible(i, model)) continue;
    pickCandidates++;
    if (!podReady(i) || (!allOut && podOut(i, nowNs))) continue;
    pickPassed++;
    const cost =
      profile == PROFILE_WEIGHTED
        ? weighted(i, promptTokens, most, nowNs)
        : warmUntilBusy(i, promptTokens, perPodRate, nowNs);
    store<f64>(costs + (<usize>i << 3), cost);
    lowest = min(lowest, cost);
  }
  if (pickPassed == 0) return 0;
  const tie = profile == PROFILE_WEIGHTED ? lowest + 0.01 : max(lowest * TIE_SHARE, lowest + TIE_SECONDS);
  let first: i32 = -1;
  let highest: u64 = 0;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (pickCost(i) > tie) continue;
    let h = (spread ^ podAddressHash(i)) * 0x9e3779b185ebca87;
    h = (h ^ (h >> 29)) * 0xc2b2ae3d27d4eb4f;
    h ^= h >> 32;
    if (first < 0 || h > highest) {
      highest = h;
      first = i;
    }
  }
  if (first < 0) return 0;
  store<u32>(best, <u32>first);
  pickCount = 1;
  while (pickCount < CANDIDATES) {
    let next: i32 = -1;
    for (let i: u32 = 0; i < podHigh; i++) {
      if (pickCost(i) == f64.MAX_VALUE || taken(i)) continue;
      if (next < 0 || pickCost(i) < pickCost(next)) next = i;
    }
    if (next < 0) break;
    store<u32>(best + (pickCount << 2), <u32>next);
    pickCount++;
  }
  return pickCount;
}

// @ts-ignore: decorator
@inline
function eligible(i: u32, model: u32): bool {
  return podKnown(i) && podDecodes(i) && (model == ANY_MODEL || podModel(i) == model);
}

/**
 * Prefill work of `uncached` tokens behind `cached` ones, in tokens of a short prompt: attention makes later tokens
 * dearer. In-flight work is counted in this unit, so that one long prompt weighs what it takes.
 */
// @ts-ignore: decorator
@inline
export function prefillWork(cached: f64, uncached: f64): f64 {
  return uncached * (1 + (cached + uncached / 2) / ATTENTION_TOKENS);
}

function taken(pod: u32): bool {
  for (let i: u32 = 0; i < pickCount; i++) {
    if (picked(i) == pod) return true;
  }
  return false;
}

/**
 * Seconds until the first token, weighed: `W + g × own`. `own` is the prefill time of the uncached part, slowed by
 * the pod's decodes; `W` the same for what was routed there and has no first token yet, less what the head of that
 * queue has already had; `g = 15 + 3 × min(8, rate × W)`, because a miss also evicts and delays others.
 * The form is Mooncake's greedy rule with an externality added; docs/rationale.md says where its numbers come from.
 */
function warmUntilBusy(i: u32, promptTokens: f64, perPodRate: f64, nowNs: u64): f64 {
  const cached = min(<f64>matchTokens(i), promptTokens);
  const uncached = max(promptTokens - cached, 1);
  const rate = podRate(i);
  const running = max(podRunning(i), podRequests(i) - min(podRequests(i), podPendingRequests(i)));
  const slow = 1 + DECODE_SLOWDOWN * <f64>running;
  const own = (prefillWork(cached, uncached) / rate) * slow;
  const pending = podPending(i);
  let wait = (pending / rate) * slow;
  const since = podHeadStart(i);
  if (since && wait > 0) {
    const head = wait / <f64>max(podPendingRequests(i), 1);
    wait -= min(<f64>(nowNs - since) / 1e9, head);
  }
  const g = MISS_WEIGHT + MISS_WEIGHT_BUSY * min(8, perPodRate * wait);
  return wait + g * own;
}

/**
 * The negated weighted sum of three scores in [0, 1]: prefix (share of the prompt that is cached), load (0.6 × short
 * queue, full at 10 waiting, + 0.4 × free cache) and in-flight requests (fewer is better). Source: spec.md §2. Load
 * counts 0.5 for every pod when its columns are too old to use.
 */
function weighted(i: u32, promptTokens: f64, most: f64, nowNs: u64): f64 {
  const prefix = min(<f64>matchTokens(i) / max(promptTokens, 1), 1);
  let loadScore: f64 = 0.5;
  if (podLoadFresh(i, nowNs, loadTtlMs)) {
    const queue = 1 - min(<f64>podWaiting(i) / 10, 1);
    loadScore = 0.6 * queue + 0.4 * (1 - min(podUsage(i), 1));
  }
  const inflight = 1 - <f64>podRequests(i) / most;
  return -(weightPrefix * prefix + weightLoad * loadScore + weightInflight * inflight);
}
