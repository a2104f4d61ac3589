import { expect, test } from "vitest";
import { runTarget } from "./target.js";
import { CI_CASES, makeTarget } from "./targets.js";

test("the renderer writes what any template blob says, as far as there is room", async () => {
  const outcome = await runTarget(await makeTarget("render"), 1, CI_CASES.render);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.render);
}, 600_000);
