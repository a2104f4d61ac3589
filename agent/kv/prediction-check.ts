// Whether what gateways predict of a pod agrees with what its engine found in its cache. Gateways' sums are compared with
// the engine's own counter, over windows; an engine without one says nothing.

/** Requests that a window needs, and how long it lasts at least: what is under way at its ends must weigh little. */
const MIN_REQUESTS = 200;
const MIN_WINDOW_MS = 30_000;
/** Predicted tokens beyond those found that are let pass: a share of the found ones, and KV blocks a request. */
const TOLERANCE = 0.1;
const TOLERATED_BLOCKS = 1;

/** Sums since some start, at one moment. */
export interface PredictionSums {
  /** Requests that gateways sent. */
  requests: number;
  /** Tokens that they predicted to be cached. */
  predicted: number;
  /** Tokens that the engine found in its cache; also those of requests that came by other ways. */
  found: number;
}

/** One pod's windows. */
export class PredictionCheck {
  #from: (PredictionSums & { at: number }) | null = null;
  /** Predicted tokens per found one in the last whole window, null before the first or where nothing was found. */
  ratio: number | null = null;
  /** Whether more was predicted than found in the last whole window. Less proves nothing: others may use the pod. */
  over = false;

  /** Takes the sums of now, a monotonic time in ms. */
  observe(sums: PredictionSums, blockTokens: number, now: number): void {
    const from = this.#from;
    const wentBack =
      from && (sums.requests < from.requests || sums.predicted < from.predicted || sums.found < from.found);
    if (!from || wentBack) {
      this.#from = { ...sums, at: now };
      return;
    }
    const requests = sums.requests - from.requests;
    if (requests < MIN_REQUESTS || now - from.at < MIN_WINDOW_MS) return;
    const predicted = sums.predicted - from.predicted;
    const found = sums.found - from.found;
    this.ratio = found > 0 ? predicted / found : null;
    this.over = predicted > found * (1 + TOLERANCE) + requests * TOLERATED_BLOCKS * blockTokens;
    this.#from = { ...sums, at: now };
  }
}
