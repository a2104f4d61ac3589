import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { StoreStatus, type Wire } from "../../agent/wire.js";
import { hashBlocks, keysOf, readFrames, rootOf } from "../vectors/reference.js";
import { newWire, podRow } from "./wire-for-test.js";

const secret = Uint8Array.from({ length: 32 }, (_, i) => (i * 89 + 7) & 255);
const keys = keysOf(secret);
const create = (blockBytes = 128, maxEntries = 100_000) =>
  newWire({ secret, blockBytes, maxEntries, leader: 5n, startMs: 6n });

// Token i has i % 11 bytes, so block boundaries fall inside tokens; token 0 has none.
const vocabulary = 400;
const tokenBytes = Array.from({ length: vocabulary }, (_, i) =>
  Uint8Array.from({ length: i % 11 }, (_, j) => (i * 31 + j * 17) & 255),
);
const offsets = new Uint32Array(vocabulary + 1);
for (let i = 0; i < vocabulary; i++) offsets[i + 1] = offsets[i]! + tokenBytes[i]!.length;
const bytes = Uint8Array.from(tokenBytes.flatMap((b) => [...b]));
const known = new Uint8Array(vocabulary).fill(1);
known[399] = 0;
const textOf = (tokens: Uint32Array) => Uint8Array.from([...tokens].flatMap((t) => [...tokenBytes[t]!]));

/** Text-block hashes of a token chain with the tokens that end at or before each boundary, by the slow reference. */
function expected(root: bigint, tokens: Uint32Array, blockBytes: number) {
  const ends: number[] = [];
  let at = 0;
  for (const t of tokens) {
    at += tokenBytes[t]!.length;
    ends.push(at);
  }
  return hashBlocks(keys.block, root, textOf(tokens), blockBytes).map((hash, i) => {
    const boundary = (i + 1) * blockBytes;
    // A token without bytes right after the boundary is not counted: the block is complete before it.
    const count = ends.findIndex((e) => e >= boundary) + (ends.includes(boundary) ? 1 : 0);
    return { hash, tokens: count - (count % 16) };
  });
}

const chain = (n: number, seed: number) =>
  Uint32Array.from({ length: n }, (_, i) => (i * 7 + seed * 13) % 399);

describe("the hash", () => {
  let wire: Wire;
  beforeAll(async () => {
    wire = await create();
  });

  test("equals the BigInt reference for any text", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 1000 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (text, root) => {
          expect([...wire.hashText(root, text, 128)]).toEqual(hashBlocks(keys.block, root, text, 128));
        },
      ),
    );
  });

  test("separates models, adapters and salts at the root", () => {
    const model = wire.addModel("m");
    const roots = [
      ["", ""],
      ["a", ""],
      ["", "a"],
      ["a", "b"],
    ].map(([lora, salt]) => wire.root(model, lora!, salt!));
    expect(roots).toEqual([
      rootOf(secret, "m", "", ""),
      rootOf(secret, "m", "a", ""),
      rootOf(secret, "m", "", "a"),
      rootOf(secret, "m", "a", "b"),
    ]);
    expect(new Set(roots).size).toBe(4);
  });
});

describe("the index", () => {
  async function indexed(blockBytes = 128) {
    const wire = await create(blockBytes);
    const model = wire.addModel("m");
    wire.setTokenBytes(model, { offsets, bytes, known });
    return { wire, model, root: wire.root(model, "", "") };
  }
  const store = (
    wire: Wire,
    model: number,
    pod: number,
    tokens: Uint32Array,
    first: bigint,
    parent: bigint | null,
    blockSize: number,
  ) =>
    wire.store(pod, model, {
      hashes: BigUint64Array.from({ length: tokens.length / blockSize }, (_, i) => first + BigInt(i)),
      parent,
      tokens,
      blockSize,
      lora: "",
      salt: "",
    });

  test.each([
    [64, 16],
    [128, 16],
    [256, 16],
    [128, 1],
    [128, 528],
  ])(
    "publishes the same text blocks as hashing the text at once (%i bytes, %i tokens a block)",
    async (b, size) => {
      const { wire, model, root } = await indexed(b);
      const tokens = chain(size * 132, 3);
      // In three events, so that the state is carried over from parent to child.
      const third = size * 44;
      expect(store(wire, model, 2, tokens.slice(0, third), 1n, null, size)).toBe(StoreStatus.Ok);
      expect(store(wire, model, 2, tokens.slice(third, 2 * third), 45n, 44n, size)).toBe(StoreStatus.Ok);
      expect(store(wire, model, 2, tokens.slice(2 * third), 89n, 88n, size)).toBe(StoreStatus.Ok);
      const table = readFrames(wire.drain());
      const want = expected(root, tokens, b);
      expect(want.length).toBeGreaterThan(0);
      expect([...table.entries.keys()].sort()).toEqual(want.map((w) => w.hash).sort());
      for (const w of want) expect(table.entries.get(w.hash)).toEqual({ pods: [2], tokens: w.tokens });
    },
  );

  test("holds an entry until the last copy of the last block that completes it is removed", async () => {
    const { wire, model } = await indexed();
    const tokens = chain(320, 1);
    store(wire, model, 0, tokens, 100n, null, 16);
    store(wire, model, 0, tokens, 100n, null, 16);
    store(wire, model, 1, tokens, 900n, null, 32);
    const all = BigUint64Array.from({ length: 20 }, (_, i) => 100n + BigInt(i));
    const hashes = [...readFrames(wire.drain()).entries.keys()];
    wire.remove(0, all);
    let table = readFrames([...wire.drain(), ...wire.snapshot()]);
    for (const h of hashes) expect(table.entries.get(h)!.pods).toEqual([0, 1]);
    expect(wire.remove(0, all)).toBe(20);
    wire.drain();
    table = readFrames(wire.snapshot());
    for (const h of hashes) expect(table.entries.get(h)!.pods).toEqual([1]);
    expect(wire.remove(0, all)).toBe(0);
    wire.clearPod(1);
    wire.drain();
    expect(readFrames(wire.snapshot()).entries.size).toBe(0);
    expect(wire.stats()).toMatchObject({ blocks: 0, entries: 0 });
  });

  test("keeps every entry while the table grows in its place, and loses none when most are removed", async () => {
    const { wire, model, root } = await indexed();
    const count = 400;
    const of = (run: number) => chain(16 * 64, 1000 + run);
    const wanted = new Set<bigint>();
    for (let run = 0; run < count; run++) {
      store(wire, model, run % 3, of(run), BigInt(run) * 1000n + 1n, null, 16);
      for (const { hash } of expected(root, of(run), 128)) wanted.add(hash);
    }
    wire.drain();
    let table = readFrames(wire.snapshot());
    expect(wanted.size).toBeGreaterThan(10_000);
    expect([...table.entries.keys()].sort()).toEqual([...wanted].sort());
    const kept = new Set(expected(root, of(7), 128).map(({ hash }) => hash));
    for (let run = 0; run < count; run++)
      if (run !== 7)
        wire.remove(
          run % 3,
          BigUint64Array.from({ length: 64 }, (_, i) => BigInt(run) * 1000n + 1n + BigInt(i)),
        );
    wire.drain();
    table = readFrames(wire.snapshot());
    expect(new Set(table.entries.keys())).toEqual(kept);
    expect(wire.stats()).toMatchObject({ blocks: 64, entries: kept.size });
  });

  test("refuses an orphan, an unknown token and a wrong shape without forgetting what it knows", async () => {
    const { wire, model } = await indexed();
    expect(store(wire, model, 0, chain(32, 1), 1n, 77n, 16)).toBe(StoreStatus.Orphan);
    expect(store(wire, model, 0, Uint32Array.from([...chain(31, 1), 399]), 1n, null, 16)).toBe(
      StoreStatus.UnknownToken,
    );
    expect(wire.stats().blocks).toBe(1);
    expect(
      wire.store(0, model, {
        hashes: new BigUint64Array(2),
        parent: null,
        tokens: chain(31, 1),
        blockSize: 16,
        lora: "",
        salt: "",
      }),
    ).toBe(StoreStatus.BadShape);
    expect(wire.stats().blocks).toBe(1);
  });

  test("deltas bring a reader to the same table as a snapshot, whatever the order of events", async () => {
    const action = fc.record({
      pod: fc.integer({ min: 0, max: 70 }),
      seed: fc.integer({ min: 0, max: 5 }),
      blocks: fc.integer({ min: 1, max: 40 }),
      what: fc.constantFrom("store", "store", "store", "remove", "clear"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
        const { wire, model } = await indexed();
        wire.setPods([podRow(70, model, { loadAgeMs: Number.POSITIVE_INFINITY })]);
        let table = readFrames(wire.drain());
        for (const a of actions) {
          const first = BigInt(a.seed * 1000 + 1);
          if (a.what === "store") store(wire, model, a.pod, chain(a.blocks * 16, a.seed), first, null, 16);
          else if (a.what === "clear") wire.clearPod(a.pod);
          else
            wire.remove(
              a.pod,
              BigUint64Array.from({ length: a.blocks }, (_, i) => first + BigInt(i)),
            );
          if (a.blocks % 3 === 0) table = readFrames(wire.drain(), table);
        }
        table = readFrames(wire.drain(), table);
        const fresh = readFrames(wire.snapshot());
        expect(new Map([...table.entries].sort())).toEqual(new Map([...fresh.entries].sort()));
      }),
      { numRuns: 40 },
    );
  });

  test("a table that outgrows its buckets is sent as a snapshot with nothing lost", async () => {
    const { wire, model, root } = await indexed(64);
    wire.drain();
    const tokens = chain(16 * 4000, 2);
    store(wire, model, 0, tokens, 1n, null, 16);
    const table = readFrames(wire.drain());
    expect(new Set(table.entries.keys())).toEqual(new Set(expected(root, tokens, 64).map((w) => w.hash)));
  });

  test("publishes no more than maxEntries and counts the rest", async () => {
    const wire = await create(64, 100);
    const model = wire.addModel("m");
    wire.setTokenBytes(model, { offsets, bytes, known });
    store(wire, model, 0, chain(16 * 200, 2), 1n, null, 16);
    expect(wire.stats().entries).toBe(100);
    expect(wire.stats().refusedEntries).toBeGreaterThan(0);
  });

  test("a checkpoint restores the same table, and only under the same secret", async () => {
    const { wire, model } = await indexed();
    for (let pod = 0; pod < 5; pod++)
      store(wire, model, pod, chain(640, pod % 3), BigInt(pod * 1000 + 1), null, 16);
    wire.remove(4, BigUint64Array.from([4039n, 4040n]));
    wire.drain();
    const saved = wire.checkpoint();
    const other = await create();
    expect(other.restore(saved)).toBe(true);
    other.drain();
    expect(readFrames(other.snapshot()).entries).toEqual(readFrames(wire.snapshot()).entries);
    expect(other.stats()).toMatchObject({ blocks: wire.stats().blocks, entries: wire.stats().entries });
    for (let pod = 0; pod < 5; pod++) other.clearPod(pod);
    expect(other.stats()).toMatchObject({ blocks: 0, entries: 0 });
    const damaged = saved.slice();
    damaged[damaged.length >> 1]! ^= 1;
    expect((await create()).restore(damaged)).toBe(false);
    const stranger = await newWire({ secret: secret.map((b) => b ^ 1), maxEntries: 1000 });
    expect(stranger.restore(saved)).toBe(false);
  });
});
