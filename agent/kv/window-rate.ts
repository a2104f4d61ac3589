// How often something happened lately.

const SLICES = 12;
const SLICE_MS = 5000;

/** Events per second over the last minute. */
export class WindowRate {
  readonly #counts = new Float64Array(SLICES);
  readonly #slices = new Float64Array(SLICES).fill(-1);
  #since: number | null = null;

  /** `now` is a monotonic time in ms. */
  add(n: number, now: number): void {
    this.#since ??= now;
    const slice = Math.floor(now / SLICE_MS);
    const i = slice % SLICES;
    if (this.#slices[i] !== slice) {
      this.#slices[i] = slice;
      this.#counts[i] = 0;
    }
    this.#counts[i]! += n;
  }

  perSecond(now: number): number {
    if (this.#since === null) return 0;
    const oldest = Math.floor(now / SLICE_MS) - SLICES + 1;
    let sum = 0;
    for (let i = 0; i < SLICES; i++) if (this.#slices[i]! >= oldest) sum += this.#counts[i]!;
    const span = now - Math.max(this.#since, oldest * SLICE_MS);
    return (sum * 1000) / Math.max(SLICE_MS, span);
  }
}
