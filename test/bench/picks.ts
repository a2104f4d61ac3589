// What a choice takes under each named profile: look-up and pick inside Envoy at half the load that the worker can carry,
// and the same code in Node.
import { NAMED_PROFILES } from "../../agent/policy/named-profiles.js";
import { ascending, median, quantile } from "../../demo/quantile.js";
import { PickTest } from "../wasm/pick-module.js";
import { policy, schedulingOf } from "../wasm/table.js";
import { type BenchGateway, startAnswering, startGateways } from "./bench-gateway.js";
import type { BenchBody } from "./bodies.js";
import { histogramOf, histogramQuantile } from "./histogram.js";
import { load, requestsFor } from "./load.js";
import { say } from "./result.js";
import { round1, round2 } from "./round.js";
import type { TableServer } from "./table-server.js";

const CONNECTIONS = 16;

export interface PickRow {
  profile: string;
  /** Look-up and pick in Envoy at half load, µs of the clock, interruptions included. */
  medianUs: number;
  p99Us: number;
  /** Scan, rendering and hashing, µs: it misses no cache, so its 99th percentile says how the machine interrupts. */
  scanHashUs: number;
  scanHashP99Us: number;
  /** Look-up and pick in Node one after the other, µs, and with the core's caches full of something else before each. */
  nodeUs: number;
  nodeP99Us: number;
  nodeColdUs: number;
  /** Requests a second that were sent: half of what 16 connections get out of the gateway. */
  rps: number;
}

interface PicksOptions {
  gateway: BenchGateway;
  podPorts: number[];
  bodies: BenchBody[];
  /** Length of the measured half load. */
  seconds: number;
}

/** Measures every named profile, on an Envoy of its own: a histogram cannot be emptied. @throws when a request fails. */
export async function measurePicks(o: PicksOptions): Promise<PickRow[]> {
  const stopPods = await startAnswering(o.podPorts);
  try {
    const rows: PickRow[] = [];
    for (const profile of Object.keys(NAMED_PROFILES)) rows.push(await measureProfile(profile, o));
    return rows;
  } finally {
    await stopPods();
  }
}

async function measureProfile(profile: string, o: PicksOptions): Promise<PickRow> {
  const { server, adminPort } = o.gateway;
  server.wire.setPolicy({ ...policy, scheduling: schedulingOf({ profile }) });
  server.publish();
  const node = await inNode(server, o.bodies, 0);
  const cold = await inNode(server, o.bodies, EVICTED_BYTES);
  await startGateways([o.gateway], true);
  try {
    const { port } = o.gateway.target("on");
    const requests = requestsFor(o.bodies);
    const full = await load(port, requests, CONNECTIONS, 2);
    const rate = full.requests / full.seconds / 2;
    const recorded = (samples: number) =>
      Promise.all(
        ["warmgate_pick_duration_ns", "warmgate_prompt_duration_ns"].map((name) =>
          histogramOf(adminPort, name, samples),
        ),
      );
    const [picksAtFull, promptsAtFull] = await recorded(full.requests);
    const half = await load(port, requests, CONNECTIONS, o.seconds, rate);
    for (const { failed, firstFailure } of [full, half])
      if (failed) throw new Error(`${failed} requests failed (profile ${profile}): ${firstFailure}`);
    const [picks, prompts] = await recorded(full.requests + half.requests);
    const pickUs = (share: number) => round1(histogramQuantile(picks!, share, picksAtFull) / 1000);
    const promptUs = (share: number) => round1(histogramQuantile(prompts!, share, promptsAtFull) / 1000);
    const row = {
      profile,
      medianUs: pickUs(0.5),
      p99Us: pickUs(0.99),
      scanHashUs: promptUs(0.5),
      scanHashP99Us: promptUs(0.99),
      nodeUs: round2(median(node)),
      nodeP99Us: round2(quantile(ascending(node), 0.99)),
      nodeColdUs: round2(median(cold)),
      rps: Math.round(half.requests / half.seconds),
    };
    say(
      `${profile}: pick ${row.medianUs} µs, p99 ${row.p99Us}; scan and hash ${row.scanHashUs}, p99 ${row.scanHashP99Us}; in Node ${row.nodeUs}, p99 ${row.nodeP99Us}, cold ${row.nodeColdUs}`,
    );
    return row;
  } finally {
    await o.gateway.stopEnvoy();
  }
}

const PICKS = 20_000;
const COLD_PICKS = 3000;
/** More than a core's own caches hold; what all cores share keeps the table's hot part. */
const EVICTED_BYTES = 4 << 20;
/** Bytes that one load of a cache brings. */
const CACHE_LINE = 64;
/** More than any table of the bench. */
const TABLE_BYTES = 1 << 30;

/** What single picks take in Node over the same table and prompts, µs; before each, so many other bytes are touched. */
async function inNode(server: TableServer, bodies: BenchBody[], evict: number): Promise<number[]> {
  const test = new PickTest();
  const { x } = test;
  x["table"]!(TABLE_BYTES);
  let nowNs = BigInt(Date.now()) * 1_000_000n;
  for (const frame of server.wire.snapshot()) {
    test.put(frame);
    if (!x["frame"]!(frame.length, nowNs)) throw new Error("pick-test.wasm refused a frame of the table");
  }
  const root = server.wire.root(server.model, "", "");
  const times: number[] = [];
  const other = new Uint8Array(evict);
  const picks = evict ? COLD_PICKS : PICKS;
  for (let i = 0; i < picks; i++) {
    const { prompt } = bodies[i % bodies.length]!;
    test.put(prompt);
    const blocks = x["hashPrompt"]!(prompt.length, root);
    x["factsSet"]!(BigInt(i + 1), 0n, BigInt(i * 7919 + 1));
    nowNs += 1_000_000n;
    for (let k = 0; k < evict; k += CACHE_LINE) other[k]!++;
    const start = process.hrtime.bigint();
    const found = x["lookUpAndPick"]!(blocks, server.model, nowNs);
    const end = process.hrtime.bigint();
    if (!found) throw new Error("pick-test.wasm found no pod");
    x["pickCommit"]!(x["picked"]!(0), nowNs);
    // The first ones are not compiled yet.
    if (i >= picks / 10) times.push(Number(end - start) / 1000);
  }
  return times;
}
