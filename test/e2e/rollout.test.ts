// A new version of the filter under load: Envoy gets it by ECDS while 200 answers stream through the old one.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { built } from "../../agent/package-root.js";
import { Fleet } from "../../demo/fleet.js";
import { waitFor } from "../../demo/processes.js";
import { adminStats, gaugesAtZero, requestsUnderWay, vms } from "./admin-stats.js";
import { type OpenStream, openStream, type Probe, probe } from "./open-streams.js";

const STREAMS = 200;
const STREAM_TOKENS = 1000;
const LATER_STREAMS = 20;
const LATER_TOKENS = 300;
const PROBERS = 3;

let fleet: Fleet;
afterEach(async () => {
  await fleet?.stop();
});

/** x-filter-build of build/warmgate-trap.wasm, which stands for another version; the release build gives none. */
const OTHER = "trap";

/** The release build as other bytes: with a custom section named "v", which no engine looks into. */
function sameCodeOtherBytes(): string {
  const file = join(fleet.folder, "next.wasm");
  writeFileSync(file, Buffer.concat([readFileSync(built("warmgate.wasm")), Buffer.from([0, 2, 1, 0x76])]));
  return file;
}

const inFlight = () => requestsUnderWay(fleet.adminPort);

async function allAtRest(vmsBefore: number): Promise<void> {
  await gaugesAtZero(fleet.adminPort);
  await waitFor("the agent to hear of it", async () => {
    const url = `http://127.0.0.1:${fleet.agentPort}/api/v1/pods`;
    const { pods } = (await (await fetch(url)).json()) as { pods: { inflightRequests: number }[] };
    return pods.every((p) => p.inflightRequests === 0);
  });
  // An old version's VMs end in order with their last stream: none of them counts as lost.
  await waitFor("the old VMs to end", async () => (await vms(fleet.adminPort, "active")) === vmsBefore);
  expect(await adminStats(fleet.adminPort, "warmgate_lost_vms_total")).toEqual([
    ["wasmcustom.warmgate_lost_vms_total", 0],
  ]);
}

test("new versions of the filter break none of 200 open streams, fail no request, and leave the gauges right", async () => {
  fleet = await Fleet.create({ pods: 2, blocks: 40_000, timeScale: 1, discoverFilter: true });
  await fleet.start();
  const vmsBefore = await vms(fleet.adminPort, "active");
  const next = sameCodeOtherBytes();
  const opened = (count: number, tokens: number) =>
    Promise.all(
      Array.from({ length: count }, (_, i) => openStream(fleet.gatewayPort, `stream ${i}`, tokens)),
    );

  const probes: Probe[] = [];
  let running = true;
  const traffic = Array.from({ length: PROBERS }, async () => {
    while (running) probes.push(await probe(fleet.gatewayPort));
  });
  /** Waits until every worker schedules with a version: the last 30 probes, each over a new connection, say so. */
  const scheduledBy = (version: string | undefined) => {
    const from = probes.length;
    return waitFor(`decisions of ${version ?? "the release build"}`, async () => {
      const last = probes.slice(from).slice(-30);
      return last.length === 30 && last.every((p) => p.build === version && p.selected !== undefined);
    });
  };
  const brokenOf = async (streams: OpenStream[], tokens: number) => {
    const ends = await Promise.all(streams.map((s) => s.end));
    return ends.filter((e) => !e.complete || e.tokens !== tokens);
  };

  try {
    const streams = await opened(STREAMS, STREAM_TOKENS);
    fleet.rollOut(built("warmgate-trap.wasm"));
    await scheduledBy(OTHER);
    fleet.rollOut(next);
    await scheduledBy(undefined);
    expect(streams.filter((s) => s.ended)).toEqual([]);
    expect(await inFlight()).toBeGreaterThanOrEqual(STREAMS);
    expect(await inFlight()).toBeLessThanOrEqual(STREAMS + PROBERS);
    expect(await brokenOf(streams, STREAM_TOKENS)).toEqual([]);

    // Back and forth at once: the version that comes back meets its own VMs, which these streams still hold.
    const later = await opened(LATER_STREAMS, LATER_TOKENS);
    fleet.rollOut(built("warmgate-trap.wasm"));
    await scheduledBy(OTHER);
    fleet.rollOut(next);
    await scheduledBy(undefined);
    expect(await inFlight()).toBeGreaterThanOrEqual(later.filter((s) => !s.ended).length);
    expect(await brokenOf(later, LATER_TOKENS)).toEqual([]);
  } finally {
    running = false;
    await Promise.all(traffic);
  }
  expect(probes.filter((p) => p.status !== 200)).toEqual([]);
  await allAtRest(vmsBefore);
});
