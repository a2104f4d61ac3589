// What the agent still waits for, and what it lacks; `/readyz` and the opening of the table read it.

export interface Reason {
  /** Stable word for machines. */
  code: string;
  /** Sentence for people. */
  detail: string;
}

type Check = () => Reason[];

/** A pod that can never be followed must not keep the agent out for ever, ms. */
const PATIENCE_MS = 60_000;

export class Readiness {
  readonly #always: Check[] = [];
  readonly #starting: Check[] = [];
  readonly #notes: Check[] = [];
  readonly #since = performance.now();
  #started = false;

  /** Adds a check: while it gives reasons, the agent is not ready. */
  require(check: Check): void {
    this.#always.push(check);
  }

  /** Adds something to wait for at the start: once all of it was there (or 60 s have passed) its reasons are notes. */
  awaitAtStart(check: Check): void {
    this.#starting.push(check);
  }

  /** Adds facts that people should know though the agent works. */
  note(check: Check): void {
    this.#notes.push(check);
  }

  reasons(): Reason[] {
    return [...this.#always.flatMap((check) => check()), ...(this.#hasStarted() ? [] : this.starting())];
  }

  /** What of the start is not there. */
  starting(): Reason[] {
    return this.#starting.flatMap((check) => check());
  }

  notes(): Reason[] {
    return [...(this.#hasStarted() ? this.starting() : []), ...this.#notes.flatMap((check) => check())];
  }

  #hasStarted(): boolean {
    this.#started ||= this.starting().length === 0 || performance.now() - this.#since > PATIENCE_MS;
    return this.#started;
  }
}
