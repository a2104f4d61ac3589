// Two gateways of two workers each, real Envoys, one agent: they act as one.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { ChatClient } from "../../demo/client.js";
import { envoyConfig } from "../../demo/envoy-config.js";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { envoyStats, freePorts, type Running, startEnvoy, waitFor } from "../../demo/processes.js";
import { seeded, Words } from "../../demo/workload.js";

let fleet: Fleet;
let second: Running;
let gatewayPort = 0;
let adminPort = 0;

beforeAll(async () => {
  fleet = await Fleet.create({
    pods: 4,
    blocks: 20_000,
    seed: 1,
    timeScale: 4,
    bufferSteps: 200,
    gatewayPort: 0,
    adminPort: 0,
    // On a busy machine counts may come late, and what gateways decide by then is not what is tested here.
    policy: { sharing: { whenSlow: "keep" } },
  });
  await fleet.startPods();
  await fleet.startAgent();
  await fleet.startEnvoy();
  [gatewayPort, adminPort] = (await freePorts(2)) as [number, number];
  second = await startEnvoy(
    envoyConfig({
      gatewayPort,
      adminPort,
      streamPort: fleet.streamPort,
      pods: fleet.pods.map((p) => `127.0.0.1:${p.port}`),
      wasm: join(packageRoot(), "build", "warmgate.wasm"),
      filter: { sessionKey: randomBytes(32).toString("hex"), debugHeaders: "all" },
    }),
    join(fleet.folder, "second.json"),
    adminPort,
  );
  await fleet.gatewayReady();
  await waitFor("the second gateway's table", async () => {
    for (let i = 0; i < 12; i++) {
      const response = await fetch(`http://127.0.0.1:${gatewayPort}/v1/models`, {
        headers: { connection: "close" },
      });
      await response.arrayBuffer();
      if (!response.headers.has("x-selected-pod")) return false;
    }
    return true;
  });
});
afterAll(async () => {
  await second?.stop();
  await fleet?.stop();
});

test("a burst with a shared cold prefix over both lands on one or two pods", async () => {
  const words = new Words();
  const random = seeded(11);
  const prefix = words.text(6000, random);
  const clients = [fleet.gatewayPort, gatewayPort].map((port) => new ChatClient(port, MODEL));
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
  for (const port of [fleet.adminPort, adminPort])
    await waitFor(
      "the sharing delay",
      async () =>
        ((await envoyStats(port, "warmgate_sharing_delay_us")).get("warmgate_sharing_delay_us") ?? 0) > 0,
    );
});
