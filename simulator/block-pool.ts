// The KV cache: a fixed number of blocks, a free list in eviction order, and a table from block hash to blocks.
// Follows vLLM V1's block pool (vllm/v1/core/block_pool.py): blocks given back keep their hash until they are taken.

const NONE = -1;

/** Told which cached blocks are given up, one call per physical block. */
export interface EvictionListener {
  evicted(low: number, high: number): void;
}

/** Blocks of a fixed-size KV cache with prefix reuse. Block 0 is never handed out, as vLLM's null block. */
export class BlockPool {
  readonly size: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #references: Int32Array;
  readonly #lows: Int32Array;
  readonly #highs: Int32Array;
  readonly #hashed: Uint8Array;
  /** Blocks with equal buckets, oldest first, so that a look-up finds the block cached first. */
  readonly #inBucket: Int32Array;
  readonly #buckets: Int32Array;
  readonly #mask: number;
  readonly #listener: EvictionListener;
  #head = NONE;
  #tail = NONE;
  #free = 0;

  /** @param size blocks, the null block included; at least 2. */
  constructor(size: number, listener: EvictionListener) {
    if (!Number.isInteger(size) || size < 2)
      throw new RangeError(`a pool of ${size} blocks holds nothing; give at least 2`);
    this.size = size;
    this.#listener = listener;
    this.#next = new Int32Array(size).fill(NONE);
    this.#previous = new Int32Array(size).fill(NONE);
    this.#references = new Int32Array(size);
    this.#lows = new Int32Array(size);
    this.#highs = new Int32Array(size);
    this.#hashed = new Uint8Array(size);
    this.#inBucket = new Int32Array(size).fill(NONE);
    let buckets = 16;
    while (buckets < size * 2) buckets *= 2;
    this.#buckets = new Int32Array(buckets).fill(NONE);
    this.#mask = buckets - 1;
    for (let block = 1; block < size; block++) this.#append(block);
  }

  /** Blocks that no sequence holds, cached ones among them. */
  get free(): number {
    return this.#free;
  }

  /** Share of blocks that sequences hold, 0 to 1. */
  get usage(): number {
    return 1 - this.#free / (this.size - 1);
  }

  /** Whether no sequence holds this block. */
  isFree(block: number): boolean {
    return this.#references[block] === 0;
  }

  /** Block with this hash that was cached first, or -1. */
  find(low: number, high: number): number {
    let block = this.#buckets[low & this.#mask] as number;
    while (block !== NONE && (this.#lows[block] !== low || this.#highs[block] !== high))
      block = this.#inBucket[block] as number;
    return block;
  }

  /** Takes a cached block into use once more. */
  touch(block: number): void {
    if (this.#references[block] === 0) this.#unlink(block);
    (this.#references[block] as number)++;
  }

  /** Takes the block that was freed longest ago, forgetting what it cached. @throws when none is free. */
  take(): number {
    const block = this.#head;
    if (block === NONE) throw new Error("the block pool is empty; check `free` before taking");
    this.#unlink(block);
    if (this.#hashed[block]) this.#forget(block);
    this.#references[block] = 1;
    return block;
  }

  /** Gives blocks 0 to `count` (exclusive) of a sequence back, last first, so that its tail is evicted before its head. */
  release(blocks: Int32Array, count: number): void {
    for (let i = count - 1; i >= 0; i--) {
      const block = blocks[i] as number;
      if (--(this.#references[block] as number) === 0) this.#append(block);
    }
  }

  /** Records the hash of a block that became full. Two blocks may have one hash, as in vLLM. */
  cache(block: number, low: number, high: number): void {
    this.#lows[block] = low;
    this.#highs[block] = high;
    this.#hashed[block] = 1;
    const bucket = low & this.#mask;
    this.#inBucket[block] = NONE;
    let at = this.#buckets[bucket] as number;
    if (at === NONE) {
      this.#buckets[bucket] = block;
      return;
    }
    while (this.#inBucket[at] !== NONE) at = this.#inBucket[at] as number;
    this.#inBucket[at] = block;
  }

  /** Forgets every hash; false, and nothing happens, while sequences hold blocks. */
  reset(): boolean {
    if (this.#free !== this.size - 1) return false;
    this.#hashed.fill(0);
    this.#buckets.fill(NONE);
    this.#inBucket.fill(NONE);
    return true;
  }

  #forget(block: number): void {
    const low = this.#lows[block] as number;
    const bucket = low & this.#mask;
    let before = NONE;
    let at = this.#buckets[bucket] as number;
    while (at !== block) {
      before = at;
      at = this.#inBucket[at] as number;
    }
    const after = this.#inBucket[block] as number;
    if (before === NONE) this.#buckets[bucket] = after;
    else this.#inBucket[before] = after;
    this.#hashed[block] = 0;
    this.#listener.evicted(low, this.#highs[block] as number);
  }

  #append(block: number): void {
    this.#next[block] = NONE;
    this.#previous[block] = this.#tail;
    if (this.#tail === NONE) this.#head = block;
    else this.#next[this.#tail] = block;
    this.#tail = block;
    this.#free++;
  }

  #unlink(block: number): void {
    const before = this.#previous[block] as number;
    const after = this.#next[block] as number;
    if (before === NONE) this.#head = after;
    else this.#next[before] = after;
    if (after === NONE) this.#tail = before;
    else this.#previous[after] = before;
    this.#free--;
  }
}
