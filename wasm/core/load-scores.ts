// Scorers over the pods' load: scraped columns, and the gateway's own counts of requests in flight. A pod whose scraped
// columns are too old to use gets half of what it could have. Formulas: docs/policy.md, which names their sources.
import { candidate, candidateCount, setValue, value } from "./candidates";
import { matchTokens } from "./matched-pods";
import { podPendingTokens, podRequests } from "./pod-counts";
import { podLoadFresh, podRunning, podUsage, podWaiting } from "./pods";
import { loadTtlMs } from "./policy";
import { opP } from "./program";
import { nowNs, promptTokens } from "./request-facts";

// @ts-ignore: decorator
@inline
export function fresh(pod: u32): bool {
  return podLoadFresh(pod, nowNs, loadTtlMs);
}

/** (most − v) / (most − least) over the values that are there; 1 when all are equal, 0.5 where there is none. */
function lowestIsBest(): void {
  let least = f64.MAX_VALUE;
  let most = -f64.MAX_VALUE;
  for (let k: u32 = 0; k < candidateCount; k++) {
    const v = value(k);
    if (v != v) continue;
    least = min(least, v);
    most = max(most, v);
  }
  const range = most - least;
  for (let k: u32 = 0; k < candidateCount; k++) {
    const v = value(k);
    setValue(k, v != v ? 0.5 : range > 0 ? (most - v) / range : 1);
  }
}

export function scoreQueue(): void {
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    setValue(k, fresh(pod) ? <f64>podWaiting(pod) : NaN);
  }
  lowestIsBest();
}

export function scoreRunning(): void {
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    setValue(k, fresh(pod) ? <f64>podRunning(pod) : NaN);
  }
  lowestIsBest();
}

export function scoreKvUsage(): void {
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    setValue(k, fresh(pod) ? 1 - podUsage(pod) : 0.5);
  }
}

export function scoreLoadAware(op: usize): void {
  const threshold = opP(op, 0);
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    setValue(k, fresh(pod) ? 0.5 * (1 - min(<f64>podWaiting(pod), threshold) / threshold) : 0.25);
  }
}

export function scoreLoadBlend(op: usize): void {
  const longest = opP(op, 0);
  const queue = opP(op, 1);
  const usage = opP(op, 2);
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    setValue(
      k,
      fresh(pod)
        ? queue * (1 - min(<f64>podWaiting(pod) / longest, 1)) + usage * (1 - min(podUsage(pod), 1))
        : (queue + usage) / 2,
    );
  }
}

export function scoreActiveRequests(op: usize): void {
  const idle = opP(op, 0);
  const busy = opP(op, 1);
  let most: u32 = 0;
  for (let k: u32 = 0; k < candidateCount; k++) most = max(most, podRequests(candidate(k)));
  for (let k: u32 = 0; k < candidateCount; k++) {
    const n = podRequests(candidate(k));
    setValue(k, <f64>n <= idle || most == 0 ? 1 : (<f64>(most - n) / <f64>most) * busy);
  }
}

export function scoreTokenLoad(op: usize): void {
  const threshold = opP(op, 0);
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    const own = promptTokens - min(<f64>matchTokens(pod), promptTokens);
    setValue(k, 1 - min(1, (podPendingTokens(pod) + own) / threshold));
  }
}
