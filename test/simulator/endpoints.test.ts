import { afterAll, describe, expect, it } from "vitest";
import { chat, post, startPod } from "./pod-harness.js";

const { url, stop } = await startPod();
afterAll(stop);

describe("tokenizer endpoints", () => {
  it("tokenizes a prompt with the begin-of-text token unless told not to", async () => {
    const { json } = await post(`${url}/tokenize`, { prompt: "Hello world", return_token_strs: true });
    expect(json).toMatchObject({
      count: 3,
      tokens: [128000, 9906, 1917],
      token_strs: ["<|begin_of_text|>", "Hello", "Ġworld"],
    });
    const bare = await post(`${url}/tokenize`, { prompt: "Hello world", add_special_tokens: false });
    expect(bare.json).toMatchObject({ tokens: [9906, 1917], token_strs: null });
  });

  it("renders messages with or without the assistant's header", async () => {
    const [with_, without] = await Promise.all(
      [true, false].map((add) => post(`${url}/tokenize`, chat("Hi", { add_generation_prompt: add }))),
    );
    const { json } = await post(`${url}/detokenize`, { tokens: with_?.json.tokens });
    expect(json.prompt).toBe(
      "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    );
    expect(with_?.json.count - without?.json.count).toBe(4);
  });
});

describe("errors", () => {
  const expectError = async (path: string, body: string, status: number, message: RegExp) => {
    const response = await fetch(`${url}${path}`, { method: "POST", body });
    const { error } = await response.json();
    expect(response.status).toBe(status);
    expect(error.code).toBe(status);
    expect(error.message).toMatch(message);
  };

  it("answers in vLLM's shape to what it cannot serve", async () => {
    const completions = "/v1/completions";
    await expectError(completions, "{", 400, /JSON decode error/);
    await expectError(completions, "[]", 400, /body must be an object/);
    await expectError(completions, "{}", 400, /prompt must be a string/);
    await expectError(
      completions,
      '{"prompt":"x","model":"nope"}',
      404,
      /`nope` does not exist. Valid aliases: test-model/,
    );
    await expectError(
      completions,
      '{"prompt":"x","max_tokens":0}',
      400,
      /max_tokens must be an integer of at least 1, got 0/,
    );
    await expectError(
      completions,
      '{"prompt":"x","max_tokens":9000}',
      400,
      /maximum context length is 8176 tokens/,
    );
    await expectError("/v1/chat/completions", '{"messages":"x"}', 400, /messages must be a list/);
    await expectError("/v1/chat/completions", '{"messages":[{"content":"x"}]}', 400, /messages\[0\].role/);
    const image = '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}';
    await expectError("/v1/chat/completions", image, 400, /image_url parts need a multimodal model/);
    await expectError("/v1/chat/completions/render", "{}", 403, /--enable-scale-out/);
    await expectError("/detokenize", '{"tokens":[999999]}', 400, /999999 is not in the vocabulary/);
    await expectError("/nowhere", "{}", 404, /Not Found/);
    expect((await fetch(`${url}/v1/completions`)).status).toBe(405);
  });

  it("serves the next request after a refused one", async () => {
    const long = Array.from({ length: 9000 }, (_, i) => i);
    expect((await post(`${url}/v1/completions`, { prompt: long, max_tokens: 1 })).status).toBe(400);
    expect((await post(`${url}/v1/completions`, { prompt: "Fine", max_tokens: 1 })).status).toBe(200);
  });
});
