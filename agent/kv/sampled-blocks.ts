// Which of a pod's blocks hold sampled tokens that no prompt will be tokenized into: they and what follows them in
// their chains are left out of the index.
import type { CanonicalCheck } from "./canonical-check.js";

/** Blocks remembered as left out. A verdict holds as long as the engine's hash names the same tokens. */
const MAX_LEFT_OUT = 65_536;

export class SampledBlocks {
  readonly #check: CanonicalCheck;
  readonly #pod: number;
  readonly #leftOut = new Set<bigint>();

  /** Of pod slot `pod`. */
  constructor(check: CanonicalCheck, pod: number) {
    this.#check = check;
    this.#pod = pod;
  }

  /**
   * How many leading blocks of a run may be indexed. A run of one block may have come from decode steps and is judged
   * by its tokens; longer ones are prompts, unless an engine computed a preempted request again, whose blocks are
   * known by their hashes.
   */
  usable(hashes: BigUint64Array, parent: bigint | null, tokens: Uint32Array, blockSize: number): number {
    const blocks = this.#judge(hashes, parent, tokens, blockSize);
    for (let i = blocks; i < hashes.length; i++) this.leaveOut(hashes[i]!);
    if (blocks === hashes.length) this.#check.tails.put(this.#pod, hashes[blocks - 1]!, tokens);
    return blocks;
  }

  /** Whether the block is left out. */
  has(hash: bigint): boolean {
    return this.#leftOut.has(hash);
  }

  leaveOut(hash: bigint): void {
    this.#leftOut.add(hash);
    for (const oldest of this.#leftOut) {
      if (this.#leftOut.size <= MAX_LEFT_OUT) return;
      this.#leftOut.delete(oldest);
    }
  }

  clear(): void {
    this.#check.tails.clear(this.#pod);
    this.#leftOut.clear();
  }

  #judge(hashes: BigUint64Array, parent: bigint | null, tokens: Uint32Array, blockSize: number): number {
    if (parent !== null && this.#leftOut.has(parent)) return 0;
    if (hashes.length > 1 || tokens.length !== blockSize) {
      const first = this.#leftOut.size === 0 ? -1 : hashes.findIndex((hash) => this.#leftOut.has(hash));
      return first < 0 ? hashes.length : first;
    }
    if (this.#leftOut.has(hashes[0]!)) return 0;
    const before = parent === null ? [] : this.#check.tails.get(this.#pod, parent);
    return this.#check.differs(before, tokens, parent === null) ? 0 : 1;
  }
}
