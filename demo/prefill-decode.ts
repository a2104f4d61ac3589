// `npm start -- --pd`: long and short prompts on four pods, first each doing all, then two that prefill for two that
// decode.
import type { DemoOptions } from "./options.js";
import { type Played, requestsIn } from "./play.js";
import { say, table } from "./print.js";
import { envoyStats } from "./processes.js";
import { exitCode, playOn, sayFailures, tooSlow, withFleet, writeSummary } from "./run.js";
import { type Distribution, distribution } from "./summary.js";
import { longAndShortWorkload, Words, type Workload } from "./workload.js";

const PODS = 4;
/** The first half prefills for the other. */
const SPLIT = {
  role: (i: number) => (i < PODS / 2 ? "prefill" : "decode"),
  policy: { disaggregation: { mode: "gateway", threshold: 256 } },
} as const;
/** Prompts of at least so many tokens count as long ones. */
const LONG_TOKENS = 4000;
/** A run is void when the pods' own lag, in simulated time, exceeds this share of the short prompts' mean TTFT. */
const LAG_SHARE = 0.25;

interface PdRun {
  requests: number;
  failed: number;
  /** Requests whose prefill ran on another pod. */
  split: number;
  /** All in simulated ms. */
  ttftShortMs: Distribution;
  ttftLongMs: Distribution;
  perTokenMs: Distribution;
  longestPauseMs: Distribution;
  lagMs: number;
  /** Prompt tokens whose KV came from another pod, by the pods' own count. */
  transferredTokens: number;
  heldBlocks: number;
}

function measure(
  played: Played[],
  timeScale: number,
): Omit<PdRun, "lagMs" | "transferredTokens" | "heldBlocks"> {
  const good = played.flatMap((p) => (p.answer && p.error === null ? [p.answer] : []));
  const short = good.filter((a) => a.promptTokens < LONG_TOKENS);
  const long = good.filter((a) => a.promptTokens >= LONG_TOKENS);
  const scaled = (values: number[]) => distribution(values.map((v) => v * timeScale));
  return {
    requests: played.length,
    failed: played.length - good.length,
    split: good.filter((a) => a.prefillPod !== "").length,
    ttftShortMs: scaled(short.map((a) => a.ttftMs)),
    ttftLongMs: scaled(long.map((a) => a.ttftMs)),
    perTokenMs: scaled(
      short.flatMap((a) =>
        a.completionTokens > 1 ? [(a.totalMs - a.ttftMs) / (a.completionTokens - 1)] : [],
      ),
    ),
    longestPauseMs: scaled(short.map((a) => a.longestGapMs)),
  };
}

async function run(o: DemoOptions, workload: Workload, split: boolean): Promise<PdRun> {
  const { blocks, seed, timeScale, bufferSteps, adminPort } = o;
  const options = {
    ...{ pods: PODS, blocks, seed, timeScale, bufferSteps, gatewayPort: o.port, adminPort },
    podFlags: { "stream-interval": 4 },
    ...(split ? SPLIT : {}),
  };
  return withFleet(options, async (fleet) => {
    await fleet.start();
    const label = split ? "2 prefill + 2 decode" : "4 pods that do all";
    const { played, stats, lagMs } = await playOn(fleet, workload, label);
    if (split) {
      const counters = await envoyStats(fleet.adminPort, "warmgate_prefill_");
      const told = ["split", "local", "failed", "timeout", "no_parameters"].map(
        (name) => `${name} ${counters.get(`warmgate_prefill_${name}_total`) ?? 0}`,
      );
      say(`  prefills in the gateway: ${told.join(", ")}`);
    }
    sayFailures(played);
    return {
      ...measure(played, timeScale),
      lagMs,
      transferredTokens: stats.reduce((n, s) => n + s.externalTokens, 0),
      heldBlocks: stats.reduce((n, s) => n + s.heldBlocks, 0),
    };
  });
}

/** Plays both runs and prints what was gained. Returns the exit code: 0, 1 with failed requests, 3 void. */
export async function runPrefillDecode(o: DemoOptions): Promise<number> {
  const workload = longAndShortWorkload(new Words(), o.seed, o.duration);
  say(
    `${requestsIn(workload)} requests (${workload.name}) for ${PODS} simulated pods, ${o.timeScale} simulated seconds a second`,
  );
  const without = await run(o, workload, false);
  const withSplit = await run(o, workload, true);
  const ms = (d: Distribution) => [d.mean.toFixed(1), d.p99.toFixed(0)];
  const row = (name: string, r: PdRun) => [
    name,
    String(r.failed),
    String(r.split),
    ...ms(r.ttftShortMs),
    ...ms(r.ttftLongMs),
    ...ms(r.perTokenMs),
    ...ms(r.longestPauseMs),
  ];
  say();
  table([
    [
      "ms",
      "failed",
      "split",
      "TTFT short",
      "p99",
      "TTFT long",
      "p99",
      "per token",
      "p99",
      "longest pause",
      "p99",
    ],
    row("4 pods that do all", without),
    row("2 prefill + 2 decode", withSplit),
  ]);
  say();
  const change = (a: Distribution, b: Distribution) => {
    const share = a.mean === 0 ? 0 : (b.mean / a.mean - 1) * 100;
    return `${share > 0 ? "+" : ""}${share.toFixed(0)} %`;
  };
  say(
    `  with prefill/decode: time to first token of short prompts ${change(without.ttftShortMs, withSplit.ttftShortMs)}, of long ones ${change(without.ttftLongMs, withSplit.ttftLongMs)}, time per token ${change(without.perTokenMs, withSplit.perTokenMs)}, longest pause ${change(without.longestPauseMs, withSplit.longestPauseMs)}`,
  );
  const runs = [without, withSplit];
  const isVoid = runs.some((r) => tooSlow(r.lagMs, o.timeScale, LAG_SHARE, r.ttftShortMs));
  say(`  pods' event-loop lag p99: ${runs.map((r) => `${r.lagMs.toFixed(1)} ms`).join(", ")} real`);
  if (isVoid) say("  VOID: the machine was too slow for this time scale; choose a smaller --time-scale");
  writeSummary(o, { without, with: withSplit, void: isVoid });
  return exitCode({ failed: runs.some((r) => r.failed > 0), isVoid });
}
