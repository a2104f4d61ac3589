import { describe, expect, test } from "vitest";
import { PredictionCheck } from "../../agent/kv/prediction-check.js";

/** Two moments a minute apart with so much between them. */
function window(
  check: PredictionCheck,
  requests: number,
  predicted: number,
  found: number,
  ms = 60_000,
): void {
  check.observe({ requests: 1000, predicted: 50_000, found: 70_000 }, 16, 0);
  check.observe({ requests: 1000 + requests, predicted: 50_000 + predicted, found: 70_000 + found }, 16, ms);
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
    window(few, 199, 300_000, 0);
    expect(few).toMatchObject({ over: false, ratio: null });
    const soon = new PredictionCheck();
    window(soon, 300, 300_000, 0, 29_000);
    expect(soon.over).toBe(false);
  });

  test("begins anew with an engine whose counter went back, and takes an alarm back when it agrees again", () => {
    const check = new PredictionCheck();
    window(check, 300, 300_000, 0);
    expect(check.over).toBe(true);
    check.observe({ requests: 1400, predicted: 400_000, found: 10 }, 16, 70_000);
    check.observe({ requests: 1700, predicted: 500_000, found: 100_010 }, 16, 140_000);
    expect(check).toMatchObject({ over: false, ratio: 1 });
  });
});
