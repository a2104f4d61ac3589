// One prefix that everybody asks for, at twice what a pod can carry: how far the default policy lets its pod run ahead.
import { expect, test } from "vitest";
import { ENGINES } from "../../simulate/engine.js";
import { findPolicy } from "../../simulate/policies.js";
import { seededRandom } from "../../simulate/random.js";
import { type Outcome, run } from "../../simulate/run.js";

const engine = ENGINES["8b-h100"];
const PODS = 4;
const BLOCK = 512;
const PREFIX = 12 * BLOCK;
const OWN = 4 * BLOCK;

/** Seconds of a prefill behind cached tokens on an idle engine: compute and attention, the steps' overhead left out. */
const prefill = (cached: number, uncached: number) =>
  uncached / engine.prefillRate + engine.attention * uncached * (cached + uncached / 2);
const WARM = prefill(PREFIX, OWN);
const COLD = prefill(0, PREFIX + OWN);

/** Requests a second: twice what one pod prefills when the prefix is cached. */
const RATE = 2 / WARM;

/**
 * Seconds that may wait on a pod with the prefix while one without it is idle, by docs/rationale.md's rule
 * W + g × own with g = 10 + 3 × min(8, rate per pod × W).
 */
function allowedAhead(ratePerPod: number): number {
  const cost = (wait: number, own: number) => wait + (10 + 3 * Math.min(8, ratePerPod * wait)) * own;
  let wait = 0;
  while (cost(wait, WARM) < cost(0, COLD)) wait += 0.001;
  return wait;
}

/** Seconds of prefill on each pod that were routed there and had no first token at a time. */
function waitingAt(outcomes: Outcome[], at: number): number[] {
  const waits = new Array<number>(PODS).fill(0);
  for (const o of outcomes)
    if (o.arrival <= at && o.arrival + o.firstToken > at)
      waits[o.pod]! += prefill(o.predicted, o.request.prompt - o.predicted);
  return waits;
}

test("one hot prefix at twice a pod's capacity spreads until no pod is further ahead than the policy allows", async () => {
  const random = seededRandom(3);
  const prefix = Array.from({ length: PREFIX / BLOCK }, (_, i) => i);
  let at = 0;
  const requests = Array.from({ length: 800 }, (_, i) => {
    at += random.exponential(1 / RATE);
    const own = Array.from({ length: OWN / BLOCK }, (_, k) => 1000 + i * 10 + k);
    return { arrival: at, prompt: PREFIX + OWN, output: 2, blocks: [...prefix, ...own], session: 1 };
  });
  const load = { name: "hot", stages: [requests], pause: 0, blockTokens: BLOCK };
  const options = { engine, pods: PODS, replicas: 1, sync: 0, scrape: 0.05, seed: 1 };
  const { outcomes } = await run(load, findPolicy("warm-until-busy"), options);
  const gaps = outcomes.map(({ arrival }) => {
    const waits = waitingAt(outcomes, arrival);
    return { arrival, gap: Math.max(...waits) - Math.min(...waits) };
  });
  const largest = (from: number) => Math.max(...gaps.filter((g) => g.arrival >= from).map((g) => g.gap));
  // A gateway that has just begun knows no rate of arrivals. The decision itself adds one request.
  expect(largest(0)).toBeLessThan(1.1 * (allowedAhead(0) + COLD));
  expect(largest(10)).toBeLessThan(1.1 * (allowedAhead(RATE / PODS) + WARM));
  expect(new Set(outcomes.map((o) => o.pod)).size).toBeGreaterThan(1);
  // Who sticks to the one warm pod has a queue that only grows.
  const sticky = await run(load, findPolicy("session-only"), options);
  const stuck = sticky.outcomes.map(({ arrival }) => Math.max(...waitingAt(sticky.outcomes, arrival)));
  expect(Math.max(...stuck)).toBeGreaterThan(3 * largest(0));
});
