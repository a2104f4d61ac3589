// The policy's rules for requests: what is accepted, completed, and named as a mistake.
import { expect, test } from "vitest";
import { checkPolicy } from "../../agent/policy/check.js";

const mistakes = (value: unknown) => {
  const checked = checkPolicy(value);
  return checked.right ? [] : checked.mistakes.map(({ path, message }) => `${path.join(".")} ${message}`);
};

test("what is left out of a section has its default, and what is written is run", () => {
  const checked = checkPolicy({
    trust: { callers: { tokens: ["ab".repeat(32)] } },
    requests: { objectives: { batch: -5 }, rewrites: [{ model: "a", targets: [{ model: "b" }] }] },
    flowControl: { enabled: true, defaultRequestTTL: "2s" },
    saturation: { detector: "concurrency-detector" },
    decisions: { sampleRate: 0.25 },
  });
  if (!checked.right) throw new Error(JSON.stringify(checked.mistakes));
  expect(checked.notes).toEqual([]);
  expect(checked.policy.trust.reservedFields).toBe("reject");
  expect(checked.program.rules).toMatchObject({
    callers: { claim: null, tokens: [new Uint8Array(32).fill(0xab)] },
    maxTimeoutMs: 600_000,
    objectives: [{ name: "batch", priority: -5 }],
    rewrites: [{ model: "a", targets: [{ model: "b", weight: 1 }] }],
    queue: { enabled: true, ttlMs: 2000, maxRequests: 512 },
    saturation: { detector: "concurrency-detector", maxConcurrency: 100 },
    sampleRate: 0.25,
  });
});

test.each([
  [{ requests: { maxTimeout: "25h" } }, "requests.maxTimeout must be from 0ms to 24h, not 25h"],
  [
    { flowControl: { defaultRequestTTL: "1ms" } },
    "flowControl.defaultRequestTTL must be from 10ms to 24h, not 1ms",
  ],
  [
    { trust: { callers: { claimValues: ["ops"] } } },
    "trust.callers.claimValues needs claimHeader, the header that carries the claim",
  ],
  [
    {
      requests: {
        rewrites: [
          { model: "a", targets: [{ model: "b" }] },
          { model: "a", targets: [{ model: "c" }] },
        ],
      },
    },
    'requests.rewrites.1.model "a" is rewritten twice; keep one',
  ],
  [
    { requests: { rewrites: [{ model: "a", targets: [{ model: "b", weight: 0 }] }] } },
    "requests.rewrites.0.targets no target has weight; give one of them a weight above 0",
  ],
])("%j is a mistake that says what to do", (policy, message) => {
  expect(mistakes(policy)).toEqual([message]);
});

test("a model's name that would break a body's JSON is a mistake", () => {
  for (const model of ['a"b', "a\\b", "a\nb"])
    expect(mistakes({ requests: { overrides: [model] } })).toHaveLength(1);
});

test("names beyond what gateways hold are a mistake", () => {
  const overrides = Array.from({ length: 64 }, (_, i) => `${i}`.padEnd(255, "x"));
  const rewrites = Array.from({ length: 64 }, (_, i) => ({
    model: `${i}`.padEnd(255, "y"),
    targets: Array.from({ length: 16 }, (_, t) => ({ model: `${t}`.padEnd(255, "z") })),
  }));
  expect(mistakes({ requests: { overrides, rewrites } })[0]).toMatch(/^requests has too many names/);
});

test("a queue that acts late or never is noted", () => {
  for (const [detector, why] of [
    ["utilization-detector", "pace of scrapes"],
    ["none", "has no effect"],
  ] as const) {
    const checked = checkPolicy({ saturation: { detector }, flowControl: { enabled: true } });
    expect(checked.right && checked.notes[0]!.message).toContain(why);
  }
});
