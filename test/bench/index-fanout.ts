// The path of an event through a whole agent: score requests answered beside it, then its way to many gateway workers.
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadEncoder } from "../../agent/model/canonical-encoder.js";
import { bytesOfTokens, loadTokenBytes } from "../../agent/model/token-bytes.js";
import { startPod, stopPod, type TestPod } from "../agent/agent-for-test.js";
import { removed, stored } from "../agent/event-publisher.js";
import { fixturePath } from "../agent/fixtures.js";
import { newWire } from "../wasm/wire-for-test.js";
import type { AgentReady, AgentSpent } from "./index-agent.js";
import { BLOCK_TOKENS, EventMaker, hashesOf, TOKENIZER } from "./index-events.js";
import { type Quantiles, quantiles } from "./index-scores.js";
import type { WorkersSaw, WorkersTask } from "./index-workers.js";

const PODS = 4;
const TICK_MS = 10;
/** Sequences that a pod holds at a time. */
const HELD = 200;
const MARKER_MS = 50;

interface FanoutFigures {
  eventToWorkerMs: Quantiles;
  /** Markers that reached every worker, of those sent. */
  markers: { sent: number; everywhere: number };
  scoreMs: Quantiles;
  fanout: {
    subscribers: number;
    agentCores: number;
    changesPerSecond: number;
    /** How late the agent's event loop was. */
    loopMs: { p99: number; max: number };
  };
}

export async function fanout(subscribers: number, changes: number, seconds: number): Promise<FanoutFigures> {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-bench-"));
  const pods: TestPod[] = [];
  const children: ChildProcess[] = [];
  try {
    for (let i = 0; i < PODS; i++) pods.push(await startPod());
    const agent = part(children, "agent", configOf(pods, folder), folder);
    const ready = await answer<AgentReady>(agent);
    const source = new Source(pods, await loadEncoder(TOKENIZER), changes);
    source.start();
    const scoreMs = await answer<Quantiles>(part(children, "scores", String(ready.http)));
    const markers = await markerHashes(folder, Math.ceil((seconds * 1000) / MARKER_MS), source);
    const task: WorkersTask = { port: ready.stream, count: subscribers, markers };
    const workers = part(children, "workers", JSON.stringify(task));
    await answer(workers);
    await pause(1000);
    const before = await ask<AgentSpent>(agent);
    const start = performance.now();
    const changesBefore = source.changes;
    const sent: bigint[] = [];
    for (let i = 0; i < markers.length; i++) {
      sent.push(process.hrtime.bigint());
      await source.mark(i);
      await pause(Math.max(0, start + (i + 1) * MARKER_MS - performance.now()));
    }
    const after = await ask<AgentSpent>(agent);
    const took = performance.now() - start;
    const changed = source.changes - changesBefore;
    await pause(1000);
    await source.stop();
    const saw = await ask<WorkersSaw>(workers);
    const delays = saw.flatMap((at, i) => (at === null ? [] : [Number(BigInt(at) - sent[i]!) / 1e6]));
    return {
      eventToWorkerMs: quantiles(delays),
      markers: { sent: sent.length, everywhere: delays.length },
      scoreMs,
      fanout: {
        subscribers: after.subscribers,
        agentCores: (after.cpuMs - before.cpuMs) / took,
        changesPerSecond: Math.round((changed * 1000) / took),
        loopMs: after.loopMs,
      },
    };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    for (const pod of pods) await stopPod(pod);
    rmSync(folder, { recursive: true, force: true });
  }
}

function configOf(pods: TestPod[], folder: string): string {
  return `state: ${folder}
listen: {http: "127.0.0.1:0", stream: "127.0.0.1:0"}
scrape: {interval: 5s, timeout: 2s}
pools:
  - name: default
    model: {name: m, tokenizer: ${fixturePath("model-chatml")}}
    pods:
${pods.map((pod, i) => `      - {name: pod-${i}, address: "127.0.0.1:${pod.port}", events: "${pod.events.events}", replay: "${pod.events.replay}"}`).join("\n")}
`;
}

/** Keeps the pods' caches changing: sequences come and the oldest go. */
class Source {
  readonly #pods: TestPod[];
  readonly #maker: EventMaker;
  readonly #perTick: number;
  readonly #encode: (text: string) => readonly number[];
  #timer: NodeJS.Timeout | null = null;
  #next = 0;
  #busy: Promise<void> = Promise.resolve();
  /** Prefix entries that came or went. */
  changes = 0;

  constructor(pods: TestPod[], encode: (text: string) => readonly number[], changesPerSecond: number) {
    this.#pods = pods;
    this.#encode = encode;
    this.#maker = new EventMaker(encode);
    // A sequence makes an entry for each 128 bytes when it comes, and ends as many when it goes.
    this.#perTick = (changesPerSecond * TICK_MS) / 1000 / (2 * this.#maker.textBlocks);
  }

  start(): void {
    let owed = 0;
    this.#timer = setInterval(() => {
      owed += this.#perTick;
      const n = Math.floor(owed);
      owed -= n;
      this.#busy = this.#busy.then(async () => {
        for (let i = 0; i < n; i++) await this.#sequence();
      });
    }, TICK_MS);
  }

  async stop(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    await this.#busy;
  }

  async #sequence(): Promise<void> {
    const n = this.#next++;
    const { events } = this.#pods[n % PODS]!;
    for (const batch of this.#maker.next()) await events.publishPayload(Buffer.from(batch));
    this.changes += this.#maker.textBlocks;
    if (n < HELD) return;
    await this.#pods[(n - HELD) % PODS]!.events.publish([removed([...hashesOf(n - HELD)])]);
    this.changes += this.#maker.textBlocks;
  }

  markerTokens(i: number): readonly number[] {
    const text = `marker ${i} of the bench that looks for it: ${"and so on it goes, ".repeat(40)}`;
    return this.#encode(text).slice(0, 4 * BLOCK_TOKENS);
  }

  async mark(i: number): Promise<void> {
    const hashes = Array.from({ length: 4 }, (_, b) => 2n ** 63n + BigInt(i * 4 + b));
    const tokens = [...this.markerTokens(i)];
    await this.#pods[0]!.events.publish([stored({ hashes, parent: null, tokens, blockSize: BLOCK_TOKENS })]);
  }
}

/** The entry that each marker makes, as it stands in a frame. */
async function markerHashes(folder: string, count: number, source: Source): Promise<string[]> {
  const wire = await newWire({ secret: readFileSync(join(folder, "secret")), maxEntries: 1000 });
  const table = await loadTokenBytes(TOKENIZER);
  const root = wire.root(wire.addModel("m"), "", "");
  return Array.from({ length: count }, (_, i) => {
    const hashes = wire.hashText(root, bytesOfTokens(table, source.markerTokens(i))!, 128);
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(hashes[0]!);
    return bytes.toString("hex");
  });
}

function part(children: ChildProcess[], name: string, ...args: string[]): ChildProcess {
  const child = fork(process.argv[1]!, ["--part", name, "--", ...args], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  children.push(child);
  return child;
}

function answer<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    child.once("message", (message) => resolve(message as T));
    child.once("exit", (code) => reject(new Error(`a part of the bench ended with ${code}`)));
  });
}

function ask<T>(child: ChildProcess): Promise<T> {
  child.send("ask");
  return answer(child);
}

function pause(ms: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, ms));
}
