// A tier that tells what it takes in and not what it gives up, as LMCache's does: what was stored longest ago is given up
// here instead, so that it is not believed for ever.

/** Most blocks of a pod that are believed without ever hearing of a removal: 4 million tokens at 16 a block. */
const MOST = 262_144;

export class StoreOnlyTier {
  readonly #most: number;
  /** Insertion order is age order; null once the tier has told of a removal, and can be trusted to tell of all. */
  #blocks: Set<bigint> | null = new Set();

  constructor(most = MOST) {
    this.#most = most;
  }

  /** Blocks were stored; returns those that are to be given up. */
  stored(hashes: BigUint64Array): bigint[] {
    const blocks = this.#blocks;
    if (!blocks) return [];
    for (const hash of hashes) {
      blocks.delete(hash);
      blocks.add(hash);
    }
    const old: bigint[] = [];
    for (const hash of blocks) {
      if (blocks.size <= this.#most) break;
      blocks.delete(hash);
      old.push(hash);
    }
    return old;
  }

  /** The tier tells of removals. */
  removed(): void {
    this.#blocks = null;
  }

  clear(): void {
    this.#blocks?.clear();
  }
}
