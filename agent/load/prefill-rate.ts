// A pod's uncached prefill rate, from its own counters.

/** Weight of a new measurement; the rate matters little up to a factor of two, so it may move slowly. */
const STEP = 0.2;
/** A measurement needs at least so much prefill in a busy interval. */
const MIN_TOKENS = 2000;

/**
 * Tokens prefilled per second while requests were waiting at both ends of an interval: the engine then prefills as fast
 * as it can. Starts from the configured rate.
 */
export class PrefillRate {
  #rate: number;
  #before: { at: number; computed: number; waiting: number } | null = null;

  constructor(initial: number) {
    this.#rate = initial;
  }

  /** Tokens per second. */
  get value(): number {
    return this.#rate;
  }

  /** `computed` = prompt tokens less cached ones since the engine's start; `at` a monotonic time in ms. */
  observe(at: number, computed: number, waiting: number): void {
    const before = this.#before;
    this.#before = { at, computed, waiting };
    if (!before || computed < before.computed || at <= before.at) return;
    const tokens = computed - before.computed;
    if (tokens < MIN_TOKENS) return;
    const rate = (tokens * 1000) / (at - before.at);
    // What was done is a lower bound at any time, and the rate itself while work was waiting.
    const busy = before.waiting > 0 && waiting > 0;
    if (busy || rate > this.#rate) this.#rate += (rate - this.#rate) * STEP;
  }
}
