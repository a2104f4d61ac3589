import { expect, test } from "vitest";
import { runTarget } from "./target.js";
import { CI_CASES, makeTarget } from "./targets.js";

test("the filter decides each request once and gives back every count, whatever clients, agent and host do", async () => {
  const outcome = await runTarget(await makeTarget("filter"), 1, CI_CASES.filter);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.filter);
}, 600_000);
