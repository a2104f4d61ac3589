import { describe, expect, test } from "vitest";
import { built } from "../../agent/package-root.js";
import { soak } from "./soak.js";
import { judge, type Window } from "./verdict.js";

const window = (n: number): Window => ({
  requests: n,
  seconds: n,
  envoyRssBytes: 100e6,
  agentRssBytes: 100e6,
  wasmBytes: 10e6,
  tableBytes: 1e5,
  tableEntries: 1000,
  p50Us: 1000,
  p99Us: 5000,
});
const windows = Array.from({ length: 50 }, (_, i) => window(i));
const counts = { sent: 100, answered: 95, refused: 5, reserved: 2, aborted: 5, failed: 0 };
const stats = {
  decisions_success_total: 92,
  refused_total: 5,
  reserved_fields_total: 2,
  inflight_counts_slot_0: 0,
};
const verdict = (
  more: { windows?: Window[]; counts?: object; stats?: Record<string, number>; faults?: string[] } = {},
) =>
  judge(
    more.windows ?? windows,
    { ...counts, ...more.counts },
    new Map(Object.entries({ ...stats, ...more.stats })),
    more.faults ?? [],
    1.5,
  )
    .filter((c) => !c.ok)
    .map((c) => c.name);

describe("a soak's verdict", () => {
  test("holds when everything is as it should be", () => {
    expect(verdict()).toEqual([]);
  });
  test.each([
    [
      "Envoy's memory is flat",
      { windows: windows.map((w, i) => ({ ...w, envoyRssBytes: 100e6 + i * 1e6 })) },
    ],
    [
      "the module's memory is flat",
      { windows: windows.map((w, i) => ({ ...w, wasmBytes: 10e6 + i * 65536 })) },
    ],
    ["gauges are back at zero", { stats: { inflight_counts_slot_0: 1 } }],
    ["counters add up", { stats: { decisions_success_total: 80 } }],
    ["counters add up", { stats: { decisions_success_total: 101 } }],
    ["counters add up", { stats: { refused_total: 6 } }],
    ["every answer is the one it must be", { counts: { failed: 1 } }],
    ["no wasm failure", { faults: ["a VM was made again"] }],
    ["latency does not drift", { windows: windows.map((w, i) => ({ ...w, p50Us: 1000 + i * 50 })) }],
  ])("%s: says so when it is not", (name, more) => {
    expect(verdict(more)).toEqual([name]);
  });
});

// The machine of a test is shared: what its latency does says nothing.
const short = { requests: 4000, connections: 8, pods: 2, seed: 3, maxDrift: 100 };

test("a short soak under real traffic holds", async () => {
  const result = await soak(short, () => {});
  expect(result.firstFailure).toBe("");
  expect(result.checks.filter((c) => !c.ok)).toEqual([]);
  expect(result.counts.sent).toBe(short.requests);
});

test("a module that traps does not pass", async () => {
  const result = await soak(
    {
      ...short,
      wasm: built("warmgate-trap.wasm"),
      onStart: async (port) => {
        // What becomes of the request that traps is Envoy's business.
        await fetch(`http://127.0.0.1:${port}/v1/models`, {
          headers: { "x-trap": "1" },
          signal: AbortSignal.timeout(5000),
        }).catch(() => undefined);
      },
    },
    () => {},
  );
  const failed = result.checks.filter((c) => !c.ok);
  expect(failed.map((c) => c.name)).toContain("no wasm failure");
  expect(failed.find((c) => c.name === "no wasm failure")!.saw).toMatch(/VMs|unreachable|fail/);
});
