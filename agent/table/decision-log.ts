// The last decisions that gateways recorded, for people who want to know why a request went where it went.
import type { Decision } from "../wire.js";

/** So many are kept; a decision with 16 candidates takes about 2 KiB. */
const KEPT = 1000;

export interface LoggedDecision extends Decision {
  /** When it arrived, ms since the epoch. */
  at: number;
}

export class DecisionLog {
  readonly #ring: LoggedDecision[] = [];
  #next = 0;

  /** Takes one; `now` is ms since the epoch. */
  take(decision: Decision, now: number): void {
    this.#ring[this.#next] = { ...decision, at: now };
    this.#next = (this.#next + 1) % KEPT;
  }

  /** At most `limit`, newest first; with a request id, those of it. */
  latest(limit: number, requestId?: string): LoggedDecision[] {
    const found: LoggedDecision[] = [];
    for (let i = 1; i <= this.#ring.length && found.length < limit; i++) {
      const decision = this.#ring[(this.#next - i + KEPT) % KEPT];
      if (decision && (requestId === undefined || decision.requestId === requestId)) found.push(decision);
    }
    return found;
  }
}
