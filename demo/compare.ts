// Policies compared live: each plays the same requests on a fleet of its own, and the simulation says beforehand which of
// them should differ.
import { percent, type Summary } from "../simulate/report.js";
import { EventLoopLag } from "../simulator/event-loop-lag.js";
import { Tokenizer } from "../simulator/tokenizer.js";
import type { DemoOptions } from "./options.js";
import { say, table } from "./print.js";
import { median } from "./quantile.js";
import { exitCode, playOn, sayFailures, sayLoad, tooSlow, withFleet, writeSummary } from "./run.js";
import { loadOf, simulated } from "./simulated.js";
import { type Distribution, type RunSummary, summarize } from "./summary.js";
import { traceWorkload } from "./trace.js";
import { kneeWorkload, Words, type Workload } from "./workload.js";

/** Requests per simulated second and pod: near what pods can carry without a queue that grows. */
const KNEE_RATE = 2.5;
/** How often metrics are read, real ms: llm-d's default, since blends of scraped columns live by it. */
const SCRAPE_MS = 50;
/** Mean TTFTs further apart than this share should keep their order live. */
const APART = 0.15;
/** A run is void when timers are later than this share of the mean TTFT simulated: each answer waits for several. */
const LAG_SHARE = 0.03;

/** One policy with one seed. Times are simulated ms. */
interface LiveRun extends RunSummary {
  requestsPerSecond: number;
  outputTokensPerSecond: number;
  /** Highest p99 of the event-loop lag of pods and client, real ms. */
  lagMs: number;
  void: boolean;
}

interface SimulatedRun {
  ttftMs: Distribution;
  hitRate: number;
  requestsPerSecond: number;
}

/** A policy's runs, one a seed, and the medians of their figures. */
interface Compared {
  policy: string;
  live: Omit<LiveRun, "void">;
  simulated: SimulatedRun;
  seeds: { seed: number; live: LiveRun; simulated: SimulatedRun }[];
}

/** Two policies that the simulation has apart: how many times the slower one's mean TTFT is the faster one's. */
interface Pair {
  faster: string;
  slower: string;
  simulated: number;
  live: number;
  kept: boolean;
}

/** Runs the comparison. @returns the process's exit code. */
export async function comparePolicies(o: DemoOptions, policies: string[]): Promise<number> {
  const words = new Words();
  const tokenizer = Tokenizer.load();
  const runs = new Map<string, Compared["seeds"]>(policies.map((policy) => [policy, []]));
  for (let i = 0; i < Math.max(1, o.seeds); i++) {
    const seed = o.seed + i;
    const workload = workloadOf(o, words, seed);
    const load = loadOf(workload, tokenizer, o.timeScale);
    if (i === 0) sayLoad(workload, o);
    // Turned by one each time, so that none is always the first.
    const turned = policies.map((_, k) => policies[(k + i) % policies.length]!);
    for (const policy of turned) {
      const sim = await simulated(load, policy, {
        pods: o.pods,
        blocks: o.blocks,
        timeScale: o.timeScale,
        scrapeMs: SCRAPE_MS,
        seed,
      });
      const expected = inSimulatedTime(sim, o.timeScale);
      const live = await runLive(o, policy, workload, seed);
      const slow = tooSlow(live.lagMs, o.timeScale, LAG_SHARE, expected.ttftMs);
      runs.get(policy)!.push({ seed, live: { ...live, void: slow }, simulated: expected });
    }
  }
  const compared = policies.map((policy) => summarized(policy, runs.get(policy)!));
  const pairs = pairsOf(compared);
  print(compared, pairs);
  const isVoid = compared.some((c) => c.seeds.some((s) => s.live.void));
  if (isVoid)
    say(
      `  VOID: timers were later than ${percent(LAG_SHARE)} of a mean TTFT; free the machine or choose a smaller --time-scale`,
    );
  writeSummary(o, { policies: compared, pairs, void: isVoid });
  return exitCode({
    failed: compared.some((c) => c.seeds.some((s) => s.live.failed > 0)),
    isVoid,
    kept: pairs.every((p) => p.kept),
  });
}

function workloadOf(o: DemoOptions, words: Words, seed: number): Workload {
  return o.trace === undefined
    ? kneeWorkload(words, seed, o.duration, o.rate ?? KNEE_RATE * o.pods)
    : traceWorkload(words, { file: o.trace, limit: o.limit, rate: o.rate, seed });
}

async function runLive(
  o: DemoOptions,
  policy: string,
  workload: Workload,
  seed: number,
): Promise<Omit<LiveRun, "void">> {
  const { pods, blocks, timeScale, bufferSteps } = o;
  const options = {
    ...{ pods, blocks, timeScale, bufferSteps, seed },
    policy: { scheduling: { profile: policy } },
    scrapeInterval: `${SCRAPE_MS}ms`,
  };
  return withFleet(options, async (fleet) => {
    await fleet.start();
    const lag = new EventLoopLag();
    const { played, simulatedS, lagMs } = await playOn(fleet, workload, `${policy}, seed ${seed}`);
    lag.stop();
    const summary = summarize(played, timeScale);
    sayFailures(played, `${policy}: `);
    const tokens = played.reduce((n, p) => n + (p.answer?.completionTokens ?? 0), 0);
    return {
      ...summary,
      requestsPerSecond: (summary.requests - summary.failed) / simulatedS,
      outputTokensPerSecond: tokens / simulatedS,
      lagMs: Math.max(lag.histogram.summary().p99, lagMs),
    };
  });
}

function inSimulatedTime(s: Summary, timeScale: number): SimulatedRun {
  const ms = (seconds: number) => seconds * 1000 * timeScale;
  const { mean, p50, p90, p99 } = s.ttft;
  return {
    ttftMs: { mean: ms(mean), p50: ms(p50), p90: ms(p90), p99: ms(p99) },
    hitRate: s.hitRate,
    requestsPerSecond: s.requestsPerSecond / timeScale,
  };
}

function summarized(policy: string, seeds: Compared["seeds"]): Compared {
  const live = (of: (run: LiveRun) => number) => median(seeds.map((s) => of(s.live)));
  const sim = (of: (run: SimulatedRun) => number) => median(seeds.map((s) => of(s.simulated)));
  return {
    policy,
    live: {
      requests: live((r) => r.requests),
      failed: seeds.reduce((n, s) => n + s.live.failed, 0),
      hitRate: live((r) => r.hitRate),
      ttftMs: spread((of) => live((r) => of(r.ttftMs))),
      requestsPerSecond: live((r) => r.requestsPerSecond),
      outputTokensPerSecond: live((r) => r.outputTokensPerSecond),
      lagMs: Math.max(...seeds.map((s) => s.live.lagMs)),
    },
    simulated: {
      hitRate: sim((r) => r.hitRate),
      ttftMs: spread((of) => sim((r) => of(r.ttftMs))),
      requestsPerSecond: sim((r) => r.requestsPerSecond),
    },
    seeds,
  };
}

const spread = (figure: (of: (d: Distribution) => number) => number): Distribution => ({
  mean: figure((d) => d.mean),
  p50: figure((d) => d.p50),
  p90: figure((d) => d.p90),
  p99: figure((d) => d.p99),
});

function pairsOf(compared: Compared[]): Pair[] {
  const order = [...compared].sort((a, b) => a.simulated.ttftMs.mean - b.simulated.ttftMs.mean);
  return order.flatMap((slower, i) =>
    order.slice(0, i).flatMap((faster) => {
      const ratio = slower.simulated.ttftMs.mean / faster.simulated.ttftMs.mean;
      const live = slower.live.ttftMs.mean / faster.live.ttftMs.mean;
      if (ratio <= 1 + APART) return [];
      return [{ faster: faster.policy, slower: slower.policy, simulated: ratio, live, kept: live > 1 }];
    }),
  );
}

function print(compared: Compared[], pairs: Pair[]): void {
  const whole = (v: number) => v.toFixed(0);
  say();
  table([
    [
      "",
      "requests",
      "failed",
      "hit rate",
      "TTFT mean",
      "p50",
      "p90",
      "p99 ms",
      "req/s",
      "out tok/s",
      "simulated: mean",
      "p90 ms",
      "hit rate",
    ],
    ...compared.map(({ policy, live, simulated: s }) => [
      policy,
      whole(live.requests),
      whole(live.failed),
      percent(live.hitRate),
      ...[live.ttftMs.mean, live.ttftMs.p50, live.ttftMs.p90, live.ttftMs.p99].map(whole),
      live.requestsPerSecond.toFixed(2),
      whole(live.outputTokensPerSecond),
      whole(s.ttftMs.mean),
      whole(s.ttftMs.p90),
      percent(s.hitRate),
    ]),
  ]);
  const seeds = compared[0]!.seeds.length;
  say();
  say(`  ${seeds > 1 ? `medians of ${seeds} seeds; ` : ""}rates a simulated second; failed: of all runs`);
  const broken = pairs.filter((p) => !p.kept);
  say(
    `  ${pairs.length} pairs are more than ${percent(APART)} apart in the simulation, ${pairs.length - broken.length} of them keep their order live`,
  );
  for (const p of broken)
    say(
      `  not kept: ${p.faster} before ${p.slower}, ${p.simulated.toFixed(2)} times in the simulation, ${p.live.toFixed(2)} live`,
    );
  say(
    `  event-loop lag of pods and client, p99: ${Math.max(...compared.map((c) => c.live.lagMs)).toFixed(1)} ms real`,
  );
}
