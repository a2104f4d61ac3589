import { expect, test } from "vitest";
import { ScoreTarget } from "./score-target.js";
import { runTarget } from "./target.js";
import { CI_CASES } from "./targets.js";

test("a score is what a slow model of the pods' blocks says, whatever events and bodies come", async () => {
  const target = await ScoreTarget.create();
  const outcome = await runTarget(target, 1, CI_CASES.score);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.score);
  expect(target.hits).toBeGreaterThan(outcome.cases / 20);
}, 600_000);
