import { encode } from "@msgpack/msgpack";
import type { FastifyInstance } from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { Publisher } from "zeromq";
import { withEnvironment } from "../../agent/config/environment.js";
import {
  configFor,
  newStateFolder,
  startAgent,
  startPod,
  type TestPod,
  untilReady,
} from "./agent-for-test.js";
import { endedAfterEach } from "./ended-after-each.js";
import { stored, until } from "./event-publisher.js";
import { promptTokens } from "./fixtures.js";

const { apps, pods } = endedAfterEach();
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close();
});

/** An agent whose pods have no event endpoint configured. */
async function agent(pod: TestPod, zmqBind: string | null): Promise<FastifyInstance> {
  pods.push(pod);
  const config = configFor([pod], newStateFolder());
  Object.assign(config.pools[0]!.pods[0]!, { events: null, replay: null });
  const app = await startAgent(
    zmqBind === null ? config : withEnvironment(config, { ZMQ_BIND_ADDRESS: zmqBind }),
  );
  apps.push(app);
  return app;
}

function batch(...events: unknown[]): Uint8Array {
  return encode([1.5, events, 0], { useBigInt64: true });
}

function block(hash: bigint, parent: bigint | null) {
  return stored({ hashes: [hash], parent, tokens: promptTokens(Number(hash), 16), blockSize: 16 });
}

function be64(n: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(n));
  return bytes;
}

/** Sends until the agent has it: a subscription takes a while to reach a publisher. */
async function send(
  publisher: Publisher,
  frames: (Uint8Array | string)[],
  arrived: () => boolean,
): Promise<void> {
  for (let i = 0; i < 300 && !arrived(); i++) {
    await publisher.send(frames);
    await new Promise((wake) => setTimeout(wake, 20));
  }
  expect(arrived()).toBe(true);
}

describe("pods that connect to us", () => {
  test("are followed under the topic that names them; others are counted and left out", async () => {
    const app = await agent(await startPod(), "tcp://127.0.0.1:*");
    await untilReady(app);
    const publisher = new Publisher({ linger: 0 });
    open.push(publisher);
    publisher.connect(app.boundEndpoint!);
    const bound = app.boundEvents!;
    await send(
      publisher,
      ["kv@stranger@m", be64(0), batch(block(1n, null))],
      () => bound.counts.unknownPod > 0,
    );
    expect(app.wire.stats().blocks).toBe(0);
    await publisher.send(["kv@pod-0@m", be64(0), batch(block(1n, null))]);
    await publisher.send([`kv@127.0.0.1:${pods[0]!.port}@m`, be64(1), batch(block(2n, 1n))]);
    await until(() => app.wire.stats().blocks === 2, "both are stored");
    expect(app.registry.pods[0]!.feed!.counts.restarts).toBe(0);
    await publisher.send(["kv@pod-0@m", be64(0), batch(block(9n, null))]);
    await until(() => app.registry.pods[0]!.feed!.counts.restarts === 1, "the new run is noticed");
    expect(app.wire.stats().blocks).toBe(1);
  });

  test("may announce blocks in JSON, which count for block hashes alone", async () => {
    const app = await agent(await startPod(), "tcp://127.0.0.1:*");
    await untilReady(app);
    const publisher = new Publisher({ linger: 0 });
    open.push(publisher);
    publisher.connect(app.boundEndpoint!);
    const json = (type: string, hash: string) =>
      JSON.stringify({ event_type: type, pod_id: "pod-0", block_hash: hash, num_tokens: 16, timestamp: 1.5 });
    await send(publisher, ["events", json("BLOCK_CREATED", "block-a")], () => app.announced.size > 0);
    await publisher.send(["events", json("BLOCK_CREATED", "block-b")]);
    await publisher.send(["events", "{nonsense"]);
    await until(() => app.announced.size === 2, "both are known");
    const score = async () =>
      (
        await app.inject({
          method: "POST",
          url: "/api/v1/score",
          payload: { prompt_blocks: ["block-a", "block-b", "block-c"] },
        })
      ).json().scores[0];
    expect(await score()).toMatchObject({ blocks_present: 2, blocks_total: 3 });
    await publisher.send(["events", json("BLOCK_EVICTED", "block-a")]);
    await until(() => app.announced.size === 1, "one is gone");
    expect(await score()).toMatchObject({ blocks_present: 0 });
    expect(app.wire.stats()).toMatchObject({ blocks: 0, entries: 0 });
    expect((await app.inject("/metrics")).body).toMatch(
      /kv_cache_manager_events_received_total\{type="BLOCK_CREATED"\} [1-9]/,
    );
  });
});

describe("pods that name their event endpoint themselves", () => {
  test("are followed without one in the configuration", async () => {
    const pod = await startPod();
    pod.http.options.eventSources = {
      "0": { publisher: "zmq", endpoint: pod.events.events, replay_endpoint: pod.events.replay },
    };
    await pod.events.publish([block(1n, null)]);
    const app = await agent(pod, null);
    await until(() => app.wire.stats().blocks === 1, "its events are applied");
    expect(app.registry.pods[0]!.feed!.position).toMatchObject({ sequence: 0 });
  });

  test("are not followed where ranks share an address, which is said", async () => {
    const pod = await startPod();
    const rank = { publisher: "zmq", endpoint: pod.events.events };
    pod.http.options.eventSources = { "0": rank, "1": rank };
    const app = await agent(pod, null);
    await untilReady(app);
    const notes = async () =>
      (await app.inject("/readyz")).json().notes as { code: string; detail: string }[];
    let said = "";
    for (let i = 0; i < 500 && !said.includes("data-parallel"); i++) {
      said = (await notes()).map((note) => note.detail).join();
      await new Promise((wake) => setTimeout(wake, 10));
    }
    expect(said).toContain("2 data-parallel ranks behind one address");
  });
});

describe("an engine whose process is another one", () => {
  test("is wiped though its sequence numbers say nothing", async () => {
    const pod = await startPod();
    pods.push(pod);
    const start = (seconds: number) => `vllm:num_requests_running 1\nprocess_start_time_seconds ${seconds}\n`;
    pod.http.options.metrics = start(1000);
    const config = configFor([pod], newStateFolder());
    Object.assign(config.pools[0]!.pods[0]!, { replay: null });
    const app = await startAgent(config);
    apps.push(app);
    await untilReady(app);
    await pod.events.publish([block(1n, null)]);
    await until(() => app.wire.stats().blocks === 1, "the block is stored");
    pod.http.options.metrics = start(2000);
    await until(() => app.wire.stats().blocks === 0, "the pod is wiped");
    expect(app.registry.pods[0]!.feed!.counts.restarts).toBe(1);
  });
});

describe("the environment", () => {
  test("wins over the file, and what is wrong in it is named", async () => {
    const pod = await startPod();
    pods.push(pod);
    const config = configFor([pod], newStateFolder());
    const changed = withEnvironment(config, { HTTP_PORT: "9090", INDEX_TTL: "60", INDEX_MAX_BLOCKS: "5" });
    expect(changed).toMatchObject({
      http: { port: 9090 },
      index: { ttlMs: 60_000, maxBlocks: 5, cleanupMs: 300_000 },
    });
    expect(() => withEnvironment(config, { INDEX_TTL: "soon" })).toThrow("INDEX_TTL");
    expect(() => withEnvironment(config, { ZMQ_BIND_ADDRESS: "5555" })).toThrow("ZMQ_BIND_ADDRESS");
    expect(() => withEnvironment(config, { ZMQ_BIND_ADDRESS: "tcp://0.0.0.0:5555" })).toThrow("tokenFile");
  });
});
