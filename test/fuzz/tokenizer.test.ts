import { expect, test } from "vitest";
import { runTarget } from "./target.js";
import { CI_CASES, makeTarget } from "./targets.js";

test("a tokenizer.json of any content gives the bytes of its pieces or a refusal, and never a crash", async () => {
  const outcome = await runTarget(await makeTarget("tokenizer"), 1, CI_CASES.tokenizer);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.tokenizer);
}, 600_000);
