import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlockPool } from "../../simulator/block-pool.js";

const SIZE = 9;

/** The same pool with lists and searches, to judge by. */
class PlainPool {
  readonly free = Array.from({ length: SIZE - 1 }, (_, i) => i + 1);
  readonly references = new Map<number, number>();
  /** Blocks with their hash, in the order in which they were cached. */
  cached: { block: number; hash: number }[] = [];
  evicted: number[] = [];

  find(hash: number): number {
    return this.cached.find((entry) => entry.hash === hash)?.block ?? -1;
  }

  touch(block: number): void {
    const held = this.references.get(block) ?? 0;
    if (held === 0) this.free.splice(this.free.indexOf(block), 1);
    this.references.set(block, held + 1);
  }

  take(): number {
    const block = this.free.shift() as number;
    const at = this.cached.findIndex((entry) => entry.block === block);
    if (at >= 0) this.evicted.push((this.cached.splice(at, 1)[0] as { hash: number }).hash);
    this.references.set(block, 1);
    return block;
  }

  release(blocks: number[]): void {
    for (const block of blocks.toReversed()) {
      const held = (this.references.get(block) as number) - 1;
      this.references.set(block, held);
      if (held === 0) this.free.push(block);
    }
  }
}

/** Runs the way a sequence does: look up, touch, take, cache, and give back some time later. */
const runs = fc.array(
  fc.record({
    hashes: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 5 }),
    finish: fc.nat(3),
  }),
  { maxLength: 60 },
);

describe("block pool", () => {
  it("does what a plain pool with lists does, whatever sequences come and go", () => {
    fc.assert(
      fc.property(runs, (steps) => {
        const evicted: number[] = [];
        const pool = new BlockPool(SIZE, { evicted: (low) => evicted.push(low) });
        const plain = new PlainPool();
        const held: number[][] = [];
        for (const { hashes, finish } of steps) {
          const blocks: number[] = [];
          let hits = 0;
          for (; hits < hashes.length; hits++) {
            const hash = hashes[hits] as number;
            const found = pool.find(hash, hash * 7);
            expect(found).toBe(plain.find(hash));
            if (found < 0) break;
            pool.touch(found);
            plain.touch(found);
            blocks.push(found);
          }
          for (const hash of hashes.slice(hits)) {
            if (pool.free === 0) break;
            const block = pool.take();
            expect(block).toBe(plain.take());
            pool.cache(block, hash, hash * 7);
            plain.cached.push({ block, hash });
            blocks.push(block);
          }
          held.push(blocks);
          for (let i = 0; i < finish && held.length > 0; i++) {
            const done = held.shift() as number[];
            pool.release(Int32Array.from(done), done.length);
            plain.release(done);
          }
          expect(pool.free).toBe(plain.free.length);
          expect(evicted).toEqual(plain.evicted);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("evicts the tail of a finished sequence before its head", () => {
    const evicted: number[] = [];
    const pool = new BlockPool(5, { evicted: (low) => evicted.push(low) });
    const blocks = Int32Array.from([pool.take(), pool.take(), pool.take(), pool.take()]);
    blocks.forEach((block, i) => {
      pool.cache(block, 100 + i, 0);
    });
    pool.release(blocks, 4);
    pool.take();
    pool.take();
    expect(evicted).toEqual([103, 102]);
    expect(pool.find(101, 0)).toBe(blocks[1]);
  });

  it("keeps a block that another sequence still holds", () => {
    const pool = new BlockPool(3, { evicted: () => {} });
    const block = pool.take();
    pool.cache(block, 1, 1);
    pool.touch(block);
    pool.release(Int32Array.of(block), 1);
    expect(pool.free).toBe(1);
    expect(pool.isFree(block)).toBe(false);
    pool.release(Int32Array.of(block), 1);
    expect(pool.free).toBe(2);
  });

  it("finds the second copy of a hash when the first is evicted, and reports each copy once", () => {
    const evicted: number[] = [];
    const pool = new BlockPool(3, { evicted: (low) => evicted.push(low) });
    const [first, second] = [pool.take(), pool.take()];
    pool.cache(first, 5, 5);
    pool.cache(second, 5, 5);
    expect(pool.find(5, 5)).toBe(first);
    pool.release(Int32Array.of(first), 1);
    pool.take();
    expect(pool.find(5, 5)).toBe(second);
    expect(evicted).toEqual([5]);
  });

  it("resets only while no sequence holds a block", () => {
    const pool = new BlockPool(4, { evicted: () => {} });
    const block = pool.take();
    pool.cache(block, 1, 2);
    expect(pool.reset()).toBe(false);
    pool.release(Int32Array.of(block), 1);
    expect(pool.reset()).toBe(true);
    expect(pool.find(1, 2)).toBe(-1);
    expect(pool.usage).toBe(0);
  });

  it("refuses a size that leaves no block beside the null block", () => {
    expect(() => new BlockPool(1, { evicted: () => {} })).toThrow(/at least 2/);
  });
});
