// A pod whose events are lost, and one whose answers do not say what was promised, before a real Envoy: the agent tells,
// the pod falls to what it was sent, and rises when it agrees again.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Answer, ChatClient } from "../../demo/client.js";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";

let fleet: Fleet;
let tenants: ChatClient[];
const words = new Words();
const random = seeded(3);

beforeAll(async () => {
  fleet = await Fleet.create({ pods: 2, timeScale: 20 });
  await fleet.start();
  tenants = ["a", "b", "c", "d"].map(
    (name) => new ChatClient(fleet.gatewayPort, MODEL, { authorization: `Bearer ${name}` }),
  );
});
afterAll(async () => {
  for (const client of tenants ?? []) client.close();
  await fleet?.stop();
});

interface Seen {
  name: string;
  predictions: {
    answers: number;
    withinOneBlock: number | null;
    alarm: string | null;
    fallen: boolean;
  };
}

const json = async (path: string) => (await fetch(`http://127.0.0.1:${fleet.agentPort}${path}`)).json();
const pods = async () => ((await json("/api/v1/pods")) as { pods: Seen[] }).pods;
const fault = (pod: number, body: object) =>
  fetch(`http://127.0.0.1:${fleet.pods[pod]!.port}/sim/faults`, {
    method: "POST",
    body: JSON.stringify(body),
  });

/** Longer than a gateway believes its own pick after an answer has begun (SETTLE_MS): then events must have told. */
const SETTLED_MS = 800;

/** Conversations of two turns of every tenant; the second turns' answers. */
async function round(): Promise<Answer[]> {
  const seconds = await Promise.all(
    Array.from({ length: 48 }, async (_, i) => {
      const client = tenants[i % tenants.length]!;
      const question = words.text(300, random);
      const first = await client.chat([{ role: "user", content: question }], 2, true);
      await new Promise((done) => setTimeout(done, SETTLED_MS));
      return client.chat(
        [
          { role: "user", content: question },
          { role: "assistant", content: first.text },
          { role: "user", content: "And now?" },
        ],
        2,
        true,
      );
    }),
  );
  expect(seconds.map(({ status }) => status).filter((status) => status !== 200)).toEqual([]);
  return seconds;
}

/** Traffic until the first pod has fallen, or has risen; the second one never falls. */
async function until(fallen: boolean): Promise<void> {
  await waitFor(
    `pod-0 ${fallen ? "falls" : "rises"}`,
    async () => {
      await round();
      const [first, second] = await pods();
      expect(second!.predictions.fallen).toBe(false);
      return first!.predictions.fallen === fallen;
    },
    undefined,
    120_000,
  );
}

test("while all is well, promises and answers agree within a block", async () => {
  for (let i = 0; i < 2; i++) await round();
  await waitFor("reports of both pods", async () =>
    (await pods()).every(({ predictions }) => predictions.answers > 40),
  );
  for (const { predictions } of await pods()) {
    expect(predictions).toMatchObject({ alarm: null, fallen: false });
    expect(predictions.withinOneBlock).toBeGreaterThan(0.9);
  }
  const { models } = (await json("/api/v1/models")) as { models: { predictions: Seen["predictions"] }[] };
  expect(models[0]!.predictions.answers).toBeGreaterThan(80);
});

test("a pod whose events are lost falls, is matched by what it was sent, and rises when they come again", async () => {
  await fault(0, { loseEvents: true });
  await until(true);
  expect((await pods())[0]!.predictions.alarm).toContain("more is cached than its events promise");
  const { notes } = (await json("/readyz")) as { notes: { code: string; detail: string }[] };
  expect(notes.filter(({ detail }) => detail.includes("pod-0")).map(({ code }) => code)).toEqual(
    expect.arrayContaining(["predictions_off", "approximate"]),
  );
  const there: Answer[] = [];
  await waitFor("second turns on pod-0", async () => {
    there.push(...(await round()).filter(({ pod }) => pod === "pod-0"));
    return there.length >= 10;
  });
  const found = there.filter(({ predictedTokens }) => predictedTokens > 200);
  expect(found.length / there.length).toBeGreaterThan(0.8);
  await fault(0, { loseEvents: false });
  await until(false);
  expect((await pods())[0]!.predictions.alarm).toBeNull();
});

test("a pod whose answers say less than was promised falls, and rises when they agree again", async () => {
  await fault(0, { cachedTokens: 0 });
  await until(true);
  expect((await pods())[0]!.predictions.alarm).toContain("less is cached than its events promise");
  await fault(0, { cachedTokens: null });
  await until(false);
});
