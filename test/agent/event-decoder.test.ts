import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type BlockRemoved, type BlockStored, decodeBatch } from "../../agent/kv/event-decoder.js";
import { MsgpackError } from "../../agent/kv/msgpack-reader.js";
import { parseFrames } from "../../agent/kv/replay.js";
import { recordedJson, recordedMessages } from "./fixtures.js";

type Seen = Record<string, unknown> & { type: string };

/** Decodes a batch into plain copies. */
function decode(payload: Uint8Array): { time: number; rank: number | null; events: Seen[] } {
  const events: Seen[] = [];
  const head = decodeBatch(payload, {
    stored: (e: BlockStored) =>
      events.push({ type: "BlockStored", ...e, hashes: [...e.hashes], tokens: [...e.tokens] }),
    removed: (e: BlockRemoved) => events.push({ type: "BlockRemoved", ...e, hashes: [...e.hashes] }),
    cleared: () => events.push({ type: "AllBlocksCleared" }),
    unknown: (tag) => events.push({ type: `unknown:${tag}` }),
  });
  return { ...head, events };
}

function hex(text: string): Uint8Array {
  return Buffer.from(text.replace(/\s+/g, ""), "hex");
}

const HEAD = "93 cb3ff8000000000000";
const ARRAY = `${HEAD} 91 98 ab 426c6f636b53746f726564 91 cf dab89baa7b5857c0 c0 94 01020304 04 c0 a3 475055 c0 00`;
const MAP = `${HEAD} 91 8a a474797065 ab426c6f636b53746f726564
  ac626c6f636b5f686173686573 91cfdab89baa7b5857c0 b1706172656e745f626c6f636b5f68617368 c0
  a9746f6b656e5f696473 9401020304 aa626c6f636b5f73697a65 04 a76c6f72615f6964 c0
  a66d656469756d a3475055 a96c6f72615f6e616d65 c0 a967726f75705f696478 00
  b26b765f63616368655f737065635f6b696e64 ae66756c6c5f617474656e74696f6e 00`;

const STORED = {
  type: "BlockStored",
  hashes: [15760518052499183552n],
  parent: null,
  tokens: [1, 2, 3, 4],
  blockSize: 4,
  loraId: null,
  loraName: null,
  medium: "GPU",
  extraKeys: null,
};

describe("the event decoder", () => {
  test("reads the array form of releases up to mid 2026", () => {
    expect(decode(hex(ARRAY))).toEqual({
      time: 1.5,
      rank: 0,
      events: [{ ...STORED, group: null, specKind: null }],
    });
  });

  test("reads the map form of 0.26 and later", () => {
    expect(decode(hex(MAP))).toEqual({
      time: 1.5,
      rank: 0,
      events: [{ ...STORED, group: 0, specKind: "full_attention" }],
    });
  });

  test("reads a removal and a clearing, also in a batch without a rank", () => {
    const payload = hex(
      "92 cb3ff8000000000000 92 93 ac426c6f636b52656d6f766564 91cfdab89baa7b5857c0 a3475055 91 b0416c6c426c6f636b73436c6561726564",
    );
    expect(decode(payload)).toEqual({
      time: 1.5,
      rank: null,
      events: [
        { type: "BlockRemoved", hashes: [15760518052499183552n], medium: "GPU", group: null },
        { type: "AllBlocksCleared" },
      ],
    });
  });

  test("reads a batch that is itself a map", () => {
    const payload = encode({
      ts: 2.5,
      data_parallel_rank: 3,
      extra: [1],
      events: [{ type: "AllBlocksCleared" }],
    });
    expect(decode(payload)).toEqual({ time: 2.5, rank: 3, events: [{ type: "AllBlocksCleared" }] });
  });

  test("folds a digest to its last eight bytes", () => {
    const digest = Buffer.alloc(32, 1);
    digest.writeBigUInt64BE(0xfedcba9876543210n, 24);
    const payload = encode([0.5, [["BlockRemoved", [new Uint8Array(digest)], "GPU"]], 0]);
    expect(decode(payload).events[0]!.hashes).toEqual([0xfedcba9876543210n]);
  });

  test("passes over unknown tags, unknown fields and any order of keys", () => {
    const payload = encode(
      [
        0.5,
        [
          ["BlockMoved", [1], { deep: [null, new Uint8Array(3)] }],
          {
            block_hashes: [7n],
            later: { a: [1, "x", 2.5] },
            group_idx: 1,
            type: "BlockRemoved",
            medium: null,
          },
        ],
        0,
        "more",
      ],
      { useBigInt64: true },
    );
    expect(decode(payload).events).toEqual([
      { type: "unknown:BlockMoved" },
      { type: "BlockRemoved", hashes: [7n], medium: null, group: 1 },
    ]);
  });

  test("passes over a tag of another release that means another thing by a known field", () => {
    const moved = { type: "BlockMoved", block_hashes: { from: 1, to: 2 }, medium: ["GPU", "CPU"] };
    const payload = encode([0.5, [moved, { type: "AllBlocksCleared" }], 0]);
    expect(decode(payload).events).toEqual([{ type: "unknown:BlockMoved" }, { type: "AllBlocksCleared" }]);
  });

  test("passes over maps whose keys are no texts", () => {
    // An unknown member {{}: 1, [1]: 2}, which plain JavaScript objects cannot hold.
    const payload = hex("93 cb3ff8000000000000 91 92 a5 4f74686572 82 80 01 91 01 02 00");
    expect(decode(payload).events).toEqual([{ type: "unknown:Other" }]);
  });

  test("keeps a byte order mark, which makes another salt", () => {
    const payload = encode([
      0.5,
      [["BlockStored", [1], null, [1, 2], 2, null, "GPU", null, [["\ufeffsalt"]]]],
      0,
    ]);
    expect(decode(payload).events[0]!.extraKeys).toEqual([["\ufeffsalt"]]);
  });

  test.each(["events", "events-bytes-hash"])(
    "agrees with every message recorded from vLLM 0.32 (%s)",
    (name) => {
      const messages = recordedMessages(`${name}.bin`);
      const decoded = recordedJson(`${name}.json`);
      expect(messages.length).toBe(decoded.length);
      messages.forEach((frames, i) => {
        const batch = parseFrames(frames)!;
        expect(batch.sequence).toBe(decoded[i]!.seq);
        const [time, events] = decoded[i]!.batch!;
        const ours = decode(batch.payload);
        expect(ours.time).toBe(time);
        expect(ours.events.map(plainHashes)).toEqual(events.map(asDecoded));
      });
    },
  );

  test.each(["0.22", "0.11"])("reads the array layout of vLLM %s the same as the maps", (version) => {
    const old = recordedMessages(`legacy-array-${version}.bin`);
    const now = recordedMessages("events.bin");
    for (const [i, frames] of old.entries()) {
      const of = (f: Uint8Array[]) =>
        decode(parseFrames(f)!.payload).events.map((e) => [e.type, e.hashes, e.tokens, e.parent]);
      expect(of(frames)).toEqual(of(now[i]!));
    }
  });

  test("reads a recorded replay to its end", () => {
    const batches = recordedMessages("replay.bin").map(parseFrames);
    expect(batches.at(-1)).toBeNull();
    const told = recordedJson("replay.json").filter(({ batch }) => batch !== null);
    expect(batches.slice(0, -1).map((b) => decode(b!.payload).events.map(plainHashes))).toEqual(
      told.map(({ batch }) => batch![1].map(asDecoded)),
    );
    const sequences = batches.slice(0, -1).map((b) => b!.sequence);
    expect(sequences).toEqual(sequences.map((_, i) => sequences[0]! + i));
  });

  test("refuses damaged payloads with an error and nothing else", () => {
    const whole = hex(MAP);
    for (let n = 0; n < whole.length; n++) expect(() => decode(whole.subarray(0, n))).toThrow(MsgpackError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(MsgpackError);
        }
      }),
    );
  });

  test("keeps every hash and token id that an encoder can write", () => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 1, maxLength: 40 }),
        fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { maxLength: 700 }),
        fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
        (hashes, tokens, parent) => {
          const payload = encode([1, [["BlockStored", hashes, parent, tokens, 16, null, "GPU", null]], 0], {
            useBigInt64: true,
          });
          expect(decode(payload).events[0]).toMatchObject({ hashes, tokens, parent });
        },
      ),
    );
  });
});

function plainHashes(e: Seen): unknown {
  const text = (h: bigint) => h.toString();
  if (e.type === "BlockRemoved") return { ...e, hashes: (e.hashes as bigint[]).map(text) };
  if (e.type !== "BlockStored") return e;
  const parent = e.parent as bigint | null;
  return {
    ...e,
    hashes: (e.hashes as bigint[]).map(text),
    parent: parent === null ? null : parent.toString(),
  };
}

function asDecoded(event: unknown): unknown {
  const e = event as Record<string, unknown>;
  if (e.type === "BlockRemoved")
    return {
      type: e.type,
      hashes: (e.block_hashes as unknown[]).map(hashText),
      medium: e.medium,
      group: e.group_idx ?? null,
    };
  if (e.type !== "BlockStored") return { type: e.type };
  const keys = (e.extra_keys ?? []) as (unknown[] | null)[];
  return {
    type: e.type,
    hashes: (e.block_hashes as unknown[]).map(hashText),
    parent: e.parent_block_hash === null ? null : hashText(e.parent_block_hash),
    tokens: e.token_ids,
    blockSize: e.block_size,
    loraId: e.lora_id,
    loraName: e.lora_name,
    medium: e.medium,
    extraKeys: keys.some((k) => k !== null) ? keys : null,
    group: e.group_idx,
    specKind: e.kv_cache_spec_kind,
  };
}

function hashText(hash: unknown): string {
  if (typeof hash === "object") return BigInt(`0x${(hash as { $hex: string }).$hex.slice(-16)}`).toString();
  return String(hash);
}
