// What a client reads off an answer, through a real Envoy with an agent and simulated pods.
import { afterAll, beforeAll, expect, test } from "vitest";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";

let fleet: Fleet;
const text = new Words().text(900, seeded(3));

beforeAll(async () => {
  fleet = await Fleet.create({ pods: 2, timeScale: 4 });
  await fleet.start();
});
afterAll(async () => {
  await fleet?.stop();
});

const ask = (body: object, headers: Record<string, string> = {}) =>
  fetch(`http://127.0.0.1:${fleet.gatewayPort}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({
      model: MODEL,
      messages: [{ role: "user", content: text }],
      max_tokens: 24,
      ...body,
    }),
  });

test("a buffered answer names the pod, the prediction, the times and the tokens it has", async () => {
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  let headers = new Headers();
  let usage = { completion_tokens: 0, prompt_tokens_details: { cached_tokens: 0 } };
  const header = (name: string) => headers.get(name);
  // Another worker than the first request's knows of its blocks by the pod's events.
  await waitFor("an answer to a prompt that a pod has", async () => {
    const response = await ask({}, { "x-request-id": "6a8a9d3e-0000-4000-8000-000000000001", traceparent });
    headers = response.headers;
    ({ usage } = (await response.json()) as { usage: typeof usage });
    return header("x-cache-hit") === "true";
  });
  expect(header("x-tokens-generated")).toBe(String(usage.completion_tokens));
  expect(Number(header("x-tokens-per-second"))).toBeGreaterThan(0);
  expect(header("x-selected-pod")).toBe(header("x-sim-pod"));
  expect(header("x-decode-pod")).toBe(header("x-sim-pod"));
  expect(header("x-cache-hit")).toBe("true");
  const slack = Number(header("x-cache-prefix-length")) - usage.prompt_tokens_details.cached_tokens;
  expect(slack).toBeLessThanOrEqual(16);
  expect(slack).toBeGreaterThanOrEqual(-48);
  for (const name of ["x-scheduling-time-ms", "x-filter-time-ms", "x-scorer-time-ms", "x-total-time-ms"])
    expect(header(name)).toMatch(/^\d+\.\d{3}$/);
  expect(header("x-request-id")).toBeTruthy();
  expect(header("x-trace-id")).toBe("4bf92f3577b34da6a3ce929d0e0e4736");
});

test("a streamed answer is not held: its first bytes come before its last are generated", async () => {
  const response = await ask({ stream: true, max_tokens: 400 });
  const reader = response.body!.getReader();
  const first = await reader.read();
  expect(new TextDecoder().decode(first.value)).toContain("data: ");
  expect(new TextDecoder().decode(first.value)).not.toContain("[DONE]");
  expect(response.headers.get("x-tokens-generated")).toBeNull();
  await reader.cancel();
});

test("pods never see a routing header", async () => {
  expect((await fleet.podStats()).map((s) => s.routingHeadersSeen)).toEqual([0, 0]);
});
