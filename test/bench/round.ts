// Interleaved rounds over the rows, with the worker's CPU time a request, and the statistics of the bench.
import { ascending, median } from "../../demo/quantile.js";
import { ROWS, type Row, workerCpuUs } from "./envoy.js";
import { load } from "./load.js";

export const round1 = (v: number): number => Math.round(v * 10) / 10;
export const round2 = (v: number): number => Math.round(v * 100) / 100;

interface Rounds {
  /** Worker CPU a request in µs, one value a round. */
  cpuUs: Record<Row, number[]>;
  /** Requests a second as the client saw them. */
  rps: Record<Row, number[]>;
  /** Share of the time that the worker was busy, 0–1. */
  busy: Record<Row, number[]>;
  latenciesUs: Record<Row, number[]>;
}

const perRow = <T>(): Record<Row, T[]> => ({ off: [], buffer: [], on: [] });

/**
 * Runs `rounds` rounds of `seconds` each over `rows`, their order reversed every other round, after a warm-up of a
 * second each. @throws when a request fails.
 */
export async function rounds(
  pid: number,
  ports: Record<Row, number>,
  requests: Buffer[],
  options: { connections: number; rounds: number; seconds: number; rows?: readonly Row[] },
): Promise<Rounds> {
  const rows = options.rows ?? ROWS;
  const out: Rounds = { cpuUs: perRow(), rps: perRow(), busy: perRow(), latenciesUs: perRow() };
  for (const row of rows) await load(ports[row], requests, options.connections, 1);
  for (let r = 0; r < options.rounds; r++) {
    for (const row of r % 2 ? [...rows].reverse() : rows) {
      const before = workerCpuUs(pid);
      const result = await load(ports[row], requests, options.connections, options.seconds);
      const cpu = workerCpuUs(pid) - before;
      if (result.failed)
        throw new Error(`${result.failed} requests failed (filter ${row}): ${result.firstFailure}`);
      out.cpuUs[row].push(cpu / result.requests);
      out.rps[row].push(result.requests / result.seconds);
      out.busy[row].push(cpu / result.seconds / 1e6);
      for (const l of result.latenciesUs) out.latenciesUs[row].push(l);
    }
  }
  return out;
}

/** Median and spread of what `on` costs beyond `control`, paired by round. */
export function added(on: number[], control: number[]): { medianUs: number; spreadUs: [number, number] } {
  const d = ascending(on.map((v, i) => v - control[i]!));
  return { medianUs: round1(median(d)), spreadUs: [round1(d[0]!), round1(d.at(-1)!)] };
}
