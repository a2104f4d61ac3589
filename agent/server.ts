// The process: listens, says so, stops gracefully.

import type { AddressInfo } from "node:net";
import closeWithGrace from "close-with-grace";
import pino, { type Logger } from "pino";
import { buildApp } from "./app.js";
import type { AgentConfig } from "./config/load.js";
import { StartError } from "./errors.js";

/** What is printed on stdout when both listeners are up. */
export interface ReadyLine {
  ready: true;
  http: string;
  stream: string;
  pid: number;
}

/** JSON lines on stderr, so that stdout has the ready line alone. `LOG_LEVEL` sets the level. */
export function agentLog(): Logger {
  return pino(
    { level: process.env.LOG_LEVEL ?? "info", base: { service: "warmgate-agent" } },
    pino.destination(2),
  );
}

/**
 * Runs an agent until a signal ends it.
 * @throws StartError when it cannot start.
 */
export async function serve(config: AgentConfig, log: Logger): Promise<void> {
  const app = await buildApp(config, log);
  closeWithGrace({ delay: 10_000, logger: false }, async ({ err, signal }) => {
    if (err) log.fatal({ err }, "the agent failed and ends");
    else log.info({ signal }, "the agent ends");
    await app.close();
  });
  try {
    await app.listen({ host: config.http.host, port: config.http.port });
  } catch (error) {
    await app.close();
    throw listenError(error as NodeJS.ErrnoException, `listen.http ${config.http.host}:${config.http.port}`);
  }
  let streamPort: number;
  try {
    streamPort = await app.tableStream.listen(config.stream);
  } catch (error) {
    await app.close();
    throw error;
  }
  const { address, port, family } = app.server.address() as AddressInfo;
  const line: ReadyLine = {
    ready: true,
    http: `${family === "IPv6" ? `[${address}]` : address}:${port}`,
    stream: `${config.stream.host.includes(":") ? `[${config.stream.host}]` : config.stream.host}:${streamPort}`,
    pid: process.pid,
  };
  log.info(line, "the agent listens");
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function listenError(error: NodeJS.ErrnoException, where: string): Error {
  if (error.syscall !== "listen") return error;
  const why =
    error.code === "EADDRINUSE"
      ? "the address is in use; stop the other process or choose another port"
      : error.code;
  return new StartError(`${where}: ${why}`);
}
