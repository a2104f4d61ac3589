import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ClientDuplexStream, credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { FastifyInstance } from "fastify";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { built, packageRoot } from "../../agent/package-root.js";
import {
  configFor,
  newStateFolder,
  startAgent,
  startPod,
  stopPod,
  type TestPod,
  untilReady,
} from "./agent-for-test.js";
import { stored, until } from "./event-publisher.js";
import { promptTokens } from "./fixtures.js";

interface Frame {
  data: Uint8Array;
}
type Stream = ClientDuplexStream<Frame, Frame>;
type TableClient = { subscribe(metadata: Metadata): Stream; close(): void };

// Kinds of frames as wasm/shared/frame-layout.ts numbers them.
const BEGIN = 1;
const END = 3;
const DELTA = 4;
const PODS = 5;
const LOADS = 6;
const MODELS = 7;
const POLICY = 8;
/** Bit of a kind: the frame is inside a snapshot. */
const INSIDE = 256;
const HELLO = 32;
const REPORT = 33;
/** Bytes of a report before the number of its operations, 24, then 29 counters; and before its rows. */
const OPS = 24 + 29 * 8;
const HEAD = OPS + 8;
const OP_ROW = 24;
/** `Op.Queue` */
const QUEUE = 32;
const RESYNC = 34;

let seal: (kind: number, payload: Uint8Array) => Uint8Array;

beforeAll(async () => {
  const module = await WebAssembly.instantiate(readFileSync(built("wire.wasm")), {});
  const x = module.instance.exports as unknown as {
    memory: WebAssembly.Memory;
    _initialize?: () => void;
    inputBuffer(n: number): number;
    reseal(n: number): void;
  };
  x._initialize?.();
  seal = (kind, payload) => {
    const frame = Buffer.alloc(48 + payload.length);
    frame.write("WGT1", "latin1");
    frame.writeUInt16LE(1, 4);
    frame.writeUInt16LE(kind, 6);
    frame.set(payload, 48);
    const at = x.inputBuffer(frame.length);
    new Uint8Array(x.memory.buffer).set(frame, at);
    x.reseal(frame.length);
    return Buffer.from(new Uint8Array(x.memory.buffer, at, frame.length));
  };
});

function hello({ formats = [1, 1], mainThread = false, vm = 5n } = {}): Uint8Array {
  const payload = Buffer.alloc(32);
  payload.writeUInt16LE(formats[0]!, 0);
  payload.writeUInt16LE(formats[1]!, 2);
  payload.writeUInt32LE(mainThread ? 1 : 0, 4);
  payload.writeBigUInt64LE(vm, 16);
  return seal(HELLO, payload);
}

class Worker {
  readonly kinds: number[] = [];
  readonly sequences: bigint[] = [];
  error: (Error & { code?: number; details?: string }) | null = null;
  readonly stream: Stream;
  readonly client: TableClient;

  constructor(port: number, token?: string) {
    const definition = loadPackageDefinition(
      loadSync(join(packageRoot(), "agent", "proto", "table.proto")),
    ) as unknown as { warmgate: { v1: { Table: new (a: string, c: unknown) => TableClient } } };
    this.client = new definition.warmgate.v1.Table(`127.0.0.1:${port}`, credentials.createInsecure());
    const metadata = new Metadata();
    if (token) metadata.set("authorization", `Bearer ${token}`);
    this.stream = this.client.subscribe(metadata);
    this.stream.on("data", ({ data }) => {
      const frame = Buffer.from(data);
      this.kinds.push(frame.readUInt16LE(6));
      this.sequences.push(frame.readBigUInt64LE(24));
    });
    this.stream.on("error", (error) => {
      this.error = error;
    });
  }

  send(data: Uint8Array): void {
    this.stream.write({ data });
  }

  /** Frames received since the last call. */
  take(): number[] {
    return this.kinds.splice(0);
  }
}

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(extra = ""): Promise<{ app: FastifyInstance; pod: TestPod; port: number }> {
  const pod = await startPod();
  closers.push(() => stopPod(pod));
  const app = await startAgent(configFor([pod], newStateFolder(), extra));
  closers.push(() => app.close());
  const port = await app.tableStream.listen({ host: "127.0.0.1", port: 0 });
  await untilReady(app);
  return { app, pod, port };
}

function worker(port: number, token?: string): Worker {
  const made = new Worker(port, token);
  closers.push(() => {
    made.stream.cancel();
    made.client.close();
  });
  return made;
}

function block(n: number) {
  return stored({
    hashes: [BigInt(n) + 1n],
    parent: null,
    tokens: promptTokens(n, 64),
    blockSize: 64,
  });
}

describe("the table stream", () => {
  test("answers a hello with a whole snapshot, then sends deltas in sequence", async () => {
    const { pod, port } = await start();
    const w = worker(port);
    w.send(hello());
    await until(() => w.kinds.includes(END), "the snapshot is here");
    const kinds = w.take();
    expect(kinds[0]).toBe(BEGIN);
    for (const kind of [PODS, MODELS, POLICY].map((k) => k | INSIDE))
      expect(kinds.slice(0, kinds.indexOf(END))).toContain(kind);
    await pod.events.publish([block(1)]);
    await until(() => w.kinds.includes(DELTA), "a delta is here");
    const broadcast = w.sequences.slice(kinds.indexOf(END));
    expect(broadcast).toEqual(broadcast.map((_, i) => broadcast[0]! + BigInt(i)));
    await until(() => w.kinds.includes(LOADS), "load columns are here");
  });

  test("sends a new snapshot to a worker that lost its place, and goes on for the others", async () => {
    const { port } = await start();
    const one = worker(port);
    const two = worker(port);
    one.send(hello({ vm: 1n }));
    two.send(hello({ vm: 2n }));
    await until(() => one.kinds.includes(END) && two.kinds.includes(END), "both have the table");
    one.take();
    two.take();
    one.send(seal(RESYNC, new Uint8Array(0)));
    await until(() => one.kinds.includes(END), "a second snapshot is here");
    expect(two.kinds).not.toContain(BEGIN);
  });

  test("sends nothing to the main thread's VM, which routes nothing", async () => {
    const { app, port } = await start();
    const w = worker(port);
    w.send(hello({ mainThread: true }));
    const other = worker(port);
    other.send(hello());
    await until(() => other.kinds.includes(END), "the other has the table");
    expect(w.kinds).toEqual([]);
    expect(app.publisher.subscribers).toBe(1);
  });

  test("refuses a format it does not speak, and a stream without hello", async () => {
    const { port } = await start();
    const future = worker(port);
    future.send(hello({ formats: [7, 9] }));
    await until(() => future.error !== null, "it is refused");
    expect(future.error).toMatchObject({ code: 9 });
    const rude = worker(port);
    rude.send(seal(RESYNC, new Uint8Array(0)));
    await until(() => rude.error !== null, "it is refused");
    expect(rude.error).toMatchObject({ code: 9, details: "the first frame was not a hello" });
  });

  test("asks for the token where there is one", async () => {
    const folder = newStateFolder();
    writeFileSync(join(folder, "token"), "0123456789abcdef");
    const { port } = await start(`tokenFile: ${join(folder, "token")}`);
    const stranger = worker(port, "wrong-wrong-wrong");
    stranger.send(hello());
    await until(() => stranger.error !== null, "it is refused");
    expect(stranger.error).toMatchObject({ code: 16 });
    const friend = worker(port, "0123456789abcdef");
    friend.send(hello());
    await until(() => friend.kinds.includes(END), "it has the table");
  });

  test("adds up reports, and a worker's own numbers only once", async () => {
    const { app, pod, port } = await start();
    const address = `127.0.0.1:${pod.port}`;
    const report = (success: bigint, requests: bigint) => {
      const width = 64 + ((address.length + 7) & ~7);
      const payload = Buffer.alloc(HEAD + OP_ROW + width);
      payload.writeBigUInt64LE(1n, 0);
      payload.writeBigUInt64LE(5n, 8);
      payload.writeUInt32LE(1, 20);
      payload.writeBigUInt64LE(success, 24);
      payload.writeUInt32LE(1, OPS);
      payload.writeUInt32LE(QUEUE, HEAD);
      payload.writeBigUInt64LE(success, HEAD + 8);
      payload.writeBigUInt64LE(success * 2000n, HEAD + 16);
      const row = HEAD + OP_ROW;
      payload.writeUInt32LE(address.length, row);
      payload.writeUInt32LE(4, row + 4);
      payload.writeBigUInt64LE(requests, row + 16);
      payload.write(address, row + 64);
      return seal(REPORT, payload);
    };
    const w = worker(port);
    w.send(hello());
    w.send(report(10n, 6n));
    w.send(report(15n, 9n));
    await until(() => app.reports.totals.success === 15, "both reports are in");
    expect(app.reports.pods.get(address)!.requests).toBe(9);
    expect(app.reports.inflight(address)).toBe(4);
    const metrics = (await app.inject("/metrics")).body;
    expect(metrics).toContain('llmd_epp_scheduling_decisions_total{result="success"} 15');
    expect(metrics).toContain('llmd_epp_scorer_duration_seconds_count{scorer="queue-scorer"} 15');
    expect(metrics).toContain('llmd_epp_scorer_duration_seconds_sum{scorer="queue-scorer"} 0.00003');
    expect(metrics).toMatch(/^llmd_epp_session_affinity_hits_total 0$/m);
    expect(metrics).toMatch(/^llmd_epp_session_affinity_misses_total 0$/m);
  });

  test("says in metrics, /readyz and the policy's status that gateways hear of each other too late", async () => {
    const { app } = await start();
    const told = async () => ({
      gauge: (await app.inject("/metrics")).body.match(/^warmgate_gateways_sharing_slowly (\d)$/m)?.[1],
      ready: (await app.inject("/readyz")).json().notes.map(({ code }: { code: string }) => code),
      policy: (await app.inject("/api/v1/policy/status"))
        .json()
        .notes.map(({ path }: { path: string }) => path),
    });
    const share = (slow: boolean) =>
      app.sharing.take(
        { kind: "share", processId: 77n, vmId: 1n, stamp: 1n, whole: true, slow, rows: [] },
        { send() {}, pendingBytes: 0 },
        performance.now(),
      );
    share(true);
    const slow = await told();
    expect(slow.gauge).toBe("1");
    expect(slow.ready).toContain("sharing_slow");
    expect(slow.policy).toContain("/sharing/slowAfter");
    share(false);
    const fast = await told();
    expect(fast.gauge).toBe("0");
    expect(fast.ready).not.toContain("sharing_slow");
    expect(fast.policy).not.toContain("/sharing/slowAfter");
  });
});
