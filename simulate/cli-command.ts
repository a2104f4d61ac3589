// `warmgate simulate`: policies compared on a trace or a workload, in one table.
import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { ConfigError, EXIT } from "../agent/errors.js";
import { positive, wholeFrom } from "./arguments.js";
import { ENGINES, type EngineName } from "./engine.js";
import { plotOf } from "./plot.js";
import { findPolicy, POLICY_NAMES } from "./policies.js";
import { seededRandom } from "./random.js";
import { summarize, tableOf } from "./report.js";
import type { Load } from "./request.js";
import { type RunResult, run } from "./run.js";
import { readTrace } from "./trace-file.js";
import { makeWorkload, WORKLOADS } from "./workloads.js";

interface Flags {
  policy: string[];
  trace?: string;
  workload?: string;
  pods: number;
  replicas: number;
  syncMs: number;
  whenSlow: "token-aware" | "keep";
  scrapeMs: number;
  rate?: number;
  limit: number;
  engine?: EngineName;
  seed: number;
  json?: string;
  plot?: string;
}

const MAX_PODS = 1024;
const MAX_REPLICAS = 64;
/** Default of sharing.slowAfter. */
const SLOW_MS = 100;
/** Shortest time between two lines of progress, ms. */
const PROGRESS_MS = 5000;

function oneOf<T extends string>(names: readonly T[]) {
  return (text: string): T => {
    const found = names.find((name) => name === text);
    if (found === undefined) throw new InvalidArgumentError(`must be one of ${names.join(", ")}.`);
    return found;
  };
}

/** The command, to be added to the program. Its action throws ConfigError. */
export function simulateCommand(): Command {
  const workloads = Object.entries(WORKLOADS).map(([name, { about }]) => `  ${name.padEnd(10)} ${about}`);
  return new Command("simulate")
    .description("compare policies on simulated pods, decided by the scheduler that gateways run")
    .option(
      "--policy <name-or-file>",
      "a named policy or a policy document; give it once for each policy (default: warm-until-busy, llm-d-token-aware)",
      (one: string, all: string[]) => [...all, one],
      [] as string[],
    )
    .option("--trace <file>", "trace in Mooncake's (.jsonl) or Azure's (.csv) format, plain or gzipped")
    .option("--workload <name>", "a workload that is made", oneOf(Object.keys(WORKLOADS)))
    .option("--pods <number>", "simulated pods", wholeFrom(1, MAX_PODS), 8)
    .option("--replicas <number>", "gateways, each with counts of its own", wholeFrom(1, MAX_REPLICAS), 1)
    .option(
      "--sync-ms <number>",
      "ms until the other gateways know what one counted; none: they never do",
      (text) => (text === "none" ? Number.POSITIVE_INFINITY : wholeFrom(0, 3_600_000)(text)),
      20,
    )
    .option(
      "--when-slow <what>",
      `sharing.whenSlow of gateways whose counts take more than ${SLOW_MS} ms: token-aware or keep`,
      oneOf(["token-aware", "keep"] as const),
      "token-aware",
    )
    .option("--scrape-ms <number>", "ms between two readings of the pods' metrics", wholeFrom(1, 60_000), 50)
    .option(
      "--rate <number>",
      "requests per second on average: time is stretched, workloads are made so",
      positive,
    )
    .option("--limit <number>", "requests taken from the start", wholeFrom(1, 10_000_000), 10_000_000)
    .option(
      "--engine <name>",
      `${Object.keys(ENGINES).join(", ")} (default: the workload's, 8b-h100 for traces)`,
      oneOf(Object.keys(ENGINES) as EngineName[]),
    )
    .option(
      "--seed <number>",
      "of all chance: the same seed gives the same result",
      wholeFrom(0, 2 ** 31 - 1),
      1,
    )
    .option("--json <file>", "write the results there, - for stdout instead of the table")
    .option("--plot <file>", "write a picture of the times to the first token there (SVG)")
    .addHelpText(
      "after",
      `
Policies:
  ${POLICY_NAMES.join(", ")}
Workloads:
${workloads.join("\n")}
Exit codes:  ${EXIT.ok} simulated, ${EXIT.failed} failed, ${EXIT.usage} wrong flags, trace or policy`,
    )
    .action(simulate);
}

async function simulate(flags: Flags): Promise<void> {
  if ((flags.trace === undefined) === (flags.workload === undefined))
    throw new ConfigError("give either --trace or --workload (--help shows what is possible)");
  const names = flags.policy.length > 0 ? flags.policy : ["warm-until-busy", "llm-d-token-aware"];
  const policies = names.map(findPolicy);
  const load = loadOf(flags);
  const engine = ENGINES[flags.engine ?? (flags.workload ? WORKLOADS[flags.workload]!.engine : "8b-h100")];
  const requests = load.stages.reduce((n, stage) => n + stage.length, 0);
  const runs: RunResult[] = [];
  for (const policy of policies) {
    runs.push(
      await run(load, policy, {
        engine,
        pods: flags.pods,
        replicas: flags.replicas,
        sync: flags.syncMs / 1000,
        sharingSlow: flags.replicas > 1 && flags.syncMs > SLOW_MS && flags.whenSlow === "token-aware",
        scrape: flags.scrapeMs / 1000,
        seed: flags.seed,
        progress: progressOf(policy.name, requests),
      }),
    );
  }
  const summaries = runs.map(summarize);
  const settings = {
    load: basename(load.name),
    requests,
    ratePerSecond: rateOf(load),
    engine: engine.name,
    pods: flags.pods,
    replicas: flags.replicas,
    syncMs: Number.isFinite(flags.syncMs) ? flags.syncMs : null,
    whenSlow: flags.whenSlow,
    scrapeMs: flags.scrapeMs,
    seed: flags.seed,
  };
  const title = `${settings.load}: ${settings.requests} requests, ${settings.ratePerSecond.toFixed(2)}/s, ${flags.pods} pods of ${engine.name}`;
  if (flags.plot !== undefined) write(flags.plot, plotOf(title, runs));
  const json = `${JSON.stringify({ settings, results: summaries }, null, 2)}\n`;
  if (flags.json !== undefined && flags.json !== "-") write(flags.json, json);
  process.stdout.write(flags.json === "-" ? json : `${title}\n\n${tableOf(summaries)}\n`);
}

function loadOf({ trace, workload, rate, limit, seed }: Flags): Load {
  const random = seededRandom(seed);
  return trace === undefined
    ? makeWorkload(workload!, random, rate, limit)
    : readTrace(trace, { rate, limit }, random);
}

/** Requests per second while they arrive, over all stages. */
function rateOf({ stages }: Load): number {
  const seconds = stages.reduce((sum, stage) => sum + stage.at(-1)!.arrival, 0);
  return seconds > 0 ? stages.reduce((n, stage) => n + stage.length, 0) / seconds : 0;
}

function progressOf(policy: string, all: number): (done: number) => void {
  let last = Date.now();
  return (done) => {
    if (Date.now() - last < PROGRESS_MS) return;
    last = Date.now();
    process.stderr.write(`${policy}: ${done} of ${all} requests\n`);
  };
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new ConfigError(`${file}: cannot be written: ${(error as Error).message}`);
  }
}
