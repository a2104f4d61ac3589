// One pod's predictions against what its engine says: the sums that metrics show, the alarm when they part, and the fall:
// what the pod announces is then not believed until it agrees again.
import type { PredictionRow } from "../wire.js";
import { PredictionCheck } from "./prediction-check.js";
import { TenantEvidence } from "./tenant-evidence.js";

/** Sums since the agent's start; tokens of answers that said what was cached. */
export interface PredictionTotals {
  /** Requests of which the prompt was looked up. */
  requests: number;
  /** Answers that said how many tokens were cached, and what they said. */
  answers: number;
  cachedTokens: number;
  /** What the pod's announced blocks had promised of them. */
  promisedTokens: number;
  /** Answers by which more than a KV block too much, or more than a text block too little, was promised. */
  over: number;
  under: number;
}

export class PredictionWatch {
  readonly totals: PredictionTotals = {
    requests: 0,
    answers: 0,
    cachedTokens: 0,
    promisedTokens: 0,
    over: 0,
    under: 0,
  };
  /** Comparison with the engine's own counter. */
  readonly check = new PredictionCheck();
  readonly #evidence = new TenantEvidence();
  /** Wrong answers since answers began to part, to say which way. */
  #over = 0;
  #under = 0;
  #answersApart = false;
  /** What showed that the pod's announced blocks are not to be believed; null = they are. */
  fallen: "answers" | "counter" | null = null;

  /** Takes a gateway worker's counts at `now`, a monotonic time in ms. */
  take(row: PredictionRow, now: number): void {
    const { totals } = this;
    totals.requests += row.requests;
    totals.answers += row.answers;
    totals.cachedTokens += row.cached;
    totals.promisedTokens += row.answersPromised;
    totals.over += row.over;
    totals.under += row.under;
    this.#over += row.over;
    this.#under += row.under;
    this.check.sent(
      row.tenants.map(({ tag, requests, promised }) => ({ tag, requests, predicted: promised })),
    );
    for (const { tag, answers, right } of row.tenants)
      if (answers > 0) this.#evidence.add(tag, answers, right, now);
    const { tenants, all } = this.#evidence.judge(now);
    if (all === "apart") this.#answersApart = true;
    else if (all === "together") this.#agrees();
    if (this.fallen === null && tenants === "apart") this.#turn("answers");
    else if (this.fallen === "answers" && tenants === "together") this.#turn(null);
  }

  /** Takes the tokens that the engine has found in its cache since its start. */
  engine(found: number, blockTokens: number, now: number): void {
    if (!this.check.engine(found, blockTokens, now)) return;
    if (this.fallen === null && this.check.proven) this.#turn("counter");
    else if (this.fallen === "counter" && !this.check.over) this.#turn(null);
  }

  /** The engine began anew: what was seen says nothing of it. */
  begunAnew(): void {
    this.#evidence.clear();
    this.#agrees();
    this.check.over = false;
    this.check.proven = false;
    this.fallen = null;
  }

  /** What is wrong, for people; null while promises and answers agree or nothing is said. */
  get alarm(): string | null {
    if (this.#answersApart || this.fallen === "answers")
      return this.#over > this.#under
        ? "its answers say that less is cached than its events promise: events are lost, or its prefix cache is off"
        : "its answers say that more is cached than its events promise: events are lost, or its template changed";
    if (this.check.over || this.fallen === "counter")
      return "its engine finds less in its cache than its events promise: events are lost, its template changed, or its prefix cache is off";
    return null;
  }

  /** A judgement needs evidence of its own. */
  #turn(fallen: PredictionWatch["fallen"]): void {
    this.fallen = fallen;
    this.#evidence.clear();
    if (fallen === null) this.#agrees();
  }

  #agrees(): void {
    this.#answersApart = false;
    this.#over = 0;
    this.#under = 0;
  }
}

/** What answers of these pods said against what was promised, all together, as the API shows it. */
export function shownPredictions(pods: readonly { predictions: PredictionWatch }[]): {
  answers: number;
  cachedTokens: number;
  predictedTokens: number;
  withinOneBlock: number | null;
} {
  const sum = (value: (totals: PredictionTotals) => number) =>
    pods.reduce((n, { predictions }) => n + value(predictions.totals), 0);
  const answers = sum((t) => t.answers);
  return {
    answers,
    cachedTokens: sum((t) => t.cachedTokens),
    predictedTokens: sum((t) => t.promisedTokens),
    withinOneBlock: answers > 0 ? 1 - sum((t) => t.over + t.under) / answers : null,
  };
}
