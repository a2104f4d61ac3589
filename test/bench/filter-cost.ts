// What a request costs with the filter, off / Envoy's buffer filter / on: CPU by body size, throughput, streamed answers,
// and how long the filter holds a worker while its table changes.
import { ascending, median, quantile } from "../../demo/quantile.js";
import { type BenchGateway, startAnswering } from "./bench-gateway.js";
import { type BenchBody, benchBodies } from "./bodies.js";
import { ROWS, type Row } from "./envoy.js";
import { histogramOf, histogramQuantile } from "./histogram.js";
import { load, requestsFor } from "./load.js";
import { say } from "./result.js";
import { added, round1, round2, rounds, type Target } from "./round.js";
import { streamingPods } from "./streamed-answers.js";

const CONNECTIONS = 16;
const STREAM_FRAMES = 500;
const CHANGES_PER_SECOND = 20_000;

interface CostOptions {
  gateway: BenchGateway;
  podPorts: number[];
  bodies: Map<number, BenchBody[]>;
  /** Body sizes whose CPU time is measured, bytes. */
  sizes: number[];
  /** Those whose throughput is; when there are none, streams and callbacks are left out, too. */
  throughputSizes: number[];
  rounds: number;
  seconds: number;
}

const requestsOf = (o: CostOptions, size: number) => requestsFor(o.bodies.get(size)!.map((b) => b.bytes));

/** Measures everything on one Envoy, but for the callbacks: timing them costs. @throws when a request fails. */
export async function filterCost(o: CostOptions): Promise<Record<string, unknown>> {
  await o.gateway.start();
  let stopPods = await startAnswering(o.podPorts);
  try {
    const result: Record<string, unknown> = { ...(await cpuRows(o)), table: await tableSize(o) };
    if (o.throughputSizes.length === 0) return result;
    result["throughput"] = await throughput(o);
    await stopPods();
    result["stream"] = await streamCost(o);
    await o.gateway.stopEnvoy();
    stopPods = await startAnswering(o.podPorts);
    await o.gateway.start(true);
    result["longestCallbackMs"] = await longestCallback(o);
    return result;
  } finally {
    await stopPods();
  }
}

const targets = (gateway: BenchGateway): Record<Row, Target> => ({
  off: gateway.target("off"),
  buffer: gateway.target("buffer"),
  on: gateway.target("on"),
});

async function cpuRows(o: CostOptions): Promise<object> {
  const rows: object[] = [];
  const addedRows: object[] = [];
  for (const size of o.sizes) {
    const m = await rounds(targets(o.gateway), requestsOf(o, size), { ...o, connections: CONNECTIONS });
    const cpu = (row: Row) => ascending(m[row].cpuUs);
    for (const row of ROWS) {
      const c = cpu(row);
      const l = ascending(m[row].latenciesUs);
      rows.push({
        bodyBytes: size,
        filter: row,
        cpuUs: { min: round1(c[0]!), median: round1(median(c)), max: round1(c.at(-1)!) },
        rps: Math.round(median(m[row].rps)),
        p50Us: Math.round(quantile(l, 0.5)),
        p99Us: Math.round(quantile(l, 0.99)),
      });
    }
    const a = added(m.on, m.buffer);
    const shareOfOff = round2(a.medianUs / median(cpu("off")));
    addedRows.push({ bodyBytes: size, ...a, shareOfOff });
    say(
      `${size} bytes: off ${round1(median(cpu("off")))}, buffer ${round1(median(cpu("buffer")))}, on ${round1(median(cpu("on")))} µs of CPU a request; added ${a.medianUs} (${a.spreadUs.join(" … ")}), ${shareOfOff} of off`,
    );
  }
  return { rows, added: addedRows };
}

async function tableSize({ gateway }: CostOptions): Promise<object> {
  const entries = (await gateway.stat("table_entries"))!;
  return {
    entries,
    pods: gateway.addresses.length,
    bytesPerEntry: round2((await gateway.stat("table_bytes"))! / entries),
    wasmBytesPerWorker: await gateway.stat("memory_bytes"),
  };
}

/**
 * Requests a second that the worker can carry with 8 connections: what was measured, divided by the share of the time
 * that the worker was busy, because this client may be slower than the worker.
 */
async function throughput(o: CostOptions): Promise<object[]> {
  const out: object[] = [];
  for (const size of o.throughputSizes) {
    const m = await rounds(targets(o.gateway), requestsOf(o, size), {
      connections: 8,
      rounds: 5,
      seconds: o.seconds,
    });
    const rps = (row: Row) => median(m[row].rps.map((v, i) => v / m[row].busy[i]!));
    for (const row of ROWS)
      out.push({
        bodyBytes: size,
        filter: row,
        rps: Math.round(rps(row)),
        shareOfOff: round2(rps(row) / rps("off")),
        measuredRps: Math.round(median(m[row].rps)),
        workerBusy: round2(median(m[row].busy)),
      });
    say(
      `${size} bytes at 8 connections: ${Math.round(rps("on"))} of ${Math.round(rps("off"))} requests a second (${Math.round((100 * rps("on")) / rps("off"))} %)`,
    );
  }
  return out;
}

/** CPU that the filter adds to one event of a stream, in µs, its share of the request's own cost included. */
async function streamCost(o: CostOptions): Promise<object> {
  const stop = await streamingPods(o.podPorts, STREAM_FRAMES);
  try {
    const { off, on } = targets(o.gateway);
    const requests = requestsFor(benchBodies(2048, 50, 7).map((b) => b.bytes));
    const m = await rounds({ off, on }, requests, { connections: 8, rounds: 9, seconds: o.seconds });
    const a = added(m.on, m.off);
    const perFrame = round2(a.medianUs / STREAM_FRAMES);
    say(`streams of ${STREAM_FRAMES} events: added ${perFrame} µs an event`);
    return {
      frames: STREAM_FRAMES,
      addedUsPerFrame: perFrame,
      spreadUsPerFrame: a.spreadUs.map((v) => round2(v / STREAM_FRAMES)),
      offUsPerFrame: round2(median(m.off.cpuUs) / STREAM_FRAMES),
    };
  } finally {
    stop();
  }
}

/** Longest callbacks while the table changes and requests come in. */
async function longestCallback(o: CostOptions): Promise<object> {
  const churn = o.gateway.server.churn(CHANGES_PER_SECOND);
  const { port } = o.gateway.target("on");
  const { requests } = await load(port, requestsOf(o, 16_384), 8, Math.max(10, o.seconds * 10));
  const changes = churn();
  const callbacks = await histogramOf(o.gateway.adminPort, "warmgate_callback_duration_us", requests);
  const p99 = histogramQuantile(callbacks, 0.99);
  const p999 = histogramQuantile(callbacks, 0.999);
  say(`callbacks under ${Math.round(changes)} entry changes a second: p99.9 ${round1(p999)} µs`);
  return {
    p99_9: p999 / 1000,
    p99: p99 / 1000,
    changesPerSecond: Math.round(changes),
  };
}
