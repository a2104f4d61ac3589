import { afterAll, describe, expect, it } from "vitest";
import { chat, freshTokens, post, startPod } from "./pod-harness.js";

const { url, pod, stop } = await startPod();
afterAll(stop);

const usageOf = async (body: object) => (await post(`${url}/v1/completions`, body)).json.usage;

describe("usage", () => {
  it("reports 144 cached tokens when 160 tokens are repeated", async () => {
    const prompt = freshTokens(160);
    const first = await usageOf({ prompt, max_tokens: 1 });
    const second = await usageOf({ prompt, max_tokens: 1 });
    expect(first).toMatchObject({ prompt_tokens: 160, completion_tokens: 1, total_tokens: 161 });
    expect(first.prompt_tokens_details.cached_tokens).toBe(0);
    expect(second.prompt_tokens_details.cached_tokens).toBe(144);
  });

  it("shares the longest common prefix of whole blocks", async () => {
    const prompt = freshTokens(100);
    await usageOf({ prompt, max_tokens: 1 });
    const usage = await usageOf({ prompt: [...prompt.slice(0, 70), ...freshTokens(60)], max_tokens: 1 });
    expect(usage.prompt_tokens_details.cached_tokens).toBe(64);
  });

  it("keeps prefixes of different cache salts apart", async () => {
    const prompt = freshTokens(64);
    const cached = async (salt?: string) =>
      (await usageOf({ prompt, max_tokens: 1, cache_salt: salt })).prompt_tokens_details.cached_tokens;
    expect([await cached(), await cached("a"), await cached("b"), await cached("a"), await cached()]).toEqual(
      [0, 0, 0, 48, 48],
    );
  });

  it("counts what a batch of prompts takes and reports nothing cached for it", async () => {
    const prompt = freshTokens(64);
    await usageOf({ prompt, max_tokens: 1 });
    const usage = await usageOf({ prompt: [prompt, freshTokens(10)], max_tokens: 3 });
    expect(usage).toMatchObject({ prompt_tokens: 74, completion_tokens: 6 });
    expect(usage.prompt_tokens_details.cached_tokens).toBe(0);
  });
});

describe("chat completions", () => {
  it("answers with exactly max_tokens tokens, the last of which ends the turn", async () => {
    const { status, headers, json } = await post(
      `${url}/v1/chat/completions`,
      chat("Hello", { max_tokens: 20 }),
    );
    expect(status).toBe(200);
    expect(headers.get("x-sim-pod")).toBe("pod-a");
    expect(json).toMatchObject({ object: "chat.completion", model: "test-model" });
    expect(json.usage.completion_tokens).toBe(20);
    expect(json.choices[0]).toMatchObject({ index: 0, finish_reason: "stop" });
    expect(json.choices[0].message.role).toBe("assistant");
    expect(pod.tokenizer.encode(json.choices[0].message.content).length).toBe(19);
  });

  it("generates 16 tokens when not told how many", async () => {
    const { json } = await post(`${url}/v1/chat/completions`, chat("How many?"));
    expect(json.usage.completion_tokens).toBe(16);
  });

  it("gives a text whose tokens in the next turn's prompt are the ones it generated", async () => {
    const messages: { role: string; content: string }[] = [{ role: "system", content: "Be brief." }];
    let before: number[] = [];
    for (let turn = 0; turn < 8; turn++) {
      messages.push({ role: "user", content: `Question number ${turn}?` });
      const { json } = await post(`${url}/v1/chat/completions`, {
        messages,
        max_tokens: 23,
        return_token_ids: true,
      });
      expect(json.prompt_token_ids.slice(0, before.length)).toEqual(before);
      before = [...json.prompt_token_ids, ...json.choices[0].token_ids];
      messages.push({ role: "assistant", content: json.choices[0].message.content });
    }
  });

  it("finds the whole conversation but its last tokens cached in the next turn", async () => {
    const messages = [{ role: "user", content: "Tell me a story about the sea." }];
    const first = await post(`${url}/v1/chat/completions`, { messages, max_tokens: 100 });
    messages.push({ role: "assistant", content: first.json.choices[0].message.content });
    messages.push({ role: "user", content: "Go on." });
    const second = await post(`${url}/v1/chat/completions`, { messages, max_tokens: 1 });
    const computed = first.json.usage.total_tokens - 1;
    expect(second.json.usage.prompt_tokens_details.cached_tokens).toBe(Math.floor(computed / 16) * 16);
  });

  it("says the same to the same prompt on every pod", async () => {
    const other = await startPod({ name: "pod-b" });
    const body = chat("What is the weather?", { max_tokens: 30 });
    const [here, there] = await Promise.all([
      post(`${url}/v1/chat/completions`, body),
      post(`${other.url}/v1/chat/completions`, body),
    ]);
    other.stop();
    expect(there.json.choices[0].message.content).toBe(here.json.choices[0].message.content);
    expect(there.headers.get("x-sim-pod")).toBe("pod-b");
  });

  it("joins text parts with a line break and drops empty ones", async () => {
    const parts = ["one", "", "two"].map((text) => ({ type: "text", text }));
    const { json: listed } = await post(`${url}/tokenize`, chat(parts));
    const { json: plain } = await post(`${url}/tokenize`, chat("one\ntwo"));
    expect(listed.tokens).toEqual(plain.tokens);
  });

  it("takes the request id from the client", async () => {
    const headers = { "x-request-id": "req-1" };
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers,
      body: JSON.stringify(chat("Hi", { max_tokens: 1 })),
    });
    expect((await response.json()).id).toBe("chatcmpl-req-1");
  });
});
