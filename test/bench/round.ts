// Interleaved rounds over listeners, with the worker's CPU time a request, and the statistics of the bench.
import { ascending, median } from "../../demo/quantile.js";
import { workerCpuUs } from "./envoy.js";
import { load } from "./load.js";

export const round1 = (v: number): number => Math.round(v * 10) / 10;
export const round2 = (v: number): number => Math.round(v * 100) / 100;

/** A listener of an Envoy with one worker. */
export interface Target {
  pid: number;
  port: number;
}

/** What was measured of a target: one value a round, but for the latencies. */
export interface Measured {
  /** Worker CPU a request in µs. */
  cpuUs: number[];
  /** Requests a second as the client saw them. */
  rps: number[];
  /** Share of the time that the worker was busy, 0–1. */
  busy: number[];
  latenciesUs: number[];
}

/**
 * Runs `rounds` rounds of `seconds` each over all targets, their order reversed every other round, after a warm-up of a
 * second each. @throws when a request fails.
 */
export async function rounds<Name extends string>(
  targets: Record<Name, Target>,
  requests: Buffer[],
  options: { connections: number; rounds: number; seconds: number },
): Promise<Record<Name, Measured>> {
  const names = Object.keys(targets) as Name[];
  const out = {} as Record<Name, Measured>;
  for (const name of names) {
    out[name] = { cpuUs: [], rps: [], busy: [], latenciesUs: [] };
    await load(targets[name].port, requests, options.connections, 1);
  }
  for (let r = 0; r < options.rounds; r++) {
    for (const name of r % 2 ? names.toReversed() : names) {
      const { pid, port } = targets[name];
      const before = workerCpuUs(pid);
      const result = await load(port, requests, options.connections, options.seconds);
      const cpu = workerCpuUs(pid) - before;
      if (result.failed)
        throw new Error(`${result.failed} requests failed (${name}): ${result.firstFailure}`);
      const m = out[name];
      m.cpuUs.push(cpu / result.requests);
      m.rps.push(result.requests / result.seconds);
      m.busy.push(cpu / result.seconds / 1e6);
      for (const l of result.latenciesUs) m.latenciesUs.push(l);
    }
  }
  return out;
}

/** What several runs of `rounds` measured of the same targets, one after the other. */
export function pooled<Name extends string>(runs: Record<Name, Measured>[]): Record<Name, Measured> {
  const of = (name: Name): Measured => ({
    cpuUs: runs.flatMap((run) => run[name].cpuUs),
    rps: runs.flatMap((run) => run[name].rps),
    busy: runs.flatMap((run) => run[name].busy),
    latenciesUs: runs.flatMap((run) => run[name].latenciesUs),
  });
  const names = Object.keys(runs[0]!) as Name[];
  return Object.fromEntries(names.map((name) => [name, of(name)])) as Record<Name, Measured>;
}

interface Added {
  medianUs: number;
  spreadUs: [number, number];
}

/** Median and spread of what `on` costs beyond `control`, paired by round. */
export function added(on: Measured, control: Measured): Added {
  const d = ascending(on.cpuUs.map((v, i) => v - control.cpuUs[i]!));
  return { medianUs: round1(median(d)), spreadUs: [round1(d[0]!), round1(d.at(-1)!)] };
}
