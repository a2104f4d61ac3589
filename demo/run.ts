// What every kind of run has in common: a fleet that ends with it, traffic, its verdict and its summary.
import { writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { ChatClient } from "./client.js";
import { Fleet, type FleetOptions, MODEL, type PodStats } from "./fleet.js";
import type { DemoOptions } from "./options.js";
import { type Played, play, requestsIn } from "./play.js";
import { progress, say } from "./print.js";
import type { Workload } from "./workload.js";

/** Has `use` work with a fleet of which nothing runs yet. It is stopped behind it, and by a signal, which ends the process. */
export async function withFleet<T>(options: FleetOptions, use: (fleet: Fleet) => Promise<T>): Promise<T> {
  const fleet = await Fleet.create(options);
  const end = async () => {
    await fleet.stop();
    process.exit(130);
  };
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  try {
    return await use(fleet);
  } finally {
    process.off("SIGINT", end);
    process.off("SIGTERM", end);
    await fleet.stop();
  }
}

export interface TrafficRun {
  played: Played[];
  warmUp: Played[];
  /** From the first request after the warm-up to the last answer. */
  simulatedS: number;
  stats: PodStats[];
  /** Highest p99 of the pods' event-loop lag, real ms. */
  lagMs: number;
}

/** Says what is about to be played, and on what. */
export function sayLoad(workload: Workload, o: { pods: number; blocks: number; timeScale: number }): void {
  say(
    `${requestsIn(workload)} requests (${workload.name}) for ${o.pods} simulated pods of ${o.blocks} KV blocks, ${o.timeScale} simulated seconds a second`,
  );
}

/** Plays a workload through a port of a fleet, the gateway's when absent; `label` is for who waits. */
export async function playOn(
  fleet: Fleet,
  workload: Workload,
  label: string,
  port = fleet.gatewayPort,
): Promise<TrafficRun> {
  await fleet.resetPodStats();
  const client = new ChatClient(port, MODEL);
  const run = await play(workload, client, fleet.options.timeScale, progress(label));
  client.close();
  const stats = await fleet.podStats();
  return { ...run, stats, lagMs: Math.max(...stats.map((s) => s.eventLoopLagMs.p99)) };
}

/** Whether the machine was too slow for a run: timers were later, in simulated time, than a share of the mean TTFT. */
export const tooSlow = (lagMs: number, timeScale: number, share: number, ttftMs: { mean: number }): boolean =>
  lagMs * timeScale > share * ttftMs.mean;

/** Says each way in which requests failed. */
export function sayFailures(played: Played[], who = ""): void {
  for (const error of new Set(played.flatMap((p) => (p.error ? [p.error] : []))))
    say(`  ${who}failed: ${error}`);
}

/** Writes a run's summary, with its options and machine, to the file that --json names, if it does. */
export function writeSummary(o: DemoOptions, summary: object): void {
  if (o.json === undefined) return;
  const machine = { cpus: cpus().length, load: loadavg()[0] };
  writeFileSync(o.json, `${JSON.stringify({ ...summary, options: o, machine }, null, 2)}\n`);
}

/** The process's exit code, as --help has them. */
export const exitCode = (run: { failed: boolean; isVoid: boolean; kept?: boolean }): number => {
  if (run.failed) return 1;
  if (run.isVoid) return 3;
  return run.kept === false ? 4 : 0;
};
