// The last decisions that gateways recorded, for people who want to know why a request went where it went, with the
// programs that made them, for `warmgate replay`.
import type { Decision } from "./record.js";

/** So many are kept, as long as they have no more candidates than this together (some 400 bytes each). */
const KEPT = 1000;
const KEPT_CANDIDATES = 32_768;
/** Programs of so many policy versions are kept, at most 15 KiB each. */
const KEPT_PROGRAMS = 16;

export interface LoggedDecision extends Decision {
  /** When it arrived, ms since the epoch. */
  at: number;
}

export class DecisionLog {
  /** Oldest first. */
  readonly #kept: LoggedDecision[] = [];
  readonly #programs = new Map<number, Uint8Array>();
  #candidates = 0;

  /** Takes one; `now` is ms since the epoch. */
  take(decision: Decision, now: number): void {
    this.#kept.push({ ...decision, at: now });
    this.#candidates += candidatesOf(decision);
    while (this.#kept.length > KEPT || (this.#kept.length > 1 && this.#candidates > KEPT_CANDIDATES))
      this.#candidates -= candidatesOf(this.#kept.shift()!);
  }

  /** Says which program a policy version runs (Wire.policyProgram). */
  runs(version: number, program: Uint8Array): void {
    this.#programs.delete(version);
    this.#programs.set(version, program);
    const [oldest] = this.#programs.keys();
    if (this.#programs.size > KEPT_PROGRAMS) this.#programs.delete(oldest!);
  }

  /** The program of a policy version, while it is remembered. */
  program(version: number): Uint8Array | undefined {
    return this.#programs.get(version);
  }

  /** At most `limit`, newest first; with a request id, those of it. */
  latest(limit: number, requestId?: string): LoggedDecision[] {
    const found: LoggedDecision[] = [];
    for (let i = this.#kept.length - 1; i >= 0 && found.length < limit; i--) {
      const decision = this.#kept[i]!;
      if (requestId === undefined || decision.requestId === requestId) found.push(decision);
    }
    return found;
  }
}

function candidatesOf({ candidates, pair }: Decision): number {
  return candidates.length + (pair?.candidates.length ?? 0);
}
