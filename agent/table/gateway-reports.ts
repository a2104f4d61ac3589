// Adds up what gateway workers report. A worker's numbers count from its own start.
import type { TimedOp } from "../policy/operation-plugins.js";
import type { Report, ReportRow } from "../wire.js";

/** Order of a report's counters; wasm/filter counts them. */
export const COUNTERS = [
  "success",
  "no_pods",
  "filtered_out",
  "fallback",
  "refused",
  "reserved_fields",
  "stripped_headers",
  "moved",
  "left_out",
  "frames",
  "gaps",
  "inexact",
  "watchdog",
  "candidate_pods",
  "passed_pods",
  "scheduling_us",
  "lost_vms",
  "table_over_limit",
  "shed",
  "queued",
  "queue_evicted",
  "queue_expired",
  "queue_left",
  "slow_sharing",
  "session_hits",
  "session_misses",
  "session_moves",
  "routed_cut",
  "scheduling_timed",
] as const;

export type CounterName = (typeof COUNTERS)[number];

export type PodTotals = Omit<ReportRow, "address" | "inflightRequests" | "inflightTokens">;
const SUMS = [
  "requests",
  "promptTokens",
  "predictedTokens",
  "firstTokens",
  "firstTokenMicros",
  "firstTokenUncached",
] as const;

/** A worker that was silent for so long is gone, ms. */
const GONE_MS = 60_000;

interface Worker {
  process: bigint;
  at: number;
  counters: number[];
  ops: Report["ops"];
  pods: Map<string, ReportRow>;
}

export class GatewayReports {
  readonly totals: Record<CounterName, number> = Object.fromEntries(COUNTERS.map((n) => [n, 0])) as Record<
    CounterName,
    number
  >;
  /** By pod address. */
  readonly pods = new Map<string, PodTotals>();
  /** Filters and scorers that were timed: how often, and the ns that this took in all. */
  readonly ops = new Map<TimedOp, { runs: number; ns: number }>();
  readonly #workers = new Map<string, Worker>();

  /** Takes a report; `now` is a monotonic time in ms. */
  take(report: Report, now: number): void {
    const key = `${report.processId}/${report.vmId}`;
    const before = this.#workers.get(key);
    COUNTERS.forEach((name, i) => {
      this.totals[name] += grown(report.counters[i] ?? 0, before?.counters[i]);
    });
    for (const { op, runs, ns } of report.ops) {
      if (!op) continue;
      const old = before?.ops.find((o) => o.op === op);
      const total = this.ops.get(op) ?? { runs: 0, ns: 0 };
      this.ops.set(op, { runs: total.runs + grown(runs, old?.runs), ns: total.ns + grown(ns, old?.ns) });
    }
    const rows = new Map<string, ReportRow>();
    for (const row of report.pods) {
      rows.set(row.address, row);
      const old = before?.pods.get(row.address);
      const total = this.pods.get(row.address) ?? {
        requests: 0,
        promptTokens: 0,
        predictedTokens: 0,
        firstTokens: 0,
        firstTokenMicros: 0,
        firstTokenUncached: 0,
      };
      for (const field of SUMS) total[field] += grown(row[field], old?.[field]);
      this.pods.set(row.address, total);
    }
    const { processId: process, counters, ops } = report;
    this.#workers.set(key, { process, at: now, counters, ops, pods: rows });
    for (const [name, worker] of this.#workers) if (now - worker.at > GONE_MS) this.#workers.delete(name);
  }

  /** Workers heard of lately. */
  get workers(): number {
    return this.#workers.size;
  }

  /** Requests under way on a pod, all gateway processes together; every worker of a process reports the same gauge. */
  inflight(address: string): number {
    const byProcess = new Map<bigint, { at: number; value: number }>();
    for (const { process, at, pods } of this.#workers.values()) {
      const value = pods.get(address)?.inflightRequests ?? 0;
      const known = byProcess.get(process);
      if (!known || known.at < at) byProcess.set(process, { at, value });
    }
    let sum = 0;
    for (const { value } of byProcess.values()) sum += value;
    return sum;
  }
}

function grown(now: number, before: number | undefined): number {
  return before === undefined || now < before ? now : now - before;
}
