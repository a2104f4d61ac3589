// Two gateways of two workers each, real Envoys, one agent: they act as one.
import { afterAll, beforeAll, expect, test } from "vitest";
import { ChatClient } from "../../demo/client.js";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { envoyStat, waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";
import { DelayingProxy } from "./delaying-proxy.js";
import { TestGateway } from "./gateway-for-test.js";

let fleet: Fleet;
let second: TestGateway;
/** Between the second gateway and the agent. */
let proxy: DelayingProxy;

beforeAll(async () => {
  fleet = await Fleet.create({
    pods: 4,
    timeScale: 4,
    // On a busy machine counts may come late, and what gateways decide by then is not what is tested here.
    policy: { sharing: { whenSlow: "keep" } },
  });
  await fleet.start();
  proxy = await DelayingProxy.start(fleet.streamPort);
  second = await TestGateway.start(
    fleet.pods.map((p) => `127.0.0.1:${p.port}`),
    { streamPort: proxy.port, filter: { debugHeaders: "all" } },
  );
  await second.ready();
});
afterAll(async () => {
  await second?.stop();
  proxy?.stop();
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

/** What `GET path` of the agent says. */
async function agent(path: string): Promise<string> {
  return (await fetch(`http://127.0.0.1:${fleet.agentPort}${path}`)).text();
}

const slowGateways = async () =>
  Number(/^warmgate_gateways_sharing_slowly (\d+)$/m.exec(await agent("/metrics"))?.[1]);

/** The record of a decision, undefined when none comes within a second. */
async function recordOf(id: string): Promise<{ stoodIn: boolean } | undefined> {
  type Records = { decisions: { stoodIn: boolean }[] };
  let record: { stoodIn: boolean } | undefined;
  const found = async () => {
    [record] = (JSON.parse(await agent(`/api/v1/decisions?requestId=${id}`)) as Records).decisions;
    return record !== undefined;
  };
  await waitFor("the record", found, undefined, 1000).catch(() => {});
  return record;
}

let asked = 0;
/** Whether token-aware stood in at the gateway, in `times` requests in a row, each on a connection of its own. */
async function standsIn(port: number, wanted: boolean, times = 6): Promise<boolean> {
  for (let i = 0; i < times; i++) {
    const id = `stood-in-${asked++}`;
    const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", connection: "close", "x-request-id": id },
      body: JSON.stringify({ model: MODEL, max_tokens: 1, messages: [{ role: "user", content: id }] }),
    });
    await response.arrayBuffer();
    if (response.status !== 200) throw new Error(`status ${response.status}`);
    // A worker that has not heard of the sample rate yet records nothing: then it is asked again.
    const record = await recordOf(id);
    if (record?.stoodIn !== wanted) return false;
  }
  return true;
}

test("one that hears of the other too late decides as token-aware does, and says so, until counts come in time again", async () => {
  // Far apart, so that a busy machine is not taken for a slow agent.
  const sharing = { slowAfter: "700ms", whenSlow: "token-aware" };
  const changed = await fetch(`http://127.0.0.1:${fleet.agentPort}/api/v1/policy`, {
    method: "PATCH",
    headers: { "content-type": "application/merge-patch+json" },
    body: JSON.stringify({ sharing, decisions: { sampleRate: 1 } }),
  });
  expect(changed.status).toBe(200);
  for (const port of [fleet.gatewayPort, second.port])
    await waitFor("warm-until-busy to decide", () => standsIn(port, false));
  await waitFor("nobody to be slow", async () => (await slowGateways()) === 0);
  const slowAnswers = () => second.stat("warmgate_slow_sharing_total");
  const before = await slowAnswers();

  proxy.delayMs = 2100;
  await waitFor("token-aware to stand in", () => standsIn(second.port, true));
  await waitFor("the slow answers to be counted", async () => (await slowAnswers()) > before);
  await waitFor("the agent to know", async () => (await slowGateways()) > 0);
  await waitFor("its note", async () => (await agent("/readyz")).includes("sharing_slow"));
  await waitFor("the log", async () => second.envoy.output.includes("come later than sharing.slowAfter"));
  // The other one hears the agent as before.
  await waitFor("warm-until-busy to go on at the other", () => standsIn(fleet.gatewayPort, false));

  proxy.delayMs = 0;
  await waitFor("warm-until-busy to decide again", () => standsIn(second.port, false));
  await waitFor("the agent to know", async () => (await slowGateways()) === 0);
  await waitFor("the note to go", async () => !(await agent("/readyz")).includes("sharing_slow"));
});
