// How late this process is: a simulator that is short of CPU measures itself and not the router.

const SAMPLE_MS = 10;
/** Histogram of 0.05 ms steps up to 200 ms; the last one holds everything later. */
const STEP_MS = 0.05;
const STEPS = 4000;

/** Milliseconds. */
export interface LagSummary {
  p50: number;
  p99: number;
  max: number;
}

/** Lateness samples, real ms. */
export class LagHistogram {
  readonly #counts = new Uint32Array(STEPS + 1);
  #samples = 0;
  #max = 0;

  record(ms: number): void {
    const late = Math.max(0, ms);
    (this.#counts[Math.min(STEPS, Math.floor(late / STEP_MS))] as number)++;
    this.#samples++;
    this.#max = Math.max(this.#max, late);
  }

  clear(): void {
    this.#counts.fill(0);
    this.#samples = 0;
    this.#max = 0;
  }

  summary(): LagSummary {
    return { p50: this.#quantile(0.5), p99: this.#quantile(0.99), max: this.#max };
  }

  #quantile(share: number): number {
    let left = share * this.#samples;
    for (let step = 0; step < STEPS; step++) {
      left -= this.#counts[step] as number;
      if (left <= 0 && this.#samples > 0) return Math.min((step + 1) * STEP_MS, this.#max);
    }
    return this.#max;
  }
}

/** Samples how late a timer of 10 ms fires. */
export class EventLoopLag {
  readonly histogram = new LagHistogram();
  #due = 0;
  #timer: NodeJS.Timeout;

  constructor() {
    this.#due = performance.now() + SAMPLE_MS;
    this.#timer = setTimeout(() => this.#sample(), SAMPLE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #sample(): void {
    const now = performance.now();
    this.histogram.record(now - this.#due);
    this.#due = now + SAMPLE_MS;
    this.#timer = setTimeout(() => this.#sample(), SAMPLE_MS);
  }
}
