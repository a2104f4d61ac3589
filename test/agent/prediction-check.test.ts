import { describe, expect, test } from "vitest";
import { PredictionCheck } from "../../agent/kv/prediction-check.js";

/** Two moments with so much between them; tenants share what was predicted as they share `shares`. */
function window(
  check: PredictionCheck,
  requests: number,
  predicted: number,
  found: number,
  { ms = 60_000, from = 0, shares = [1 / 3, 1 / 3, 1 / 3] } = {},
): void {
  check.engine(from, 16, 0);
  check.sent(
    shares.map((share, i) => ({ tag: i + 1, requests: requests * share, predicted: predicted * share })),
  );
  check.engine(from + found, 16, ms);
}

describe("the comparison of predictions with an engine's counter", () => {
  test("finds a pod that has much less than was predicted", () => {
    const check = new PredictionCheck();
    window(check, 300, 300_000, 100_000);
    expect(check).toMatchObject({ over: true, ratio: 3 });
  });

  test("lets a block a request and a tenth pass", () => {
    const check = new PredictionCheck();
    window(check, 300, 110_000 + 300 * 16, 100_000);
    expect(check.over).toBe(false);
  });

  test("says nothing of more than was predicted: others may use the pod", () => {
    const check = new PredictionCheck();
    window(check, 300, 0, 100_000);
    expect(check).toMatchObject({ over: false, ratio: 0 });
  });

  test("waits for enough requests and time", () => {
    const few = new PredictionCheck();
    window(few, 198, 300_000, 0);
    expect(few).toMatchObject({ over: false, ratio: null });
    const soon = new PredictionCheck();
    window(soon, 300, 300_000, 0, { ms: 29_000 });
    expect(soon.over).toBe(false);
  });

  test("begins anew with an engine whose counter went back, and takes an alarm back when it agrees again", () => {
    const check = new PredictionCheck();
    window(check, 300, 300_000, 0, { from: 70_000 });
    expect(check.over).toBe(true);
    check.sent([{ tag: 1, requests: 300, predicted: 300_000 }]);
    expect(check.engine(10, 16, 70_000)).toBe(false);
    check.sent([{ tag: 1, requests: 300, predicted: 100_000 }]);
    expect(check.engine(100_010, 16, 140_000)).toBe(true);
    expect(check).toMatchObject({ over: false, ratio: 1 });
  });

  test("proves something of the pod only within a minute and without the tenant with most tokens", () => {
    const proven = (predicted: number, found: number, more: { ms?: number; shares?: number[] } = {}) => {
      const check = new PredictionCheck();
      window(check, 300, predicted, found, more);
      expect(check.over).toBe(true);
      return check.proven;
    };
    expect(proven(300_000, 0)).toBe(true);
    expect(proven(300_000, 0, { ms: 61_000 })).toBe(false);
    expect(proven(300_000, 0, { shares: [0.5, 0.5] })).toBe(false);
    expect(proven(300_000, 0, { shares: [0.98, 0.01, 0.01] })).toBe(false);
    expect(proven(300_000, 25_000, { shares: [0.9, 0.05, 0.05] })).toBe(false);
  });
});
