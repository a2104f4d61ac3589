// What a gateway's users notice when parts of it die: nothing, or little. Real Envoy, real agent, simulated pods.
import { afterEach, describe, expect, test } from "vitest";
import { type Answer, ChatClient, type ChatMessage } from "../../demo/client.js";
import { Fleet, type FleetOptions, MODEL } from "../../demo/fleet.js";
import { envoyStat, startAgent, waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";
import { gaugesAtZero } from "./admin-stats.js";

const words = new Words();
let fleet: Fleet;
/** What agent and gateway took to come up at first: the measure of a slow machine. */
let firstStartMs = 0;
afterEach(async () => {
  await fleet?.stop();
});

const OUTPUT_TOKENS = 400;

async function started(options: FleetOptions): Promise<void> {
  fleet = await Fleet.create(options);
  await fleet.startPods();
  const begun = Date.now();
  await fleet.startAgent();
  await fleet.startEnvoy();
  await fleet.gatewayReady();
  firstStartMs = Date.now() - begun;
}

describe("the agent killed in the middle of traffic", () => {
  test("fails no request, keeps sessions on their pods, and is whole again within seconds of its restart", async () => {
    await started({ pods: 3, timeScale: 24, bufferSteps: 200 });
    const client = new ChatClient(fleet.gatewayPort, MODEL);
    const random = seeded(7);
    const conversations = Array.from({ length: 45 }, () => ({
      messages: [{ role: "user", content: words.text(800, random) }] as ChatMessage[],
      home: "",
      /** Tokens that its pod held before the agent died. */
      stored: 0,
    }));
    const failed: number[] = [];
    const turn = async (c: (typeof conversations)[number]): Promise<Answer> => {
      const answer = await client.chat(c.messages, OUTPUT_TOKENS, true);
      if (answer.status !== 200) failed.push(answer.status);
      c.messages.push({ role: "assistant", content: answer.text });
      c.messages.push({ role: "user", content: words.text(60, random) });
      return answer;
    };
    const inParallel = async (each: (c: (typeof conversations)[number]) => Promise<void>, width: number) => {
      const queue = [...conversations];
      await Promise.all(
        Array.from({ length: width }, async () => {
          for (let c = queue.shift(); c; c = queue.shift()) await each(c);
        }),
      );
    };
    // One at a time, so that every decode step is a batch of its own and the buffers roll over.
    await inParallel(async (c) => {
      const answer = await turn(c);
      c.home = answer.pod;
      c.stored = answer.promptTokens + OUTPUT_TOKENS;
    }, 3);
    // Which pod gets which conversation is the picker's; more of them until each has had enough.
    await waitFor("the replay buffers to roll over", async () => {
      const { pods } = (await (await fetch(`http://127.0.0.1:${fleet.agentPort}/api/v1/pods`)).json()) as {
        pods: { events: { batches: number } }[];
      };
      if (pods.every((p) => p.events.batches > 260)) return true;
      await client.chat([{ role: "user", content: words.text(800, random) }], OUTPUT_TOKENS, true);
      return false;
    });
    // The checkpoint follows within its interval; the kill then loses what came after it.
    await new Promise((done) => setTimeout(done, 3000));

    let moved = 0;
    let killed = false;
    await inParallel(async (c) => {
      if (!killed) {
        killed = true;
        await fleet.agent!.stop("SIGKILL");
      }
      const answer = await turn(c);
      if (answer.pod !== c.home) moved++;
    }, 3);
    expect(failed).toEqual([]);
    expect(moved).toBe(0);

    const restarted = Date.now();
    fleet.agent = await startAgent(`${fleet.folder}/warmgate.yaml`, fleet.agentPort);
    await fleet.agentReady();
    const frames = () => envoyStat(fleet.adminPort, "warmgate_frames_total");
    const before = await frames();
    await waitFor("the workers' new table", async () => (await frames()) > before);
    // Alone on two idle cores it takes 3 s; other tests share them here.
    expect(Date.now() - restarted).toBeLessThan(Math.max(15_000, 5 * firstStartMs));
    // The first conversations were stored before the first batch that the buffers still hold.
    for (const c of conversations.slice(0, 10)) {
      const answer = await turn(c);
      expect(answer.pod).toBe(c.home);
      expect(answer.predictedTokens).toBeGreaterThan(c.stored * 0.9);
    }
    expect(failed).toEqual([]);
    client.close();
  });
});

describe("a pod killed with requests waiting", () => {
  test("costs no request that had no response yet, and is left out afterwards", async () => {
    await started({ pods: 4, timeScale: 1 });
    const random = seeded(11);
    const answered = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const content = words.text(1500, random);
        if (i === 199) setTimeout(() => fleet.pods[1]!.running.stop("SIGKILL"), 400);
        const response = await fetch(`http://127.0.0.1:${fleet.gatewayPort}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ model: MODEL, messages: [{ role: "user", content }], max_tokens: 64 }),
        });
        await response.text();
        return { status: response.status, pod: response.headers.get("x-sim-pod") };
      }),
    );
    expect(answered.filter((a) => a.status !== 200)).toEqual([]);
    // Some of the waiting ones were on that pod: the filter saw them answered elsewhere.
    await waitFor(
      "moved requests to be counted",
      async () => (await envoyStat(fleet.adminPort, "warmgate_moved_total")) > 0,
    );
    const after = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const response = await fetch(`http://127.0.0.1:${fleet.gatewayPort}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({
            model: MODEL,
            messages: [{ role: "user", content: words.text(100, random) }],
            max_tokens: 4,
          }),
        });
        await response.text();
        return response.headers.get("x-sim-pod");
      }),
    );
    expect(after).not.toContain("pod-1");
    expect(new Set(after).size).toBeGreaterThan(1);
    await gaugesAtZero(fleet.adminPort);
  });
});
