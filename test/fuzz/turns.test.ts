import { expect, test } from "vitest";
import { runTarget } from "./target.js";
import { CI_CASES } from "./targets.js";
import { TurnsTarget } from "./turns-target.js";

test("turn programs are rendered as the agent renders them, or are said to be unknown, and no body breaks that", async () => {
  const target = new TurnsTarget();
  const outcome = await runTarget(target, 1, CI_CASES.turns);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.turns);
  expect(target.agreed).toBeGreaterThan(outcome.cases / 20);
}, 600_000);
