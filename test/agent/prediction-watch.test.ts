import { describe, expect, test } from "vitest";
import { PredictionWatch, shownPredictions } from "../../agent/kv/prediction-watch.js";
import type { PredictionRow } from "../../agent/wire.js";

/** A second of one worker: answers by tenant, and how many of them are right; the others promised too much. */
function row(tenants: [tag: number, answers: number, right: number][], under = false): PredictionRow {
  const answers = tenants.reduce((n, [, count]) => n + count, 0);
  const wrong = tenants.reduce((n, [, count, right]) => n + count - right, 0);
  return {
    address: "10.0.0.1:8000",
    requests: answers,
    promised: answers * 100,
    answers,
    answersPromised: answers * 100,
    cached: (answers - wrong) * 100,
    over: under ? 0 : wrong,
    under: under ? wrong : 0,
    tenants: tenants.map(([tag, count, right]) => ({
      tag,
      requests: count,
      promised: count * 100,
      answers: count,
      right,
    })),
  };
}

describe("a pod's answers against what was promised", () => {
  test("let it fall after 200 answers of three tenants that part, and rise after as many that agree", () => {
    const watch = new PredictionWatch();
    watch.take(row([1, 2, 3].map((tag) => [tag, 66, 0])), 1000);
    expect(watch).toMatchObject({ fallen: null, alarm: null });
    watch.take(row([[1, 2, 0]]), 2000);
    expect(watch.fallen).toBe("answers");
    expect(watch.alarm).toContain("less is cached than its events promise");
    watch.take(row([1, 2, 3].map((tag) => [tag, 66, 66])), 3000);
    expect(watch.fallen).toBe("answers");
    watch.take(row([[1, 2, 2]]), 4000);
    expect(watch).toMatchObject({ fallen: null, alarm: null });
  });

  test("end the alarm with the fall when most tenants agree again, and say later what is wrong then", () => {
    const watch = new PredictionWatch();
    const tags = [1, 2, 3, 4];
    watch.take(
      row(
        tags.map((tag) => [tag, 100, 0]),
        true,
      ),
      1000,
    );
    expect(watch.alarm).toContain("more is cached");
    // Three of four tenants agree, all answers together do not quite.
    watch.take(row(tags.map((tag) => [tag, 100, tag === 4 ? 40 : 100])), 70_000);
    expect(watch).toMatchObject({ fallen: null, alarm: null });
    watch.take(row(tags.map((tag) => [tag, 60, 0])), 80_000);
    expect(watch.alarm).toContain("less is cached");
  });

  test("say so when too little was promised, too", () => {
    const watch = new PredictionWatch();
    watch.take(
      row(
        [1, 2, 3].map((tag) => [tag, 100, 20]),
        true,
      ),
      1000,
    );
    expect(watch.fallen).toBe("answers");
    expect(watch.alarm).toContain("more is cached than its events promise");
  });

  test("count no more after a minute", () => {
    const watch = new PredictionWatch();
    for (let s = 0; s < 600; s++) watch.take(row([1, 2, 3].map((tag) => [tag, 1, 0])), s * 1000);
    expect(watch.fallen).toBeNull();
    const faster = new PredictionWatch();
    for (let s = 0; s < 60; s++) faster.take(row([1, 2, 3].map((tag) => [tag, 2, 0])), s * 1000);
    expect(faster.fallen).toBe("answers");
  });

  test("of one tenant raise an alarm and never let it fall, however many they are", () => {
    const watch = new PredictionWatch();
    for (let s = 0; s < 30; s++)
      watch.take(
        row([
          [1, 1000, 0],
          [2, 10, 10],
          [3, 10, 10],
          [4, 10, 10],
        ]),
        s * 1000,
      );
    expect(watch.fallen).toBeNull();
    expect(watch.alarm).not.toBeNull();
  });

  test("of two hostile tenants beside one honest one do not let it fall, nor do three beside four", () => {
    const two = new PredictionWatch();
    two.take(
      row([
        [1, 1000, 0],
        [2, 1000, 0],
        [3, 50, 50],
      ]),
      1000,
    );
    expect(two.fallen).toBeNull();
    const three = new PredictionWatch();
    three.take(row([1, 2, 3, 4, 5, 6, 7].map((tag) => [tag, 100, tag <= 3 ? 0 : 100])), 1000);
    expect(three.fallen).toBeNull();
  });

  test("are judged by the latest that suffice, not by what was before", () => {
    const watch = new PredictionWatch();
    for (let s = 0; s < 50; s++) watch.take(row([1, 2, 3].map((tag) => [tag, 100, 100])), s * 1000);
    watch.take(row([1, 2, 3].map((tag) => [tag, 100, 0])), 50_000);
    expect(watch.fallen).toBe("answers");
  });

  test("with a quarter of them wrong at most leave it alone", () => {
    const watch = new PredictionWatch();
    watch.take(row([1, 2, 3].map((tag) => [tag, 100, 75])), 1000);
    expect(watch).toMatchObject({ fallen: null, alarm: null });
  });

  test("are bounded in memory whatever tenants they name", () => {
    const watch = new PredictionWatch();
    for (let i = 0; i < 5000; i++) watch.take(row([[i + 1, 1, 1]]), 1000);
    expect(watch).toMatchObject({ fallen: null, alarm: null });
    // All beyond the first 256 are one tenant.
    expect(shownPredictions([{ predictions: watch }])).toEqual({
      answers: 5000,
      cachedTokens: 500_000,
      predictedTokens: 500_000,
      withinOneBlock: 1,
    });
  });

  test("are forgotten when the engine begins anew", () => {
    const watch = new PredictionWatch();
    watch.take(row([1, 2, 3].map((tag) => [tag, 100, 0])), 1000);
    expect(watch.fallen).toBe("answers");
    watch.begunAnew();
    expect(watch).toMatchObject({ fallen: null, alarm: null });
  });
});

describe("without usage in the answers", () => {
  test("the engine's counter lets a pod fall and rise", () => {
    const watch = new PredictionWatch();
    const silent = (): PredictionRow => ({
      ...row([1, 2, 3].map((tag) => [tag, 100, 0])),
      answers: 0,
      over: 0,
      tenants: [1, 2, 3].map((tag) => ({ tag, requests: 100, promised: 100_000, answers: 0, right: 0 })),
    });
    watch.engine(1000, 16, 0);
    watch.take(silent(), 1000);
    watch.engine(1000, 16, 35_000);
    expect(watch.fallen).toBe("counter");
    expect(watch.alarm).toContain("finds less in its cache");
    watch.take(silent(), 36_000);
    watch.engine(301_000, 16, 70_000);
    expect(watch).toMatchObject({ fallen: null, alarm: null });
    expect(shownPredictions([{ predictions: watch }]).withinOneBlock).toBeNull();
  });
});
