import { decode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventBatch } from "../../simulator/event-batch.js";
import { Sequence } from "../../simulator/sequence.js";

const BLOCK = 16;

function sequenceOf(tokens: number[], salt = "", sessionId = ""): Sequence {
  const sequence = new Sequence(
    {
      prompt: Uint32Array.from(tokens),
      maxTokens: 1,
      endsTurn: false,
      salt,
      sessionId,
      progressInterval: 1,
      arrivedAt: 0,
      progressed: () => {},
    },
    BLOCK,
  );
  sequence.hashFullBlocks();
  return sequence;
}

function hashOf(sequence: Sequence, block: number): bigint {
  const low = BigInt((sequence.hashes[2 * block] as number) >>> 0);
  return (BigInt((sequence.hashes[2 * block + 1] as number) >>> 0) << 32n) | low;
}

const counting = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);
const decoded = (message: Buffer): unknown => decode(message, { useBigInt64: true });
const anyTokens = fc.array(fc.integer({ min: 0, max: 128_255 }), { minLength: BLOCK, maxLength: 40 * BLOCK });

describe("event batch", () => {
  it("publishes stored and removed blocks as maps with vLLM 0.32's fields in its order", () => {
    const sequence = sequenceOf(counting(60_000, 40));
    const batch = new EventBatch("map", "int", BLOCK);
    batch.removed(0x01020304, 0x7fffffff);
    batch.stored(sequence, 0, 2);
    const message = decoded(batch.take(1.5)) as [number, Record<string, unknown>[], number];
    expect(message).toEqual([
      1.5,
      [
        { type: "BlockRemoved", block_hashes: [0x7fffffff01020304n], medium: "GPU", group_idx: 0 },
        {
          type: "BlockStored",
          block_hashes: [hashOf(sequence, 0), hashOf(sequence, 1)],
          parent_block_hash: null,
          token_ids: counting(60_000, 32),
          block_size: 16,
          lora_id: null,
          medium: "GPU",
          lora_name: null,
          extra_keys: [null, null],
          group_idx: 0,
          kv_cache_spec_kind: "full_attention",
        },
      ],
      0,
    ]);
    expect(Object.keys(message[1][1] as object)).toEqual([
      "type",
      "block_hashes",
      "parent_block_hash",
      "token_ids",
      "block_size",
      "lora_id",
      "medium",
      "lora_name",
      "extra_keys",
      "group_idx",
      "kv_cache_spec_kind",
    ]);
    expect(batch.empty).toBe(true);
  });

  it("publishes arrays in vLLM 0.22's order", () => {
    const sequence = sequenceOf(counting(0, 48));
    const batch = new EventBatch("array", "int", BLOCK);
    batch.cleared();
    batch.stored(sequence, 1, 3);
    batch.removed(-1, -1);
    expect(decoded(batch.take(2))).toEqual([
      2,
      [
        ["AllBlocksCleared"],
        [
          "BlockStored",
          [hashOf(sequence, 1), hashOf(sequence, 2)],
          hashOf(sequence, 0),
          counting(16, 32),
          16,
          null,
          "GPU",
          null,
          [null, null],
          0,
          "full_attention",
          null,
        ],
        ["BlockRemoved", [0xffffffffffffffffn], "GPU", 0],
      ],
      0,
    ]);
  });

  it("publishes digests of 32 bytes whose last eight are the integer hash", () => {
    fc.assert(
      fc.property(anyTokens, (tokens) => {
        const sequence = sequenceOf(tokens);
        const full = Math.floor(tokens.length / BLOCK);
        const batch = new EventBatch("map", "bytes", BLOCK);
        batch.stored(sequence, 0, full);
        const [, [event]] = decode(batch.take(0)) as [number, [{ block_hashes: Uint8Array[] }]];
        event.block_hashes.forEach((digest, block) => {
          expect(digest.length).toBe(32);
          expect(Buffer.from(digest).readBigUInt64BE(24)).toBe(hashOf(sequence, block));
        });
      }),
    );
  });

  it("carries any token ids and as many blocks as a long prompt has", () => {
    fc.assert(
      fc.property(anyTokens, fc.nat(20), (tokens, from) => {
        const sequence = sequenceOf(tokens);
        const full = Math.floor(tokens.length / BLOCK);
        const first = Math.min(from, full - 1);
        const batch = new EventBatch("map", "int", BLOCK);
        batch.stored(sequence, first, full);
        const [, [event]] = decoded(batch.take(0)) as [
          number,
          [{ token_ids: number[]; parent_block_hash: unknown }],
        ];
        expect(event.token_ids).toEqual(tokens.slice(first * BLOCK, full * BLOCK));
        expect(event.parent_block_hash).toEqual(first === 0 ? null : hashOf(sequence, first - 1));
      }),
    );
  });

  it("names the cache salt on the first block only and hashes the whole chain with it", () => {
    const plain = sequenceOf(counting(0, 32));
    const salted = sequenceOf(counting(0, 32), "tenant-7");
    const batch = new EventBatch("map", "int", BLOCK);
    batch.stored(salted, 0, 2);
    const [, [event]] = decoded(batch.take(0)) as [number, [{ extra_keys: unknown }]];
    expect(event.extra_keys).toEqual([["tenant-7"], null]);
    for (const block of [0, 1]) expect(hashOf(salted, block)).not.toBe(hashOf(plain, block));
  });

  it("names the session that stored the blocks", () => {
    const batch = new EventBatch("map", "int", BLOCK);
    batch.stored(sequenceOf(counting(0, 16), "", "sess-1"), 0, 1);
    expect(decoded(batch.take(0))).toMatchObject([0, [{ type: "BlockStored", session_id: "sess-1" }], 0]);
  });

  it("gives equal prefixes equal hashes and different ones different hashes", () => {
    const seen = new Map<bigint, string>();
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 32, maxLength: 64 }), (tokens) => {
        const sequence = sequenceOf(tokens);
        for (let block = 0; block < Math.floor(tokens.length / BLOCK); block++) {
          const prefix = tokens.slice(0, (block + 1) * BLOCK).join();
          const hash = hashOf(sequence, block);
          expect(seen.get(hash) ?? prefix).toBe(prefix);
          seen.set(hash, prefix);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
