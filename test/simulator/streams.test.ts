import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { afterAll, describe, expect, it } from "vitest";
import { chat, post, postStream, startPod } from "./pod-harness.js";

const { url, stop } = await startPod();
afterAll(stop);

describe("streams", () => {
  it("starts with the role, gives one token per event, ends with reason, usage and [DONE]", async () => {
    const body = chat("Stream it", { max_tokens: 5, stream_options: { include_usage: true } });
    const events = await postStream(`${url}/v1/chat/completions`, body);
    expect(events.pop()).toBe("[DONE]");
    const chunks = events.map((event) => JSON.parse(event));
    expect(chunks.map((chunk) => chunk.object)).toEqual(Array(7).fill("chat.completion.chunk"));
    expect(chunks[0].choices[0]).toMatchObject({
      delta: { role: "assistant", content: "" },
      finish_reason: null,
    });
    const usage = chunks.pop();
    expect(usage.choices).toEqual([]);
    expect(usage.usage).toMatchObject({ completion_tokens: 5, prompt_tokens_details: { cached_tokens: 0 } });
    expect(chunks.slice(1).map((chunk) => chunk.choices[0].finish_reason)).toEqual([
      null,
      null,
      null,
      null,
      "stop",
    ]);
    const text = chunks.map((chunk) => chunk.choices[0].delta.content).join("");
    const { json } = await post(`${url}/v1/chat/completions`, chat("Stream it", { max_tokens: 5 }));
    expect(text).toBe(json.choices[0].message.content);
    expect(usage.usage.prompt_tokens).toBe(json.usage.prompt_tokens);
  });

  it("leaves the usage out unless asked for", async () => {
    const events = await postStream(`${url}/v1/completions`, { prompt: "A", max_tokens: 3 });
    expect(events.join("")).not.toContain('"usage"');
    expect(events.at(-1)).toBe("[DONE]");
    expect(JSON.parse(events[0] as string)).toMatchObject({
      object: "text_completion",
      choices: [{ index: 0 }],
    });
  });

  it("puts so many tokens into each event after the first one as it is told", async () => {
    const pod = await startPod({ streamInterval: 4 });
    const events = await postStream(`${pod.url}/v1/completions`, {
      prompt: "A b c",
      max_tokens: 10,
      return_token_ids: true,
    });
    pod.stop();
    const counts = events.slice(0, -1).map((event) => JSON.parse(event).choices[0].token_ids.length);
    expect(counts).toEqual([1, 4, 4, 1]);
  });

  it("stops generating when the client goes", async () => {
    const pod = await startPod({ timeScale: 1 });
    const request = httpRequest(`${pod.url}/v1/completions`, { method: "POST" });
    request.end(JSON.stringify({ prompt: "Long", max_tokens: 5000, stream: true }));
    const [response] = await once(request, "response");
    await once(response, "data");
    expect(pod.pod.load().running).toBe(1);
    request.destroy();
    while (pod.pod.load().running > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pod.pod.metricsPage()).toContain('finished_reason="abort",model_name="test-model"} 1.0');
    pod.stop();
  });

  it("sends headers before the first token, as vLLM does", async () => {
    const pod = await startPod({ timeScale: 0.01 });
    const body = JSON.stringify({ prompt: "Slow", max_tokens: 1, stream: true });
    const response = await fetch(`${pod.url}/v1/completions`, { method: "POST", body });
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(pod.pod.load().running + pod.pod.load().waiting).toBe(1);
    await response.body?.cancel();
    pod.stop();
  });
});
