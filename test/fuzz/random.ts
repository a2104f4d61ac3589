// Seeded randomness without allocation: one 32-bit word of state (mulberry32, public domain, by T. Ettinger).

export class Random {
  #state = 0;

  /** Starts again from `seed`; neighbouring seeds give unrelated sequences. */
  seed(seed: number): void {
    let h = seed | 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    this.#state = h ^ (h >>> 16);
  }

  /** 32 random bits, unsigned. */
  word(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 to n − 1. */
  below(n: number): number {
    return this.word() % n;
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.word() % n === 0;
  }

  pick<T>(of: readonly T[]): T {
    return of[this.word() % of.length]!;
  }

  /** Fills `bytes` with noise. */
  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.word();
  }
}
