import { expect, test } from "vitest";
import { answerJson, type Behaviour, goodDecode, startPod } from "./pods.js";
import { askSplit, startTestSidecar, until, untilIdle } from "./sidecar-for-test.js";

const BODY = '{"model":"m","prompt":"hi","max_tokens":5,"min_tokens":3}';
const hang: Behaviour = () => {};

test("nixl v1: the transfer's fields stand at the top of answer and request", async () => {
  const prefill = await startPod((_, response) =>
    answerJson(
      response,
      '{"remote_block_ids":[1,2],"remote_engine_id":"e","remote_host":"10.0.0.5","remote_port":5600}',
    ),
  );
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill], { connector: "nixl" });
  expect((await askSplit(sidecar, prefill.address, { body: BODY })).status).toBe(200);
  expect(prefill.asked[0]!.json).toMatchObject({ do_remote_decode: true, max_tokens: 1, stream: false });
  expect(decode.asked[0]!.json).toEqual({
    ...JSON.parse(BODY),
    do_remote_prefill: true,
    remote_block_ids: [1, 2],
    remote_engine_id: "e",
    remote_host: "10.0.0.5",
    remote_port: 5600,
  });
  expect(await sidecar.metric("kv_cache_transfer_blocks_total")).toBe(2);
  const forged = await askSplit(sidecar, prefill.address, { body: '{"remote_host":"evil"}' });
  expect(forged.json.error?.code).toBe("reserved_field");
});

test("lmcache: one token on the prefill pod, then the body as it is", async () => {
  const prefill = await startPod((_, response) => answerJson(response, {}));
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill], { connector: "lmcache" });
  expect((await askSplit(sidecar, prefill.address, { body: BODY })).status).toBe(200);
  expect(prefill.asked[0]!.json).toMatchObject({ max_tokens: 1, min_tokens: 1, stream: false });
  expect(decode.asked[0]!.body.toString()).toBe(BODY);
});

// An engine with shared storage: it declines when the request's threshold is not met.
function declining(stream: boolean): Behaviour {
  return (asked, response, request) => {
    if (asked.json.cache_hit_threshold === 0) return goodDecode(asked, response, request);
    const reason = '"choices":[{"index":0,"finish_reason": "cache_threshold"}]';
    if (!stream) return answerJson(response, `{${reason}}`);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write('data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n');
    response.end(`data: {${reason}}\n\ndata: [DONE]\n\n`);
  };
}

test.each([false, true])(
  "shared-storage: decode first, and prefill when it declines (stream %s)",
  async (stream) => {
    const prefill = await startPod((_, response) => answerJson(response, {}));
    const decode = await startPod(declining(stream));
    const sidecar = await startTestSidecar(decode, [prefill], { connector: "shared-storage" });
    const body = `{"prompt":"a","cache_hit_threshold":0.8,"stream":${stream}}`;
    const answer = await askSplit(sidecar, prefill.address, { body });
    expect(answer.status).toBe(200);
    expect(answer.body).toContain("hel");
    expect(answer.body).not.toContain("cache_threshold");
    expect(prefill.asked[0]!.json).toMatchObject({ cache_hit_threshold: 0, max_tokens: 1, stream: false });
    expect(decode.asked.map((one) => one.json.cache_hit_threshold)).toEqual([0.8, 0]);
    await untilIdle(sidecar);
  },
);

test.each([false, true])(
  "shared-storage: no prefill when decode does not decline (stream %s)",
  async (stream) => {
    const prefill = await startPod((_, response) => answerJson(response, {}));
    const decode = await startPod(goodDecode);
    const sidecar = await startTestSidecar(decode, [prefill], { connector: "shared-storage" });
    const body = `{"prompt":"a","cache_hit_threshold":0.8,"stream":${stream}}`;
    const answer = await askSplit(sidecar, prefill.address, { body });
    expect(answer.body).toContain("hel");
    if (stream) expect(answer.body.endsWith("data: [DONE]\n\n")).toBe(true);
    expect(prefill.asked).toHaveLength(0);
    // Without a threshold the prefill comes first.
    await askSplit(sidecar, prefill.address, { body: BODY });
    expect(prefill.asked).toHaveLength(1);
  },
);

test("sglang: one body to both at once, with a room below 2^53", async () => {
  const prefill = await startPod((asked, response) => {
    // A prefill pod answers only once the decode pod came for the blocks.
    void until(() => decode.asked.length > 0, "decode asked").then(() =>
      answerJson(response, { asked: asked.url }),
    );
  });
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill], { connector: "sglang" });
  expect((await askSplit(sidecar, prefill.address, { body: BODY })).status).toBe(200);
  await untilIdle(sidecar);
  expect(prefill.asked[0]!.body).toEqual(decode.asked[0]!.body);
  const { bootstrap_room: room, ...rest } = decode.asked[0]!.json;
  expect(rest).toEqual({ ...JSON.parse(BODY), bootstrap_host: "127.0.0.1", bootstrap_port: 8998 });
  expect(Number.isSafeInteger(room)).toBe(true);
});

test("sglang: when the prefill fails, the waiting decode is cancelled and the failure is the answer", async () => {
  const prefill = await startPod((_, response) => answerJson(response, '{"error":"oom"}', 500));
  const decode = await startPod(hang);
  const sidecar = await startTestSidecar(decode, [prefill], { connector: "sglang" });
  const answer = await askSplit(sidecar, prefill.address, { body: BODY });
  expect(answer.status).toBe(500);
  expect(answer.body).toBe('{"error":"oom"}');
  await until(() => decode.left === 1 || decode.asked.length === 0, "decode is cancelled");
  await untilIdle(sidecar);
});

test("sglang: a client that leaves cancels both legs", async () => {
  const prefill = await startPod(hang);
  const decode = await startPod(hang);
  const sidecar = await startTestSidecar(decode, [prefill], { connector: "sglang" });
  const left = askSplit(sidecar, prefill.address, {
    body: BODY,
    onRequest: (request) =>
      void until(() => prefill.asked.length + decode.asked.length === 2, "both asked").then(() =>
        request.destroy(),
      ),
  });
  await expect(left).rejects.toThrow();
  await until(() => prefill.left === 1 && decode.left === 1, "both see the client leave");
  await untilIdle(sidecar);
});

test("mooncake: asks the bootstrap server for the engine and gives both legs one transfer id", async () => {
  const bootstrap = await startPod((asked, response) => {
    expect(asked.url).toBe("/query");
    answerJson(response, { 1: { engine_id: "engine-1" } });
  });
  const prefill = await startPod((_, response) => answerJson(response, {}));
  const decode = await startPod(goodDecode);
  const flags = { connector: "mooncake", mooncakeBootstrapPort: String(bootstrap.port) };
  const sidecar = await startTestSidecar(decode, [prefill], flags);
  for (let i = 0; i < 2; i++) {
    expect((await askSplit(sidecar, prefill.address, { body: BODY })).status).toBe(200);
  }
  await untilIdle(sidecar);
  expect(bootstrap.asked).toHaveLength(1);
  const asked = prefill.asked[0]!;
  expect(asked.headers["x-data-parallel-rank"]).toBe("1");
  expect(asked.json).toMatchObject({ max_tokens: 1, min_tokens: 1, stream: false });
  const sent = asked.json.kv_transfer_params as Record<string, unknown>;
  expect(sent).toMatchObject({ do_remote_prefill: false, do_remote_decode: true });
  const pair = decode.asked.find(
    (one) => (one.json.kv_transfer_params as Record<string, unknown>).transfer_id === sent.transfer_id,
  );
  expect(pair!.json.kv_transfer_params).toEqual({
    do_remote_prefill: true,
    do_remote_decode: false,
    transfer_id: sent.transfer_id,
    remote_bootstrap_addr: `http://127.0.0.1:${bootstrap.port}`,
    remote_engine_id: "engine-1",
  });
});

test("mooncake: without a bootstrap server, or when the prefill fails, the local engine prefills", async () => {
  const bootstrap = await startPod((_, response) => answerJson(response, { 0: { engine_id: "e" } }));
  const prefill = await startPod((_, response) => answerJson(response, {}, 503));
  // The decode pod waits for blocks for ever when it has parameters.
  const decode = await startPod((asked, response, request) => {
    if (!asked.json.kv_transfer_params) goodDecode(asked, response, request);
  });
  const flags = { connector: "mooncake", mooncakeBootstrapPort: String(bootstrap.port) };
  const sidecar = await startTestSidecar(decode, [prefill], flags);
  expect((await askSplit(sidecar, prefill.address, { body: BODY })).status).toBe(200);
  expect(decode.asked.at(-1)!.body.toString()).toBe(BODY);
  await bootstrap.close();
  expect((await askSplit(sidecar, prefill.address, { body: BODY })).status).toBe(200);
  expect(await sidecar.metric("decode_recomputes_total", { reason: "prefill_failed" })).toBe(2);
  await untilIdle(sidecar);
});
