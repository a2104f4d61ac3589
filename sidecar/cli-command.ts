// `warmgate sidecar`: flags of the field, with one dash or two, and the process around the servers.
import closeWithGrace from "close-with-grace";
import { Command } from "commander";
import pino, { type Logger } from "pino";
import { EXIT } from "../agent/errors.js";
import { CONNECTOR_NAMES } from "./connectors/connector.js";
import { type RawFlags, readOptions } from "./options.js";
import { startSidecar } from "./server.js";

/** Flags of other sidecars that mean nothing here: taken, so that a fleet's manifest starts, and named in the log. */
const WITHOUT_EFFECT = [
  "v",
  "max-idle-conns-per-host",
  "metrics-port",
  "pool-group",
  "tracing",
  "zap-devel",
  "zap-encoder",
  "zap-log-level",
  "zap-stacktrace-level",
  "zap-time-encoding",
];

/** Go's flag package takes `-port 8000` and `--port=8000` alike; commander reads one dash as a row of letters. */
class GoFlagCommand extends Command {
  override parseOptions(argv: string[]): { operands: string[]; unknown: string[] } {
    return super.parseOptions(
      argv.map((one) => one.replace(/^-(?=[a-z][a-z0-9-])/, "--").replace(/^-v(?=$|=)/, "--v")),
    );
  }
}

/** What is printed on stdout when every rank listens. */
export interface SidecarReadyLine {
  ready: true;
  ports: number[];
  pid: number;
}

/**
 * The command, to be added to the program. Its action throws ConfigError and StartError.
 * @param log instead of JSON lines on stderr.
 */
export function sidecarCommand(log?: Logger): Command {
  const command = new GoFlagCommand("sidecar")
    .description(
      "stand before a decode pod: fetch each prompt's KV cache from the prefill pod that the gateway names",
    )
    .option("--host <address>", "where to listen (default: all addresses)")
    .option("--port <number>", "port; rank r listens on port + r (default: 8000)")
    .option("--vllm-port <number>", "the local engine's port; rank r is at port + r (default: 8001)")
    .option("--model-server-port <number>", "the same by its newer name")
    .option("--model-server-host <address>", "the local engine's host (default: 127.0.0.1)")
    .option("--data-parallel-size <number>", "ranks of the engine (default: 1)")
    .option("--connector <name>", `${CONNECTOR_NAMES.join(", ")} (default: nixlv2)`)
    .option("--kv-connector <name>", "the same by its newer name")
    .option("--secure-proxy [bool]", "listen with TLS (default: true)")
    .option("--cert-path <folder>", "tls.crt and tls.key, read again when they change (default: self-signed)")
    .option(
      "--ca-file <file>",
      "PEM certificates that upstream servers may be signed by, beside the system's",
    )
    .option("--decoder-use-tls [bool]", "TLS to the local engine")
    .option("--decoder-tls-insecure-skip-verify [bool]", "accept any certificate of the local engine")
    .option("--prefiller-use-tls [bool]", "TLS to prefill pods")
    .option("--prefiller-tls-insecure-skip-verify [bool]", "accept any certificate of prefill pods")
    .option("--enable-tls <stages>", "prefiller, decoder or both: the newer form of the two flags")
    .option("--tls-insecure-skip-verify <stages>", "prefiller, decoder or both")
    .option("--enable-ssrf-protection [bool]", "dial only listed prefill pods (default: true)")
    .option(
      "--allowlist-file <file>",
      "host:port of the prefill pods, one a line, read again when it changes",
    )
    .option(
      "--inference-pool <namespace/name>",
      "followed in the cluster: only its pods are dialled (env INFERENCE_POOL)",
    )
    .option(
      "--reserved-fields <policy>",
      "router-only body fields from clients: reject, strip, allow (default: reject)",
    )
    .option("--prefill-timeout <duration>", "for one attempt at one prefill pod (default: 60s)")
    .option("--prefill-failure <policy>", "fallback: the local engine prefills; error (default: fallback)")
    .option(
      "--prefill-max-retries <number>",
      "at the same pod, after 502, 503, 504 or no connection (default: 0)",
    )
    .option("--prefill-retry-backoff <duration>", "before a retry (default: 200ms)")
    .option(
      "--enable-prefiller-sampling [bool]",
      "begin at a random candidate (env ENABLE_PREFILLER_SAMPLING)",
    )
    .option(
      "--prefiller-pools <number>",
      "prefill pods with open connections, the least used go (default: 16)",
    )
    .option("--max-body-bytes <number>", "larger requests get 413 (default: 33554432)")
    .option(
      "--kv-block-bytes <number>",
      "size of one block, for the counter of transferred bytes (default: 0)",
    )
    .option("--sglang-bootstrap-port <number>", "env SGLANG_BOOTSTRAP_PORT (default: 8998)")
    .option("--mooncake-bootstrap-port <number>", "env MOONCAKE_BOOTSTRAP_PORT (default: 8998)")
    .option("--drain-timeout <duration>", "for running requests after SIGTERM (default: 60s)")
    .addHelpText(
      "after",
      `
One dash is as good as two. Environment: LOG_LEVEL, POD_IP, INFERENCE_POOL_NAMESPACE and INFERENCE_POOL_NAME.
Exit codes: ${EXIT.ok} ended as asked, ${EXIT.failed} could not start or failed, ${EXIT.usage} wrong flags`,
    );
  for (const flag of WITHOUT_EFFECT) command.addOption(command.createOption(`--${flag} [value]`).hideHelp());
  return command.action(async (flags: RawFlags) => {
    await run(flags, log ?? sidecarLog());
  });
}

async function run(flags: RawFlags, log: Logger): Promise<void> {
  const options = readOptions(flags, process.env);
  const ignored = WITHOUT_EFFECT.filter((flag) => flags[camelCase(flag)] !== undefined);
  if (ignored.length > 0) log.warn({ flags: ignored }, "these flags have no effect here");
  const sidecar = await startSidecar(options, log);
  closeWithGrace({ delay: options.drainTimeoutMs + 5000, logger: false }, async ({ err, signal }) => {
    if (err) log.fatal({ err }, "the sidecar failed and ends");
    else log.info({ signal }, "the sidecar drains");
    await sidecar.close();
  });
  const line: SidecarReadyLine = { ready: true, ports: sidecar.ports, pid: process.pid };
  log.info(line, "the sidecar listens");
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function camelCase(flag: string): string {
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function sidecarLog(): Logger {
  return pino(
    { level: process.env.LOG_LEVEL ?? "info", base: { service: "warmgate-sidecar" } },
    pino.destination(2),
  );
}
