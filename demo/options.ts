// The main job's command line.
import { Command, InvalidArgumentError } from "commander";
import { NAMED_PROFILES } from "../agent/policy/named-profiles.js";
import { positive, wholeFrom } from "../simulate/arguments.js";

export interface DemoOptions {
  once: boolean;
  json: string | undefined;
  pods: number;
  blocks: number;
  seed: number;
  timeScale: number;
  duration: number;
  trace: string | undefined;
  limit: number;
  rate: number | undefined;
  ramp: boolean;
  pd: boolean;
  policies: string[] | undefined;
  seeds: number;
  control: boolean;
  bufferSteps: number;
  port: number;
  adminPort: number;
}

const whole = wholeFrom(0);

const names = (text: string) => {
  const list = text.split(",").map((name) => name.trim());
  for (const name of list)
    if (!NAMED_PROFILES[name])
      throw new InvalidArgumentError(`"${name}" is none of ${Object.keys(NAMED_PROFILES).join(", ")}`);
  if (new Set(list).size < list.length) throw new InvalidArgumentError("each policy is named once");
  return list;
};

/** Reads the arguments; commander answers --help and wrong ones and ends the process. */
export function readOptions(argv: string[]): DemoOptions {
  const program = new Command("npm start --")
    .description(
      "Runs simulated vLLM pods behind Envoy and sends the same traffic twice: round robin, then through Warmgate.",
    )
    .option("--once", "end after the runs instead of leaving the gateway up", false)
    .option("--json <file>", "write the summary to a file")
    .option("--pods <n>", "simulated pods", whole, 4)
    .option("--blocks <n>", "KV blocks (16 tokens) of each pod (default: 6144, 16384 with --policies)", whole)
    .option("--seed <n>", "seed of traffic and pods", whole, 1)
    .option(
      "--time-scale <x>",
      "simulated seconds per real second (default: 2; 1 with --ramp and --policies, 5 with --trace)",
      positive,
    )
    .option("--duration <s>", "length of the traffic in simulated seconds", positive, 60)
    .option("--trace <file>", "replay a trace in Mooncake's format (.jsonl, .jsonl.gz)")
    .option("--limit <n>", "requests taken from the trace", whole, 1000)
    .option(
      "--rate <r>",
      "requests per simulated second, of --trace (default: its own) and --policies",
      positive,
    )
    .option("--ramp", "one set of conversations after a tiny warm-up", false)
    .option("--pd", "prefill/decode: 2 prefill and 2 decode pods against the same four without it", false)
    .option(
      "--policies <names>",
      "compare named policies, A,B,…: each plays the same traffic on a fleet of its own, beside what warmgate simulate says of it",
      names,
    )
    .option(
      "--seeds <n>",
      "with --policies: runs of each, of traffic from --seed on; medians are shown",
      whole,
      1,
    )
    .option("--no-control", "leave out the round-robin run")
    .option("--buffer-steps <n>", "event batches that each pod keeps for replay", whole, 10_000)
    .option("--port <n>", "port of the gateway, 0 = free", whole, 10_000)
    .option("--admin-port <n>", "port of Envoy's admin interface, 0 = free", whole, 10_001)
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 failed, 2 wrong flags, 3 void (the machine was too slow for the time scale),\n            4 --policies: what the simulation has far apart came out the other way round",
    );
  program.exitOverride((e) => process.exit(e.exitCode === 0 ? 0 : 2));
  program.parse(argv, { from: "user" });
  const o = program.opts();
  return {
    ...o,
    blocks: o["blocks"] ?? (o["policies"] ? 16_384 : 6144),
    timeScale: o["timeScale"] ?? (o["ramp"] || o["policies"] ? 1 : o["trace"] ? 5 : 2),
  } as DemoOptions;
}
