// The KV blocks of one pod: private ones, shared ones by content, and those that nobody uses, oldest first.

/** A block that others can share. */
export interface CachedBlock {
  readonly id: number;
  users: number;
  older: CachedBlock | null;
  newer: CachedBlock | null;
}

/** Prefix cache of an engine: reference counts, and least recently used blocks evicted first. */
export class BlockCache {
  readonly total: number;
  readonly #blocks = new Map<number, CachedBlock>();
  #oldest: CachedBlock | null = null;
  #newest: CachedBlock | null = null;
  #unused = 0;
  #own = 0;

  constructor(total: number) {
    this.total = total;
  }

  /** Blocks in use, as a share of all. */
  get usage(): number {
    return (this.#own + this.#blocks.size - this.#unused) / this.total;
  }

  has(id: number): boolean {
    return this.#blocks.has(id);
  }

  /** How many blocks from the first one are cached, at most `limit`. */
  match(ids: readonly number[], limit: number): number {
    let n = 0;
    while (n < limit && this.#blocks.has(ids[n]!)) n++;
    return n;
  }

  /** Uses a cached block. */
  use(id: number): CachedBlock {
    const block = this.#blocks.get(id)!;
    if (block.users++ === 0) this.#unlink(block);
    return block;
  }

  /** Stops using a block; put back last, it is evicted last. */
  release(block: CachedBlock): void {
    if (--block.users > 0) return;
    this.#unused++;
    block.older = this.#newest;
    block.newer = null;
    if (this.#newest) this.#newest.newer = block;
    else this.#oldest = block;
    this.#newest = block;
  }

  /** Takes `n` private blocks, evicting what nobody uses; false, with nothing changed, when there are not so many. */
  take(n: number): boolean {
    const free = this.total - this.#own - this.#blocks.size;
    if (n > free + this.#unused) return false;
    for (let i = free; i < n; i++) {
      const victim = this.#oldest!;
      this.#unlink(victim);
      this.#blocks.delete(victim.id);
    }
    this.#own += n;
    return true;
  }

  /** Gives private blocks back. */
  free(n: number): void {
    this.#own -= n;
  }

  /** Makes a private block a shared one, used once; null when another block with this content is there already. */
  publish(id: number): CachedBlock | null {
    if (this.#blocks.has(id)) return null;
    const block: CachedBlock = { id, users: 1, older: null, newer: null };
    this.#blocks.set(id, block);
    this.#own--;
    return block;
  }

  #unlink(block: CachedBlock): void {
    if (block.older) block.older.newer = block.newer;
    else this.#oldest = block.newer;
    if (block.newer) block.newer.older = block.older;
    else this.#newest = block.older;
    this.#unused--;
  }
}
