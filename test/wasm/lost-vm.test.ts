// A VM that is lost soon after it began.
import { expect, test } from "vitest";
import { Host, Process } from "./host.js";
import { TestAgent } from "./table.js";

test("a VM that is lost within its first second is missed as any other", async () => {
  const agent = await TestAgent.create(2);
  const process = new Process();
  const requests = () => process.underWay().requests;
  const survivor = new Host({ process });
  survivor.receive(agent.snapshot());
  const lost = new Host({ process });
  lost.receive(agent.snapshot());
  for (let i = 0; i < 10; i++) lost.chat({ model: "m", messages: [{ role: "user", content: `${i}` }] });
  expect(requests()).toBe(10n);
  for (let ms = 0; ms < 15_000; ms += 500) survivor.tick(500);
  expect(process.metric("warmgate_lost_vms_total")).toBe(1n);
  expect(requests()).toBe(0n);
});
