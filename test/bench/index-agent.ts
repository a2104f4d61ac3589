// The bench's agent, in a process of its own: the whole of it, told over IPC what to follow and asked what it spent.
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import pino from "pino";
import { buildApp } from "../../agent/app.js";
import { parseConfig } from "../../agent/config/load.js";

export interface AgentReady {
  http: number;
  stream: number;
}

/** CPU time of the process so far, ms, and the subscribers it has. */
export interface AgentSpent {
  cpuMs: number;
  subscribers: number;
  blocks: number;
  /** How late its event loop was since it was asked last, ms. */
  loopMs: { p99: number; max: number };
}

export async function runAgent(configText: string, folder: string): Promise<void> {
  const app = await buildApp(
    parseConfig(configText, `${folder}/warmgate.yaml`),
    pino({ level: "error" }, pino.destination(2)),
  );
  await app.listen({ host: "127.0.0.1", port: 0 });
  const stream = await app.tableStream.listen({ host: "127.0.0.1", port: 0 });
  while (app.readiness.reasons().length > 0 || !app.publisher.opened)
    await new Promise((wake) => setTimeout(wake, 20));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    const loopMs = { p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 };
    delay.reset();
    process.send!({
      cpuMs: (user + system) / 1000,
      subscribers: app.publisher.subscribers,
      blocks: app.wire.stats().blocks,
      loopMs,
    } satisfies AgentSpent);
  });
  process.send!({ http: (app.server.address() as AddressInfo).port, stream } satisfies AgentReady);
}
