import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { describe, expect, test } from "vitest";
import {
  configFor,
  newStateFolder,
  startAgent,
  startPod,
  stopPod,
  type TestPod,
  untilReady,
} from "./agent-for-test.js";
import { endedAfterEach } from "./ended-after-each.js";
import { stored, until } from "./event-publisher.js";
import { promptTokens } from "./fixtures.js";

const { apps, pods } = endedAfterEach();

async function pod(...args: Parameters<typeof startPod>): Promise<TestPod> {
  const made = await startPod(...args);
  pods.push(made);
  return made;
}

async function agent(config: ReturnType<typeof configFor>): Promise<FastifyInstance> {
  const app = await startAgent(config);
  apps.push(app);
  return app;
}

/** 16 tokens of the fixture's vocabulary that differ by `n`. */
function block(n: number, parent: bigint | null) {
  return stored({
    hashes: [BigInt(n) + 1n],
    parent,
    tokens: promptTokens(n, 16),
    blockSize: 16,
  });
}

describe("the agent's HTTP side", () => {
  test("says why it is not ready, and that it lives", async () => {
    const closed = await startPod();
    await stopPod(closed);
    // Nothing listens below 1024; a port that has just been closed may be the next test's.
    const config = configFor([{ ...closed, port: 1 }], newStateFolder());
    const app = await agent(config);
    await until(
      () => config.pools.length === 1 && app.registry.pods[0]!.scrapes.refused > 0,
      "the pod was asked",
    );
    const { statusCode, body } = await app.inject("/readyz");
    expect(statusCode).toBe(503);
    expect(JSON.parse(body).reasons).toContainEqual(expect.objectContaining({ code: "no_pod_ready" }));
    expect((await app.inject("/healthz")).json()).toEqual({ status: "ok" });
  });

  test("is ready when pods answer, events are followed and the template is known", async () => {
    const app = await agent(configFor([await pod(), await pod()], newStateFolder()));
    await untilReady(app);
    const { reasons, notes } = (await app.inject("/readyz")).json();
    expect(reasons).toEqual([]);
    expect(notes.map((n: { code: string }) => n.code)).toEqual(["no_checkpoint"]);
  });

  test("is ready, with a note, when the chat template cannot be expressed", async () => {
    const odd = await pod({
      template: "{% for m in messages %}{{ loop.index }}{{ m.content | upper }}{% endfor %}",
    });
    const app = await agent(configFor([odd], newStateFolder()));
    await untilReady(app);
    expect((await app.inject("/readyz")).json().notes).toContainEqual(
      expect.objectContaining({ code: "template_inexact" }),
    );
  });

  test("lists pods with load, cache and events", async () => {
    const one = await pod();
    await one.events.publish([block(0, null)]);
    const app = await agent(configFor([one], newStateFolder()));
    await untilReady(app);
    const { pods: listed } = (await app.inject("/api/v1/pods")).json();
    expect(listed).toHaveLength(1);
    expect(listed[0]).toMatchObject({
      name: "pod-0",
      ready: true,
      problem: null,
      load: { waiting: 2, running: 3, kvUsage: 0.25 },
      cache: { blockTokens: 16, capacityTokens: 8192, hitRate: 0.6 },
      events: { state: "live", sequence: 0, suspect: false },
    });
  });

  test("says of each model which requests are matched exactly, and why others are not", async () => {
    const odd = "{% for m in messages %}{{ loop.index }}{{ m.content | upper }}{% endfor %}";
    const app = await agent(configFor([await pod()], newStateFolder()));
    const other = await agent(configFor([await pod({ template: odd })], newStateFolder()));
    await untilReady(app);
    await untilReady(other);
    const { models } = (await app.inject("/api/v1/models")).json();
    expect(models).toHaveLength(1);
    expect(models[0]).toMatchObject({ template: "exact", names: [{ name: "m", lora: null }] });
    expect(models[0].shapes).toContainEqual({ shape: "chat", exact: true, reason: null });
    const [inexact] = (await other.inject("/api/v1/models")).json().models;
    expect(inexact.template).toBe("inexact");
    const chat = inexact.shapes.find((s: { shape: string }) => s.shape === "chat");
    expect(chat).toMatchObject({ exact: false, reason: expect.stringMatching(/./) });
  });

  test("gives the policy, metrics under their contract names and an API document", async () => {
    const one = await pod();
    await one.events.publish([block(0, null)]);
    const app = await agent(configFor([one], newStateFolder()));
    await untilReady(app);
    const policy = await app.inject("/api/v1/policy");
    expect(policy.json()).toMatchObject({ apiVersion: "warmgate/v1" });
    expect(policy.headers["x-policy-version"]).toBe("1");
    const metrics = (await app.inject("/metrics")).body;
    expect(metrics).toContain('kv_cache_manager_events_received_total{type="BlockStored"} 1');
    expect(metrics).toContain("kv_cache_manager_total_blocks 1");
    expect(metrics).toContain('kv_cache_manager_hit_rate{pod="pod-0"} 0.6');
    expect(metrics).toContain('llmd_epp_scheduling_decisions_total{result="success"} 0');
    expect(metrics).toContain('warmgate_template_exact{model="m"} 1');
    expect(metrics).toContain('warmgate_pod_engine_cached_tokens_total{pod="pod-0"} 600');
    expect(metrics).toContain('warmgate_predictions_off{pod="pod-0"} 0');
    expect(metrics).toContain('warmgate_sampled_blocks_checked_total{model="m"} 1');
    expect(Object.keys((await app.inject("/api/v1/openapi.json")).json().paths)).toContain("/api/v1/pods");
  });

  test("asks for the token at the API only, when there is one", async () => {
    const folder = newStateFolder();
    writeFileSync(join(folder, "token"), "0123456789abcdef");
    const app = await agent(configFor([await pod()], folder, `tokenFile: ${join(folder, "token")}`));
    const refused = await app.inject("/api/v1/pods");
    expect(refused.statusCode).toBe(401);
    expect(refused.json().error.code).toBe("unauthorized");
    const headers = { authorization: "Bearer 0123456789abcdef" };
    expect((await app.inject({ url: "/api/v1/pods", headers })).statusCode).toBe(200);
    expect((await app.inject("/healthz")).statusCode).toBe(200);
    expect((await app.inject("/metrics")).statusCode).toBe(200);
  });

  test("answers unknown paths with a code", async () => {
    const app = await agent(configFor([await pod()], newStateFolder()));
    const { statusCode, body } = await app.inject("/nothing");
    expect(statusCode).toBe(404);
    expect(JSON.parse(body).error.code).toBe("not_found");
  });

  test("notices at once that a pod's event connection dropped and the pod refuses", async () => {
    const one = await pod();
    const two = await pod();
    const config = configFor([one, two], newStateFolder());
    config.scrape.intervalMs = 600_000;
    const app = await agent(config);
    await untilReady(app);
    pods.splice(pods.indexOf(one), 1);
    await stopPod(one);
    await until(() => !app.registry.pods[0]!.ready, "the pod is not ready");
    expect(app.registry.pods[1]!.ready).toBe(true);
  });
});

describe("a restarted agent", () => {
  test("has prefixes again that the engine no longer replays", async () => {
    const one = await pod({}, 50);
    const state = newStateFolder();
    for (let n = 0; n < 200; n++) await one.events.publish([block(n, n === 0 ? null : BigInt(n))]);
    const config = configFor([one], state);
    const first = await startAgent(config);
    await untilReady(first);
    const partial = first.wire.stats().blocks;
    expect(partial).toBeLessThanOrEqual(50);
    for (let n = 1000; n < 1300; n++) {
      await one.events.publish([block(n, n === 1000 ? null : BigInt(n))]);
      if (n % 30 === 0)
        await until(() => first.registry.pods[0]!.feed!.position!.sequence >= 200 + n - 1000, "it follows");
    }
    await until(() => first.registry.pods[0]!.feed!.position!.sequence === 499, "all is applied");
    const before = first.wire.stats();
    await first.close();
    for (let n = 1300; n < 1320; n++) await one.events.publish([block(n, BigInt(n))]);
    const second = await agent(config);
    await untilReady(second);
    expect(second.registry.pods[0]!.feed!.counts.missed).toBe(0);
    expect(second.registry.pods[0]!.feed!.counts.restarts).toBe(0);
    expect(second.wire.stats().blocks).toBe(before.blocks + 20);
    expect((await second.inject("/readyz")).json().notes).toEqual([]);
  });

  test("forgets pods that are no longer configured", async () => {
    const one = await pod();
    const two = await pod();
    const state = newStateFolder();
    await one.events.publish([block(0, null)]);
    await two.events.publish([block(50, null)]);
    const first = await startAgent(configFor([one, two], state));
    await untilReady(first);
    expect(first.wire.stats().blocks).toBe(2);
    await first.close();
    const second = await agent(configFor([one], state));
    await untilReady(second);
    expect(second.wire.stats().blocks).toBe(1);
  });

  test("starts empty when the checkpoint is of another secret", async () => {
    const one = await pod({}, 1);
    const state = newStateFolder();
    const first = await startAgent(configFor([one], state));
    await untilReady(first);
    for (let n = 0; n < 5; n++) await one.events.publish([block(n, n === 0 ? null : BigInt(n))]);
    await until(() => first.wire.stats().blocks === 5, "all is applied");
    await first.close();
    writeFileSync(join(state, "secret"), new Uint8Array(32).fill(9));
    const second = await agent(configFor([one], state));
    await untilReady(second);
    expect(second.wire.stats().blocks).toBe(0);
    expect((await second.inject("/readyz")).json().notes.map((n: { code: string }) => n.code)).toContain(
      "no_checkpoint",
    );
  });
});
