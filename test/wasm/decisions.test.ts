// Decision records of the built filter, read by the agent's own reader.
import { expect, test } from "vitest";
import type { Decision } from "../../agent/decisions/record.js";
import { Host } from "./host.js";
import { chat, renderChatml, TestAgent } from "./table.js";

const configuration = { debugHeaders: "none" };

async function gateway(sampleRate: number, pods = 3) {
  const agent = await TestAgent.create(pods);
  const host = new Host({ configuration });
  host.receive(agent.snapshot());
  host.receive(agent.rules({ decisions: { sampleRate, filterState: true } }));
  const decisions = () => {
    host.tick();
    return host
      .frames()
      .map((f) => agent.wire.decodeUp(f))
      .filter((up): up is Decision => up?.kind === "decision");
  };
  return { agent, host, decisions };
}

test("a record says where a request went, and what every candidate had", async () => {
  const { agent, host, decisions } = await gateway(1);
  const body = chat("prompt ".repeat(600));
  agent.cache(1, renderChatml(body.messages));
  host.receive(agent.wire.drain());
  const r = host.chat(body, [["x-request-id", "abc"]]);
  const [record] = decisions();
  expect(record).toMatchObject({
    reason: "routed",
    requestId: "abc",
    model: agent.model,
    priority: 0,
    considered: 3,
    passed: 3,
    policyVersion: 1,
  });
  const [best, ...others] = record!.candidates;
  expect(best).toMatchObject({ rank: 1, address: "10.0.0.2:8000", inflightRequests: 0, pendingPrefills: 0 });
  expect(best!.cachedTokens).toBe(record!.predictedTokens);
  expect(best!.cachedTokens).toBeGreaterThan(4000);
  expect(others.map((c) => [c.rank, c.cachedTokens])).toEqual([
    [2, 0],
    [3, 0],
  ]);
  for (const c of others) expect(c.cost).toBeGreaterThan(best!.cost);
  expect(Object.fromEntries(r.filterState)).toEqual({
    warmgate_reason: "routed",
    warmgate_pod: "pod-1",
    warmgate_predicted_tokens: String(best!.cachedTokens),
  });
});

test("a record says why a request went nowhere", async () => {
  const { agent, host, decisions } = await gateway(1, 1);
  host.chat(chat("cold"), [["prefer", "if-available"]]);
  host.receive(agent.loads(() => ({ ready: false })));
  host.chat(chat("a"));
  expect(decisions().map((d) => d.reason)).toEqual(["not_cached", "no_pods"]);
});

test("of many pods all are named, the best three first", async () => {
  const { host, decisions } = await gateway(1, 40);
  host.chat(chat("a"));
  const [record] = decisions();
  expect(record!.considered).toBe(40);
  expect(record!.candidates.map((c) => c.rank)).toEqual([1, 2, 3, ...Array(37).fill(0)]);
  expect(new Set(record!.candidates.map((c) => c.address)).size).toBe(40);
});

test("the rate is kept, and at most 100 a second are sent", async () => {
  const some = await gateway(0.1);
  for (let i = 0; i < 500; i++) some.host.chat(chat(`${i}`)).end();
  // 500 draws at 1/10: a binomial's 5 sigma is 34.
  expect(Math.abs(some.decisions().length - 50)).toBeLessThan(35);
  const all = await gateway(1);
  for (let i = 0; i < 150; i++) all.host.chat(chat(`${i}`)).end();
  expect(all.decisions()).toHaveLength(100);
  all.host.tick(1100);
  all.host.chat(chat("next")).end();
  expect(all.decisions()).toHaveLength(101);
});

test("nothing is recorded and no host call is made when the policy asks for nothing", async () => {
  const agent = await TestAgent.create();
  const host = new Host({ configuration });
  host.receive(agent.snapshot());
  host.receive(agent.rules({}));
  const sent = host.sent.length;
  host.chat(chat("a")).end();
  expect(host.sent).toHaveLength(sent);
  expect(host.calls.get("proxy_set_property")).toBeUndefined();
});
