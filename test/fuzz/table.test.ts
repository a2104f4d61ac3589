import { expect, test } from "vitest";
import { runTarget } from "./target.js";
import { CI_CASES, makeTarget } from "./targets.js";

test("the table reader applies what follows, leaves the rest alone, and is healed by a snapshot", async () => {
  const outcome = await runTarget(await makeTarget("table"), 1, CI_CASES.table);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.table);
}, 600_000);
