import { describe, expect, test } from "vitest";
import { AnnouncedBlocks, blockHash, jsonEvents } from "../../agent/kv/announced-blocks.js";
import { podOfTopic } from "../../agent/kv/bound-events.js";
import { sourceOf } from "../../agent/kv/event-sources.js";

const RANK = {
  enable_kv_cache_events: true,
  publisher: "zmq",
  endpoint: "tcp://*:5557",
  replay_endpoint: "tcp://*:5558",
  topic: "kv@10.0.0.7@m",
};

describe("what an engine says of its event endpoint", () => {
  test("is read with wildcards as the pod's own host", () => {
    expect(sourceOf({ "0": RANK }, "10.0.0.7")).toEqual({
      kind: "found",
      source: { events: "tcp://10.0.0.7:5557", replay: "tcp://10.0.0.7:5558" },
    });
    const here = { ...RANK, endpoint: "tcp://127.0.0.1:5557", replay_endpoint: null };
    expect(sourceOf({ "0": here }, "127.0.0.1")).toEqual({
      kind: "found",
      source: { events: "tcp://127.0.0.1:5557", replay: null },
    });
  });

  test("is not believed when it names another host, and not used when it is off or no ZMQ", () => {
    expect(sourceOf({ "0": { ...RANK, endpoint: "tcp://10.9.9.9:22" } }, "10.0.0.7")).toEqual({
      kind: "none",
    });
    expect(sourceOf({ "0": { ...RANK, enable_kv_cache_events: false } }, "10.0.0.7")).toEqual({
      kind: "none",
    });
    expect(sourceOf({ "0": { ...RANK, publisher: "null" } }, "10.0.0.7")).toEqual({ kind: "none" });
    for (const nonsense of [null, [], "x", { "0": null }, { "0": { endpoint: 5 } }])
      expect(sourceOf(nonsense, "10.0.0.7")).toEqual({ kind: "none" });
  });

  test("is told apart where several ranks share an address", () => {
    expect(sourceOf({ "0": RANK, "1": RANK }, "10.0.0.7")).toEqual({ kind: "ranks", count: 2 });
  });
});

describe("a topic", () => {
  test("names its pod in the form kv@pod@model, else as a whole", () => {
    expect(podOfTopic("kv@10.0.0.7:8000@Qwen/Qwen3")).toBe("10.0.0.7:8000");
    expect(podOfTopic("pod-3")).toBe("pod-3");
    expect(podOfTopic("kv@a@b@c")).toBe("kv@a@b@c");
  });
});

describe("blocks announced in JSON", () => {
  const event = (type: "BLOCK_CREATED" | "BLOCK_EVICTED" | "BLOCK_UPDATED", hash: bigint) => ({
    type,
    podId: "p",
    hash,
  });

  test("are read one by one or as a list, and refused when something is missing", () => {
    const one = { event_type: "BLOCK_CREATED", pod_id: "p", block_hash: "12", num_tokens: 16, timestamp: 1 };
    const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    expect(jsonEvents(bytes(one))).toEqual([event("BLOCK_CREATED", 12n)]);
    expect(jsonEvents(bytes({ events: [one, { ...one, type: "x" }] }))).toHaveLength(2);
    for (const wrong of [
      { ...one, event_type: "BLOCK_LOST" },
      { ...one, pod_id: 1 },
      { ...one, block_hash: 2 ** 60 },
    ])
      expect(() => jsonEvents(bytes(wrong))).toThrow(TypeError);
  });

  test("have one hash whatever form it is written in", () => {
    expect(blockHash("18446744073709551615")).toBe(2n ** 64n - 1n);
    expect(blockHash("0xff")).toBe(255n);
    expect(blockHash(255)).toBe(255n);
    expect(blockHash(`${"ab".repeat(24)}00000000000000ff`)).toBe(255n);
    expect(blockHash("block-7")).not.toBe(blockHash("block-8"));
  });

  test("are forgotten when evicted, after their time, and the oldest first for room", () => {
    const blocks = new AnnouncedBlocks({ ttlMs: 1000, maxBlocks: 3 });
    for (const hash of [1n, 2n, 3n, 4n]) blocks.take(0, event("BLOCK_CREATED", hash), Number(hash));
    expect([1n, 2n, 4n].map((hash) => blocks.has(0, hash, 10))).toEqual([false, true, true]);
    expect(blocks.has(1, 4n, 10)).toBe(false);
    blocks.take(0, event("BLOCK_EVICTED", 3n), 20);
    expect(blocks.has(0, 3n, 20)).toBe(false);
    blocks.take(0, event("BLOCK_UPDATED", 2n), 900);
    blocks.expire(1500);
    expect(blocks.size).toBe(1);
    expect(blocks.has(0, 2n, 1500)).toBe(true);
    expect(blocks.has(0, 2n, 2000)).toBe(false);
  });
});
