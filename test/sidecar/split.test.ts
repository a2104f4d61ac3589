import { expect, test } from "vitest";
import { answerJson, goodDecode, goodPrefill, PARAMETERS, startPod } from "./pods.js";
import { ask, askSplit, startTestSidecar, untilIdle } from "./sidecar-for-test.js";

test("without a prefiller header, request and answer pass as they are", async () => {
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, []);
  const body = '{ "prompt":"kv_transfer_params",  "n":9007199254740993, "n":1, "s":"\\u006b" }';
  const answer = await ask(sidecar, { body, headers: { authorization: "Bearer k", "x-other": "1" } });
  expect(answer.status).toBe(200);
  expect(answer.body).toBe('{"id":"d","choices":[{"text":"hello"}]}');
  expect(decode.asked[0]!.body.toString()).toBe(body);
  expect(decode.asked[0]!.headers).toMatchObject({ authorization: "Bearer k", "x-other": "1" });
  expect(decode.asked[0]!.headers["x-request-id"]).toBe(answer.headers["x-request-id"]);
});

test("with it, the prefill pod gets one token and the decode pod its parameters, all else byte for byte", async () => {
  const prefill = await startPod(goodPrefill);
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill]);
  const body =
    '{ "model":"m","seed":9007199254740993, "messages":[{"role":"user","content":"\\u006bv_transfer_params \\"kv_transfer_params\\":{}"}],"max_tokens" : 77,"max_completion_tokens":88,"stream" : true,"stream_options":{"include_usage":true},"x":1,"x":2}';
  const answer = await askSplit(sidecar, prefill.address, {
    path: "/v1/chat/completions?a=b",
    body,
    headers: { authorization: "Bearer k", traceparent: "00-1-2-01", "x-request-id": "client-1" },
  });
  expect(answer.status).toBe(200);
  expect(answer.body).toContain("[DONE]");
  expect(prefill.asked[0]!.body.toString()).toBe(
    '{"min_tokens":1,"kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,' +
      '"remote_block_ids":null,"remote_host":null,"remote_port":null}, "model":"m","seed":9007199254740993, ' +
      '"messages":[{"role":"user","content":"\\u006bv_transfer_params \\"kv_transfer_params\\":{}"}],' +
      '"max_tokens" : 1,"max_completion_tokens":1,"stream" : false,"x":1,"x":2}',
  );
  expect(decode.asked[0]!.body.toString()).toBe(`{"kv_transfer_params":${PARAMETERS},${body.slice(1)}`);
  for (const { url, headers } of [prefill.asked[0]!, decode.asked[0]!]) {
    expect(url).toBe("/v1/chat/completions?a=b");
    expect(headers).toMatchObject({
      authorization: "Bearer k",
      traceparent: "00-1-2-01",
      "x-request-id": "client-1",
    });
    expect(headers["x-prefiller-host-port"]).toBeUndefined();
  }
  expect(answer.rawHeaders.filter((one) => one.toLowerCase() === "x-request-id")).toHaveLength(1);
  expect(answer.headers["x-request-id"]).toBe("client-1");
  await untilIdle(sidecar);
  expect(await sidecar.metric("kv_cache_transfer_tokens_total")).toBe(48);
  expect(await sidecar.metric("kv_cache_transfer_blocks_total")).toBe(3);
  expect(await sidecar.metric("requests_total", { status: "200" })).toBe(1);
  expect(await sidecar.metric("decode_recomputes_total")).toBe(0);
});

test("the limits of every API are one token on the prefill leg", async () => {
  const prefill = await startPod(goodPrefill);
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill]);
  const seen = async (path: string, body: string) => {
    await askSplit(sidecar, prefill.address, { path, body });
    const { kv_transfer_params: _, ...rest } = prefill.asked.at(-1)!.json;
    const { kv_transfer_params: __, ...untouched } = decode.asked.at(-1)!.json;
    expect(untouched).toEqual(JSON.parse(body));
    return rest;
  };
  const one = { max_tokens: 1, max_completion_tokens: 1, min_tokens: 1, stream: false };
  expect(await seen("/v1/chat/completions", '{"min_tokens":7}')).toEqual(one);
  expect(await seen("/v1/completions", '{"max_tokens":7,"prompt":"a"}')).toEqual({ ...one, prompt: "a" });
  expect(await seen("/v1/messages", "{}")).toEqual(one);
  expect(await seen("/v1/responses", '{"max_output_tokens":9,"input":"a"}')).toEqual({
    max_output_tokens: 1,
    input: "a",
    stream: false,
  });
  const sampling = { sampling_params: { max_tokens: 1, min_tokens: 1 }, stream: false };
  expect(await seen("/inference/v1/generate", "{}")).toEqual(sampling);
  expect(await seen("/inference/v1/generate", '{"sampling_params":null}')).toEqual(sampling);
  expect(await seen("/inference/v1/generate", '{"sampling_params":{"max_tokens":99,"t":0.5}}')).toEqual({
    sampling_params: { max_tokens: 1, min_tokens: 1, t: 0.5 },
    stream: false,
  });
});

test("times stand in the headers, and in trailers where they are known only at a stream's end", async () => {
  const prefill = await startPod(goodPrefill);
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill]);
  const ms = /^\d+\.\d{3}$/;
  const json = await askSplit(sidecar, prefill.address);
  expect(json.headers["x-prefill-time-ms"]).toMatch(ms);
  expect(json.headers["x-decode-time-ms"]).toMatch(ms);
  expect(json.headers["x-kv-transfer-time-ms"]).toMatch(ms);
  const stream = await askSplit(sidecar, prefill.address, {
    body: '{"prompt":"a","stream":true}',
    headers: { te: "trailers" },
  });
  expect(stream.headers["x-prefill-time-ms"]).toMatch(ms);
  expect(stream.headers["x-kv-transfer-time-ms"]).toMatch(ms);
  expect(stream.headers["x-decode-time-ms"]).toBeUndefined();
  expect(stream.trailers["x-decode-time-ms"]).toMatch(ms);
  const deaf = await askSplit(sidecar, prefill.address, { body: '{"prompt":"a","stream":true}' });
  expect(deaf.trailers).toEqual({});
  const metrics = await sidecar.metrics.registry.metrics();
  expect(metrics).toContain("llmd_sidecar_kv_cache_transfer_duration_seconds_count 2");
});

test("a body of three megabytes arrives whole on both legs", async () => {
  const prefill = await startPod(goodPrefill);
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill]);
  const body = JSON.stringify({ prompt: '"kv_transfer_params":{"a":"\\u0041"} \u2603 '.repeat(70_000) });
  expect(Buffer.byteLength(body)).toBeGreaterThan(3_000_000);
  const answer = await askSplit(sidecar, prefill.address, { body });
  expect(answer.status).toBe(200);
  expect(decode.asked[0]!.body.toString()).toBe(`{"kv_transfer_params":${PARAMETERS},${body.slice(1)}`);
  expect(prefill.asked[0]!.body.toString().endsWith(body.slice(1))).toBe(true);
});

test("a prefill answer without parameters is a recompute: counted, logged once, and the decode pod does it all", async () => {
  const prefill = await startPod((_, response) =>
    answerJson(response, { choices: [], kv_transfer_params: null }),
  );
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill]);
  for (let i = 0; i < 3; i++) expect((await askSplit(sidecar, prefill.address)).status).toBe(200);
  expect(decode.asked[0]!.body.toString()).toBe('{"model":"m","prompt":"hi","max_tokens":5}');
  expect(await sidecar.metric("decode_recomputes_total", { reason: "no_parameters" })).toBe(3);
  expect(sidecar.records.filter((one) => one.reason === "no_parameters")).toHaveLength(1);
});

test("further candidates are tried in their order", async () => {
  // Nothing listens below 1024; a pod's port that has just been closed may be the next test's.
  const dead = { address: "127.0.0.1:1" };
  const failing = await startPod((_, response) => answerJson(response, "{}", 500));
  const prefill = await startPod(goodPrefill);
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [dead, failing, prefill]);
  const header = `${dead.address}, http://${failing.address},${prefill.address}`;
  expect((await askSplit(sidecar, header)).status).toBe(200);
  expect(failing.asked).toHaveLength(1);
  expect(decode.asked[0]!.json.kv_transfer_params).toMatchObject({ remote_port: 5600 });
  expect(await sidecar.metric("decode_recomputes_total")).toBe(0);
});

test("a prefill pod that is not ready is asked again when told so", async () => {
  let asked = 0;
  const prefill = await startPod((one, response, request) => {
    if (++asked < 3) answerJson(response, "{}", 503);
    else goodPrefill(one, response, request);
  });
  const decode = await startPod(goodDecode);
  const sidecar = await startTestSidecar(decode, [prefill], {
    prefillMaxRetries: "2",
    prefillRetryBackoff: "1ms",
  });
  expect((await askSplit(sidecar, prefill.address)).status).toBe(200);
  expect(asked).toBe(3);
  expect(await sidecar.metric("decode_recomputes_total")).toBe(0);
});
