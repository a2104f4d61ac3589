// Envoy's counters and gauges under the names that Envoy gives them; demo/processes.ts reads those of the filter.

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
