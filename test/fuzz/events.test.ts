import { expect, test } from "vitest";
import { EventsTarget } from "./events-target.js";
import { runTarget } from "./target.js";
import { CI_CASES } from "./targets.js";

test("a payload on an event endpoint is read as its bytes have it, up to the first fault, and none breaks the reader", async () => {
  const target = new EventsTarget();
  const outcome = await runTarget(target, 1, CI_CASES.events);
  expect(outcome.cases).toBeGreaterThanOrEqual(CI_CASES.events);
  expect(target.whole).toBeGreaterThan(outcome.cases / 20);
}, 600_000);
