// Which blocks of a pod are used again and again: those that new blocks were appended to, or that were announced once
// more. That is what events tell of reuse; it costs one entry an event, not one a block.

/** Blocks remembered per pod; the one not used for the longest time goes first. */
const MAX_BLOCKS = 512;

export interface BlockUse {
  hash: bigint;
  count: number;
  /** ms since the epoch. */
  last: number;
}

export class BlockUses {
  readonly #uses = new Map<bigint, BlockUse>();

  /** `now` in ms since the epoch. */
  add(hash: bigint, now: number): void {
    const use = this.#uses.get(hash) ?? { hash, count: 0, last: now };
    use.count++;
    use.last = now;
    this.#uses.delete(hash);
    this.#uses.set(hash, use);
    if (this.#uses.size <= MAX_BLOCKS) return;
    for (const oldest of this.#uses.keys()) {
      this.#uses.delete(oldest);
      return;
    }
  }

  /** The most used ones that `held` says are still there. */
  top(n: number, held: (hash: bigint) => boolean): BlockUse[] {
    return [...this.#uses.values()]
      .filter((use) => held(use.hash))
      .sort((a, b) => b.count - a.count || b.last - a.last)
      .slice(0, n);
  }

  clear(): void {
    this.#uses.clear();
  }
}
