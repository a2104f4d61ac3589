// Agent and Envoy in front of two engines, as a user would run them.
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "undici";
import { stringify } from "yaml";
import { built } from "../../agent/package-root.js";
import { envoyConfig } from "../../demo/envoy-config.js";
import { freePorts } from "../../demo/ports.js";
import { type Running, startAgent, startEnvoy, waitFor } from "../../demo/processes.js";
import { type Engine, MODEL_NAME } from "./engine.js";

/** Ready on a machine that is busy with importing torch. */
const READY_MS = 180_000;
/** Requests in a row that must be scheduled: each of Envoy's workers has its own table. */
const PROBES = 12;

/** What is asked of a gateway beside its pods. */
interface GatewayOptions {
  /** Role of each pod; all do both when absent. */
  roles?: ("prefill" | "decode")[];
  /** ip:port of each pod, where it is not the engine's own. */
  addresses?: string[];
  /** More of the policy. */
  policy?: object;
  /** The agent gets no tokenizer.json. */
  learnTokens?: boolean;
}

export class Gateway {
  private constructor(
    readonly base: string,
    readonly agent: Running,
    readonly envoy: Running,
    readonly agentBase: string,
  ) {}

  /** `events` is where each engine's events are followed; the folder gets configuration and state. */
  static async start(
    folder: string,
    engines: Engine[],
    events: string[],
    { roles, addresses, policy, learnTokens }: GatewayOptions = {},
  ): Promise<Gateway> {
    const at = (i: number) => addresses?.[i] ?? `127.0.0.1:${engines[i]!.options.port}`;
    const serving = (role: string) => engines.flatMap((_, i) => (roles?.[i] === role ? [] : [at(i)]));
    mkdirSync(join(folder, "state"), { recursive: true });
    const [gatewayPort, adminPort, agentPort, streamPort] = await freePorts(4);
    const file = join(folder, "warmgate.yaml");
    writeFileSync(
      file,
      stringify({
        listen: { http: `127.0.0.1:${agentPort}`, stream: `127.0.0.1:${streamPort}` },
        state: join(folder, "state"),
        scrape: { interval: "1s" },
        pools: [
          {
            name: "default",
            model: {
              name: MODEL_NAME,
              tokenizer: learnTokens ? "pods" : join(engines[0]!.options.modelFolder, "tokenizer.json"),
              template: "probe",
            },
            pods: engines.map((engine, i) => ({
              name: engine.options.name,
              address: at(i),
              role: roles?.[i] ?? "both",
              events: events[i],
              replay: engine.replay,
            })),
          },
        ],
        policy: { headers: { debugHeaders: "all" }, ...policy },
      }),
    );
    const agent = await startAgent(file, agentPort);
    let envoy: Running | null = null;
    try {
      await waitFor(
        "the agent's readiness",
        async () => (await request(`http://127.0.0.1:${agentPort}/readyz`)).statusCode === 200,
        agent,
        READY_MS,
      );
      envoy = await startEnvoy(
        envoyConfig({
          gatewayPort,
          adminPort,
          streamPort,
          pods: serving("prefill"),
          prefillPods: roles ? serving("decode") : [],
          wasm: built("warmgate.wasm"),
          filter: { sessionKey: randomBytes(32).toString("hex"), debugHeaders: "all" },
        }),
        join(folder, "envoy.json"),
        adminPort,
      );
      const gateway = new Gateway(
        `http://127.0.0.1:${gatewayPort}`,
        agent,
        envoy,
        `http://127.0.0.1:${agentPort}`,
      );
      await gateway.routes();
      return gateway;
    } catch (error) {
      await Promise.all([envoy?.stop(), agent.stop()]);
      throw error;
    }
  }

  /** Waits until every worker routes by the table. */
  async routes(): Promise<void> {
    await waitFor(
      "the gateway's table",
      async () => {
        for (let i = 0; i < PROBES; i++) {
          const { headers, body } = await request(`${this.base}/v1/models`, { reset: true });
          await body.dump();
          if (headers["x-selected-pod"] === undefined) return false;
        }
        return true;
      },
      this.envoy,
      READY_MS,
    );
  }

  /** What the agent says of a pod: GET /api/v1/pods. */
  async pods(): Promise<{ name: string; ready: boolean; events: Record<string, unknown> | null }[]> {
    const { body } = await request(`${this.agentBase}/api/v1/pods`);
    return ((await body.json()) as { pods: never[] }).pods;
  }

  async stop(): Promise<void> {
    await Promise.all([this.envoy.stop(), this.agent.stop()]);
  }
}
