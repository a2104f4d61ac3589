import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { freshTokens, post, postStream, type RunningPod, startPod } from "./pod-harness.js";

let prefill: RunningPod;
let decode: RunningPod;
let recomputing: RunningPod;

const REMOTE_DECODE = {
  do_remote_decode: true,
  do_remote_prefill: false,
  remote_block_ids: null,
  remote_engine_id: null,
  remote_host: null,
  remote_port: null,
};

beforeAll(async () => {
  [prefill, decode, recomputing] = await Promise.all([
    startPod({ name: "p" }),
    startPod({ name: "d" }),
    startPod({ name: "r", kvLoadFailure: "recompute" }),
  ]);
});
afterAll(() => {
  for (const pod of [prefill, decode, recomputing]) pod.stop();
});
let prompt: number[];
beforeEach(() => {
  prompt = freshTokens(200);
});

const ask = (pod: RunningPod, body: object) =>
  post(`${pod.url}/v1/completions`, { prompt, ignore_eos: true, ...body });
const prefilled = async () =>
  (await ask(prefill, { max_tokens: 1, kv_transfer_params: REMOTE_DECODE })).json.kv_transfer_params;
const external = async (pod: RunningPod) =>
  Number(/source="external_kv_transfer"\} (\S+)/.exec(await (await fetch(`${pod.url}/metrics`)).text())?.[1]);

test("a prefill for another pod answers with the parameters that vLLM answers with, and holds its blocks", async () => {
  const before = prefill.pod.holds.blocks;
  const parameters = await prefilled();
  expect(parameters).toMatchObject({
    do_remote_prefill: true,
    do_remote_decode: false,
    remote_host: "127.0.0.1",
    remote_port: Number(new URL(prefill.url).port),
    tp_size: 1,
    remote_num_tokens: 200,
    transfer_mode: "pull",
  });
  expect(parameters.remote_block_ids[0]).toHaveLength(13);
  expect(prefill.pod.holds.blocks - before).toBe(13);
});

test("a decode pulls the blocks, computes nothing but the last token, and gives the prefill pod's own text", async () => {
  const parameters = await prefilled();
  const held = prefill.pod.holds.blocks;
  const [tokens, computed] = [await external(decode), decode.pod.metrics.promptTokens];
  const body = { max_tokens: 24, kv_transfer_params: parameters };
  const answer = await ask(decode, body);
  expect(answer.status).toBe(200);
  expect(answer.json.usage.prompt_tokens_details.cached_tokens).toBe(0);
  expect(await external(decode)).toBe(tokens + 200);
  expect(decode.pod.metrics.promptTokens).toBe(computed + 200);
  expect(prefill.pod.holds.blocks).toBe(held - 13);
  expect(answer.json.choices[0].text).toBe((await ask(prefill, { max_tokens: 24 })).json.choices[0].text);
});

test("streams after a pull, and keeps the pulled blocks as its own cache", async () => {
  const parameters = await prefilled();
  const events = await postStream(`${decode.url}/v1/completions`, {
    prompt,
    ignore_eos: true,
    max_tokens: 8,
    kv_transfer_params: parameters,
  });
  expect(events.at(-1)).toBe("[DONE]");
  const again = await ask(decode, { max_tokens: 1 });
  expect(again.json.usage.prompt_tokens_details.cached_tokens).toBe(192);
});

test("blocks of another prompt show in the text", async () => {
  const parameters = await prefilled();
  prompt = freshTokens(200);
  const wrong = await ask(decode, { max_tokens: 24, kv_transfer_params: parameters });
  const right = await ask(prefill, { max_tokens: 24 });
  expect(wrong.json.choices[0].text).not.toBe(right.json.choices[0].text);
});

test("blocks that nobody pulls expire, are counted and given back; a decode then fails, or recomputes if told to", async () => {
  const hasty = await startPod({ name: "h", kvHoldMs: 20 });
  try {
    const parameters = (await ask(hasty, { max_tokens: 1, kv_transfer_params: REMOTE_DECODE })).json
      .kv_transfer_params;
    while (hasty.pod.holds.expired === 0) await delay(5);
    expect(hasty.pod.holds.blocks).toBe(0);
    expect(await (await fetch(`${hasty.url}/metrics`)).text()).toMatch(
      /nixl_num_kv_expired_reqs_total\{[^}]*\} 1\.0/,
    );
    const body = { max_tokens: 24, kv_transfer_params: parameters };
    const failed = await ask(decode, body);
    expect(failed.status).toBe(500);
    const before = await external(recomputing);
    const recomputed = await ask(recomputing, body);
    expect(recomputed.status).toBe(200);
    expect(await external(recomputing)).toBe(before);
    expect(recomputed.json.choices[0].text).toBe(
      (await ask(prefill, { max_tokens: 24 })).json.choices[0].text,
    );
  } finally {
    hasty.stop();
  }
});

test("a prefill that its limit does not end hands nothing over", async () => {
  const answer = await ask(prefill, { ignore_eos: false, max_tokens: 4, kv_transfer_params: REMOTE_DECODE });
  expect(answer.json.kv_transfer_params).toBeNull();
});

test("parameters that do not say where the blocks are get a 400", async () => {
  const answer = await ask(decode, { kv_transfer_params: { do_remote_prefill: true, remote_host: "x" } });
  expect(answer.status).toBe(400);
  expect(answer.json.error.param).toBe("kv_transfer_params");
});
