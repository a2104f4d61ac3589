import { describe, expect, it } from "vitest";
import { LagHistogram } from "../../simulator/event-loop-lag.js";
import { Tokenizer } from "../../simulator/tokenizer.js";
import { TokenizingQueue } from "../../simulator/tokenizing.js";

describe("tokenizing queue", () => {
  it("hands prompts on in the order in which they came, however long each takes", async () => {
    const tokenizer = Tokenizer.load();
    const queue = new TokenizingQueue(tokenizer);
    const long = Array.from({ length: 40_000 }, (_, i) => `word${i} and`).join(" ");
    const texts = ["short", long, "", "last"];
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      for (const text of texts)
        queue.submit(text, (tokens) => {
          order.push(tokenizer.decode(tokens));
          if (order.length === texts.length) resolve();
        });
    });
    expect(order).toEqual(texts);
  });
});

describe("lag histogram", () => {
  it("gives quantiles within its step and the exact maximum", () => {
    const lag = new LagHistogram();
    for (let i = 1; i <= 1000; i++) lag.record(i / 100);
    const { p50, p99, max } = lag.summary();
    expect(p50).toBeCloseTo(5, 0);
    expect(p99).toBeCloseTo(9.9, 0);
    expect(max).toBe(10);
  });

  it("holds samples beyond its range, and nothing after it is cleared", () => {
    const lag = new LagHistogram();
    lag.record(5000);
    lag.record(-1);
    expect(lag.summary().max).toBe(5000);
    expect(lag.summary().p99).toBe(5000);
    lag.clear();
    expect(lag.summary()).toEqual({ p50: 0, p99: 0, max: 0 });
  });
});
