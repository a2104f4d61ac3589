import { expect, test } from "vitest";
import { AnnouncedTarget } from "./announced-target.js";
import { runTarget } from "./target.js";
import { CI_CASES } from "./targets.js";

test("messages in the JSON form are believed as they were said, and wrong ones are refused", async () => {
  const outcome = await runTarget(new AnnouncedTarget(), 1, CI_CASES.announced);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.announced);
}, 600_000);
