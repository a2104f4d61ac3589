import { describe, expect, it } from "vitest";
import { H200_8B, StepWork } from "../../simulate/cost-model.js";

const CHUNK = 8192;

/** TTFT of a lone request, ms. */
function ttft(prompt: number, cached: number): number {
  const work = new StepWork(H200_8B);
  let total = H200_8B.frontEndMs;
  for (let at = cached; at < prompt; at += CHUNK) {
    work.clear();
    if (at === cached) work.lookup(cached);
    work.prefill(Math.min(CHUNK, prompt - at), at);
    total += work.durationMs();
  }
  return total;
}

/** Duration of a step with so many decodes of 2,000 tokens, ms. */
function decodeStep(sequences: number): number {
  const work = new StepWork(H200_8B);
  for (let i = 0; i < sequences; i++) work.decode(2000);
  return work.durationMs();
}

function within(share: number, value: number, measured: number): void {
  expect(Math.abs(value / measured - 1), `${value} ms against ${measured} ms measured`).toBeLessThan(share);
}

describe("cost model", () => {
  it("stays within 12 % of measured cold TTFT from 500 to 30,000 tokens", () => {
    const measured = {
      500: 16.0,
      1000: 26.3,
      2000: 47.3,
      4000: 98.5,
      8000: 209.8,
      16000: 474.4,
      30000: 1069,
    };
    for (const [tokens, ms] of Object.entries(measured)) within(0.12, ttft(Number(tokens), 0), ms);
  });

  it("stays within 6 % of measured TTFT when all but the last block is cached", () => {
    const measured = { 500: 12.4, 1000: 12.5, 2000: 14.2, 4000: 15.1, 8000: 18.2, 16000: 23.3, 30000: 33.4 };
    for (const [tokens, ms] of Object.entries(measured))
      within(0.06, ttft(Number(tokens), Math.floor((Number(tokens) - 1) / 16) * 16), ms);
  });

  it("stays within 6 % of measured TTFT when half of the prompt is cached", () => {
    within(0.06, ttft(8000, 4000), 120);
    within(0.06, ttft(16000, 8000), 274);
  });

  it("stays within 3 % of measured time per output token under load", () => {
    within(0.03, decodeStep(16), 9.4);
    within(0.03, decodeStep(64), 12.1);
    within(0.03, decodeStep(128), 19.2);
  });

  it("takes about 207 ms for each of a queue of 8,000-token prompts", () => {
    within(0.03, ttft(8000, 0) - H200_8B.frontEndMs, 207);
  });
});
