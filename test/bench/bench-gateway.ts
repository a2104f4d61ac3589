// A gateway of the bench: an agent with a full table and the Envoy that has it, with its controls beside the filter.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { freePorts } from "../../demo/ports.js";
import { envoyStats, type Running, startEnvoy, waitFor } from "../../demo/processes.js";
import type { BenchBody } from "./bodies.js";
import { answeringConfig, benchConfig, type Row } from "./envoy.js";
import { say } from "./result.js";
import type { Target } from "./round.js";
import { TableServer } from "./table-server.js";

/** For its first ten seconds a worker takes all VMs for serving and asks what they did (wasm/filter/worker-roster.ts). */
const NEW_WORKER_MS = 11_000;

/** Keeps a process on a core. */
export function pin(pid: number, core: number): void {
  if (spawnSync("taskset", ["-a", "-cp", String(core), String(pid)]).status !== 0)
    say(`taskset failed: process ${pid} is not pinned, figures will spread more`);
}

export class BenchGateway {
  readonly #folder = mkdtempSync(join(tmpdir(), "warmgate-bench-"));
  #envoy: Running | null = null;

  private constructor(
    readonly server: TableServer,
    readonly ports: Record<Row, number>,
    readonly adminPort: number,
    readonly streamPort: number,
    readonly addresses: string[],
  ) {}

  /** Fills a table of so many entries: half of each prompt, of which the pods have different lengths, and random ones. */
  static async create(
    podPorts: number[],
    entries: number,
    bodies: Iterable<BenchBody>,
    debugHeaders: "all" | "trusted" | "none",
  ): Promise<BenchGateway> {
    const [off, buffer, on, admin, stream] = await freePorts(5);
    const addresses = podPorts.map((p) => `127.0.0.1:${p}`);
    const server = await TableServer.create(addresses, entries, debugHeaders);
    let next = 0;
    for (const { prompt } of bodies) {
      for (let k = 0; k < 4; k++)
        server.cache((next + k) % podPorts.length, prompt, (prompt.length / 2) * (1 - k / 8));
      next++;
    }
    server.fill(entries);
    await server.listen(stream);
    return new BenchGateway(server, { off, buffer, on }, admin, stream, addresses);
  }

  get pid(): number {
    return this.#envoy!.pid;
  }

  target(row: Row): Target {
    return { pid: this.pid, port: this.ports[row] };
  }

  /** Starts an Envoy, its only worker on core 0; it has the table when this resolves. */
  async start(timeCallbacks: boolean): Promise<void> {
    this.#envoy = await startEnvoy(
      benchConfig(this.ports, this.adminPort, this.streamPort, this.addresses, timeCallbacks),
      join(this.#folder, "gateway.json"),
      this.adminPort,
      1,
    );
    pin(this.pid, 0);
    const entries = this.server.wire.stats().entries;
    await waitFor("the table in the worker", async () => (await this.stat("table_entries")) === entries);
  }

  /** A metric of the filter's. */
  async stat(name: string): Promise<number | undefined> {
    return (await envoyStats(this.adminPort, `warmgate_${name}`)).get(`warmgate_${name}`);
  }

  /** Ends the Envoy; another may be started. */
  async stopEnvoy(): Promise<void> {
    await this.#envoy?.stop();
    this.#envoy = null;
  }

  async stop(): Promise<void> {
    this.server.stop();
    await this.stopEnvoy();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Starts an Envoy of each gateway; they have their tables, and their workers know that they are alone, when this resolves. */
export async function startGateways(gateways: BenchGateway[], timeCallbacks = false): Promise<void> {
  for (const gateway of gateways) await gateway.start(timeCallbacks);
  await setTimeout(NEW_WORKER_MS);
}

/** Starts the Envoy that answers for every pod, on core 1; the returned function ends it. */
export async function startAnswering(podPorts: number[]): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-bench-pods-"));
  const [admin] = await freePorts(1);
  const envoy = await startEnvoy(answeringConfig(podPorts, admin), join(folder, "pods.json"), admin, 1);
  pin(envoy.pid, 1);
  return async () => {
    await envoy.stop();
    rmSync(folder, { recursive: true, force: true });
  };
}
