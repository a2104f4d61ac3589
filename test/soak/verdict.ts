// What a soak saw, window by window, and what must hold of it.

import { median } from "../../demo/quantile.js";

export interface Window {
  /** Requests that ended so far. */
  requests: number;
  /** Seconds since the start. */
  seconds: number;
  envoyRssBytes: number;
  agentRssBytes: number;
  /** Memory of the worker that reported last. */
  wasmBytes: number;
  tableBytes: number;
  tableEntries: number;
  p50Us: number;
  p99Us: number;
}

export interface Counts {
  /** Requests begun. */
  sent: number;
  /** Whole answers with the status they must have. */
  answered: number;
  refused: number;
  reserved: number;
  /** Left early by the client. */
  aborted: number;
  /** Other answers, or none. */
  failed: number;
}

export interface Check {
  name: string;
  ok: boolean;
  /** The figures that say so. */
  saw: string;
}

/** Medians of a figure over the second and the last tenth of the windows; the first tenth is warm-up. */
export function tenths(windows: Window[], of: (w: Window) => number): [number, number] {
  const n = Math.max(1, Math.floor(windows.length / 10));
  return [median(windows.slice(n, 2 * n).map(of)), median(windows.slice(-n).map(of))];
}

/** Growth of Envoy's memory that still counts as flat: allocators keep what their threads have freed. */
const FLAT_SHARE = 0.05;
const FLAT_BYTES = 8 * 1024 * 1024;
/** Workers take turns to tell theirs, and each has room for as many requests as it once had at the same time. */
const FLAT_MODULE_BYTES = 256 * 1024;

const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

/**
 * Judges a soak. `stats`: the filter's counters and gauges at the end, by name without the prefix `warmgate_`.
 * `wasmFaults`: what Envoy's stats and log say of failed wasm. `drift`: most growth of the median latency, as a factor.
 */
export function judge(
  windows: Window[],
  counts: Counts,
  stats: Map<string, number>,
  wasmFaults: string[],
  drift: number,
): Check[] {
  const stat = (name: string) => stats.get(name) ?? 0;
  const [rssThen, rssNow] = tenths(windows, (w) => w.envoyRssBytes);
  const [wasmThen, wasmNow] = tenths(windows, (w) => w.wasmBytes);
  const [p50Then, p50Now] = tenths(windows, (w) => w.p50Us);
  const gauges = [...stats].filter(([name, value]) => name.startsWith("inflight_") && value !== 0);
  const decided =
    stat("decisions_success_total") +
    stat("decisions_no_pods_total") +
    stat("decisions_filtered_out_total") +
    stat("fallback_total") +
    stat("refused_total");
  return [
    {
      name: "every answer is the one it must be",
      ok: counts.failed === 0 && counts.answered + counts.aborted === counts.sent,
      saw: `${counts.answered} right, ${counts.aborted} left early, ${counts.failed} wrong of ${counts.sent}`,
    },
    {
      name: "Envoy's memory is flat",
      ok: rssNow <= rssThen * (1 + FLAT_SHARE) + FLAT_BYTES,
      saw: `${mib(rssThen)} in the second tenth, ${mib(rssNow)} in the last`,
    },
    {
      name: "the module's memory is flat",
      ok: wasmNow <= wasmThen + FLAT_MODULE_BYTES,
      saw: `${mib(wasmThen)}, then ${mib(wasmNow)}`,
    },
    {
      name: "gauges are back at zero",
      ok: gauges.length === 0,
      saw: gauges.length ? gauges.map(([name, value]) => `${name} ${value}`).join(", ") : "all zero",
    },
    {
      name: "counters add up",
      // A client that leaves in the middle of its body is gone before a decision.
      ok:
        decided >= counts.answered &&
        decided <= counts.answered + counts.aborted &&
        stat("refused_total") === counts.refused &&
        stat("reserved_fields_total") === counts.reserved,
      saw: `${decided} decisions for ${counts.answered} answers and ${counts.aborted} left early; refused ${stat("refused_total")} of ${counts.refused}, for reserved fields ${stat("reserved_fields_total")} of ${counts.reserved}`,
    },
    {
      name: "no wasm failure",
      ok: wasmFaults.length === 0,
      saw: wasmFaults.length ? wasmFaults.join("; ") : "none",
    },
    {
      name: "latency does not drift",
      ok: p50Now <= p50Then * drift,
      saw: `p50 ${Math.round(p50Then)} µs in the second tenth, ${Math.round(p50Now)} µs in the last`,
    },
  ];
}
