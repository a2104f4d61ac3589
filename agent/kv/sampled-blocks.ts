// Which of a pod's blocks hold sampled tokens that no prompt will be tokenized into: they and what follows them in
// their chains are left out of the index.
import type { CanonicalCheck } from "./canonical-check.js";

/** Ends of runs whose tokens are kept as context for the block that follows. */
const MAX_TAILS = 8192;
/** Blocks remembered as left out. A verdict holds as long as the engine's hash names the same tokens. */
const MAX_LEFT_OUT = 65_536;
const CONTEXT_TOKENS = 16;

export class SampledBlocks {
  readonly #check: CanonicalCheck;
  readonly #tails = new Map<bigint, Uint32Array>();
  readonly #leftOut = new Set<bigint>();

  constructor(check: CanonicalCheck) {
    this.#check = check;
  }

  /**
   * How many leading blocks of a run may be indexed. A run of one block may have come from decode steps and is judged
   * by its tokens; longer ones are prompts, unless an engine computed a preempted request again, whose blocks are
   * known by their hashes.
   */
  usable(hashes: BigUint64Array, parent: bigint | null, tokens: Uint32Array, blockSize: number): number {
    const blocks = this.#judge(hashes, parent, tokens, blockSize);
    for (let i = blocks; i < hashes.length; i++) this.leaveOut(hashes[i]!);
    if (blocks === hashes.length) {
      const last = hashes[blocks - 1]!;
      this.#tails.delete(last);
      this.#tails.set(last, tokens.slice(-Math.min(CONTEXT_TOKENS, blockSize)));
      trim(this.#tails, MAX_TAILS);
    }
    return blocks;
  }

  /** Whether the block is left out. */
  has(hash: bigint): boolean {
    return this.#leftOut.has(hash);
  }

  leaveOut(hash: bigint): void {
    this.#leftOut.add(hash);
    trim(this.#leftOut, MAX_LEFT_OUT);
  }

  clear(): void {
    this.#tails.clear();
    this.#leftOut.clear();
  }

  #judge(hashes: BigUint64Array, parent: bigint | null, tokens: Uint32Array, blockSize: number): number {
    if (parent !== null && this.#leftOut.has(parent)) return 0;
    if (hashes.length > 1 || tokens.length !== blockSize) {
      const first = this.#leftOut.size === 0 ? -1 : hashes.findIndex((hash) => this.#leftOut.has(hash));
      return first < 0 ? hashes.length : first;
    }
    if (this.#leftOut.has(hashes[0]!)) return 0;
    const before = parent === null ? undefined : this.#tails.get(parent);
    return this.#check.differs(before ?? [], tokens, parent === null) ? 0 : 1;
  }
}

function trim(held: Map<bigint, unknown> | Set<bigint>, most: number): void {
  for (const oldest of held.keys()) {
    if (held.size <= most) return;
    held.delete(oldest);
  }
}
