// The policy is changed while traffic runs, through a real Envoy with two workers.
import { Agent, type IncomingMessage, request } from "node:http";
import { afterEach, expect, test } from "vitest";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { startAgent, waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";
import { connectionsByWorker } from "../e2e/admin-stats.js";

/** What a change of policy may take to reach a worker, ms. */
const LIVE_MS = 1000;
const LONG_STREAMS = 16;
const CONNECTIONS_PER_WORKER = 2;

interface Probe {
  worker: number;
  startedAt: number;
  status: number;
  /** x-sim-pod: set by the pod itself; empty when none answered. */
  pod: string;
  /** Whether the filter told which pod it chose. */
  told: boolean;
}

let fleet: Fleet;
const agents: Agent[] = [];
afterEach(async () => {
  for (const agent of agents.splice(0)) agent.destroy();
  await fleet?.stop();
});

const prompt = new Words().text(1200, seeded(21));

function connection(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agents.push(agent);
  return agent;
}

/** One request over the connection of `agent`; resolves at the answer's headers. */
function ask(agent: Agent, body: object): Promise<IncomingMessage> {
  const payload = Buffer.from(
    JSON.stringify({ model: MODEL, messages: [{ role: "user", content: prompt }], ...body }),
  );
  return new Promise((resolve, reject) => {
    request(
      {
        host: "127.0.0.1",
        port: fleet.gatewayPort,
        method: "POST",
        path: "/v1/chat/completions",
        agent,
        headers: { "content-type": "application/json", "content-length": payload.length },
      },
      resolve,
    )
      .on("error", reject)
      .end(payload);
  });
}

/** Status 0 stands for a connection that failed. */
async function probe(agent: Agent, worker: number): Promise<Probe> {
  const startedAt = performance.now();
  try {
    const response = await ask(agent, { max_tokens: 1 });
    for await (const _ of response);
    const { "x-sim-pod": pod, "x-selected-pod": told } = response.headers;
    return { worker, startedAt, status: response.statusCode!, pod: String(pod), told: told !== undefined };
  } catch {
    return { worker, startedAt, status: 0, pod: "", told: false };
  }
}

/** Kept connections, the same number to each of two workers. */
async function connectionsToBothWorkers(): Promise<{ agent: Agent; worker: number }[]> {
  const found: { agent: Agent; worker: number }[] = [];
  while (found.length < 2 * CONNECTIONS_PER_WORKER) {
    const before = await connectionsByWorker(fleet, "total");
    const agent = connection();
    await probe(agent, -1);
    const worker = (await connectionsByWorker(fleet, "total")).findIndex((n, i) => n > (before[i] ?? 0));
    expect(worker).toBeGreaterThanOrEqual(0);
    if (found.filter((c) => c.worker === worker).length < CONNECTIONS_PER_WORKER)
      found.push({ agent, worker });
    else agent.destroy();
  }
  return found;
}

const policyUrl = () => `http://127.0.0.1:${fleet.agentPort}/api/v1/policy`;

function change(method: "PUT" | "PATCH", body: object): Promise<Response> {
  return fetch(policyUrl(), {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

test("a weight changed over REST is used by every worker within a second, fails no request, and outlives the agent", async () => {
  fleet = await Fleet.create({ pods: 2, timeScale: 1 });
  await fleet.start();
  const first = await change("PUT", {
    scheduling: { profile: "weighted", weights: { prefix: 100, load: 0, inflight: 0 } },
    headers: { debugHeaders: "all" },
  });
  expect([first.status, first.headers.get("x-policy-version")]).toEqual([200, "2"]);

  const connections = await connectionsToBothWorkers();
  const probes: Probe[] = [];
  let running = true;
  const traffic = connections.map(async ({ agent, worker }) => {
    while (running) probes.push(await probe(agent, worker));
  });
  const since = (ms: number) => probes.filter((p) => p.startedAt > ms);
  /** Waits until every connection has been answered for some probes that started after `ms`. */
  const untilProbed = (ms: number) =>
    waitFor("probes through both workers", async () =>
      [0, 1].every((worker) => since(ms).filter((p) => p.worker === worker).length >= 20),
    );
  try {
    // The prompt is warm on one pod, and the weight of its prefix keeps it there.
    let settled = performance.now();
    await waitFor("the warm pod", async () => {
      settled = performance.now();
      await untilProbed(settled);
      return new Set(since(settled).map((p) => p.pod)).size === 1;
    });
    const warm = probes.at(-1)!.pod;
    const streams = await Promise.all(
      Array.from({ length: LONG_STREAMS }, () => ask(connection(), { stream: true, max_tokens: 20_000 })),
    );
    let broken = 0;
    for (const stream of streams) {
      expect(stream.headers["x-sim-pod"]).toBe(warm);
      stream
        .on("error", () => broken++)
        .on("end", () => broken++)
        .resume();
    }
    await untilProbed(performance.now());
    expect(new Set(since(settled).map((p) => p.pod))).toEqual(new Set([warm]));

    // By requests in flight alone the other pod is better, whatever it has cached.
    const changedAt = performance.now();
    const answer = await change("PATCH", { scheduling: { weights: { prefix: 0, inflight: 100 } } });
    expect([answer.status, answer.headers.get("x-policy-version")]).toEqual([200, "3"]);
    await untilProbed(changedAt + LIVE_MS);
    const late = since(changedAt + LIVE_MS).filter((p) => p.pod === warm);
    expect(late).toEqual([]);

    // A bad one changes nothing, neither here nor there.
    const before = await fetch(policyUrl());
    const bad = await change("PATCH", { scheduling: { weights: { prefix: -1 } } });
    expect(bad.status).toBe(422);
    expect(await bad.json()).toMatchObject({
      error: {
        problems: [{ path: "/scheduling/weights/prefix", reason: expect.stringMatching(/^must be/) }],
      },
    });
    expect((await fetch(policyUrl())).headers.get("etag")).toBe(before.headers.get("etag"));

    // A change that every answer shows: no worker tells its choice any more.
    const hiddenAt = performance.now();
    const hidden = await change("PATCH", { headers: { debugHeaders: "none" } });
    expect(hidden.headers.get("x-policy-version")).toBe("4");
    await untilProbed(hiddenAt + LIVE_MS);
    expect(since(hiddenAt + LIVE_MS).filter((p) => p.told)).toEqual([]);
    expect(since(changedAt + LIVE_MS).filter((p) => p.pod === warm)).toEqual([]);

    // The agent's restart: workers keep the policy without it, and have it again from the new one.
    await fleet.agent!.stop();
    fleet.agent = await startAgent(`${fleet.folder}/warmgate.yaml`, fleet.agentPort);
    await fleet.agentReady();
    const after = await fetch(policyUrl());
    expect(after.headers.get("etag")).toBe(hidden.headers.get("etag"));
    expect(await after.json()).toEqual(await hidden.json());
    await untilProbed(performance.now());
    expect(since(hiddenAt + LIVE_MS).filter((p) => p.told || p.pod === warm)).toEqual([]);
    expect(broken).toBe(0);
  } finally {
    running = false;
    await Promise.all(traffic);
  }
  expect(probes.filter((p) => p.status !== 200)).toEqual([]);
}, 300_000);
