// A real Envoy with the filter, before pods and a table that a test has made.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { built } from "../../agent/package-root.js";
import { type EnvoyConfigOptions, envoyConfig } from "../../demo/envoy-config.js";
import { freePorts } from "../../demo/ports.js";
import { envoyStat, gatewayReady, type Running, startEnvoy } from "../../demo/processes.js";

type Options = Partial<Omit<EnvoyConfigOptions, "gatewayPort" | "adminPort" | "pods" | "filter">> & {
  /** More of the filter's own configuration. */
  filter?: Partial<EnvoyConfigOptions["filter"]>;
  /** Worker threads, 2 when absent. */
  workers?: number;
  /** Makes the configuration, with files of its own in a folder; envoyConfig when absent. */
  configure?: (options: EnvoyConfigOptions, folder: string) => object;
};

export class TestGateway {
  private constructor(
    readonly port: number,
    readonly adminPort: number,
    readonly envoy: Running,
    /** Of the gateway alone; gone when it stops. */
    readonly folder: string,
  ) {}

  /** Starts one before pods (ip:port) with the release build; nothing listens at its agent unless `streamPort` says where. */
  static async start(
    pods: string[],
    { filter, workers, configure = envoyConfig, ...options }: Options = {},
  ): Promise<TestGateway> {
    const [gatewayPort, adminPort, streamPort] = await freePorts(3);
    const folder = mkdtempSync(join(tmpdir(), "warmgate-gateway-"));
    try {
      const config = configure(
        {
          gatewayPort,
          adminPort,
          streamPort,
          pods,
          wasm: built("warmgate.wasm"),
          filter: { sessionKey: randomBytes(32).toString("hex"), ...filter },
          ...options,
        },
        folder,
      );
      const envoy = await startEnvoy(config, join(folder, "envoy.json"), adminPort, workers);
      return new TestGateway(gatewayPort, adminPort, envoy, folder);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Waits until every worker routes by the table, as probes with `headers` tell. */
  ready(headers: Record<string, string> = {}): Promise<void> {
    return gatewayReady(this.port, this.envoy, headers);
  }

  /** A counter or gauge of Envoy by its Prometheus name, 0 when there is none. */
  stat(name: string): Promise<number> {
    return envoyStat(this.adminPort, name);
  }

  async stop(): Promise<void> {
    await this.envoy.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
