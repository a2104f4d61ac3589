import { describe, expect, test } from "vitest";
import type { Wire } from "../../agent/wire.js";
import { newWire } from "../wasm/wire-for-test.js";

const make = (maxEntries = 1000): Promise<Wire> => newWire({ maxEntries });

const chain = (from: number, count: number) =>
  BigUint64Array.from({ length: count }, (_, i) => BigInt(from + i) * 0x9e3779b97f4a7c15n);

describe("the approximate index", () => {
  test("keeps each pod's most recent blocks, as an independent list does, over hundreds of prompts", async () => {
    const wire = await make();
    const limit = 50;
    const model = new Map<number, bigint[]>([
      [0, []],
      [3, []],
    ]);
    let seed = 7;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % n;
    };
    for (let i = 0; i < 500; i++) {
      const pod = random(2) * 3;
      const hashes = chain(random(20) * 100, 1 + random(70));
      wire.useApproximate(pod, hashes, 32, limit, i);
      const used = [...hashes].slice(0, limit);
      const rest = model.get(pod)!.filter((hash) => !used.includes(hash));
      model.set(pod, [...used, ...rest].slice(0, limit));
      for (const [slot, list] of model) expect(wire.approximateBlocks(slot)).toBe(list.length);
    }
    const texts = new Set([...model.values()].flat());
    expect(wire.stats().entries).toBe(texts.size);
    wire.dropApproximate(0);
    expect(wire.stats().entries).toBe(model.get(3)!.length);
    wire.dropApproximate(3);
    expect(wire.stats().entries).toBe(0);
  });

  test("forgets what was not used for long, and nothing else", async () => {
    const wire = await make();
    wire.useApproximate(1, chain(0, 10), 32, 100, 1000);
    wire.useApproximate(1, chain(500, 10), 32, 100, 2000);
    wire.useApproximate(1, chain(0, 4), 32, 100, 3000);
    wire.dropApproximate(1, 2000);
    expect(wire.approximateBlocks(1)).toBe(14);
    wire.dropApproximate(1, 3000);
    expect(wire.approximateBlocks(1)).toBe(4);
  });

  test("has no more entries than the table, whatever rooms pods have", async () => {
    const wire = await make(100);
    for (let pod = 0; pod < 4; pod++)
      for (let i = 0; i < 10; i++) wire.useApproximate(pod, chain(pod * 10_000 + i * 100, 40), 32, 1000, i);
    const sum = [0, 1, 2, 3].reduce((n, pod) => n + wire.approximateBlocks(pod), 0);
    expect(sum).toBeLessThanOrEqual(100);
    expect(wire.stats().entries).toBe(sum);
  });

  test("is in the checkpoint and goes on from there", async () => {
    const wire = await make();
    for (let i = 0; i < 30; i++) wire.useApproximate(i % 5, chain(i * 100, 60), 32, 150, i);
    const other = await make();
    expect(other.restore(wire.checkpoint())).toBe(true);
    for (const w of [wire, other]) {
      w.useApproximate(2, chain(200, 60), 32, 150, 50);
      w.useApproximate(2, chain(9000, 60), 32, 150, 51);
      w.dropApproximate(1, 20);
    }
    for (let pod = 0; pod < 5; pod++) expect(other.approximateBlocks(pod)).toBe(wire.approximateBlocks(pod));
    expect(other.stats().entries).toBe(wire.stats().entries);
    for (let pod = 0; pod < 5; pod++) other.dropApproximate(pod);
    expect(other.stats().entries).toBe(0);
    const cut = wire.checkpoint().subarray(0, 1000);
    expect((await make()).restore(cut)).toBe(false);
  });
});
