// Envoy's counters and gauges under the names that Envoy gives them; demo/processes.ts reads those of the filter.

import { envoyStats, waitFor } from "../../demo/processes.js";

/** Name and value of each counter and gauge that matches `filter`, a regular expression. */
export async function adminStats(
  adminPort: number,
  filter: string,
): Promise<[name: string, value: number][]> {
  const url = `http://127.0.0.1:${adminPort}/stats?filter=${encodeURIComponent(filter)}`;
  const lines = (await (await fetch(url)).text()).trim().split("\n");
  return lines
    .map((line): [string, number] => {
      const colon = line.lastIndexOf(": ");
      return [line.slice(0, colon), Number(line.slice(colon + 2))];
    })
    .filter(([, value]) => !Number.isNaN(value));
}

/** Requests under way as an era's in-flight gauges add up, which have them in their lower 32 bits; era 0 has no name. */
export async function requestsUnderWay(adminPort: number, era = ""): Promise<number> {
  const gauges = await adminStats(adminPort, `warmgate_inflight_counts${era}_slot`);
  return gauges.reduce((sum, [, value]) => sum + (value % 2 ** 32), 0);
}

/** Waits until nothing counts as under way. */
export function gaugesAtZero(adminPort: number): Promise<void> {
  return waitFor("the gauges to return to zero", async () => {
    const gauges = await envoyStats(adminPort, "warmgate_inflight");
    return gauges.size > 0 && [...gauges.values()].every((v) => v === 0);
  });
}

/** VMs that run, or that were ever made. */
export async function vms(adminPort: number, which: "active" | "created"): Promise<number> {
  const [stat] = await adminStats(adminPort, `^wasm\\.envoy\\.wasm\\.runtime\\.v8\\.${which}$`);
  return stat![1];
}

/** Requests that the gateway listener has under way. */
export async function requestsAtEnvoy(adminPort: number): Promise<number> {
  const [stat] = await adminStats(adminPort, "^http\\.gateway\\.downstream_rq_active$");
  return stat![1];
}

/** Connections of the gateway listener by worker, those that are open or all that were ever accepted. */
export async function connectionsByWorker(
  { adminPort, gatewayPort }: { adminPort: number; gatewayPort: number },
  which: "active" | "total",
): Promise<number[]> {
  const filter = `^listener\\.127\\.0\\.0\\.1_${gatewayPort}\\.worker_\\d+\\.downstream_cx_${which}$`;
  return (await adminStats(adminPort, filter)).sort().map(([, value]) => value);
}
