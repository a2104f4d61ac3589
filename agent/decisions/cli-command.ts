// `warmgate replay`: recorded decisions made again, and whether they come out the same.
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { ConfigError, EXIT } from "../errors.js";
import { type ReplayFile, type ReplayReport, replay } from "./replay.js";

/** The command, to be added to the program. Its action throws ConfigError. */
export function replayCommand(): Command {
  return new Command("replay")
    .description("make recorded decisions again and say whether they come out the same")
    .argument("<file>", "answer of GET /api/v1/decisions?replay=true; - for stdin")
    .option("--json", "print the report as JSON")
    .addHelpText(
      "after",
      `
Where a prefill might have run on another pod, that choice is made again, too.
A decision is skipped when nothing was picked, when it had more than 256 pods (or prefill pods) to choose from, or when
its policy's program is not in the file.
Exit codes:  ${EXIT.ok} all that was replayed is the same, ${EXIT.failed} some is different or nothing could be replayed, ${EXIT.usage} wrong flags or file`,
    )
    .action(async (file: string, { json }: { json?: boolean }) => {
      const report = await replay(read(file));
      process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : linesOf(report));
      if (report.different > 0 || report.same === 0) process.exitCode = EXIT.failed;
    });
}

function read(file: string): ReplayFile {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(file === "-" ? 0 : file, "utf8"));
  } catch (error) {
    throw new ConfigError(`${file}: cannot be read: ${(error as Error).message}`);
  }
  const { decisions, programs } = (parsed ?? {}) as Partial<ReplayFile>;
  const texts = (of: unknown): of is Record<string, string> =>
    typeof of === "object" && of !== null && Object.values(of).every((v) => typeof v === "string");
  if (Array.isArray(decisions) && texts(programs)) return { decisions, programs };
  throw new ConfigError(
    `${file}: must have decisions and programs, as GET /api/v1/decisions?replay=true answers`,
  );
}

function linesOf({ same, different, skipped, decisions }: ReplayReport): string {
  const told = decisions
    .filter(({ outcome }) => outcome !== "same")
    .map(({ requestId, outcome, why }) => `${outcome.padEnd(9)} ${requestId || "-"}  ${why}\n`);
  return `${told.join("")}${same} same, ${different} different, ${skipped} skipped\n`;
}
