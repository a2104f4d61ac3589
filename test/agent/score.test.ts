import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { describe, expect, test } from "vitest";
import { scoredOf } from "../../agent/kv/score-request.js";
import { NEVER_EXACT_FIELDS } from "../../agent/model/never-exact.js";
import { configFor, newStateFolder, startAgent, startPod, untilReady } from "./agent-for-test.js";
import { endedAfterEach } from "./ended-after-each.js";
import { removed, stored, until } from "./event-publisher.js";

const { apps, pods } = endedAfterEach();

async function agentWith(count: number, extra = "", state = newStateFolder()): Promise<FastifyInstance> {
  for (let i = 0; i < count; i++) pods.push(await startPod());
  const config = configFor(pods, state, extra);
  for (const pool of config.pools) pool.model.kvBytesPerToken = 1000;
  const app = await startAgent(config);
  apps.push(app);
  await untilReady(app);
  return app;
}

/** Token ids that the pod's own tokenizer gives. */
async function tokens(body: Record<string, unknown>): Promise<number[]> {
  const answer = await fetch(`http://127.0.0.1:${pods[0]!.port}/tokenize`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  return ((await answer.json()) as { tokens: number[] }).tokens;
}

/** Makes a pod announce the first `blocks` KV blocks of a prompt, and waits until the agent has them. */
async function cache(app: FastifyInstance, pod: number, ids: number[], blocks: number): Promise<void> {
  const hashes = Array.from({ length: blocks }, (_, i) => BigInt(ids[0]!) * 1000n + BigInt(i) + 1n);
  const before = app.registry.pods[pod]!.feed!.counts.batches;
  await pods[pod]!.events.publish([
    stored({ hashes, parent: null, tokens: ids.slice(0, blocks * 16), blockSize: 16 }),
  ]);
  await until(() => app.registry.pods[pod]!.feed!.counts.batches > before, "the event is applied");
}

async function score(app: FastifyInstance, body: Record<string, unknown>) {
  return app.inject({ method: "POST", url: "/api/v1/score", payload: body });
}

test("a request with a field that is listed as never exact is not claimed to be cached", async () => {
  const app = await agentWith(1);
  const values: Record<string, unknown> = {
    chat_template: "{{ messages }}",
    chat_template_kwargs: { thinking: true },
    reasoning_effort: "low",
    documents: [{ text: "x" }],
    truncate_prompt_tokens: 10,
    add_special_tokens: true,
    mm_processor_kwargs: { size: 1 },
    echo: true,
    prompt_logprobs: 1,
  };
  const { neverExact } = (await app.inject("/api/v1/models")).json().models[0];
  expect(neverExact.map((n: { request: string }) => n.request)).toEqual(
    expect.arrayContaining(Object.keys(values)),
  );
  expect(NEVER_EXACT_FIELDS.map(({ request }) => request).sort()).toEqual(Object.keys(values).sort());
  const messages = [{ role: "user", content: "x" }];
  expect((await score(app, { model: "m", messages })).json().exact).toBe(true);
  for (const [field, value] of Object.entries(values))
    expect([field, (await score(app, { model: "m", messages, [field]: value })).json().exact]).toEqual([
      field,
      false,
    ]);
  const developer = [{ role: "developer", content: "x" }, ...messages];
  expect((await score(app, { model: "m", messages: developer })).json().exact).toBe(false);
});

const LONG = "the parser reads the order of the server and answers on the socket, line by line. ".repeat(12);
const CONVERSATION = [
  { role: "system", content: "You are the parser." },
  { role: "user", content: LONG },
];

describe("the score route", () => {
  test("says of a conversation what share of its text each pod holds, and whom to take", async () => {
    const app = await agentWith(3);
    const ids = await tokens({ messages: CONVERSATION });
    const whole = Math.floor(ids.length / 16);
    await cache(app, 1, ids, whole);
    await cache(app, 2, ids, Math.floor(whole / 2));
    const { statusCode, body } = await score(app, { model: "m", messages: CONVERSATION });
    expect(statusCode).toBe(200);
    const answer = JSON.parse(body);
    expect(answer).toMatchObject({ exact: true, reasons: [], recommendation: "pod-1", unknown_pods: [] });
    const [none, all, half] = answer.scores;
    expect(none).toMatchObject({ pod_id: "pod-0", blocks_present: 0, score: 0, cached_tokens: 0 });
    // A text block is there when its last byte is in a whole KV block: the last one may not be.
    expect(all.blocks_total - all.blocks_present).toBeLessThanOrEqual(1);
    expect(all.score).toBeCloseTo(all.cache_hit_rate * 100);
    expect(all.cached_tokens % 16).toBe(0);
    expect(half.blocks_present).toBeGreaterThan(0);
    expect(half.score).toBeLessThan(60);
    expect(half.cache_size_mb).toBeCloseTo((Math.floor(whole / 2) * 16 * 1000) / 1e6);
  });

  test("gives the same for a prompt as text and as token ids", async () => {
    const app = await agentWith(1);
    const ids = await tokens({ prompt: LONG });
    await cache(app, 0, ids, 6);
    const asText = (await score(app, { model: "m", prompt: LONG })).json();
    const asIds = (await score(app, { model: "m", prompt: ids })).json();
    expect(asText.scores[0].blocks_present).toBeGreaterThan(0);
    expect(asIds.scores).toEqual(asText.scores);
  });

  test("keeps another cache salt apart", async () => {
    const app = await agentWith(1);
    await cache(app, 0, await tokens({ prompt: LONG }), 6);
    const salted = (await score(app, { model: "m", prompt: LONG, cache_salt: "tenant-7" })).json();
    expect(salted).toMatchObject({ exact: true, scores: [{ blocks_present: 0 }] });
  });

  test("counts leading engine blocks up to the first hole", async () => {
    const app = await agentWith(1);
    const ids = await tokens({ prompt: LONG });
    await cache(app, 0, ids, 4);
    const first = BigInt(ids[0]!) * 1000n;
    const blocks = [first + 1n, first + 2n, 77n, first + 3n].map(String);
    const answer = (await score(app, { prompt_blocks: blocks })).json();
    expect(answer.scores).toMatchObject([
      { blocks_present: 2, blocks_total: 4, score: 50, cached_tokens: null },
    ]);
  });

  test("claims nothing where the prompt's text is not known", async () => {
    const app = await agentWith(1);
    await cache(app, 0, await tokens({ messages: CONVERSATION }), 6);
    const answer = (
      await score(app, { model: "m", messages: CONVERSATION, chat_template_kwargs: { thinking: true } })
    ).json();
    expect(answer).toMatchObject({
      exact: false,
      reasons: ["a field may change the prompt"],
      scores: [{ score: 0 }],
    });
  });

  test("scores the candidates that are asked for and names those it does not know", async () => {
    const app = await agentWith(2);
    const answer = (
      await score(app, { prompt: LONG, candidate_pods: [`127.0.0.1:${pods[1]!.port}`, "gone"] })
    ).json();
    expect(answer.scores.map((s: { pod_id: string }) => s.pod_id)).toEqual(["pod-1"]);
    expect(answer).toMatchObject({ unknown_pods: ["gone"], recommendation: "pod-1" });
  });

  test("refuses what it cannot score, with a code", async () => {
    const app = await agentWith(1);
    const codes = async (body: Record<string, unknown>) => {
      const answer = await score(app, body);
      return [answer.statusCode, answer.json().error.code];
    };
    expect(await codes({ model: "other", prompt: "x" })).toEqual([404, "model_not_found"]);
    expect(await codes({ model: "m" })).toEqual([400, "invalid_request"]);
    expect(await codes({ model: "m", prompt: "x", messages: [] })).toEqual([400, "invalid_request"]);
    expect(await codes({ prompt_blocks: [2 ** 60] })).toEqual([400, "invalid_request"]);
  });

  test("answers any body with a score or a refusal, and never fails", async () => {
    const app = await agentWith(1);
    const raw = async (body: string) => {
      const answer = await app.inject({
        method: "POST",
        url: "/api/v1/score",
        headers: { "content-type": "application/json" },
        payload: body,
      });
      return [answer.statusCode, answer.json().error?.code ?? answer.json().exact];
    };
    const deep = "[".repeat(200_000) + "]".repeat(200_000);
    expect(await raw(`{"prompt": "x"`)).toEqual([400, "invalid_request"]);
    expect(await raw("")).toEqual([400, "invalid_request"]);
    expect(await raw("null")).toEqual([400, "invalid_request"]);
    expect(await raw(deep)).toEqual([400, "invalid_request"]);
    expect(await raw(`{"messages": ${deep}}`)).toEqual([400, "invalid_request"]);
    expect(await raw(`{"prompt": "x", "__proto__": {"model": "m"}}`)).toEqual([200, false]);
    expect(await raw(`{"prompt": "x", "candidate_pods": ["pod-0"]}`)).toEqual([200, true]);
    // A million ids of a token with many bytes are more than is looked at, not more than there is memory.
    expect(await raw(`{"prompt": [${"5,".repeat(900_000)}5]}`)).toEqual([200, true]);
    expect(await raw(`{"prompt": [5], "truncate_prompt_tokens": 1}`)).toEqual([200, false]);
  });

  test("reads a request as it was spelled, since a template may print its numbers", () => {
    const body =
      '{"candidate_pods": ["a"], "messages": [], "tools": [{"default": 1.0e2}, 123456789012345678901]}';
    const scored = scoredOf(JSON.parse(body), Buffer.from(body), "m");
    if (typeof scored === "string" || scored.kind !== "request") throw new Error("a request is expected");
    expect(Buffer.from(scored.body).toString()).toBe(
      '{"model":"m","messages": [], "tools": [{"default": 1.0e2}, 123456789012345678901]}',
    );
  });

  test("wants the token, and without one a loopback name", async () => {
    const folder = newStateFolder();
    writeFileSync(join(folder, "token"), "0123456789abcdef");
    const guarded = await agentWith(1, `tokenFile: ${join(folder, "token")}`, folder);
    expect((await score(guarded, { prompt: "x" })).statusCode).toBe(401);
    expect((await guarded.inject("/api/v1/cache/state")).statusCode).toBe(401);
    const open = await agentWith(0);
    const headers = { host: "rebound.example" };
    for (const url of ["/api/v1/cache/state", "/api/v1/cache/pod/pod-0"])
      expect((await open.inject({ url, headers })).json().error.code).toBe("forbidden_host");
  });

  test("is counted and timed under the contract's names", async () => {
    const app = await agentWith(1);
    await score(app, { prompt: LONG });
    await score(app, { model: "other", prompt: LONG });
    const metrics = (await app.inject("/metrics")).body;
    expect(metrics).toContain('kv_cache_manager_score_requests_total{result="exact"} 1');
    expect(metrics).toContain('kv_cache_manager_score_requests_total{result="refused"} 1');
    expect(metrics).toContain("kv_cache_manager_score_request_duration_seconds_count 1");
  });
});

describe("the cache routes", () => {
  test("tell the state of all caches", async () => {
    const app = await agentWith(2);
    const ids = await tokens({ prompt: LONG });
    await cache(app, 0, ids, 4);
    await cache(app, 1, ids, 2);
    const state = (await app.inject("/api/v1/cache/state")).json();
    expect(state).toMatchObject({ total_blocks: 6, total_pods: 2 });
    expect(state.unique_blocks).toBeLessThan(6);
    expect(state.average_cache_utilization).toBe(0.25);
    expect(state.global_hit_rate).toBe(0.6);
    expect(state.cache_size_total_gb).toBeCloseTo((6 * 16 * 1000) / 1e9);
    expect(Date.parse(state.last_updated)).toBeGreaterThan(0);
  });

  test("tell of a pod what it holds and which of its blocks are used most, under hashes of our own", async () => {
    const app = await agentWith(1);
    const ids = await tokens({ prompt: LONG });
    await cache(app, 0, ids, 4);
    const first = BigInt(ids[0]!) * 1000n;
    const next = (hash: bigint, from: bigint) =>
      stored({ hashes: [hash, hash + 1n], parent: from, tokens: ids.slice(64, 96), blockSize: 16 });
    await pods[0]!.events.publish([
      next(501n, first + 4n),
      next(601n, first + 4n),
      next(701n, first + 2n),
      removed([501n, 502n]),
    ]);
    await until(() => app.registry.pods[0]!.index.counts.removed === 1, "all is applied");
    const pod = (await app.inject("/api/v1/cache/pod/pod-0")).json();
    expect(pod).toMatchObject({ pod_id: "pod-0", blocks_cached: 8, hit_rate: 0.6, status: "ok" });
    expect(pod.eviction_rate_per_sec).toBeGreaterThan(0);
    expect(pod.top_blocks.map((b: { access_count: number }) => b.access_count)).toEqual([2, 1]);
    for (const { block_hash } of pod.top_blocks) expect(block_hash).toMatch(/^[0-9a-f]{16}$/);
    expect(pod.top_blocks[0].block_hash).not.toBe((first + 4n).toString(16).padStart(16, "0"));
    expect((await app.inject("/api/v1/cache/pod/none")).json().error.code).toBe("pod_not_found");
  });

  test("count blocks per pod anew after a restart of the agent", async () => {
    const state = newStateFolder();
    const first = await agentWith(1, "", state);
    await cache(first, 0, await tokens({ prompt: LONG }), 5);
    await first.close();
    apps.splice(0);
    const second = await agentWith(0, "", state);
    expect((await second.inject("/api/v1/cache/pod/pod-0")).json().blocks_cached).toBe(5);
  });
});
