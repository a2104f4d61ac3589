// Whether a pod's answers agree with what was promised, judged over the last minute and by several tenants: what one
// caller can bring about alone proves nothing of the pod.

/** What a judgement needs: answers, and tenants with enough of them, within WINDOW_MS. */
export const NEEDED_ANSWERS = 200;
export const NEEDED_TENANTS = 3;
export const WINDOW_MS = 60_000;
const BUCKET_MS = 1000;
/** Answers from which a tenant's share says something. */
export const TENANT_ANSWERS = 10;
/** Tenants that are told apart; all others count as one. */
export const MOST_TENANTS = 256;
export const OTHERS = 0xffffffff;
/** Shares of right answers below which promises and answers part, and from which they agree again. */
const APART = 0.75;
const TOGETHER = 0.9;

interface Count {
  answers: number;
  right: number;
}

/** `apart`, `together`: what most tenants' answers say; `unclear`: neither, or too few. */
export type Verdict = "apart" | "together" | "unclear";

/** A minute of answers by tenant. */
export class TenantEvidence {
  readonly #buckets: { from: number; tenants: Map<number, Count> }[] = [];

  /** Takes answers at `now`, a monotonic time in ms. */
  add(tag: number, answers: number, right: number, now: number): void {
    let bucket = this.#buckets.at(-1);
    if (!bucket || now - bucket.from >= BUCKET_MS) {
      bucket = { from: now, tenants: new Map() };
      this.#buckets.push(bucket);
    }
    const key = bucket.tenants.has(tag) || bucket.tenants.size < MOST_TENANTS ? tag : OTHERS;
    const count = bucket.tenants.get(key) ?? { answers: 0, right: 0 };
    count.answers += answers;
    count.right += right;
    bucket.tenants.set(key, count);
  }

  clear(): void {
    this.#buckets.length = 0;
  }

  /**
   * What most tenants' answers say, NEEDED_TENANTS at least, and what all say together: by the latest that suffice, so
   * that a change is not outweighed by what was before.
   */
  judge(now: number): { tenants: Verdict; all: Verdict } {
    while (this.#buckets.length > 0 && now - this.#buckets[0]!.from > WINDOW_MS) this.#buckets.shift();
    const tenants = new Map<number, Count>();
    let answers = 0;
    let right = 0;
    for (let i = this.#buckets.length - 1; i >= 0; i--) {
      for (const [tag, count] of this.#buckets[i]!.tenants) {
        const sum = tenants.get(tag) ?? { answers: 0, right: 0 };
        sum.answers += count.answers;
        sum.right += count.right;
        tenants.set(tag, sum);
        answers += count.answers;
        right += count.right;
      }
      if (answers >= NEEDED_ANSWERS && shares(tenants).length >= NEEDED_TENANTS) break;
    }
    if (answers < NEEDED_ANSWERS) return { tenants: "unclear", all: "unclear" };
    const verdicts = shares(tenants).map(verdict);
    const most = (wanted: Verdict) => {
      const n = verdicts.filter((v) => v === wanted).length;
      return n >= NEEDED_TENANTS && n * 2 > verdicts.length;
    };
    return {
      tenants: most("apart") ? "apart" : most("together") ? "together" : "unclear",
      all: verdict(right / answers),
    };
  }
}

/** Shares of right answers of the tenants with enough of them. */
function shares(tenants: ReadonlyMap<number, Count>): number[] {
  return [...tenants.values()]
    .filter((count) => count.answers >= TENANT_ANSWERS)
    .map((count) => count.right / count.answers);
}

function verdict(share: number): Verdict {
  return share < APART ? "apart" : share >= TOGETHER ? "together" : "unclear";
}
