// What the filter costs in a real Envoy: CPU per request of the worker thread, off / Envoy's buffer filter / on, in
// interleaved rounds of one run. `npm run bench:gateway -- --help` says how to call it.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { freePorts } from "../../demo/ports.js";
import { envoyStats, type Running, startEnvoy, waitFor } from "../../demo/processes.js";
import { ascending, median, quantile } from "../../demo/quantile.js";
import { type BenchBody, benchBodies } from "./bodies.js";
import { answeringConfig, benchConfig, ROWS, type Row } from "./envoy.js";
import { histogramOf, histogramQuantile } from "./histogram.js";
import { load, requestsFor } from "./load.js";
import { measurePicks, type PickRow } from "./picks.js";
import { say, writeResult } from "./result.js";
import { added, round1, round2, rounds } from "./round.js";
import { streamingPods } from "./streamed-answers.js";
import { TableServer } from "./table-server.js";

const program = new Command("npm run bench:gateway --")
  .description(
    "Measures what the filter adds to a request in a real Envoy, with its controls in the same run.\nEnvoy's only worker has core 0, the client and the pods have core 1.",
  )
  .option("--json <file>", "write the figures to a file instead of standard output")
  .option("--entries <n>", "prefix entries in the table (default: 100000)", Number)
  .option("--pods <n>", "pods in the table (default: 16)", Number)
  .option("--seconds <s>", "length of a round", Number, 1)
  .option("--rounds <n>", "rounds of each row", Number, 9)
  .option("--debug-headers <policy>", "all, trusted or none, as in the policy", "trusted")
  .option(
    "--profiles",
    "only what a choice takes under every named profile; with 64 pods and 1,000,000 entries when these are not given",
  )
  .option("--only <bytes>", "only this body size, and nothing else", Number);
program.parse(process.argv.slice(2), { from: "user" });
interface Options {
  json?: string;
  entries: number;
  pods: number;
  seconds: number;
  rounds: number;
  debugHeaders: "all" | "trusted" | "none";
  profiles?: boolean;
  only?: number;
}
const given = program.opts<Options>();
const o: Options = {
  ...given,
  entries: given.entries ?? (given.profiles ? 1_000_000 : 100_000),
  pods: given.pods ?? (given.profiles ? 64 : 16),
};

/** Bytes of a body, and how many different ones there are: together more than the caches hold. */
const SIZES: [number, number][] = [
  [1024, 400],
  [16_384, 120],
  [262_144, 16],
  [2_097_152, 4],
];
const THROUGHPUT_SIZES: [number, number][] = [
  [2048, 400],
  [16_384, 120],
  [225_280, 16],
];
const PICK_BYTES = 16_384;
/** Seconds at half load, for a 99th percentile of some ten thousand picks. */
const PICK_SECONDS = 8;
const STREAM_FRAMES = 500;
const CHANGES_PER_SECOND = 20_000;

function pin(pid: number, core: number): void {
  if (spawnSync("taskset", ["-a", "-cp", String(core), String(pid)]).status !== 0)
    say(`taskset failed: process ${pid} is not pinned, figures will spread more`);
}

const folder = mkdtempSync(join(tmpdir(), "warmgate-bench-"));
const [off, buffer, on, admin, stream, upAdmin, ...podPorts] = (await freePorts(6 + o.pods)) as [
  number,
  number,
  number,
  number,
  number,
  number,
  ...number[],
];
const ports: Record<Row, number> = { off, buffer, on };
const addresses = podPorts.map((p) => `127.0.0.1:${p}`);

say(`a table of ${o.entries} entries over ${o.pods} pods`);
const server = await TableServer.create(addresses, o.entries, o.debugHeaders);
const bodies = new Map<number, BenchBody[]>();
const only = o.profiles ? PICK_BYTES : o.only;
const wanted = only === undefined ? [...SIZES, ...THROUGHPUT_SIZES] : SIZES.filter(([s]) => s === only);
if (wanted.length === 0) program.error(`error: --only is one of ${SIZES.map(([s]) => s).join(", ")}`);
for (const [size, count] of wanted) if (!bodies.has(size)) bodies.set(size, benchBodies(size, count, size));
let next = 0;
for (const list of bodies.values())
  for (const b of list) {
    // Half of each prompt is in the table; pods hold different lengths of it.
    for (let k = 0; k < 4; k++)
      server.cache((next + k) % o.pods, b.prompt, (b.prompt.length / 2) * (1 - k / 8));
    next++;
  }
server.fill(o.entries);
await server.listen(stream);
const requestsOf = (size: number) => requestsFor(bodies.get(size)!.map((b) => b.bytes));

/** The gateway, with its table. */
async function gateway(timeCallbacks: boolean): Promise<Running> {
  const envoy = await startEnvoy(
    benchConfig(ports, admin, stream, addresses, timeCallbacks),
    join(folder, "gateway.json"),
    admin,
    1,
  );
  pin(envoy.pid, 0);
  await waitFor("the table in the worker", async () => {
    const stats = await envoyStats(admin, "warmgate_table_entries");
    return stats.get("warmgate_table_entries") === server.wire.stats().entries;
  });
  return envoy;
}

let envoy: Running | undefined;
let pods: Running | undefined;
try {
  pin(process.pid, 1);
  const result = {
    ...(o.profiles ? { pick: await picks() } : await filterCost()),
    options: o,
    machine: { cpu: cpus()[0]?.model, cores: cpus().length, load: round1(loadavg()[0]!) },
  };
  writeResult(o.json, result);
} finally {
  server.stop();
  await Promise.all([envoy?.stop(), pods?.stop()]);
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

async function answeringPods(): Promise<void> {
  pods = await startEnvoy(answeringConfig(podPorts, upAdmin), join(folder, "pods.json"), upAdmin, 1);
  pin(pods.pid, 1);
}

async function picks(): Promise<PickRow[]> {
  await answeringPods();
  return measurePicks({
    server,
    bodies: bodies.get(PICK_BYTES)!,
    requests: requestsOf(PICK_BYTES),
    port: on,
    adminPort: admin,
    seconds: PICK_SECONDS,
    start: async () => {
      envoy = await gateway(true);
      return envoy;
    },
    say,
  });
}

async function filterCost(): Promise<Record<string, unknown>> {
  envoy = await gateway(false);
  await answeringPods();

  const rows: object[] = [];
  const addedRows: object[] = [];
  for (const [size] of SIZES.filter(([s]) => bodies.has(s))) {
    const m = await rounds(envoy.pid, ports, requestsOf(size), {
      connections: 16,
      rounds: o.rounds,
      seconds: o.seconds,
    });
    for (const row of ROWS) {
      const c = ascending(m.cpuUs[row]);
      const l = ascending(m.latenciesUs[row]);
      rows.push({
        bodyBytes: size,
        filter: row,
        cpuUs: { min: round1(c[0]!), median: round1(median(c)), max: round1(c.at(-1)!) },
        rps: Math.round(median(m.rps[row])),
        p50Us: Math.round(quantile(l, 0.5)),
        p99Us: Math.round(quantile(l, 0.99)),
      });
    }
    const a = added(m.cpuUs.on, m.cpuUs.buffer);
    addedRows.push({ bodyBytes: size, ...a });
    say(
      `${size} bytes: off ${round1(median(m.cpuUs.off))}, buffer ${round1(median(m.cpuUs.buffer))}, on ${round1(median(m.cpuUs.on))} µs of CPU a request; added ${a.medianUs} (${a.spreadUs.join(" … ")})`,
    );
  }
  const stats = await envoyStats(admin, "warmgate_");
  const entries = stats.get("warmgate_table_entries")!;
  const table = {
    entries,
    pods: o.pods,
    bytesPerEntry: round2(stats.get("warmgate_table_bytes")! / entries),
    wasmBytesPerWorker: stats.get("warmgate_memory_bytes")!,
  };
  const result: Record<string, unknown> = { rows, added: addedRows, table };

  if (o.only === undefined) {
    result["throughput"] = await throughput(envoy.pid);
    await pods?.stop();
    result["stream"] = await streamCost(envoy.pid);
    await envoy.stop();
    await answeringPods();
    envoy = await gateway(true);
    result["longestCallbackMs"] = await longestCallback();
  }
  return result;
}

/**
 * Requests a second that the worker can carry with 8 connections: what was measured, divided by the share of the time
 * that the worker was busy, because this client may be slower than the worker.
 */
async function throughput(pid: number): Promise<object[]> {
  const out: object[] = [];
  for (const [size] of THROUGHPUT_SIZES) {
    const m = await rounds(pid, ports, requestsOf(size), { connections: 8, rounds: 5, seconds: o.seconds });
    const rps = (row: Row) => median(m.rps[row].map((v, i) => v / m.busy[row][i]!));
    for (const row of ROWS)
      out.push({
        bodyBytes: size,
        filter: row,
        rps: Math.round(rps(row)),
        shareOfOff: round2(rps(row) / rps("off")),
        measuredRps: Math.round(median(m.rps[row])),
        workerBusy: round2(median(m.busy[row])),
      });
    say(
      `${size} bytes at 8 connections: ${Math.round(rps("on"))} of ${Math.round(rps("off"))} requests a second (${Math.round((100 * rps("on")) / rps("off"))} %)`,
    );
  }
  return out;
}

/** CPU that the filter adds to one event of a stream, in µs, its share of the request's own cost included. */
async function streamCost(pid: number): Promise<object> {
  const stop = await streamingPods(podPorts, STREAM_FRAMES);
  try {
    const m = await rounds(pid, ports, requestsFor(benchBodies(2048, 50, 7).map((b) => b.bytes)), {
      connections: 8,
      rounds: 9,
      seconds: o.seconds,
      rows: ["off", "on"],
    });
    const a = added(m.cpuUs.on, m.cpuUs.off);
    const perFrame = round2(a.medianUs / STREAM_FRAMES);
    say(`streams of ${STREAM_FRAMES} events: added ${perFrame} µs an event`);
    return {
      frames: STREAM_FRAMES,
      addedUsPerFrame: perFrame,
      spreadUsPerFrame: a.spreadUs.map((v) => round2(v / STREAM_FRAMES)),
      offUsPerFrame: round2(median(m.cpuUs.off) / STREAM_FRAMES),
    };
  } finally {
    stop();
  }
}

/** Longest callbacks while the table changes and requests come in. */
async function longestCallback(): Promise<object> {
  const churn = server.churn(CHANGES_PER_SECOND);
  const { requests } = await load(ports.on, requestsOf(16_384), 8, Math.max(10, o.seconds * 10));
  const changes = churn();
  const callbacks = await histogramOf(admin, "warmgate_callback_duration_us", requests);
  const p99 = histogramQuantile(callbacks, 0.99);
  const p999 = histogramQuantile(callbacks, 0.999);
  say(`callbacks under ${Math.round(changes)} entry changes a second: p99.9 ${round1(p999)} µs`);
  return {
    p99_9: p999 / 1000,
    p99: p99 / 1000,
    changesPerSecond: Math.round(changes),
  };
}
