import { Writable } from "node:stream";
import pino from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import { engineMetrics } from "../../agent/load/engine-metrics.js";
import { PREFILL_COUNTERS, TransferWatch } from "../../agent/table/transfer-watch.js";

const POD = "10.0.0.1:8000";
let watch: TransferWatch;
let lines: Record<string, unknown>[];
beforeEach(() => {
  lines = [];
  const sink = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(JSON.parse(chunk.toString()));
      done();
    },
  });
  watch = new TransferWatch(pino(sink));
});

const report = (
  tokens: number,
  counters: Partial<Record<(typeof PREFILL_COUNTERS)[number], number>> = {},
  vmId = 1n,
) => ({
  kind: "transfers" as const,
  processId: 1n,
  vmId,
  counters: PREFILL_COUNTERS.map((name) => counters[name] ?? 0),
  pods: [{ address: POD, transfers: 1, tokens }],
});
const recomputed = () => watch.pods().find((p) => p.address === POD)?.recomputed ?? 0;

describe("a decode pod", () => {
  test("that pulls what it was promised raises nothing, whenever the two counters are read", () => {
    let promised = 0;
    let external = 0;
    for (let i = 0; i < 50; i++) {
      // The engine counts at the first token, the gateway reports up to a second later.
      external += 1000;
      if (i % 3) watch.scraped(POD, external, i * 1000);
      promised += 1000;
      watch.take(report(promised), i * 1000);
      if (i % 2) watch.scraped(POD, external, i * 1000 + 500);
    }
    expect(recomputed()).toBe(0);
    expect(lines).toEqual([]);
  });

  test("that computes its prompts itself is counted, and logged at once and then once a minute", () => {
    watch.take(report(0), 0);
    watch.scraped(POD, 0, 0);
    for (let i = 1; i <= 130; i++) {
      watch.take(report(i * 1000), i * 1000);
      watch.scraped(POD, 0, i * 1000);
    }
    expect(recomputed()).toBe(129_000);
    expect(lines.length).toBe(3);
    expect(lines[0]).toMatchObject({ event_type: "recompute", msg: expect.stringContaining(POD) });
    expect(lines[1]!.tokens).toBe(60_000);
  });

  test("that has most of it in its own cache, or computes the last token itself, raises nothing", () => {
    watch.take(report(0), 0);
    watch.scraped(POD, 0, 0);
    for (let i = 1; i < 20; i++) {
      watch.take(report(i * 1000), i * 1000);
      watch.scraped(POD, i * 850, i * 1000);
    }
    expect(recomputed()).toBe(0);
  });

  test("that restarts, or does not say what it pulled, raises nothing", () => {
    watch.take(report(0), 0);
    watch.scraped(POD, 5000, 0);
    watch.take(report(9000), 1);
    watch.scraped(POD, 10, 2);
    watch.scraped(POD, 10, 3);
    watch.scraped(POD, null, 4);
    watch.take(report(12_000), 5);
    watch.scraped(POD, null, 6);
    expect(recomputed()).toBe(0);
  });
});

test("prefill answers without parameters are logged, and counters of several workers add up over their restarts", () => {
  watch.take(report(0, { split: 5, no_parameters: 2 }), 0);
  watch.take(report(0, { split: 7 }, 2n), 0);
  watch.take(report(0, { split: 1 }), 1);
  expect(watch.totals).toMatchObject({ split: 13, no_parameters: 2 });
  expect(lines).toHaveLength(1);
  expect(lines[0]!.msg).toContain("kv_transfer_params");
});

test("an engine's metrics say how many prompt tokens came by transfer", () => {
  const page = (line: string) =>
    `vllm:num_requests_running{engine="0"} 0\nvllm:prompt_tokens_by_source_total{engine="0",source="local_compute"} 7\n${line}`;
  expect(
    engineMetrics(page('vllm:prompt_tokens_by_source_total{engine="0",source="external_kv_transfer"} 557\n'))!
      .externalTokens,
  ).toBe(557);
  expect(engineMetrics(page(""))!.externalTokens).toBeNull();
});
