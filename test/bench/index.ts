// What the index costs and how fast it is: ingest and memory in one process, then a whole agent between engines and
// gateway workers. `npm run bench:index -- --help` says how to call it.
import { spawnSync } from "node:child_process";
import { loadavg } from "node:os";
import { Command } from "commander";
import { runAgent } from "./index-agent.js";
import { fanout } from "./index-fanout.js";
import { type IngestFigures, ingest } from "./index-ingest.js";
import { type Quantiles, runScores } from "./index-scores.js";
import { runWorkers } from "./index-workers.js";
import { say, writeResult } from "./result.js";
import { round2 } from "./round.js";

const program = new Command("npm run bench:index --")
  .description(
    "Measures the agent's index: ingest with the check of sampled tokens on, memory per block, score requests over\nHTTP, and the way of an event to every gateway worker while the table changes.",
  )
  .option("--json <file>", "write the figures to a file instead of standard output")
  .option("--blocks <n>", "distinct KV blocks to ingest", Number, 10_000_000)
  .option("--subscribers <n>", "gateway workers", Number, 128)
  .option("--changes <n>", "prefix entries that change per second", Number, 20_000)
  .option("--seconds <s>", "how long the fan-out is measured", Number, 15)
  .option("--part <name>", "a process of the bench itself")
  .argument("[args...]");
program.parse(process.argv.slice(2), { from: "user" });
const o = program.opts<{
  json?: string;
  blocks: number;
  subscribers: number;
  changes: number;
  seconds: number;
  part?: string;
}>();

if (o.part === "agent") await runAgent(program.args[0]!, program.args[1]!);
else if (o.part === "workers") await runWorkers(JSON.parse(program.args[0]!));
else if (o.part === "scores") await runScores(Number(program.args[0]));
else if (o.part === "ingest") process.stdout.write(JSON.stringify(await ingest(Number(program.args[0]))));
else await main();

async function main(): Promise<void> {
  say(`ingest of ${o.blocks} blocks`);
  const run = spawnSync(
    process.execPath,
    ["--expose-gc", process.argv[1]!, "--part", "ingest", "--", String(o.blocks)],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  if (run.status !== 0) throw new Error(`the ingest ended with ${run.status}`);
  const stored = JSON.parse(run.stdout.toString()) as IngestFigures;
  const loadAfterIngest = round2(loadavg()[0]!);
  say(`${o.subscribers} gateway workers, ${o.changes} changes a second`);
  const spread = await fanout(o.subscribers, o.changes, o.seconds);
  writeResult(o.json, {
    ingestBlocksPerSecond: stored.ingestBlocksPerSecond,
    bytesPerBlock: round2(stored.bytesPerBlock),
    blocks: stored.blocks,
    eventToWorkerMs: rounded(spread.eventToWorkerMs),
    scoreMs: rounded(spread.scoreMs),
    fanout: {
      ...spread.fanout,
      agentCores: round2(spread.fanout.agentCores),
      loopMs: { p99: round2(spread.fanout.loopMs.p99), max: round2(spread.fanout.loopMs.max) },
    },
    markers: spread.markers,
    ingest: {
      countedBytesPerBlock: round2(stored.countedBytesPerBlock),
      entries: stored.entries,
      checkedBlocks: stored.checked,
      leftOut: stored.sampledOut,
    },
    loadAverage: [loadAfterIngest, round2(loadavg()[0]!)],
  });
}

function rounded({ p50, p99 }: Quantiles): Quantiles {
  return { p50: round2(p50), p99: round2(p99) };
}
