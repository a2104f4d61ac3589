// One soak: a real Envoy with two workers, the agent and simulated pods under keep-alive traffic of every kind, watched
// window by window and judged at the end.
import { readFileSync } from "node:fs";
import { Fleet } from "../../demo/fleet.js";
import { envoyStats, type Running, waitFor } from "../../demo/processes.js";
import { ascending, quantile } from "../../demo/quantile.js";
import { adminStats } from "../e2e/admin-stats.js";
import { SoakClient } from "./client.js";
import { makeSamples } from "./traffic.js";
import { type Check, type Counts, judge, type Window } from "./verdict.js";

const WINDOWS = 50;
const PREFIX = "warmgate_";
/** Simulated seconds per real one: pods answer at once, so that the gateway is what is loaded. */
const TIME_SCALE = 500;

export interface SoakOptions {
  requests: number;
  connections: number;
  pods: number;
  seed: number;
  /** Most growth of the median latency, as a factor. */
  maxDrift: number;
  /** Module that Envoy loads, an absolute path; the release module when left out. */
  wasm?: string;
  /** Called when the traffic begins, with the gateway's port. */
  onStart?: (port: number) => Promise<void>;
}

interface SoakResult {
  seconds: number;
  counts: Counts;
  firstFailure: string;
  /** The filter's counters and gauges at the end, without the prefix `warmgate_`. */
  stats: Record<string, number>;
  checks: Check[];
  windows: Window[];
}

function rssBytes(running: Running): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${running.pid}/status`, "utf8"));
  return match ? Number(match[1]) * 1024 : 0;
}

async function filterStats(fleet: Fleet): Promise<Map<string, number>> {
  const stats = await envoyStats(fleet.adminPort, PREFIX);
  return new Map([...stats].map(([name, value]) => [name.slice(PREFIX.length), value]));
}

/** VMs that Envoy has made, and its counters of wasm failures above zero. */
async function wasmHealth(fleet: Fleet): Promise<{ created: number; failures: string[] }> {
  const stats = await adminStats(fleet.adminPort, "wasm");
  const created = stats
    .filter(([name]) => name.endsWith(".created"))
    .reduce((sum, [, value]) => sum + value, 0);
  const failures = stats
    .filter(([name, value]) => /fail|crash|negative|error/.test(name) && value > 0)
    .map(([name, value]) => `${name}: ${value}`);
  return { created, failures };
}

async function sampleWindow(fleet: Fleet, client: SoakClient, start: number): Promise<Window> {
  const t = client.tally;
  const sorted = ascending(t.latenciesUs);
  t.latenciesUs = [];
  const stats = await filterStats(fleet);
  return {
    requests: t.answered + t.aborted + t.failed,
    seconds: (performance.now() - start) / 1000,
    envoyRssBytes: rssBytes(fleet.envoy!),
    agentRssBytes: rssBytes(fleet.agent!),
    // The table is as large as the pods' caches; what it takes is bounded by tableMiB and told apart.
    wasmBytes: (stats.get("memory_bytes") ?? 0) - (stats.get("table_region_bytes") ?? 0),
    tableBytes: stats.get("table_bytes") ?? 0,
    tableEntries: stats.get("table_entries") ?? 0,
    p50Us: quantile(sorted, 0.5) || 0,
    p99Us: quantile(sorted, 0.99) || 0,
  };
}

async function watch(fleet: Fleet, o: SoakOptions, say: (line: string) => void): Promise<SoakResult> {
  say(`soak: starting ${o.pods} simulated pods, the agent and Envoy`);
  await fleet.start();
  await waitFor("the workers' first figures", async () =>
    Boolean((await filterStats(fleet)).get("memory_bytes")),
  );
  const before = await filterStats(fleet);
  const healthy = await wasmHealth(fleet);
  const client = new SoakClient(fleet.gatewayPort, makeSamples(o.seed), o.seed);
  const windows: Window[] = [];
  const width = Math.max(1, Math.floor(o.requests / WINDOWS));
  const start = performance.now();
  let ended = 0;
  let told = start;
  let sampling: Promise<void> = Promise.resolve();
  client.onEnd = () => {
    ended++;
    if (ended % width !== 0) return;
    sampling = sampling.then(async () => {
      const w = await sampleWindow(fleet, client, start);
      windows.push(w);
      const now = performance.now();
      if (now - told < 5000 && ended < o.requests) return;
      told = now;
      say(
        `soak: ${ended}/${o.requests} requests, ${Math.round(ended / w.seconds)} a second, Envoy ${(w.envoyRssBytes / 1048576).toFixed(0)} MiB, module ${(w.wasmBytes / 1048576).toFixed(1)} MiB, p50 ${Math.round(w.p50Us)} µs, ${client.tally.failed} wrong`,
      );
    });
  };
  await Promise.all([client.run(o.requests, o.connections), o.onStart?.(fleet.gatewayPort)]);
  await sampling;
  // Workers hand over their counters once a second; pods may still be at answers that nobody waits for.
  await new Promise((done) => setTimeout(done, 3000));
  await waitFor(
    "the gauges",
    async () => {
      const stats = await filterStats(fleet);
      return [...stats].every(([name, value]) => !name.startsWith("inflight_") || value === 0);
    },
    fleet.envoy!,
    15_000,
  ).catch(() => undefined);
  const after = await filterStats(fleet);
  // What went before the soak is not the soak's.
  const stats = new Map([...after].map(([k, v]) => [k, k.endsWith("_total") ? v - (before.get(k) ?? 0) : v]));
  const health = await wasmHealth(fleet);
  const faults = [...health.failures];
  if (health.created !== healthy.created)
    faults.push(`${health.created - healthy.created} VMs were made again`);
  faults.push(
    ...fleet.envoy!.output.split("\n").filter(
      (line) =>
        /wasm.*(fail|trap|unreachable|crash)/i.test(line) &&
        // Envoy names the field that keeps open streams alive when a module traps.
        !line.includes("Deprecated field"),
    ),
  );
  const { latenciesUs: _, firstFailure, ...counts } = client.tally;
  return {
    seconds: (performance.now() - start) / 1000,
    counts,
    firstFailure,
    stats: Object.fromEntries(stats),
    checks: judge(windows, counts, stats, faults, o.maxDrift),
    windows,
  };
}

/**
 * Runs a soak. `say` gets progress lines.
 * @throws when pods, agent or Envoy do not start or end on their own.
 */
export async function soak(o: SoakOptions, say: (line: string) => void): Promise<SoakResult> {
  const fleet = await Fleet.create({
    pods: o.pods,
    blocks: 4096,
    seed: o.seed,
    timeScale: TIME_SCALE,
    ...(o.wasm === undefined ? {} : { wasm: o.wasm }),
  });
  try {
    return await watch(fleet, o, say);
  } finally {
    await fleet.stop();
  }
}
