// The last tokens of runs of blocks, as context for the block that a decode step adds. One table for all pods of a model,
// of a fixed size: what falls out of it costs a check its context and nothing else.

const ENTRIES = 1 << 16;
/** Tokens kept of a run. */
export const TAIL_TOKENS = 16;

export class TokenTails {
  readonly #hashes = new BigUint64Array(ENTRIES);
  readonly #owners = new Uint16Array(ENTRIES).fill(0xffff);
  readonly #lengths = new Uint8Array(ENTRIES);
  readonly #tokens = new Uint32Array(ENTRIES * TAIL_TOKENS);
  readonly #word = new BigUint64Array(1);
  readonly #halves = new Uint32Array(this.#word.buffer);

  /** Keeps the last tokens of a run of pod slot `pod` that ends with the block of this hash. */
  put(pod: number, hash: bigint, tokens: Uint32Array): void {
    const i = this.#slot(pod, hash);
    const n = Math.min(TAIL_TOKENS, tokens.length);
    this.#hashes[i] = hash;
    this.#owners[i] = pod;
    this.#lengths[i] = n;
    this.#tokens.set(tokens.subarray(tokens.length - n), i * TAIL_TOKENS);
  }

  /** A view, valid until the next `put`; empty when nothing is known. */
  get(pod: number, hash: bigint): Uint32Array {
    const i = this.#slot(pod, hash);
    const known = this.#owners[i] === pod && this.#hashes[i] === hash;
    return this.#tokens.subarray(i * TAIL_TOKENS, i * TAIL_TOKENS + (known ? this.#lengths[i]! : 0));
  }

  /** Forgets those of a pod. */
  clear(pod: number): void {
    for (let i = 0; i < ENTRIES; i++) if (this.#owners[i] === pod) this.#owners[i] = 0xffff;
  }

  #slot(pod: number, hash: bigint): number {
    this.#word[0] = hash;
    const h = Math.imul(this.#halves[0]! ^ Math.imul(pod + 1, 0x9e3779b1), 0x85ebca6b) ^ this.#halves[1]!;
    return Math.imul(h, 0x9e3779b1) >>> 16;
  }
}
