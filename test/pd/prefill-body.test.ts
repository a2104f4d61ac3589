// The bodies of both legs against an independent reference: Node's JSON and the sidecar's own edits.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { BodyRules, GenerationBody } from "../../sidecar/generation-body.js";
import { chat } from "../wasm/table.js";
import { bodyOf, good, long, parameters, type Split, send, split } from "./split-host.js";

let s: Split;
beforeAll(async () => {
  s = await split({ maxConcurrent: 1024 });
});

/** Both legs of a body. */
function legs(body: string, path = "/v1/chat/completions"): { prefill: string; decode: string } {
  const before = s.host.httpCalls.length;
  const { r } = send(s.host, body, [], path);
  expect(s.host.httpCalls.length).toBe(before + 1);
  const prefill = s.host.httpCalls.at(-1)!.body;
  s.host.answerCall(s.host.httpCalls.at(-1)!, 200, good);
  const decode = bodyOf(r);
  r.end();
  return { prefill, decode };
}

let round = 0;
/** A user text that no pod has cached. */
const fresh = (bytes = 2000) => long(`text ${round++}`, bytes);

test("numbers, key order, escapes, white space and duplicate keys stay byte for byte", () => {
  const text = fresh();
  const body = `{ "model" : "m",\n\t"seed": 9007199254740993, "x": 1.50e+2, "x": "\\u00e9\\/",
    "messages":[{"role":"user","content":"${text} \\ud83d\\ude00 \\"kv_transfer_params\\": {} é"}] , "max_tokens" :  64 }`;
  const { prefill, decode } = legs(body);
  const added = JSON.stringify(parameters);
  expect(decode).toBe(body.replace("{", `{"kv_transfer_params":${added},`));
  const remote =
    '{"do_remote_decode":true,"do_remote_prefill":false,"remote_block_ids":null,"remote_engine_id":null,"remote_host":null,"remote_port":null}';
  expect(prefill).toBe(
    body
      .replace("64", "1")
      .replace(
        "{",
        `{"max_completion_tokens":1,"min_tokens":1,"stream":false,"kv_transfer_params":${remote},`,
      ),
  );
});

test("a body of 3 MB arrives whole", () => {
  const body = JSON.stringify(chat(fresh(3_000_000), { seed: 1, max_tokens: 5 }));
  const { decode } = legs(body);
  expect(decode).toBe(body.replace("{", `{"kv_transfer_params":${JSON.stringify(parameters)},`));
});

test("every spelling and repetition of a limit is capped", () => {
  const text = fresh();
  const { prefill } = legs(
    `{"model":"m","max_tokens":500,"max\\u005ftokens":600,"min_tokens":9,"max_output_tokens":7,"sampling_params":{"max_tokens":8,"a":{"max_tokens":9},"min_tokens":2},"messages":[{"role":"user","content":"${text}"}]}`,
  );
  expect(prefill).toContain('"max_tokens":1,"max\\u005ftokens":1,"min_tokens":1,"max_output_tokens":1,');
  expect(prefill).toContain('"sampling_params":{"max_tokens":1,"a":{"max_tokens":9},"min_tokens":1}');
});

test("stream_options goes with its comma, wherever it stands", () => {
  const m = () => `"messages":[{"role":"user","content":"${fresh()}"}]`;
  const options = '"stream_options":{"include_usage":true}';
  for (const body of [
    `{${options},"model":"m",${m()}}`,
    `{"model":"m",${options},${m()}}`,
    `{"model":"m",${m()} , ${options} }`,
    `{${options},${options},"model":"m",${m()},${options}}`,
  ]) {
    const { prefill, decode } = legs(body);
    expect(JSON.parse(prefill)).not.toHaveProperty("stream_options");
    expect(JSON.parse(prefill)).toMatchObject({ model: "m", stream: false, max_tokens: 1 });
    expect(JSON.parse(decode)).toHaveProperty("stream_options");
  }
});

test("a responses request is capped by its own field, a completion by its", () => {
  const response = legs(
    JSON.stringify({ model: "m", input: fresh(), max_output_tokens: 90, stream: true }),
    "/v1/responses",
  );
  expect(JSON.parse(response.prefill)).toMatchObject({ max_output_tokens: 1, stream: false });
  expect(JSON.parse(response.prefill)).not.toHaveProperty("max_tokens");
  const completion = legs(JSON.stringify({ model: "m", prompt: fresh() }), "/v1/completions");
  expect(JSON.parse(completion.prefill)).toMatchObject({ max_tokens: 1, min_tokens: 1 });
});

describe("a request that two pods cannot serve is left to one", () => {
  test.each([
    ["several answers", { n: 2 }],
    ["the best of several", { best_of: 3 }],
    ["echo", { echo: true }],
    ["prompt log-probabilities", { prompt_logprobs: 1 }],
  ])("%s", (_, more) => {
    const before = s.host.httpCalls.length;
    expect(send(s.host, chat(fresh(), more)).action).toBe(0);
    expect(s.host.httpCalls.length).toBe(before);
  });
  test("a list of prompts", () => {
    const before = s.host.httpCalls.length;
    send(s.host, { model: "m", prompt: [fresh(), fresh()] }, [], "/v1/completions");
    expect(s.host.httpCalls.length).toBe(before);
  });
  test("more repeated keys than are edited", () => {
    const before = s.host.httpCalls.length;
    const many = Array.from({ length: 100 }, () => '"max_tokens":2').join();
    send(s.host, `{"model":"m",${many},"messages":[{"role":"user","content":"${fresh()}"}]}`);
    expect(s.host.httpCalls.length).toBe(before);
  });
  test("the same fields with their plain values do not matter", () => {
    legs(JSON.stringify(chat(fresh(), { n: 1, best_of: null, echo: false, prompt_logprobs: null })));
  });
});

test("for any body, both legs mean what the sidecar's legs mean", () => {
  const key = fc.constantFrom(
    "max_tokens",
    "stream",
    "stream_options",
    "min_tokens",
    "sampling_params",
    "temperature",
    "stop",
    "metadata",
  );
  const value = fc.oneof(
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.string({ maxLength: 8 }),
    fc.dictionary(fc.constantFrom("max_tokens", "min_tokens", "top_k"), fc.integer(), { maxKeys: 3 }),
  );
  const rules = new BodyRules();
  fc.assert(
    fc.property(fc.array(fc.tuple(key, value), { maxLength: 6 }), fc.nat(6), (pairs, place) => {
      const members = pairs.map(([k, v]) => `${JSON.stringify(k)}: ${JSON.stringify(v)}`);
      members.splice(
        place,
        0,
        '"model":"m"',
        `"messages":[{"role":"user","content":"${fresh()} kv_transfer_params"}]`,
      );
      const body = `{${members.join(" ,")}}`;
      const { prefill, decode } = legs(body);
      const node = new GenerationBody(Buffer.from(body), rules);
      const remote = JSON.stringify(JSON.parse(prefill).kv_transfer_params);
      expect(JSON.parse(prefill)).toEqual(
        JSON.parse(node.forPrefill("chat", new Map([["kv_transfer_params", remote]])).toString()),
      );
      expect(decode).toBe(
        node.with(new Map([["kv_transfer_params", JSON.stringify(parameters)]])).toString(),
      );
    }),
    { numRuns: 150 },
  );
});
