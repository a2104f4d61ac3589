// `npm run fuzz --`: fuzzes one target or all of them, as long as is asked for.
import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { positive, wholeFrom } from "../../simulate/arguments.js";
import { Fault, type Outcome, runTarget } from "./target.js";
import { CI_CASES, makeTarget, TARGETS, type TargetName } from "./targets.js";

const whole = wholeFrom(0);

interface Options {
  target: TargetName | "all";
  cases: number | undefined;
  seed: number | undefined;
  minutes: number | undefined;
  json: string | undefined;
}

function readOptions(argv: string[]): Options {
  const program = new Command("npm run fuzz --")
    .description("Feeds hostile input to the wasm modules until the cases or the time are used up.")
    .addOption(new Option("--target <name>", "what to fuzz").choices([...TARGETS, "all"]).default("all"))
    .option("--cases <n>", "cases of each target (default: what CI runs; no limit with --minutes)", whole)
    .option(
      "--seed <n>",
      "first seed (default: from the clock); a fault prints the seed that brings it back",
      whole,
    )
    .option("--minutes <m>", "time in all, shared by the targets", positive)
    .option("--json <file>", "write the summary to a file")
    .addHelpText("after", "\nExit codes: 0 no fault, 1 a fault was found, 2 wrong flags");
  program.exitOverride((e) => process.exit(e.exitCode === 0 ? 0 : 2));
  program.parse(argv, { from: "user" });
  return program.opts();
}

const say = (line: string) => process.stderr.write(`${line}\n`);

async function main(): Promise<number> {
  const o = readOptions(process.argv.slice(2));
  const names = o.target === "all" ? [...TARGETS] : [o.target];
  const seed = o.seed ?? Date.now() >>> 0;
  const outcomes: Outcome[] = [];
  let fault: Fault | null = null;
  for (const name of names) {
    const target = await makeTarget(name);
    const cases = o.cases ?? (o.minutes === undefined ? CI_CASES[name] : Number.MAX_SAFE_INTEGER);
    const share = o.minutes === undefined ? Number.POSITIVE_INFINITY : (o.minutes * 60_000) / names.length;
    const start = performance.now();
    let told = start;
    try {
      const outcome = await runTarget(target, seed, cases, start + share, (done) => {
        const now = performance.now();
        if (now - told < 10_000) return;
        told = now;
        say(`${name}: ${done} cases, ${Math.round((done / (now - start)) * 1000)} a second, no fault`);
      });
      outcomes.push(outcome);
      say(
        `${name}: ${outcome.cases} cases from seed ${seed} in ${outcome.seconds.toFixed(1)} s, ${outcome.casesPerSecond} a second, no fault`,
      );
    } catch (e) {
      if (!(e instanceof Fault)) throw e;
      fault = e;
      say(e.message);
      break;
    }
  }
  if (o.json !== undefined)
    writeFileSync(
      o.json,
      `${JSON.stringify(
        {
          seed,
          outcomes,
          fault: fault && { target: fault.target, seed: fault.seed, what: fault.what, input: fault.input },
        },
        null,
        2,
      )}\n`,
    );
  return fault ? 1 : 0;
}

process.exit(await main());
