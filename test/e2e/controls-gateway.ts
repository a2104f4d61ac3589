// A real Envoy with the filter and a table, before pods that answer when a test lets them.
import { createHash, randomBytes } from "node:crypto";
import { Agent } from "node:http";
import { join } from "node:path";
import {
  type Callers,
  compileRules,
  completedRules,
  DEFAULT_CALLERS,
  type RuleInput,
} from "../../agent/policy/request-rules.js";
import { bootstrap, type ConnectionManager, managerOf } from "../bench/bootstrap.js";
import { TableServer } from "../bench/table-server.js";
import { TestGateway } from "./gateway-for-test.js";
import { type Answer, post } from "./post.js";
import { Upstream } from "./upstream.js";

const ACCESS_LOG = "access.log";

/** Has the listener write what the filter left in filter state, a line a request. */
function logDecisions(manager: ConnectionManager, path: string): void {
  const kept = ["reason", "pod", "predicted_tokens"].map(
    (name) => `%FILTER_STATE(wasm.warmgate_${name}:PLAIN)%`,
  );
  manager.access_log = [
    {
      name: "envoy.access_loggers.file",
      typed_config: {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path,
        log_format: {
          text_format_source: { inline_string: `${["%REQ(x-request-id)%", ...kept].join(" ")}\n` },
        },
      },
    },
  ];
}

/** Has a filter before ours say in metadata which pods requests may go to. */
function restrictTo(manager: ConnectionManager, pods: unknown): void {
  manager.http_filters.unshift({
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
}

export class ControlsGateway {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 512 });
  private constructor(
    readonly pods: Upstream[],
    readonly table: TableServer,
    readonly gateway: TestGateway,
  ) {}

  /**
   * `restrict`: what a filter before ours says of the pods, from their addresses. `change`: what else is different in
   * Envoy's configuration.
   */
  static async start(
    pods: number,
    workers: number,
    restrict?: (addresses: string[]) => unknown,
    change: (config: object) => object = (config) => config,
  ): Promise<ControlsGateway> {
    const upstreams = await Promise.all(Array.from({ length: pods }, () => Upstream.start()));
    const addresses = upstreams.map((p) => p.address);
    const table = await TableServer.create(addresses, 10_000, "trusted");
    const gateway = await TestGateway.start(addresses, {
      streamPort: await table.listen(),
      workers,
      filter: { debugHeaders: "trusted" },
      configure: (options, folder) => {
        const config = bootstrap(options);
        const manager = managerOf(config.static_resources.listeners[0]);
        logDecisions(manager, join(folder, ACCESS_LOG));
        if (restrict) restrictTo(manager, restrict(addresses));
        return change(config);
      },
    });
    return new ControlsGateway(upstreams, table, gateway);
  }

  /** File with a line for each request: its id, then what the filter left in filter state. */
  get accessLog(): string {
    return join(this.gateway.folder, ACCESS_LOG);
  }

  /** Puts rules in force: until every worker trusts a token that they bring, as far as fresh connections tell. */
  async rules(input: RuleInput, callers: Partial<Callers> = {}): Promise<void> {
    const marker = randomBytes(16).toString("hex");
    const digest = createHash("sha256").update(marker).digest("hex");
    const tokens = [...(callers.tokens ?? []), digest];
    this.table.wire.setRules(compileRules(completedRules(input), { ...DEFAULT_CALLERS, ...callers, tokens }));
    this.table.publish();
    await this.gateway.ready({ authorization: marker });
    for (const pod of this.pods) pod.seen.length = 0;
  }

  get port(): number {
    return this.gateway.port;
  }

  stat(name: string): Promise<number> {
    return this.gateway.stat(name);
  }

  send(body: object | string, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Answer> {
    const payload = typeof body === "string" ? body : JSON.stringify(body);
    return post(this.gateway.port, payload, this.#agent, headers, signal);
  }

  async stop(): Promise<void> {
    this.#agent.destroy();
    await this.gateway.stop();
    this.table.stop();
    for (const pod of this.pods) pod.stop();
  }
}
