import { encode } from "@msgpack/msgpack";
import { beforeEach, describe, expect, test } from "vitest";
import { PodIndex } from "../../agent/kv/pod-index.js";
import { StoreOnlyTier } from "../../agent/kv/store-only-tier.js";
import type { Wire } from "../../agent/wire.js";
import { removed, stored } from "./event-publisher.js";
import { tokensOf, wireForTest } from "./index-for-test.js";

let wire: Wire;
let index: PodIndex;

beforeEach(async () => {
  const made = await wireForTest();
  wire = made.wire;
  index = new PodIndex(wire, 0, made.model);
});

function apply(...events: unknown[]): void {
  index.apply(encode([1.5, events, 0], { useBigInt64: true }));
}

/** One block of 16 tokens: one text block. */
function block(n: number, parent: number | null, more: Record<string, unknown> = {}) {
  const parentHash = parent === null ? null : BigInt(parent);
  return {
    ...stored({ hashes: [BigInt(n)], parent: parentHash, tokens: tokensOf(n), blockSize: 16 }),
    ...more,
  };
}

describe("a pod's index", () => {
  test("holds blocks whose parent is unknown and stores them, in order, when it comes", () => {
    apply(block(4, 3), block(3, 2), block(2, 1));
    expect(wire.stats().blocks).toBe(0);
    expect(index.orphans.size).toBe(3);
    apply(block(1, null));
    expect(wire.stats()).toMatchObject({ blocks: 4, entries: 4 });
    expect(index.orphans.size).toBe(0);
  });

  test("forgets a waiting block that is removed, and what follows it", () => {
    const run = stored({
      hashes: [2n, 3n, 4n],
      parent: 1n,
      tokens: [2, 3, 4].flatMap(tokensOf),
      blockSize: 16,
    });
    apply(run, removed([3n]));
    apply(block(1, null));
    expect(wire.stats().blocks).toBe(2);
  });

  test("gives up orphans after a minute", () => {
    apply(block(2, 1));
    index.expire(performance.now() + 59_000);
    expect(index.orphans.size).toBe(1);
    index.expire(performance.now() + 61_000);
    expect(index.orphans.size).toBe(0);
    expect(index.orphans.dropped).toBe(1);
  });

  test("bounds the bytes of orphans", () => {
    const tokens = Array.from({ length: 16 * 1024 }, (_, i) => i % 256);
    const run = (n: number) => ({
      ...stored({
        hashes: Array.from({ length: 1024 }, (_, i) => BigInt(n * 10_000 + i)),
        parent: BigInt(n),
        tokens,
        blockSize: 16,
      }),
    });
    for (let n = 1; n <= 80; n++) apply(run(n));
    expect(index.orphans.bytes).toBeLessThanOrEqual(4 * 1024 * 1024);
    expect(index.orphans.size).toBeGreaterThan(40);
    expect(index.orphans.dropped).toBe(80 - index.orphans.size);
  });

  test("bounds the number of orphans, oldest out first", () => {
    for (let n = 0; n < 1500; n++) apply(block(10_000 + n, 5000 + n));
    expect(index.orphans.size).toBe(1024);
    expect(index.orphans.take(5000n)).toEqual([]);
    expect(index.orphans.take(6499n)).toHaveLength(1);
  });

  test("needs as many removals as copies were announced", () => {
    apply(block(1, null), block(1, null), removed([1n]));
    expect(wire.stats().entries).toBe(1);
    apply(removed([1n]));
    expect(wire.stats().entries).toBe(0);
  });

  test("is emptied when the engine clears its cache", () => {
    apply(block(1, null), block(2, 1), block(9, 8), { type: "AllBlocksCleared" });
    expect(wire.stats().blocks).toBe(0);
    expect(index.orphans.size).toBe(0);
  });

  test("keeps chains of other salts and adapters apart from plain ones", () => {
    apply(
      block(1, null),
      block(2, null, { token_ids: tokensOf(1), extra_keys: [["tenant-7"]] }),
      block(3, null, { token_ids: tokensOf(1), lora_id: 1, lora_name: "ad", extra_keys: [["ad"]] }),
      block(4, null, {
        token_ids: tokensOf(1),
        lora_id: 1,
        lora_name: "ad",
        extra_keys: [["ad", "tenant-7"]],
      }),
    );
    expect(wire.stats()).toMatchObject({ blocks: 4, entries: 4 });
  });

  test("leaves out what text does not determine: media, unnamed adapters, other tiers, other groups", () => {
    const two = stored({ hashes: [1n, 2n], parent: null, tokens: [1, 2].flatMap(tokensOf), blockSize: 16 });
    apply(
      { ...two, extra_keys: [null, [["image", 3]]] },
      block(5, null, { lora_id: 4 }),
      block(6, null, { medium: "DISK" }),
      block(7, null, { group_idx: 1, kv_cache_spec_kind: "sliding_window" }),
      block(8, null, { token_ids: [1, 2, 3] }),
    );
    expect(wire.stats().blocks).toBe(1);
    expect(index.counts.skipped).toMatchObject({ extra_keys: 1, adapter: 1, tier: 1, group: 1, shape: 1 });
  });

  test("does not let another group's or tier's removal take a block away", () => {
    apply(block(7, null, { group_idx: 1, kv_cache_spec_kind: "mamba" }), block(1, null));
    apply({ ...removed([1n]), group_idx: 1 }, { ...removed([1n]), medium: "DISK" });
    expect(wire.stats().blocks).toBe(1);
  });

  test("keeps a text on the pod while any of its tiers holds the block", () => {
    const offloaded = { ...stored({ hashes: [1n], parent: null, tokens: [], blockSize: 16 }), medium: "CPU" };
    apply(block(1, null), offloaded, removed([1n]));
    expect(wire.stats()).toMatchObject({ blocks: 1, entries: 1 });
    // Loaded back: its child goes on from it in GPU memory.
    apply(block(1, null), block(2, 1), removed([2n]), removed([1n]));
    expect(wire.stats().entries).toBe(1);
    apply({ ...removed([1n]), medium: "CPU" });
    expect(wire.stats()).toMatchObject({ blocks: 0, entries: 0 });
  });

  test("reads offloaded blocks that bring their tokens, and counts those it cannot know", () => {
    apply(block(1, null, { medium: "CPU" }), block(2, 1, { medium: "CPU" }));
    expect(wire.stats()).toMatchObject({ blocks: 2, entries: 2 });
    expect(wire.podBlocks(0)).toBe(0);
    apply({ ...stored({ hashes: [9n], parent: null, tokens: [], blockSize: 16 }), medium: "CPU" });
    expect(index.counts.skipped.tier).toBe(1);
    apply({ type: "AllBlocksCleared" });
    expect(wire.stats()).toMatchObject({ blocks: 0, entries: 0 });
  });

  test("reads LMCache's chunks, which are longer than the engine's blocks", () => {
    const chunk = Array.from({ length: 256 }, (_, i) => (i * 7) % 256);
    const lmcache = stored({ hashes: [77n], parent: null, tokens: chunk, blockSize: 256 });
    apply(block(1, null), { ...lmcache, medium: "CPU" });
    expect(wire.stats()).toMatchObject({ blocks: 2, entries: 17 });
    // Hits are counted in the engine's blocks.
    expect(index.blockSize).toBe(16);
    apply({ ...stored({ hashes: [78n], parent: 77n, tokens: chunk, blockSize: 256 }), medium: "CPU" });
    expect(wire.stats().entries).toBe(33);
  });

  test("gives up the oldest blocks of a tier that never tells of a removal, and none once it does", () => {
    const few = new PodIndex(wire, 1, 0, null, new StoreOnlyTier(3));
    const take = (...events: unknown[]) => few.apply(encode([1.5, events, 0], { useBigInt64: true }));
    const cpu = (n: number) => block(n, null, { medium: "CPU" });
    take(cpu(1), cpu(1), cpu(2), cpu(3), cpu(4));
    expect(wire.stats().blocks).toBe(3);
    expect(wire.heldRun(1, BigUint64Array.of(1n))).toBe(0);
    take(cpu(2), cpu(5));
    expect([2n, 3n, 4n, 5n].map((hash) => wire.heldRun(1, BigUint64Array.of(hash)))).toEqual([1, 0, 1, 1]);
    take({ ...removed([5n]), medium: "CPU" }, cpu(6), cpu(7), cpu(8));
    expect(wire.stats().blocks).toBe(5);
  });

  test("tells how many blocks differ by text, over pods and tiers", () => {
    apply(block(1, null), block(2, 1), block(3, 2), block(4, 3));
    const other = new PodIndex(wire, 1, 0);
    other.apply(encode([1.5, [block(1, null), block(2, 1)], 0], { useBigInt64: true }));
    expect(wire.stats().blocks).toBe(6);
    expect(wire.uniqueBlocks()).toBe(4);
    expect([wire.podBlocks(0), wire.podBlocks(1)]).toEqual([4, 2]);
  });

  test("takes the salt of SGLang's metadata for the chain's, and signed hashes for the same 64 bits", () => {
    const signed = -3n;
    const sglang = (metadata: unknown) => [
      "BlockStored",
      [signed],
      null,
      tokensOf(1),
      16,
      null,
      "GPU",
      metadata,
    ];
    apply(sglang({ cache_salt: "tenant-7", other: [1] }), block(2, null, { token_ids: tokensOf(1) }));
    expect(wire.stats()).toMatchObject({ blocks: 2, entries: 2 });
    apply(["BlockRemoved", [BigInt.asUintN(64, signed)]]);
    expect(wire.stats()).toMatchObject({ blocks: 1, entries: 1 });
    apply(sglang(null), sglang({}));
    expect(wire.stats()).toMatchObject({ blocks: 2, entries: 1 });
  });

  test("keeps the blocks before a token without bytes", () => {
    const run = stored({
      hashes: [1n, 2n],
      parent: null,
      tokens: [...tokensOf(1), ...Array(16).fill(999)],
      blockSize: 16,
    });
    apply(run);
    expect(wire.stats().blocks).toBe(1);
    expect(index.counts.skipped.unknown_token).toBe(1);
  });

  test("after a gap takes a new announcement for the only copy, and counts copies from there", () => {
    apply(block(1, null), block(2, 1));
    index.markSuspect();
    expect(wire.stats().blocks).toBe(2);
    // Block 1 was evicted unheard and computed again: one copy, not two.
    apply(block(1, null), removed([1n]));
    expect(wire.stats().blocks).toBe(1);
    apply(block(1, null), block(1, null), removed([1n]));
    expect(wire.stats().blocks).toBe(2);
    apply(removed([1n]), removed([2n]));
    expect(wire.stats().blocks).toBe(0);
  });
});
