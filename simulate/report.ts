// What a run comes to: one row of the table for each policy.
import type { Outcome, RunResult } from "./run.js";

/** Times in seconds, shares 0–1. */
export interface Summary {
  policy: string;
  requests: number;
  /** Requests that no pod was found for. */
  refused: number;
  ttft: Spread;
  /** Seconds per output token after the first; of requests with at least two. */
  tpot: Spread;
  /** Cached tokens of all prompt tokens. */
  hitRate: number;
  /** Requests whose first token came within two seconds. */
  good: number;
  /** Requests ended and output tokens per second, from the first arrival to the last token. */
  requestsPerSecond: number;
  outputTokensPerSecond: number;
  /** Prefilled tokens of the busiest pod by those of the mean one. */
  imbalance: number;
  preemptions: number;
  /** Seconds from the first arrival to the last token. */
  seconds: number;
}

interface Spread {
  mean: number;
  p50: number;
  p90: number;
  p99: number;
}

/** TTFT in seconds up to which a request counts as good. */
const GOOD_TTFT_S = 2;

export function summarize({ policy, outcomes, pods, seconds }: RunResult): Summary {
  const served = outcomes.filter((o) => o.pod >= 0);
  const sum = (of: (o: Outcome) => number) => served.reduce((n, o) => n + of(o), 0);
  const prefilled = pods.map((p) => p.prefilledTokens);
  const mean = prefilled.reduce((a, b) => a + b, 0) / pods.length;
  return {
    policy,
    requests: outcomes.length,
    refused: outcomes.length - served.length,
    ttft: spreadOf(served.map((o) => o.firstToken)),
    tpot: spreadOf(
      served.filter((o) => o.request.output > 1).map((o) => (o.end - o.firstToken) / (o.request.output - 1)),
    ),
    hitRate:
      sum((o) => o.cached) /
      Math.max(
        1,
        sum((o) => o.request.prompt),
      ),
    good: served.filter((o) => o.firstToken <= GOOD_TTFT_S).length / outcomes.length,
    requestsPerSecond: seconds > 0 ? served.length / seconds : 0,
    outputTokensPerSecond: seconds > 0 ? sum((o) => o.request.output) / seconds : 0,
    imbalance: mean > 0 ? Math.max(...prefilled) / mean : 1,
    preemptions: pods.reduce((n, p) => n + p.preemptions, 0),
    seconds,
  };
}

/** Mean and percentiles by nearest rank; zeros when there is nothing. */
function spreadOf(values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  const mean = sorted.length > 0 ? sorted.reduce((a, b) => a + b, 0) / sorted.length : 0;
  return { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

const COLUMNS: readonly (readonly [string, (s: Summary) => string])[] = [
  ["policy", (s) => s.policy],
  ["TTFT mean", (s) => secondsText(s.ttft.mean)],
  ["p50", (s) => secondsText(s.ttft.p50)],
  ["p90", (s) => secondsText(s.ttft.p90)],
  ["p99", (s) => secondsText(s.ttft.p99)],
  ["TPOT p50", (s) => `${(s.tpot.p50 * 1000).toFixed(0)} ms`],
  ["p90", (s) => `${(s.tpot.p90 * 1000).toFixed(0)} ms`],
  ["hits", (s) => percent(s.hitRate)],
  ["TTFT ≤ 2 s", (s) => percent(s.good)],
  ["req/s", (s) => s.requestsPerSecond.toFixed(2)],
  ["out tok/s", (s) => s.outputTokensPerSecond.toFixed(0)],
  ["max/mean", (s) => s.imbalance.toFixed(2)],
];

const secondsText = (s: number) => `${s < 10 ? s.toFixed(3) : s.toFixed(1)} s`;
export const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

/** Rows as lines with aligned columns. */
export function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join("  ")
      .trimEnd(),
  );
}

/** The summaries as a table of plain text. */
export function tableOf(summaries: readonly Summary[]): string {
  const head = COLUMNS.map(([name]) => name);
  return aligned([head, ...summaries.map((s) => COLUMNS.map(([, cell]) => cell(s)))]).join("\n");
}
