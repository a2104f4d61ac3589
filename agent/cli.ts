#!/usr/bin/env node
// warmgate: the command line.
import { Command, CommanderError } from "commander";
import { sidecarCommand } from "../sidecar/cli-command.js";
import { simulateCommand } from "../simulate/cli-command.js";
import { loadConfig } from "./config/load.js";
import { replayCommand } from "./decisions/cli-command.js";
import { ConfigError, EXIT, StartError } from "./errors.js";
import { loadPlugins } from "./load/column-plugins.js";
import { agentLog, serve } from "./server.js";

const program = new Command("warmgate")
  .description("Sends each LLM request to the pod whose KV cache is warm for it.")
  .exitOverride()
  .showHelpAfterError("(--help shows what is possible)");

program
  .command("agent")
  .description("follow pods and serve the score table to gateways")
  .requiredOption("--config <file>", "configuration file (docs/configuration.md)")
  .option(
    "--plugin <file>",
    "module that gives pods a column (docs/policy.md); may be repeated",
    (file: string, files: string[]) => [...files, file],
    [] as string[],
  )
  .option("--check", "read the configuration, say whether it is right, and end")
  .addHelpText(
    "after",
    `
Environment: LOG_LEVEL = trace, debug, info (default), warn, error
Exit codes:  ${EXIT.ok} ended as asked, ${EXIT.failed} could not start or failed, ${EXIT.usage} wrong flags or configuration`,
  )
  .action(async ({ config: file, check, plugin }: { config: string; check?: boolean; plugin: string[] }) => {
    const config = loadConfig(file, await loadPlugins(plugin));
    if (check) {
      const pods = config.pools.reduce((n, pool) => n + pool.pods.length, 0);
      process.stdout.write(`${file}: right (${config.pools.length} pools, ${pods} pods)\n`);
      return;
    }
    await serve(config, agentLog());
  });

program.addCommand(sidecarCommand().copyInheritedSettings(program));
program.addCommand(simulateCommand().copyInheritedSettings(program));
program.addCommand(replayCommand().copyInheritedSettings(program));

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage);
  if (error instanceof ConfigError || error instanceof StartError) {
    process.stderr.write(`${error.message}\n`);
    process.exit(error instanceof ConfigError ? EXIT.usage : EXIT.failed);
  }
  process.stderr.write(`${(error as Error).stack ?? error}\n`);
  process.exit(EXIT.failed);
}
