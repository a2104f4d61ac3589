// The default order of pods: seconds until the first token, for this request and for those that it disturbs.
import { candidate, candidateCount, setValue } from "./candidates";
import { fresh } from "./load-scores";
import { matchTokens } from "./matched-pods";
import { podPending, podPendingRequests, podRequests, podWaitLeft } from "./pod-counts";
import { podCapacity, podRate, podRunning, podUsage } from "./pods";
import { nowNs, perPodRate, promptTokens } from "./request-facts";

/** Uncached tokens at which attention over the prompt doubles the cost of a token (reference/gpu-vllm.md, H200, 8B). */
// @ts-ignore: decorator
@inline
const ATTENTION_TOKENS: f64 = 22000;
/**
 * How much each running decode, and each token in the KV cache that decodes read, slows a prefill. The same measurement
 * has 13 % at 64 decodes of 2,000 tokens, 22 % at 128.
 */
// @ts-ignore: decorator
@inline
const DECODE_SLOWDOWN: f64 = 0.001;
// @ts-ignore: decorator
@inline
const CONTEXT_SLOWDOWN: f64 = 0.0000004;
/**
 * How much more a second of own prefill weighs than a second of waiting, because a miss also evicts what others would
 * have hit; and how much that grows with what waits. docs/rationale.md has the measurement.
 */
// @ts-ignore: decorator
@inline
const MISS_WEIGHT: f64 = 10;
// @ts-ignore: decorator
@inline
const MISS_WEIGHT_BUSY: f64 = 3;

/**
 * Prefill work of `uncached` tokens behind `cached` ones, in tokens of a short prompt: attention makes later tokens
 * dearer. In-flight work is counted in this unit, so that one long prompt weighs what it takes.
 */
// @ts-ignore: decorator
@inline
export function prefillWork(cached: f64, uncached: f64): f64 {
  return uncached * (1 + (cached + uncached / 2) / ATTENTION_TOKENS);
}

/** The candidates' costs in seconds into the values; returns the least. */
export function warmCosts(): f64 {
  let lowest = f64.MAX_VALUE;
  for (let k: u32 = 0; k < candidateCount; k++) {
    const cost = warmUntilBusy(candidate(k));
    setValue(k, cost);
    lowest = min(lowest, cost);
  }
  return lowest;
}

/**
 * Seconds until the first token, weighed: `W + g × own`. `own` is the prefill time of the uncached part, slowed by
 * the pod's decodes; `W` the same for what was routed there and has no first token yet, less what the head of that
 * queue has already had; `g = 10 + 3 × min(8, rate × W)`, because a miss also evicts and delays others.
 * The form is Mooncake's greedy rule with an externality added; docs/rationale.md says where its numbers come from.
 */
function warmUntilBusy(i: u32): f64 {
  const cached = min(<f64>matchTokens(i), promptTokens);
  const uncached = max(promptTokens - cached, 1);
  const running = max(podRunning(i), podRequests(i) - min(podRequests(i), podPendingRequests(i)));
  const context = fresh(i) ? podUsage(i) * <f64>podCapacity(i) : 0;
  const slow = 1 + DECODE_SLOWDOWN * <f64>running + CONTEXT_SLOWDOWN * context;
  const seconds = slow / podRate(i); // of a token
  const own = prefillWork(cached, uncached) * seconds;
  const wait = podWaitLeft(i, podPending(i) * seconds, podPendingRequests(i), nowNs);
  const g = MISS_WEIGHT + MISS_WEIGHT_BUSY * min(8, perPodRate * wait);
  return wait + g * own;
}
