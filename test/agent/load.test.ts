import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { engineMetrics } from "../../agent/load/engine-metrics.js";
import { PrefillRate } from "../../agent/load/prefill-rate.js";
import { samplesOf } from "../../agent/load/prometheus-text.js";
import { GatewayReports } from "../../agent/table/gateway-reports.js";
import type { Report } from "../../agent/wire.js";
import { fixturePath } from "./fixtures.js";

describe("engine metrics", () => {
  test("are read from what a running vLLM 0.32 answers", () => {
    const metrics = engineMetrics(readFileSync(fixturePath("metrics.txt"), "utf8"))!;
    expect(metrics.blockTokens).toBe(16);
    expect(metrics.capacityTokens).toBe(512 * 16);
    expect(metrics.kvUsage).toBeGreaterThanOrEqual(0);
    expect(metrics.kvUsage).toBeLessThanOrEqual(1);
    expect(metrics.prefixQueries).toBeGreaterThan(metrics.prefixHits);
    expect(metrics.prefixHits).toBeGreaterThan(0);
    expect(metrics.promptTokens).toBeGreaterThan(0);
  });

  test("know the old name of cache usage and add up engines", () => {
    const metrics = engineMetrics(
      [
        'vllm:num_requests_running{engine="0"} 1',
        'vllm:num_requests_running{engine="1"} 2',
        'vllm:num_requests_waiting{engine="0"} 5',
        'vllm:gpu_cache_usage_perc{engine="0"} 0.5',
      ].join("\n"),
    );
    expect(metrics).toMatchObject({ running: 3, waiting: 5, kvUsage: 0.5, capacityTokens: 0 });
  });

  test("of something else are none", () => {
    expect(engineMetrics("up 1\n")).toBeNull();
    expect(engineMetrics("")).toBeNull();
  });
});

describe("Prometheus text", () => {
  test("gives labels with escapes, infinities and time stamps, and passes over what is no sample", () => {
    const text = '# HELP a x\na{p="x,\\"y\\"\\n}"} +Inf 17\nb 2\n a 3\na nonsense\na{broken 1\na 4';
    expect(samplesOf(text, new Set(["a"]))).toEqual([
      { name: "a", labels: { p: 'x,"y"\n}' }, value: Number.POSITIVE_INFINITY },
      { name: "a", labels: {}, value: 4 },
    ]);
  });
});

describe("the prefill rate", () => {
  test("moves to what a busy engine does and not to what an idle one did not do", () => {
    const rate = new PrefillRate(40_000);
    rate.observe(0, 0, 5);
    for (let s = 1; s <= 40; s++) rate.observe(s * 1000, s * 10_000, 5);
    expect(rate.value).toBeGreaterThan(9_000);
    expect(rate.value).toBeLessThan(11_000);
    for (let s = 41; s <= 80; s++) rate.observe(s * 1000, 400_000 + (s - 40) * 2500, 0);
    expect(rate.value).toBeGreaterThan(9_000);
  });

  test("begins again with the engine's counters", () => {
    const rate = new PrefillRate(1000);
    rate.observe(0, 1_000_000, 1);
    rate.observe(1000, 0, 1);
    expect(rate.value).toBe(1000);
  });
});

describe("gateway reports", () => {
  const report = (processId: bigint, vmId: bigint, success: number, inflight: number): Report => ({
    kind: "report",
    processId,
    vmId,
    lease: false,
    counters: [success],
    ops: [{ op: "Queue", runs: success, ns: success * 500 }],
    pods: [
      {
        address: "a:1",
        inflightRequests: inflight,
        inflightTokens: 0,
        requests: success,
        promptTokens: 0,
        predictedTokens: 0,
        firstTokens: 0,
        firstTokenMicros: 0,
        firstTokenUncached: 0,
      },
    ],
  });

  test("count each worker's growth once, also over a worker's restart", () => {
    const reports = new GatewayReports();
    reports.take(report(1n, 1n, 5, 0), 0);
    reports.take(report(1n, 1n, 8, 0), 1);
    reports.take(report(1n, 2n, 2, 0), 2);
    reports.take(report(1n, 1n, 1, 0), 3);
    expect(reports.totals.success).toBe(8 + 2 + 1);
    expect(reports.pods.get("a:1")!.requests).toBe(11);
    expect(reports.ops.get("Queue")).toEqual({ runs: 11, ns: 5500 });
  });

  test("take one worker's word for the gauges of a process and add up processes", () => {
    const reports = new GatewayReports();
    reports.take(report(1n, 1n, 0, 7), 0);
    reports.take(report(1n, 2n, 0, 6), 1);
    reports.take(report(2n, 3n, 0, 10), 2);
    expect(reports.inflight("a:1")).toBe(16);
    reports.take(report(2n, 3n, 0, 4), 90_000);
    expect(reports.inflight("a:1")).toBe(4);
    expect(reports.workers).toBe(1);
  });
});
