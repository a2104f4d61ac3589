// What the filter costs in a real Envoy: CPU per request of the worker thread, off / Envoy's buffer filter / on, in
// interleaved rounds of one run. `npm run bench:gateway -- --help` says how to call it.
import { cpus, loadavg } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { freePorts } from "../../demo/ports.js";
import { killRunning } from "../../demo/processes.js";
import { BenchGateway, pin } from "./bench-gateway.js";
import { type BenchBody, benchBodies } from "./bodies.js";
import { filterCost } from "./filter-cost.js";
import { measurePicks } from "./picks.js";
import { say, writeResult } from "./result.js";
import { round1 } from "./round.js";
import { compareTables } from "./table-sizes.js";

interface Table {
  entries: number;
  pods: number;
}

function tableOf(text: string): Table {
  const found = /^(\d+):(\d+)$/.exec(text);
  if (!found) throw new InvalidArgumentError("it is ENTRIES:PODS, as 100000:16");
  return { entries: Number(found[1]), pods: Number(found[2]) };
}

const program = new Command("npm run bench:gateway --")
  .description(
    "Measures what the filter adds to a request in a real Envoy, with its controls in the same run.\nEnvoy's only worker has core 0, the client and the pods have core 1.",
  )
  .option("--json <file>", "write the figures to a file instead of standard output")
  .option("--entries <n>", "prefix entries in the table (default: 100000)", Number)
  .option("--pods <n>", "pods in the table (default: 16)", Number)
  .option("--seconds <s>", "length of a round", Number, 1)
  .option("--rounds <n>", "rounds of each row, over all starts", Number, 9)
  .option("--starts <n>", "Envoys that the rounds are divided among, one after the other", Number, 3)
  .option("--debug-headers <policy>", "all, trusted or none, as in the policy", "trusted")
  .option(
    "--profiles",
    "only what a choice takes under every named profile; with 64 pods and 1,000,000 entries when these are not given",
  )
  .option(
    "--beside <entries:pods>",
    "only what the table costs beside one of this size, by a second gateway whose rounds alternate with the first's",
    tableOf,
  )
  .option("--only <bytes>", "only this body size, and nothing else", Number);
program.parse(process.argv.slice(2), { from: "user" });
interface Options {
  json?: string;
  entries: number;
  pods: number;
  seconds: number;
  rounds: number;
  starts: number;
  debugHeaders: "all" | "trusted" | "none";
  profiles?: boolean;
  beside?: Table;
  only?: number;
}
const given = program.opts<Options>();
const o: Options = {
  ...given,
  entries: given.entries ?? (given.profiles ? 1_000_000 : 100_000),
  pods: given.pods ?? (given.profiles ? 64 : 16),
};

/** Bytes of a body, and how many different ones there are: together more than the caches hold. */
const SIZES = new Map([
  [1024, 400],
  [16_384, 120],
  [262_144, 16],
  [2_097_152, 4],
]);
const THROUGHPUT_SIZES = new Map([
  [2048, 400],
  [16_384, 120],
  [225_280, 16],
]);
const PICK_BYTES = 16_384;
/** Seconds at half load, for a 99th percentile of some ten thousand picks. */
const PICK_SECONDS = 8;

const only = o.profiles ? PICK_BYTES : o.only;
if (only !== undefined && !SIZES.has(only))
  program.error(`error: --only is one of ${[...SIZES.keys()].join(", ")}`);
const sizes = [...SIZES.keys()].filter((size) => only === undefined || size === only);
const throughputSizes = only === undefined && !o.beside ? [...THROUGHPUT_SIZES.keys()] : [];

// Made before the gateway, whose table holds half of each prompt.
const bodies = new Map<number, BenchBody[]>();
for (const size of [...sizes, ...throughputSizes])
  bodies.set(size, benchBodies(size, (SIZES.get(size) ?? THROUGHPUT_SIZES.get(size))!, size));
const podPorts: number[] = await freePorts(Math.max(o.pods, o.beside?.pods ?? 0));

/** A gateway with such a table. */
function gatewayWith({ entries, pods }: Table): Promise<BenchGateway> {
  say(`a table of ${entries} entries over ${pods} pods`);
  return BenchGateway.create(podPorts.slice(0, pods), entries, [...bodies.values()].flat(), o.debugHeaders);
}

async function measure(gateway: BenchGateway): Promise<object> {
  if (o.profiles)
    return {
      pick: await measurePicks({ gateway, podPorts, bodies: bodies.get(PICK_BYTES)!, seconds: PICK_SECONDS }),
    };
  const common = { gateway, podPorts, bodies, starts: o.starts, rounds: o.rounds, seconds: o.seconds };
  if (!o.beside) return filterCost({ ...common, sizes, throughputSizes });
  const beside = await gatewayWith(o.beside);
  try {
    return { beside: await compareTables({ ...common, beside }) };
  } finally {
    await beside.stop();
  }
}

for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    killRunning();
    process.exit(130);
  });
pin(process.pid, 1);
const gateway = await gatewayWith(o);
try {
  const figures = await measure(gateway);
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, load: round1(loadavg()[0]!) };
  writeResult(o.json, { ...figures, options: o, machine });
} finally {
  await gateway.stop();
}
process.exit(0);
