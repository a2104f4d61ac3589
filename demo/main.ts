// The main job: the same traffic twice through one Envoy, first round robin, then, on cold pods again, Warmgate.
import { writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { Tokenizer } from "../simulator/tokenizer.js";
import { pooledBound } from "./bound.js";
import { ChatClient } from "./client.js";
import { comparePolicies } from "./compare.js";
import { Fleet, MODEL } from "./fleet.js";
import { type DemoOptions, readOptions } from "./options.js";
import { type Played, play, requestsIn } from "./play.js";
import { runPrefillDecode } from "./prefill-decode.js";
import { percent, progress, say, table } from "./print.js";
import { type Distribution, distribution, predictions, type RunSummary, summarize } from "./summary.js";
import { traceWorkload } from "./trace.js";
import { mixedWorkload, rampWorkload, Words, type Workload } from "./workload.js";

/** A run is void when the pods' own lag, in simulated time, exceeds this share of the mean TTFT. */
const LAG_SHARE = 0.1;

function workloadOf(o: DemoOptions): Workload {
  const words = new Words();
  if (o.trace !== undefined)
    return traceWorkload(words, { file: o.trace, limit: o.limit, rate: o.rate, seed: o.seed });
  return o.ramp ? rampWorkload(words, o.seed) : mixedWorkload(words, o.seed, o.duration);
}

interface Run {
  summary: RunSummary;
  played: Played[];
  warmUp: Played[];
  /** Highest p99 of the pods' event-loop lag, real ms. */
  lagMs: number;
}

async function runOnce(fleet: Fleet, workload: Workload, port: number, label: string): Promise<Run> {
  const o = fleet.options;
  const client = new ChatClient(port, MODEL);
  await fleet.resetPodStats();
  const { played, warmUp } = await play(workload, client, o.timeScale, progress(label));
  client.close();
  const stats = await fleet.podStats();
  return {
    summary: summarize(played, o.timeScale),
    played,
    warmUp,
    lagMs: Math.max(...stats.map((s) => s.eventLoopLagMs.p99)),
  };
}

const ttftCells = (t: Distribution) => [t.mean, t.p50, t.p90, t.p99].map((v) => v.toFixed(0));

async function main(): Promise<number> {
  const o = readOptions(process.argv.slice(2));
  if (o.pd) return runPrefillDecode(o);
  if (o.policies) return comparePolicies(o, o.policies);
  const workload = workloadOf(o);
  const fleet = await Fleet.create({
    pods: o.pods,
    blocks: o.blocks,
    seed: o.seed,
    timeScale: o.timeScale,
    bufferSteps: o.bufferSteps,
    gatewayPort: o.port,
    adminPort: o.adminPort,
  });
  const end = async () => {
    await fleet.stop();
    process.exit(130);
  };
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  try {
    say(
      `${requestsIn(workload)} requests (${workload.name}) for ${o.pods} simulated pods of ${o.blocks} KV blocks, ${o.timeScale} simulated seconds a second`,
    );
    await fleet.startPods();
    await fleet.startEnvoy();
    let control: Run | null = null;
    if (o.control) {
      control = await runOnce(fleet, workload, fleet.controlPort, "round robin");
      await fleet.stopPods();
      await fleet.startPods();
    }
    await fleet.startAgent();
    await fleet.gatewayReady();
    const warm = await runOnce(fleet, workload, fleet.gatewayPort, "Warmgate");
    const prediction = predictions(warm.played);
    const bound = pooledBound(warm.played, warm.warmUp, Tokenizer.load(), o.pods * o.blocks);
    const scheduling = distribution(
      warm.played.flatMap((p) => (p.answer?.schedulingUs === undefined ? [] : [p.answer.schedulingUs])),
    );
    say();
    const cells = (name: string, r: Run) => [
      name,
      String(r.summary.requests),
      String(r.summary.failed),
      percent(r.summary.hitRate),
      ...ttftCells(r.summary.ttftMs),
    ];
    table([
      ["", "requests", "failed", "hit rate", "TTFT mean", "p50", "p90", "p99 ms"],
      ...(control ? [cells("round robin", control)] : []),
      cells("Warmgate", warm),
      ["pooled bound", "", "", percent(bound), "", "", "", ""],
    ]);
    say();
    say(`  scheduling in the filter: p50 ${scheduling.p50} µs, p99 ${scheduling.p99} µs`);
    say(
      `  predicted cached tokens within one block for ${percent(prediction.withinOneBlock)} of ${prediction.requests} requests (${prediction.over} over, ${prediction.under} under; ${percent(prediction.withHits)} had hits)`,
    );
    const runs = control ? [control, warm] : [warm];
    const isVoid = runs.some((r) => r.lagMs * o.timeScale > LAG_SHARE * r.summary.ttftMs.mean);
    say(`  pods' event-loop lag p99: ${runs.map((r) => `${r.lagMs.toFixed(1)} ms`).join(", ")} real`);
    if (isVoid) say("  VOID: the lag is more than a tenth of the mean TTFT; choose a smaller --time-scale");
    if (o.json !== undefined)
      writeFileSync(
        o.json,
        `${JSON.stringify(
          {
            control: control?.summary ?? null,
            warmgate: { ...warm.summary, schedulingUs: { p50: scheduling.p50, p99: scheduling.p99 } },
            bound: { hitRate: bound },
            prediction,
            lagMs: runs.map((r) => r.lagMs),
            void: isVoid,
            options: o,
            machine: { cpus: cpus().length, load: loadavg()[0] },
          },
          null,
          2,
        )}\n`,
      );
    const failed = runs.some((r) => r.summary.failed > 0);
    if (failed)
      for (const e of new Set(runs.flatMap((r) => r.played.flatMap((p) => (p.error ? [p.error] : [])))))
        say(`  failed: ${e}`);
    if (!o.once) {
      say();
      say("The gateway is up; Ctrl-C ends it. Try:");
      say(
        `  curl -i http://127.0.0.1:${fleet.gatewayPort}/v1/chat/completions -H 'content-type: application/json' -d '{"model":"${MODEL}","messages":[{"role":"user","content":"Hello"}],"max_tokens":16}'`,
      );
      await new Promise(() => {
        setInterval(() => {}, 1 << 30);
      });
    }
    return failed ? 1 : isVoid ? 3 : 0;
  } finally {
    await fleet.stop();
  }
}

process.exit(
  await main().catch((e: Error) => {
    process.stderr.write(`warmgate: ${e.message}\n`);
    return 1;
  }),
);
