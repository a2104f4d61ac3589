// What a request costs with the filter, off / Envoy's buffer filter / on: CPU by body size, throughput, streamed answers,
// and how long the filter holds a worker while its table changes.
import { ascending, median, quantile } from "../../demo/quantile.js";
import { type BenchGateway, startAnswering, startGateways } from "./bench-gateway.js";
import { type BenchBody, benchBodies } from "./bodies.js";
import { ROWS, type Row } from "./envoy.js";
import { histogramOf, histogramQuantile } from "./histogram.js";
import { load, requestsFor } from "./load.js";
import { say } from "./result.js";
import { added, type Measured, pooled, round1, round2, rounds, type Target } from "./round.js";
import { streamingPods } from "./streamed-answers.js";

/** Over all starts. */
const THROUGHPUT_ROUNDS = 6;
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
  /** Envoys that are started one after the other: where a process has its code and data makes a difference of its own. */
  starts: number;
  /** Rounds of each row, over all starts. */
  rounds: number;
  seconds: number;
}

const requestsOf = (o: CostOptions, size: number) => requestsFor(o.bodies.get(size)!);

/** Measures everything; callbacks last, on an Envoy of their own, since timing them costs. @throws when a request fails. */
export async function filterCost(o: CostOptions): Promise<Record<string, unknown>> {
  const cpu = new Map<number, Record<Row, Measured>[]>(o.sizes.map((size) => [size, []]));
  const busy = new Map<number, Record<Row, Measured>[]>(o.throughputSizes.map((size) => [size, []]));
  let stopPods = await startAnswering(o.podPorts);
  try {
    for (let start = 0; start < o.starts; start++) {
      await o.gateway.stopEnvoy();
      await startGateways([o.gateway]);
      say(`start ${start + 1} of ${o.starts}`);
      const measure = (size: number, connections: number, all: number) =>
        rounds(targets(o.gateway), requestsOf(o, size), {
          connections,
          rounds: Math.ceil(all / o.starts),
          seconds: o.seconds,
        });
      for (const [size, runs] of cpu) runs.push(await measure(size, 16, o.rounds));
      for (const [size, runs] of busy) runs.push(await measure(size, 8, THROUGHPUT_ROUNDS));
    }
    const result: Record<string, unknown> = { ...cpuRows(cpu), table: await tableSize(o) };
    if (o.throughputSizes.length === 0) return result;
    result["throughput"] = throughputRows(busy);
    await stopPods();
    result["stream"] = await streamCost(o);
    await o.gateway.stopEnvoy();
    stopPods = await startAnswering(o.podPorts);
    await startGateways([o.gateway], true);
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

function cpuRows(measured: ReadonlyMap<number, Record<Row, Measured>[]>): object {
  const rows: object[] = [];
  const addedRows: object[] = [];
  for (const [bodyBytes, starts] of measured) {
    const m = pooled(starts);
    const cpu = (row: Row) => ascending(m[row].cpuUs);
    for (const row of ROWS) {
      const c = cpu(row);
      const l = ascending(m[row].latenciesUs);
      rows.push({
        bodyBytes,
        filter: row,
        cpuUs: { min: round1(c[0]!), median: round1(median(c)), max: round1(c.at(-1)!) },
        rps: Math.round(median(m[row].rps)),
        p50Us: Math.round(quantile(l, 0.5)),
        p99Us: Math.round(quantile(l, 0.99)),
      });
    }
    const a = added(m.on, m.buffer);
    const ofStarts = starts.map((run) => added(run.on, run.buffer).medianUs);
    const shareOfOff = round2(a.medianUs / median(cpu("off")));
    addedRows.push({ bodyBytes, ...a, medianUsOfStarts: ofStarts, shareOfOff });
    say(
      `${bodyBytes} bytes: off ${round1(median(cpu("off")))}, buffer ${round1(median(cpu("buffer")))}, on ${round1(median(cpu("on")))} µs of CPU a request; added ${a.medianUs} (${a.spreadUs.join(" … ")}; by starts ${ofStarts.join(", ")}), ${shareOfOff} of off`,
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
function throughputRows(measured: ReadonlyMap<number, Record<Row, Measured>[]>): object[] {
  const out: object[] = [];
  for (const [bodyBytes, starts] of measured) {
    const m = pooled(starts);
    const rps = (row: Row) => median(m[row].rps.map((v, i) => v / m[row].busy[i]!));
    for (const row of ROWS)
      out.push({
        bodyBytes,
        filter: row,
        rps: Math.round(rps(row)),
        shareOfOff: round2(rps(row) / rps("off")),
        measuredRps: Math.round(median(m[row].rps)),
        workerBusy: round2(median(m[row].busy)),
      });
    say(
      `${bodyBytes} bytes at 8 connections: ${Math.round(rps("on"))} of ${Math.round(rps("off"))} requests a second (${Math.round((100 * rps("on")) / rps("off"))} %)`,
    );
  }
  return out;
}

/** CPU that the filter adds to one event of a stream, in µs, its share of the request's own cost included. */
async function streamCost(o: CostOptions): Promise<object> {
  const stop = await streamingPods(o.podPorts, STREAM_FRAMES);
  try {
    const { off, on } = targets(o.gateway);
    const requests = requestsFor(benchBodies(2048, 50, 7));
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
