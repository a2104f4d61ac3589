// The main job: the same traffic twice through one Envoy, first round robin, then, on cold pods again, Warmgate.
import { percent } from "../simulate/report.js";
import { Tokenizer } from "../simulator/tokenizer.js";
import { pooledBound } from "./bound.js";
import { comparePolicies } from "./compare.js";
import { type Fleet, MODEL } from "./fleet.js";
import { type DemoOptions, readOptions } from "./options.js";
import { runPrefillDecode } from "./prefill-decode.js";
import { say, table } from "./print.js";
import {
  exitCode,
  playOn,
  sayFailures,
  sayLoad,
  type TrafficRun,
  tooSlow,
  withFleet,
  writeSummary,
} from "./run.js";
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

interface Run extends TrafficRun {
  summary: RunSummary;
}

async function runOnce(fleet: Fleet, workload: Workload, port: number, label: string): Promise<Run> {
  const run = await playOn(fleet, workload, label, port);
  return { ...run, summary: summarize(run.played, fleet.options.timeScale) };
}

const ttftCells = (t: Distribution) => [t.mean, t.p50, t.p90, t.p99].map((v) => v.toFixed(0));

async function main(): Promise<number> {
  const o = readOptions(process.argv.slice(2));
  if (o.pd) return runPrefillDecode(o);
  if (o.policies) return comparePolicies(o, o.policies);
  const workload = workloadOf(o);
  const { pods, blocks, seed, timeScale, bufferSteps, adminPort } = o;
  const options = { pods, blocks, seed, timeScale, bufferSteps, gatewayPort: o.port, adminPort };
  return withFleet(options, async (fleet) => {
    sayLoad(workload, o);
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
    const isVoid = runs.some((r) => tooSlow(r.lagMs, o.timeScale, LAG_SHARE, r.summary.ttftMs));
    say(`  pods' event-loop lag p99: ${runs.map((r) => `${r.lagMs.toFixed(1)} ms`).join(", ")} real`);
    if (isVoid) say("  VOID: the lag is more than a tenth of the mean TTFT; choose a smaller --time-scale");
    writeSummary(o, {
      control: control?.summary ?? null,
      warmgate: { ...warm.summary, schedulingUs: { p50: scheduling.p50, p99: scheduling.p99 } },
      bound: { hitRate: bound },
      prediction,
      lagMs: runs.map((r) => r.lagMs),
      void: isVoid,
    });
    sayFailures(runs.flatMap((r) => r.played));
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
    return exitCode({ failed: runs.some((r) => r.summary.failed > 0), isVoid });
  });
}

process.exit(
  await main().catch((e: Error) => {
    process.stderr.write(`warmgate: ${e.message}\n`);
    return 1;
  }),
);
