// Tenants before one pod, through a real Envoy with an agent: under `trust.isolation: salt` nobody is served from what
// another has cached.
import { afterAll, beforeAll, expect, test } from "vitest";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";

let fleet: Fleet;
const words = new Words();

beforeAll(async () => {
  fleet = await Fleet.create({ pods: 1, timeScale: 4, policy: { trust: { isolation: "salt" } } });
  await fleet.start();
});
afterAll(async () => {
  await fleet?.stop();
});

/** What the engine and the gateway say was cached of a tenant's prompt. */
async function ask(tenant: string, content: string, more: object = {}) {
  const response = await fetch(`http://127.0.0.1:${fleet.gatewayPort}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${tenant}` },
    body: JSON.stringify({ model: MODEL, messages: [{ role: "user", content }], max_tokens: 4, ...more }),
  });
  expect(response.status).toBe(200);
  const { usage } = (await response.json()) as {
    usage: { prompt_tokens_details: { cached_tokens: number } };
  };
  return {
    cached: usage.prompt_tokens_details.cached_tokens,
    predicted: Number(response.headers.get("x-cache-prefix-length") ?? 0),
  };
}

/** Asks until the gateway knows what the engine has cached of it; then the two agree. */
async function hits(tenant: string, content: string, more: object = {}): Promise<void> {
  await waitFor("a predicted hit", async () => {
    const { cached, predicted } = await ask(tenant, content, more);
    expect(cached).toBeGreaterThan(500);
    return predicted > 500 && predicted - cached <= 16;
  });
}

test("a tenant hits what it has cached itself, another tenant with the same prompt does not", async () => {
  const prompt = words.text(900, seeded(1));
  expect(await ask("a", prompt)).toEqual({ cached: 0, predicted: 0 });
  await hits("a", prompt);
  expect(await ask("b", prompt)).toEqual({ cached: 0, predicted: 0 });
  await hits("b", prompt);
});

test("a client's own salt divides its own cache and opens nobody else's", async () => {
  const prompt = words.text(900, seeded(2));
  const salted = { cache_salt: "mine" };
  expect(await ask("a", prompt, salted)).toEqual({ cached: 0, predicted: 0 });
  await hits("a", prompt, salted);
  expect(await ask("a", prompt)).toEqual({ cached: 0, predicted: 0 });
  expect(await ask("b", prompt, salted)).toEqual({ cached: 0, predicted: 0 });
});
