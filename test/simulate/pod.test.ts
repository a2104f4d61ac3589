// One simulated engine, against times worked out by hand from the formula of docs/simulate.md.
import { expect, test } from "vitest";
import { ENGINES, type Engine, stepSeconds } from "../../simulate/engine.js";
import { SimPod } from "../../simulate/pod.js";
import type { SimRequest } from "../../simulate/request.js";

/** Costs in round numbers: 0.01 s a step, 1 ms a token from 10 tokens on, 1 ms per 100 tokens of a decode's context. */
const ROUND: Engine = {
  name: "round",
  capacity: 40,
  prefillRate: 1000,
  attention: 0,
  weights: 0.01,
  kvRead: 1e-5,
  step: 0.01,
  stepRequest: 0,
  floor: 0,
  floorRequest: 0,
  mixed: 0,
  frontEnd: 0,
  budget: 16,
  sequences: 4,
};

const request = (prompt: number, output: number, blocks: number[]): SimRequest => ({
  arrival: 0,
  prompt,
  output,
  blocks,
  session: 0,
});

/** Runs the pod until it is idle; returns what happened, times rounded to µs. */
function drain(pod: SimPod<string>, events: string[], clock: { now: number }): string[] {
  for (let seconds = pod.begin(); seconds > 0; seconds = pod.begin()) {
    clock.now += seconds;
    pod.end(clock.now);
  }
  return events.splice(0);
}

function setUp(engine: Engine = ROUND, blockTokens = 4) {
  const events: string[] = [];
  const clock = { now: 0 };
  const time = (now: number) => Math.round(now * 1e6) / 1e6;
  const pod = new SimPod<string>(engine, blockTokens, {
    admitted: (tag, cached) => events.push(`${tag} has ${cached}`),
    firstToken: (tag, now) => events.push(`${tag} first ${time(now)}`),
    done: (tag, now) => events.push(`${tag} done ${time(now)}`),
  });
  return { pod, events, run: () => drain(pod, events, clock) };
}

test("a request takes its prefill in chunks of the budget, then one step per token", () => {
  const { pod, run } = setUp();
  pod.enqueue(request(20, 3, [1, 2, 3, 4, 5]), "a");
  // Steps: 16 tokens 0.026, 4 tokens 0.02 (weights), then two decodes with 21 and 22 tokens of context.
  expect(run()).toEqual(["a has 0", "a first 0.046", "a done 0.08643"]);
});

test("a second request of the same step waits for the budget that is left, and finds what the first published", () => {
  const { pod, run } = setUp();
  pod.enqueue(request(12, 1, [1, 2, 3]), "a");
  pod.enqueue(request(12, 1, [1, 2, 9]), "b");
  // Together 16 tokens in the first step; b's blocks were not there yet. The rest of b is 8 tokens.
  expect(run()).toEqual([
    "a has 0",
    "b has 0",
    "a first 0.026",
    "a done 0.026",
    "b first 0.046",
    "b done 0.046",
  ]);
  pod.enqueue(request(12, 1, [1, 2, 3]), "c");
  // All of c is cached, but an engine computes at least the last token, so its whole last block.
  expect(run()).toEqual(["c has 8", "c first 0.066", "c done 0.066"]);
});

test("a full cache evicts what was used longest ago, of one prompt the tail first", () => {
  const { pod, run } = setUp();
  pod.enqueue(request(16, 1, [1, 2, 3, 4]), "a");
  run();
  pod.enqueue(request(16, 1, [11, 12, 13, 14]), "b");
  run();
  pod.enqueue(request(16, 1, [21, 22, 23, 24]), "c");
  run();
  // 10 blocks: c's four took two unused ones and a's last two.
  expect([1, 2, 3, 4].map((id) => pod.cache.has(id))).toEqual([true, true, false, false]);
  expect([11, 12, 13, 14].every((id) => pod.cache.has(id))).toBe(true);
});

test("a sequence that cannot grow sends the last one back, which computes its prompt again", () => {
  const { pod, run } = setUp();
  pod.enqueue(request(16, 9, [1, 2, 3, 4]), "a");
  pod.enqueue(request(16, 9, [11, 12, 13, 14]), "b");
  const events = run();
  expect(pod.preemptions).toBe(1);
  expect(events.map((e) => e.replace(/ [\d.]+$/, ""))).toEqual([
    "a has",
    "a first",
    "b has",
    "b first",
    "a done",
    "b done",
  ]);
  expect(pod.cache.usage).toBe(0);
});

test("an engine of the 8B class prefills a first chunk at its published rate and decodes alone in 6.8 ms", () => {
  const e = ENGINES["8b-h100"];
  const chunk = stepSeconds(e, { requests: 1, tokens: 8192, pairs: 8192 ** 2 / 2, decodes: 0, context: 0 });
  expect(8192 / (chunk - e.step - e.stepRequest)).toBeCloseTo(33_600, 3);
  expect(stepSeconds(e, { requests: 1, tokens: 1, pairs: 0, decodes: 1, context: 1 })).toBeCloseTo(0.0068, 4);
});
