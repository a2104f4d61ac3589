// Whether what gateways predict of a pod agrees with what its engine found in its cache, by the engine's own counter: for
// engines whose answers do not say what was cached, and for what they leave out (vLLM says nothing where it is 0). An
// engine without the counter says nothing.
import { MOST_TENANTS, NEEDED_TENANTS, OTHERS, TENANT_ANSWERS, WINDOW_MS } from "./tenant-evidence.js";

/** Requests that a window needs, and how long it lasts at least: what is under way at its ends must weigh little. */
const MIN_REQUESTS = 200;
const MIN_WINDOW_MS = 30_000;
/** Predicted tokens beyond those found that are let pass: a share of the found ones, and KV blocks a request. */
const TOLERANCE = 0.1;
const TOLERATED_BLOCKS = 1;

/** What one tenant's requests were. */
export interface TenantSum {
  tag: number;
  requests: number;
  /** Tokens predicted to be cached. */
  predicted: number;
}

/** One pod's windows. Gateways' counts come in between the engine's, which close them. */
export class PredictionCheck {
  #from: { found: number; at: number } | null = null;
  #requests = 0;
  #predicted = 0;
  readonly #tenants = new Map<number, TenantSum>();
  /** Predicted tokens per found one in the last whole window, null before the first or where nothing was found. */
  ratio: number | null = null;
  /** Whether more was predicted than found in the last whole window. Less proves nothing: others may use the pod. */
  over = false;
  /**
   * The same, proven within a minute by three tenants, of whom the one with most tokens does not count: what it alone
   * did not find says nothing of the pod.
   */
  proven = false;

  /** Takes what a gateway sent to the pod. */
  sent(tenants: readonly TenantSum[]): void {
    for (const { tag, requests, predicted } of tenants) {
      const key = this.#tenants.has(tag) || this.#tenants.size < MOST_TENANTS ? tag : OTHERS;
      const sum = this.#tenants.get(key) ?? { tag: key, requests: 0, predicted: 0 };
      sum.requests += requests;
      sum.predicted += predicted;
      this.#tenants.set(key, sum);
      this.#requests += requests;
      this.#predicted += predicted;
    }
  }

  /**
   * Takes the tokens that the engine has found in its cache since its start, also those of requests that came by other
   * ways; `now` is a monotonic time in ms. True when that ended a window.
   */
  engine(found: number, blockTokens: number, now: number): boolean {
    const from = this.#from;
    if (!from || found < from.found) {
      this.#begin(found, now);
      return false;
    }
    if (this.#requests < MIN_REQUESTS || now - from.at < MIN_WINDOW_MS) return false;
    const more = found - from.found;
    const allowed = more * (1 + TOLERANCE) + this.#requests * TOLERATED_BLOCKS * blockTokens;
    const tenants = [...this.#tenants.values()];
    const largest = Math.max(...tenants.map(({ predicted }) => predicted));
    this.ratio = more > 0 ? this.#predicted / more : null;
    this.over = this.#predicted > allowed;
    this.proven =
      this.#predicted - largest > allowed &&
      now - from.at <= WINDOW_MS &&
      tenants.filter(({ requests }) => requests >= TENANT_ANSWERS).length >= NEEDED_TENANTS;
    this.#begin(found, now);
    return true;
  }

  #begin(found: number, now: number): void {
    this.#from = { found, at: now };
    this.#requests = 0;
    this.#predicted = 0;
    this.#tenants.clear();
  }
}
