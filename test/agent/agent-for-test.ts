import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import pino from "pino";
import { buildApp } from "../../agent/app.js";
import { type AgentConfig, parseConfig } from "../../agent/config/load.js";
import { EngineServer, type EngineServerOptions } from "./engine-server.js";
import { EventPublisher } from "./event-publisher.js";
import { fixturePath } from "./fixtures.js";

/** A pod: both sides of an engine. */
export interface TestPod {
  http: EngineServer;
  events: EventPublisher;
  port: number;
}

export async function startPod(options: EngineServerOptions = {}, steps?: number): Promise<TestPod> {
  const http = new EngineServer(options);
  const events = new EventPublisher(steps === undefined ? {} : { steps });
  const port = await http.listen();
  await events.bind();
  return { http, events, port };
}

export async function stopPod(pod: TestPod): Promise<void> {
  await pod.http.close();
  await pod.events.close();
}

export function newStateFolder(): string {
  return mkdtempSync(join(tmpdir(), "warmgate-"));
}

export function configFor(pods: TestPod[], state: string, extra = ""): AgentConfig {
  const rows = pods.map(
    (pod, i) =>
      `      - {name: pod-${i}, address: "127.0.0.1:${pod.port}", events: "${pod.events.events}", replay: "${pod.events.replay}"}`,
  );
  return parseConfig(
    `state: ${state}
listen: {http: "127.0.0.1:0", stream: "127.0.0.1:0"}
scrape: {interval: 200ms, timeout: 2s}
${extra}
pools:
  - name: default
    model: {name: m, tokenizer: ${fixturePath("model-chatml")}}
    pods:
${rows.join("\n")}
`,
    "warmgate.yaml",
  );
}

/** Builds and starts an agent; `level` may be raised to see its log. */
export async function startAgent(config: AgentConfig, level = "silent"): Promise<FastifyInstance> {
  const app = await buildApp(config, pino({ level }));
  await app.ready();
  return app;
}

/** Waits until /readyz says so. */
export async function untilReady(app: FastifyInstance): Promise<void> {
  for (let i = 0; i < 800; i++) {
    const { statusCode } = await app.inject("/readyz");
    if (statusCode === 200) return;
    await new Promise((wake) => setTimeout(wake, 10));
  }
  throw new Error(`never ready: ${(await app.inject("/readyz")).body}`);
}
