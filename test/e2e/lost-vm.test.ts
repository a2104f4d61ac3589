// A worker's VM traps in the middle of 100 streamed answers: what was counted there is given back, clients go on.
import { get } from "node:http";
import { expect, test } from "vitest";
import { built } from "../../agent/package-root.js";
import { Fleet } from "../../demo/fleet.js";
import { envoyStat, waitFor } from "../../demo/processes.js";
import { connectionsByWorker, gaugesAtZero, requestsUnderWay } from "./admin-stats.js";
import { openStream, probe } from "./open-streams.js";

const STREAMS = 100;
/** Some 15 s, so that they are open while the gauges are mended. */
const STREAM_TOKENS = 1500;
/** When the gauges must be right again. */
const MENDED_MS = 15_000;

const sum = (numbers: Iterable<number>) => [...numbers].reduce((a, b) => a + b, 0);

/** Traps the VM of a worker, whose number it tells. */
async function trapOne(fleet: Fleet): Promise<number> {
  const before = await connectionsByWorker(fleet, "total");
  await new Promise<void>((done) => {
    const options = { host: "127.0.0.1", port: fleet.gatewayPort, path: "/v1/models", agent: false };
    get({ ...options, headers: { "x-trap": "1" } }, (response) => {
      response.resume().once("close", done);
    }).once("error", () => done());
  });
  const after = await connectionsByWorker(fleet, "total");
  return after.findIndex((n, i) => n > before[i]!);
}

test.concurrent.each([
  { name: "2 workers", workers: 2, envoy: {}, goOn: true },
  { name: "1 worker", workers: 1, envoy: {}, goOn: true },
  // As a WasmPlugin's failStrategy has it: Envoy itself cuts the streams of the trapped VM.
  { name: "1 worker and failure_policy", workers: 1, envoy: { failurePolicy: "FAIL_OPEN" }, goOn: false },
] as const)(
  "with $name, a VM that traps under 100 open streams leaves the gauges right within 15 s",
  async ({ workers, envoy, goOn }) => {
    const fleet = await Fleet.create({
      pods: 2,
      timeScale: 1,
      workers,
      envoy,
      discoverFilter: true,
      wasm: built("warmgate-trap.wasm"),
    });
    try {
      await fleet.start();
      const requests = (era: string) => requestsUnderWay(fleet.adminPort, era);
      const probes = (count: number) =>
        Promise.all(Array.from({ length: count }, () => probe(fleet.gatewayPort)));

      const streams = await Promise.all(
        Array.from({ length: STREAMS }, (_, i) =>
          openStream(fleet.gatewayPort, `stream ${i}`, STREAM_TOKENS),
        ),
      );
      await waitFor(
        "the streams alone",
        async () =>
          sum(await connectionsByWorker(fleet, "active")) === STREAMS && (await requests("")) === STREAMS,
      );
      const trapped = await trapOne(fleet);
      const trappedAt = performance.now();
      const onTheOthers = async () => {
        const open = await connectionsByWorker(fleet, "active");
        return sum(open) - open[trapped]!;
      };
      const left = await onTheOthers();

      // Who lives moves to the gauges of a new era, and takes along what it has under way itself.
      await waitFor(
        "the lost VM to be missed",
        async () => (await envoyStat(fleet.adminPort, "warmgate_lost_vms_total")) === 1,
      );
      await waitFor(
        "right gauges",
        async () => (await requests("")) === 0 && (await requests("_era_1")) === (await onTheOthers()),
      );
      expect(performance.now() - trappedAt).toBeLessThan(MENDED_MS);

      const after = await probes(20);
      expect(after.filter((p) => p.status !== 200)).toEqual([]);
      // A worker without its module routes by session; the other one goes on choosing.
      expect(after.some((p) => p.selected === undefined)).toBe(true);
      expect(after.some((p) => p.selected !== undefined)).toBe(workers > 1);

      const ends = await Promise.all(streams.map((s) => s.end));
      const whole = ends.filter((e) => e.complete && e.tokens === STREAM_TOKENS);
      expect(whole).toHaveLength(goOn ? STREAMS : left);
      await gaugesAtZero(fleet.adminPort);

      // A new version of the filter brings the worker back.
      fleet.rollOut(built("warmgate.wasm"));
      await waitFor("all workers to choose again", async () =>
        (await probes(20)).every((p) => p.status === 200 && p.selected !== undefined),
      );
      await gaugesAtZero(fleet.adminPort);
    } finally {
      await fleet.stop();
    }
  },
);
