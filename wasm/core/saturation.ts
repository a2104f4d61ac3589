// How full the pods are: the two detectors of the llm-d router's catalogue. A pool at 1 or more is saturated.
import { ROLE_DECODE } from "../shared/pods-layout";
import {
  CONCURRENCY_HYBRID,
  CONCURRENCY_TOKENS,
  DETECTOR_CONCURRENCY,
  DETECTOR_NONE,
} from "../shared/rules-layout";
import { podPendingTokens, podRequests } from "./pod-counts";
import { podHide, podHigh, podLoadFresh, podReady, podServes, podUsage, podWaiting } from "./pods";
import { loadTtlMs } from "./policy";
import {
  concurrencyMode,
  detector,
  headroom,
  kvUsageThreshold,
  maxConcurrency,
  maxTokenConcurrency,
  queueDepthThreshold,
} from "./request-rules";

/** Whether, at the last `saturation`, every pod was beyond its threshold and the headroom. */
export let everyPodFull: bool = false;

/**
 * Saturation of the ready pods of `model` (ANY_MODEL: of all). Utilization: the mean over pods of
 * max(waiting / threshold, KV usage / threshold); pods whose load columns are too old to use count for nothing (llm-d
 * counts them as full, which stops a fleet whose scrapes fail). Concurrency: what is in flight / what may be, in
 * requests, uncached prompt tokens without a first token, or the greater of both. 0 when nothing is known.
 */
export function saturation(model: u32, nowNs: u64): f64 {
  everyPodFull = false;
  if (detector == DETECTOR_NONE) return 0;
  let sum: f64 = 0;
  let pods: f64 = 0;
  let requests: f64 = 0;
  let tokens: f64 = 0;
  let full = true;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (!serves(i, model)) continue;
    const score = fullness(i, nowNs);
    if (score < 1 + headroom) full = false;
    if (score < 0) continue;
    sum += score;
    requests += <f64>podRequests(i);
    tokens += podPendingTokens(i);
    pods += 1;
  }
  if (pods == 0) return 0;
  everyPodFull = full;
  return detector == DETECTOR_CONCURRENCY ? occupancy(requests, tokens, pods) : sum / pods;
}

/**
 * Hides full pods from one pick, as llm-d's detectors do when they stand among filters; with all of them full, none is
 * hidden. True when `podsShow` is due.
 */
export function hideFullPods(model: u32, nowNs: u64): bool {
  if (detector == DETECTOR_NONE) return false;
  let full: u32 = 0;
  let pods: u32 = 0;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (!serves(i, model)) continue;
    pods++;
    if (fullness(i, nowNs) >= 1 + headroom) full++;
  }
  // Others may be hidden for another reason: with all of them full nothing is changed.
  if (full == 0 || full == pods) return false;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (serves(i, model) && fullness(i, nowNs) >= 1 + headroom) podHide(i);
  }
  return true;
}

// @ts-ignore: decorator
@inline
function serves(i: u32, model: u32): bool {
  return podReady(i) && podServes(i, ROLE_DECODE, model);
}

/** Load of one pod, full at 1; -1 when it is not known. */
function fullness(i: u32, nowNs: u64): f64 {
  if (detector == DETECTOR_CONCURRENCY) return occupancy(<f64>podRequests(i), podPendingTokens(i), 1);
  if (!podLoadFresh(i, nowNs, loadTtlMs)) return -1;
  return max(<f64>podWaiting(i) / queueDepthThreshold, podUsage(i) / kvUsageThreshold);
}

function occupancy(requests: f64, tokens: f64, pods: f64): f64 {
  const byRequests = requests / (maxConcurrency * pods);
  const byTokens = tokens / (maxTokenConcurrency * pods);
  if (concurrencyMode == CONCURRENCY_TOKENS) return byTokens;
  return concurrencyMode == CONCURRENCY_HYBRID ? max(byRequests, byTokens) : byRequests;
}
