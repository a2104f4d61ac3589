// Command line of the run against real vLLM servers.
import { Command, Option } from "commander";
import { wholeFrom } from "../../simulate/arguments.js";

/** What a fleet of two pods serves. */
export interface Variant {
  name: string;
  template: "chatml" | "llama3";
  /** Whether the tokenizer puts the start token before raw prompts. */
  bos: boolean;
}

const VARIANTS: Variant[] = [
  { name: "chatml", template: "chatml", bos: false },
  { name: "llama3-bos", template: "llama3", bos: true },
  { name: "llama3", template: "llama3", bos: false },
];

export interface VllmOptions {
  /** Fleets that are run one after the other. */
  variants: Variant[];
  /** Counted requests over all variants, faults apart. */
  requests: number;
  /** Requests of the phase with faults; 0 leaves it out. */
  faultRequests: number;
  /** Blocks of 16 tokens that each pod's cache holds. */
  blocks: number;
  seed: number;
  json: string | undefined;
  /** Folder that keeps logs and every request's record; a temporary one when absent. */
  keep: string | undefined;
  verbose: boolean;
  /** What runs: predictions, prefill/decode over NIXL, or both. */
  parts: { predictions: boolean; pd: boolean };
  /** The agent gets no tokenizer.json: it learns the tokens from the servers. */
  learnTokens: boolean;
}

const whole = wholeFrom(0);

/** Reads the arguments; commander answers --help and wrong ones and ends the process. */
export function readOptions(argv: string[]): VllmOptions {
  const program = new Command("npm run test:vllm --")
    .description(
      "Routes requests to two real vLLM servers (CPU) and compares predicted with actual cached tokens.",
    )
    .option("--full", "500 requests and every variant instead of 120 and two", false)
    .option("--requests <n>", "counted requests, over all variants", whole)
    .option("--fault-requests <n>", "requests of the phase with faults; 0 = none", whole)
    .addOption(
      new Option("--template <names...>", "variants to run").choices(VARIANTS.map(({ name }) => name)),
    )
    .option("--pd", "prefill/decode over NIXL alone")
    .option("--no-pd", "everything but prefill/decode")
    .option("--if-installed", "skip where vLLM is not installed yet, instead of installing it")
    .option("--blocks <n>", "KV blocks of 16 tokens per pod", whole, 256)
    .option("--seed <n>", "seed of the traffic", whole, 1)
    .option("--json <file>", "write the summary to a file")
    .option("--keep <folder>", "keep logs and every request's record there")
    .option("--learn-tokens", "withhold tokenizer.json: the agent learns the tokens from the servers", false)
    .option("--verbose", "name every request that was not within one block", false)
    .parse(argv, { from: "user" });
  const o = program.opts();
  const names: string[] = o["template"] ?? (o["full"] ? VARIANTS : VARIANTS.slice(0, 2)).map((v) => v.name);
  return {
    variants: VARIANTS.filter(({ name }) => names.includes(name)),
    requests: o["requests"] ?? (o["full"] ? 500 : 120),
    faultRequests: o["faultRequests"] ?? (o["full"] ? 120 : 48),
    blocks: o["blocks"],
    seed: o["seed"],
    json: o["json"],
    keep: o["keep"],
    verbose: o["verbose"],
    parts: { predictions: o["pd"] !== true, pd: o["pd"] !== false },
    learnTokens: o["learnTokens"],
  };
}
