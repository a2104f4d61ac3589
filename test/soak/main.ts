// `npm run soak`: runs a soak and says whether everything held.
import { writeFileSync } from "node:fs";
import { Command } from "commander";
import { positive, wholeFrom } from "../../simulate/arguments.js";
import { type SoakOptions, soak } from "./soak.js";

type Options = Omit<SoakOptions, "wasm" | "onStart"> & { json: string | undefined };

const whole = wholeFrom(1);

function readOptions(argv: string[]): Options {
  const program = new Command("npm run soak --")
    .description(
      "Keeps Envoy, the filter, the agent and simulated pods under varied load, wrong requests and clients that leave included, and judges what it sees.",
    )
    .option("--requests <n>", "requests in all", whole, 1_000_000)
    .option("--connections <n>", "keep-alive connections", whole, 16)
    .option("--pods <n>", "simulated pods", whole, 2)
    .option("--seed <n>", "seed of the traffic", whole, 1)
    .option("--max-drift <x>", "most growth of the median latency, as a factor", positive, 1.5)
    .option("--json <file>", "write what was seen to a file")
    .addHelpText("after", "\nExit codes: 0 all checks hold, 1 one does not, 2 wrong flags");
  program.exitOverride((e) => process.exit(e.exitCode === 0 ? 0 : 2));
  program.parse(argv, { from: "user" });
  return program.opts();
}

const say = (line: string) => process.stderr.write(`${line}\n`);

async function main(): Promise<number> {
  const { json, ...options } = readOptions(process.argv.slice(2));
  const result = await soak(options, say);
  for (const c of result.checks) say(`soak: ${c.ok ? "holds" : "FAILS"}: ${c.name} (${c.saw})`);
  if (result.firstFailure) say(`soak: the first wrong answer: ${result.firstFailure}`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ options, ...result }, null, 2)}\n`);
  return result.checks.every((c) => c.ok) ? 0 : 1;
}

process.exit(
  await main().catch((e: Error) => {
    say(`soak: ${e.message}`);
    return 1;
  }),
);
