import { expect, test } from "vitest";
import { runTarget } from "./target.js";
import { CI_CASES, makeTarget } from "./targets.js";

test("the scanner accepts what the grammar accepts, calls exact only what is, and stays within its memory", async () => {
  const outcome = await runTarget(await makeTarget("scan"), 1, CI_CASES.scan);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.scan);
}, 600_000);
