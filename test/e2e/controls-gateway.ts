// A real Envoy with the filter and a table, before pods that answer when a test lets them.
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../agent/package-root.js";
import {
  type Callers,
  compileRules,
  completedRules,
  DEFAULT_CALLERS,
  type RuleInput,
} from "../../agent/policy/request-rules.js";
import { envoyConfig } from "../../demo/envoy-config.js";
import { envoyStats, freePorts, type Running, startEnvoy, waitFor } from "../../demo/processes.js";
import { TableServer } from "../bench/table-server.js";
import { Upstream } from "./upstream.js";

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  ms: number;
}

/** Has the listener write what the filter left in filter state, a line a request. */
function logDecisions(config: object, path: string): void {
  const manager = JSON.parse(JSON.stringify(config)).static_resources.listeners[0].filter_chains[0]
    .filters[0];
  manager.typed_config.access_log = [
    {
      name: "envoy.access_loggers.file",
      typed_config: {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path,
        log_format: {
          text_format_source: {
            inline_string:
              "%REQ(x-request-id)% %FILTER_STATE(wasm.warmgate_reason:PLAIN)% %FILTER_STATE(wasm.warmgate_pod:PLAIN)% %FILTER_STATE(wasm.warmgate_predicted_tokens:PLAIN)%\n",
          },
        },
      },
    },
  ];
  const { listeners } = (
    config as { static_resources: { listeners: { filter_chains: { filters: object[] }[] }[] } }
  ).static_resources;
  listeners[0]!.filter_chains[0]!.filters[0] = manager;
}

/** Has a filter before ours say in metadata which pods requests may go to. */
function restrictTo(config: object, pods: unknown): object {
  const copy = JSON.parse(JSON.stringify(config));
  copy.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters.unshift({
    name: "envoy.filters.http.set_metadata",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
      metadata: [
        {
          metadata_namespace: "envoy.lb.subset_hint",
          value: { "x-gateway-destination-endpoint-subset": pods },
        },
      ],
    },
  });
  return copy;
}

export class ControlsGateway {
  readonly folder = mkdtempSync(join(tmpdir(), "warmgate-controls-"));
  readonly accessLog = join(this.folder, "access.log");
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 512 });
  #admin = 0;
  port = 0;
  private constructor(
    readonly pods: Upstream[],
    readonly table: TableServer,
    readonly envoys: Running[],
  ) {}

  /** `restrict`: what a filter before ours says of the pods, from their addresses. */
  static async start(
    pods: number,
    workers: number,
    restrict?: (addresses: string[]) => unknown,
  ): Promise<ControlsGateway> {
    const upstreams = await Promise.all(Array.from({ length: pods }, () => Upstream.start()));
    const addresses = upstreams.map((p) => p.address);
    const table = await TableServer.create(addresses, 10_000, "trusted");
    const [port, admin, stream] = (await freePorts(3)) as [number, number, number];
    await table.listen(stream);
    const gateway = new ControlsGateway(upstreams, table, []);
    gateway.port = port;
    gateway.#admin = admin;
    const config = envoyConfig({
      gatewayPort: port,
      adminPort: admin,
      streamPort: stream,
      pods: addresses,
      wasm: join(packageRoot(), "build", "warmgate.wasm"),
      filter: { sessionKey: randomBytes(32).toString("hex"), debugHeaders: "trusted" },
    });
    logDecisions(config, gateway.accessLog);
    const used = restrict ? restrictTo(config, restrict(addresses)) : config;
    gateway.envoys.push(await startEnvoy(used, join(gateway.folder, "envoy.json"), admin, workers));
    return gateway;
  }

  /** Puts rules in force: until every worker trusts a token that they bring, as far as fresh connections tell. */
  async rules(input: RuleInput, callers: Partial<Callers> = {}): Promise<void> {
    const marker = randomBytes(16).toString("hex");
    const digest = createHash("sha256").update(marker).digest("hex");
    const tokens = [...(callers.tokens ?? []), digest];
    this.table.wire.setRules(compileRules(completedRules(input), { ...DEFAULT_CALLERS, ...callers, tokens }));
    this.table.publish();
    await waitFor("the rules", async () => {
      for (let i = 0; i < 12; i++) {
        const response = await fetch(`http://127.0.0.1:${this.port}/v1/models`, {
          headers: { connection: "close", authorization: marker },
        });
        await response.arrayBuffer();
        if (!response.headers.has("x-selected-pod")) return false;
      }
      return true;
    });
    for (const pod of this.pods) pod.seen.length = 0;
  }

  async stat(name: string): Promise<number> {
    return (await envoyStats(this.#admin, name)).get(name) ?? 0;
  }

  send(body: object | string, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Answer> {
    const payload = typeof body === "string" ? body : JSON.stringify(body);
    const begun = performance.now();
    return new Promise((resolve, reject) => {
      const req = request(
        {
          host: "127.0.0.1",
          port: this.port,
          method: "POST",
          path: "/v1/chat/completions",
          agent: this.#agent,
          headers: {
            "content-type": "application/json",
            "content-length": Buffer.byteLength(payload),
            ...headers,
          },
          ...(signal ? { signal } : {}),
        },
        (res) => {
          let text = "";
          res.setEncoding("utf8").on("data", (t: string) => {
            text += t;
          });
          res.on("end", () =>
            resolve({
              status: res.statusCode!,
              headers: res.headers,
              text,
              ms: performance.now() - begun,
            }),
          );
        },
      );
      req.on("error", reject);
      req.end(payload);
    });
  }

  async stop(): Promise<void> {
    this.#agent.destroy();
    for (const envoy of this.envoys) await envoy.stop();
    this.table.stop();
    for (const pod of this.pods) pod.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
