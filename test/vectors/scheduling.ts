// A slow second reading of the published scheduling formulas: llm-d-router's scorers and filters (plugins under
// pkg/epp/framework, read in August 2026) and the older documents' load blend. Written from their text, not from
// wasm/core.

export interface VectorPod {
  waiting: number;
  running: number;
  /** 0–1 */
  kvUsage: number;
  /** In flight through the gateway. */
  requests: number;
  tokens: number;
  /** Cached tokens of this prompt. */
  cached: number;
}

type Scorer = (pods: readonly VectorPod[], promptTokens: number) => number[];

function minMax(values: number[]): number[] {
  const highest = Math.max(...values);
  const lowest = Math.min(...values);
  return values.map((v) => (highest === lowest ? 1 : (highest - v) / (highest - lowest)));
}

export const queueScorer: Scorer = (pods) => minMax(pods.map((p) => p.waiting));
export const runningScorer: Scorer = (pods) => minMax(pods.map((p) => p.running));
export const kvScorer: Scorer = (pods) => pods.map((p) => 1 - p.kvUsage);

export const loadAwareScorer =
  (threshold: number): Scorer =>
  (pods) =>
    pods.map((p) => {
      if (p.waiting === 0) return 0.5;
      return 0.5 * (1 - (p.waiting > threshold ? threshold : p.waiting) / threshold);
    });

export const olderLoadScorer =
  (longest: number, queueWeight: number, gpuWeight: number): Scorer =>
  (pods) =>
    pods.map((p) => queueWeight * Math.max(0, 1 - p.waiting / longest) + gpuWeight * (1 - p.kvUsage));

export const activeRequestScorer =
  (idleThreshold: number, maxBusyScore: number): Scorer =>
  (pods) => {
    const most = Math.max(...pods.map((p) => p.requests));
    return pods.map((p) => (p.requests <= idleThreshold ? 1 : ((most - p.requests) / most) * maxBusyScore));
  };

export const tokenLoadScorer =
  (threshold: number): Scorer =>
  (pods, promptTokens) =>
    pods.map((p) => 1 - Math.min(1, (p.tokens + promptTokens - p.cached) / threshold));

export const prefixScorer =
  (lengthWeight: number, scale: number): Scorer =>
  (pods, promptTokens) =>
    pods.map(
      (p) =>
        lengthWeight * Math.min(1, p.cached / scale) ** 2 + (1 - lengthWeight) * (p.cached / promptTokens),
    );

/** `order`: pods that took cold requests, oldest first. */
export const noHitLruScorer =
  (order: readonly number[]): Scorer =>
  (pods) => {
    if (pods.some((p) => p.cached > 0)) return pods.map(() => 0.5);
    if (pods.length === 1) return [1];
    const never = pods.map((_, i) => i).filter((i) => !order.includes(i));
    const ranked = [...never, ...order];
    return pods.map((_, i) => 1 - ranked.indexOf(i) / (pods.length - 1));
  };

/** null = no label, NaN = a label that is no range. */
export function contextLengthScore(range: [number, number] | null | number, length: number): number {
  if (range === null) return 0.5;
  if (typeof range === "number") return 0;
  const [min, max] = range;
  if (length >= min && length <= max) {
    const width = max - min;
    if (width === 0) return 1;
    return 0.3 + 0.7 * (0.7 * (1 / (1 + width / 10_000)) + 0.3 * ((max - length) / width));
  }
  const distance = length < min ? min - length : length - max;
  return 0.3 / (1 + distance / 1000);
}

export function loraScore(active: string[], waiting: string[], most: number, wanted: string): number {
  if (active.includes(wanted)) return 1;
  if (active.length + waiting.length < most) return 0.8;
  return waiting.includes(wanted) ? 0.6 : 0;
}

/** Indexes of the pods that prefix-cache-affinity-filter keeps. */
export function prefixAffinityFilter(
  pods: readonly VectorPod[],
  promptTokens: number,
  threshold: number,
  penaltyMs: number,
  throughput: number,
): number[] {
  const all = pods.map((_, i) => i);
  const sticky = all.filter((i) => pods[i]!.cached / promptTokens >= threshold);
  const other = all.filter((i) => !sticky.includes(i));
  if (sticky.length === 0) return all;
  if (penaltyMs === 0 || other.length === 0) return sticky;
  const ttft = (list: number[]) => Math.min(...list.map((i) => (pods[i]!.tokens / throughput) * 1000));
  return ttft(sticky) - ttft(other) > penaltyMs ? all : sticky;
}
