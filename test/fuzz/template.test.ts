import { expect, test } from "vitest";
import { runTarget } from "./target.js";
import { CI_CASES } from "./targets.js";
import { TemplateTarget } from "./template-target.js";

test("what was learned of an engine prints as the engine does, and no engine's answers break the learner", async () => {
  const target = new TemplateTarget();
  const outcome = await runTarget(target, 1, CI_CASES.template);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.template);
  expect(target.agreed).toBeGreaterThan(0);
}, 600_000);
