// `npm start -- --pd`: long and short prompts on four pods, first each doing all, then two that prefill for two that
// decode.
import { writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { ChatClient } from "./client.js";
import { Fleet, MODEL } from "./fleet.js";
import type { DemoOptions } from "./options.js";
import { type Played, play, requestsIn } from "./play.js";
import { progress, say, table } from "./print.js";
import { envoyStats } from "./processes.js";
import { type Distribution, distribution } from "./summary.js";
import { longAndShortWorkload, Words, type Workload } from "./workload.js";

const PODS = 4;
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
  const fleet = await Fleet.create({
    pods: PODS,
    blocks: o.blocks,
    seed: o.seed,
    timeScale: o.timeScale,
    bufferSteps: o.bufferSteps,
    gatewayPort: o.port,
    adminPort: o.adminPort,
    podFlags: { "stream-interval": 4 },
    ...(split
      ? {
          role: (i: number) => (i < PODS / 2 ? ("prefill" as const) : ("decode" as const)),
          disaggregation: { mode: "gateway", threshold: 256 },
        }
      : {}),
  });
  const end = async () => {
    await fleet.stop();
    process.exit(130);
  };
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  try {
    await fleet.startPods();
    await fleet.startAgent();
    await fleet.startEnvoy();
    await fleet.gatewayReady();
    await fleet.resetPodStats();
    const client = new ChatClient(fleet.gatewayPort, MODEL);
    const label = split ? "2 prefill + 2 decode" : "4 pods that do all";
    const { played } = await play(workload, client, o.timeScale, progress(label));
    client.close();
    const stats = await fleet.podStats();
    if (split) {
      const counters = await envoyStats(fleet.adminPort, "warmgate_prefill_");
      const told = ["split", "local", "failed", "timeout", "no_parameters"].map(
        (name) => `${name} ${counters.get(`warmgate_prefill_${name}_total`) ?? 0}`,
      );
      say(`  prefills in the gateway: ${told.join(", ")}`);
    }
    for (const error of new Set(played.flatMap((p) => (p.error ? [p.error] : [])))) say(`  failed: ${error}`);
    return {
      ...measure(played, o.timeScale),
      lagMs: Math.max(...stats.map((s) => s.eventLoopLagMs.p99)),
      transferredTokens: stats.reduce((n, s) => n + s.externalTokens, 0),
      heldBlocks: stats.reduce((n, s) => n + s.heldBlocks, 0),
    };
  } finally {
    process.off("SIGINT", end);
    process.off("SIGTERM", end);
    await fleet.stop();
  }
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
  const isVoid = runs.some((r) => r.lagMs * o.timeScale > LAG_SHARE * r.ttftShortMs.mean);
  say(`  pods' event-loop lag p99: ${runs.map((r) => `${r.lagMs.toFixed(1)} ms`).join(", ")} real`);
  if (isVoid) say("  VOID: the machine was too slow for this time scale; choose a smaller --time-scale");
  if (o.json !== undefined)
    writeFileSync(
      o.json,
      `${JSON.stringify(
        {
          without,
          with: withSplit,
          void: isVoid,
          options: o,
          machine: { cpus: cpus().length, load: loadavg()[0] },
        },
        null,
        2,
      )}\n`,
    );
  return runs.some((r) => r.failed > 0) ? 1 : isVoid ? 3 : 0;
}
