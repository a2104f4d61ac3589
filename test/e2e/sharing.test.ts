// Two gateways of two workers each, real Envoys, one agent: they act as one.
import { afterAll, beforeAll, expect, test } from "vitest";
import { ChatClient } from "../../demo/client.js";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { envoyStat, waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";
import { TestGateway } from "./gateway-for-test.js";

let fleet: Fleet;
let second: TestGateway;

beforeAll(async () => {
  fleet = await Fleet.create({
    pods: 4,
    timeScale: 4,
    // On a busy machine counts may come late, and what gateways decide by then is not what is tested here.
    policy: { sharing: { whenSlow: "keep" } },
  });
  await fleet.start();
  second = await TestGateway.start(
    fleet.pods.map((p) => `127.0.0.1:${p.port}`),
    { streamPort: fleet.streamPort, filter: { debugHeaders: "all" } },
  );
  await second.ready();
});
afterAll(async () => {
  await second?.stop();
  await fleet?.stop();
});

test("a burst with a shared cold prefix over both lands on one or two pods", async () => {
  const words = new Words();
  const random = seeded(11);
  const prefix = words.text(6000, random);
  const clients = [fleet.gatewayPort, second.port].map((port) => new ChatClient(port, MODEL));
  const questions = Array.from({ length: 200 }, () => words.text(50, random));
  const answers = await Promise.all(
    questions.map((question, i) =>
      clients[i % 2]!.chat(
        [
          { role: "system", content: prefix },
          { role: "user", content: question },
        ],
        4,
        true,
      ),
    ),
  );
  expect(answers.map((a) => a.status).filter((s) => s !== 200)).toEqual([]);
  const byPod = new Map<string, number>();
  for (const { pod } of answers) byPod.set(pod, (byPod.get(pod) ?? 0) + 1);
  expect(byPod.size, JSON.stringify([...byPod])).toBeLessThanOrEqual(2);
});

test("each says how long it takes to hear of the other", async () => {
  for (const port of [fleet.adminPort, second.adminPort])
    await waitFor("the sharing delay", async () => (await envoyStat(port, "warmgate_sharing_delay_us")) > 0);
});
