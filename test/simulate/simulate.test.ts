// Whole runs: the scheduler that gateways run, over simulated pods, and the command line.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { ENGINES } from "../../simulate/engine.js";
import { findPolicy } from "../../simulate/policies.js";
import { seededRandom } from "../../simulate/random.js";
import { summarize } from "../../simulate/report.js";
import type { Load, SimRequest } from "../../simulate/request.js";
import { run } from "../../simulate/run.js";
import { makeWorkload } from "../../simulate/workloads.js";

const engine = ENGINES["8b-h100"];
const options = { engine, pods: 4, replicas: 1, sync: 0.02, scrape: 0.05, seed: 1 };
const request = (arrival: number, prompt: number, output: number, blocks: number[]): SimRequest => ({
  arrival,
  prompt,
  output,
  blocks,
  session: 0,
});
const blocks = (from: number, tokens: number) =>
  Array.from({ length: Math.ceil(tokens / 512) }, (_, i) => from + i);
const load = (...requests: SimRequest[]): Load => ({
  name: "hand",
  stages: [requests],
  pause: 0,
  blockTokens: 512,
});

test("the time to the first token of a request alone is front end, overheads, compute and attention", async () => {
  const { outcomes } = await run(
    load(request(0, 4096, 2, blocks(0, 4096))),
    findPolicy("warm-until-busy"),
    options,
  );
  const first =
    0.0156 + 126e-6 + 32 * 32.1e-6 + 4.42e-6 + 4096 / engine.prefillRate + (engine.attention * 4096 ** 2) / 2;
  expect(outcomes[0]!.firstToken).toBeCloseTo(first, 9);
  const decode = 126e-6 + 32 * 32.1e-6 + 4.42e-6 + engine.weights + engine.kvRead * 4097;
  expect(outcomes[0]!.end).toBeCloseTo(first + decode, 9);
});

test("the default policy brings a prompt back to the pod that has it, and a burst of one cold prefix to one pod", async () => {
  const shared = blocks(0, 6144);
  const burst = Array.from({ length: 6 }, (_, i) => request(i * 0.001, 6400, 3, [...shared, 1000 + i]));
  const later = request(30, 6400, 3, [...shared, 2000]);
  const { outcomes } = await run(load(...burst, later), findPolicy("warm-until-busy"), options);
  expect(new Set(outcomes.map((o) => o.pod)).size).toBe(1);
  expect(outcomes.at(-1)!.cached).toBe(6144);
});

test("the same seed gives the same result, another one another", async () => {
  const of = async (seed: number) => {
    const made = makeWorkload("reasoning", seededRandom(7), undefined, 60);
    return summarize(await run(made, findPolicy("random"), { ...options, seed }));
  };
  expect(await of(3)).toEqual(await of(3));
  expect(await of(4)).not.toEqual(await of(3));
});

test("gateways that share their counts at once decide as one does; those that never do spread worse", async () => {
  const requests = Array.from({ length: 300 }, (_, i) => request(i * 0.08, 8000, 20, blocks(i * 100, 8000)));
  const mean = async (replicas: number, sync: number) =>
    summarize(await run(load(...requests), findPolicy("llm-d-token-aware"), { ...options, replicas, sync }))
      .ttft.mean;
  const one = await mean(1, 0);
  expect(Math.abs((await mean(8, 0)) / one - 1)).toBeLessThan(0.05);
  expect(await mean(8, Number.POSITIVE_INFINITY)).toBeGreaterThan(1.1 * one);
});

test("a stage begins when the one before has ended and the pause is over", async () => {
  const one = request(0, 512, 50, [1]);
  const { outcomes } = await run(
    { name: "hand", stages: [[one], [{ ...one }]], pause: 30, blockTokens: 512 },
    findPolicy("round-robin"),
    options,
  );
  expect(outcomes[1]!.arrival).toBeCloseTo(outcomes[0]!.end + 30, 9);
});

const CLI = join(packageRoot(), "dist", "agent", "cli.js");
const folder = mkdtempSync(join(tmpdir(), "simulate-"));

async function cli(...args: string[]) {
  const child = spawn(process.execPath, [CLI, "simulate", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, out, err };
}

function traceFile(): string {
  const file = join(folder, "small.jsonl");
  const rows = Array.from({ length: 40 }, (_, i) => ({
    timestamp: i * 100,
    input_length: 2000,
    output_length: 10,
    hash_ids: [0, 1 + (i % 5), 100 + i, 200 + i],
  }));
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join("\n"));
  return file;
}

test("the command compares policies in one table, and writes JSON and a picture", async () => {
  const json = join(folder, "out.json");
  const plot = join(folder, "out.svg");
  const policy = join(folder, "own.yaml");
  writeFileSync(policy, "scheduling: {profile: seed-blend}\n");
  const trace = traceFile();
  const { code, out, err } = await cli(
    ...["--trace", trace, "--policy", "warm-until-busy", "--policy", policy, "--pods", "2"],
    ...["--replicas", "2", "--json", json, "--plot", plot],
  );
  expect(err).toBe("");
  expect(code).toBe(0);
  expect(out).toMatch(/small\.jsonl: 40 requests.*2 pods/);
  expect(out).toMatch(/^warm-until-busy +0\.\d+ s/m);
  const { settings, results } = JSON.parse(readFileSync(json, "utf8"));
  expect(settings).toMatchObject({ requests: 40, pods: 2, replicas: 2, syncMs: 20, seed: 1 });
  expect(results.map((r: { policy: string }) => r.policy)).toEqual(["warm-until-busy", policy]);
  expect(results[0].hitRate).toBeGreaterThan(0.2);
  expect(readFileSync(plot, "utf8").match(/<polyline/g)).toHaveLength(2);
});

test.each([
  ["neither a trace nor a workload", [], /either --trace or --workload/],
  [
    "an unknown policy",
    ["--workload", "b2b", "--policy", "best"],
    /neither a file nor one of warm-until-busy/,
  ],
  ["no pods", ["--workload", "b2b", "--pods", "0"], /whole number from 1/],
  ["a trace that is not there", ["--trace", "/nowhere.jsonl"], /cannot be read: ENOENT/],
])("the command exits with 2 for %s", async (_, args, message) => {
  const { code, err } = await cli(...args);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});
