// What pods hold, kept the slow way: every KV block with its whole text from the root, every question answered by
// looking at all of them.

/** One KV block on one pod in one tier. */
interface Held {
  /** What its chain begins with: adapter and salt. */
  root: string;
  /** Text from the root to its end. */
  text: string;
  /** Where its own text begins. */
  from: number;
  copies: number;
}

/** Consecutive blocks as an event tells them. */
export interface Run {
  hashes: bigint[];
  parent: bigint | null;
  /** Text of each block; null from the block on that has a token without text. */
  texts: (string | null)[];
  root: string;
}

/** The pods' blocks. Tier 0 is the GPU's. */
export class IndexOracle {
  readonly #pods = new Map<string, Map<bigint, Held>>();

  constructor(readonly blockBytes: number) {}

  #blocks(pod: number, tier: number): Map<bigint, Held> {
    const key = `${pod}/${tier}`;
    let blocks = this.#pods.get(key);
    if (!blocks) {
      blocks = new Map();
      this.#pods.set(key, blocks);
    }
    return blocks;
  }

  store(pod: number, tier: number, run: Run): void {
    const own = this.#blocks(pod, tier);
    let { root } = run;
    let text = "";
    if (run.parent !== null) {
      const parent = own.get(run.parent) ?? this.#blocks(pod, 1 - tier).get(run.parent);
      if (!parent) return;
      root = parent.root;
      text = parent.text;
    }
    for (const [i, hash] of run.hashes.entries()) {
      const more = run.texts[i];
      if (more === null || more === undefined) return;
      const from = text.length;
      text += more;
      const known = own.get(hash);
      if (known) known.copies++;
      else own.set(hash, { root, text, from, copies: 1 });
    }
  }

  remove(pod: number, tier: number, hashes: bigint[]): void {
    const own = this.#blocks(pod, tier);
    for (const hash of hashes) {
      const held = own.get(hash);
      if (held && --held.copies === 0) own.delete(hash);
    }
  }

  clear(pod: number): void {
    this.#blocks(pod, 0).clear();
    this.#blocks(pod, 1).clear();
  }

  /** Everything that a pod holds. */
  held(pod: number): [bigint, Held][] {
    return [...this.#blocks(pod, 0), ...this.#blocks(pod, 1)];
  }

  /** Leading text blocks of `text` that a pod holds without a hole. */
  present(pod: number, root: string, text: string): number {
    const held = this.held(pod);
    let n = 0;
    for (;;) {
      const end = (n + 1) * this.blockBytes;
      if (end > text.length) return n;
      const there = held.some(
        ([, block]) =>
          block.root === root &&
          block.from < end &&
          block.text.length >= end &&
          block.text.slice(0, end) === text.slice(0, end),
      );
      if (!there) return n;
      n++;
    }
  }

  /** Leading hashes that a pod holds without a hole. */
  run(pod: number, hashes: bigint[]): number {
    const own = [this.#blocks(pod, 0), this.#blocks(pod, 1)];
    const hole = hashes.findIndex((hash) => !own.some((blocks) => blocks.has(hash)));
    return hole < 0 ? hashes.length : hole;
  }
}
