// Histograms of an Envoy: what was recorded between two readings.
import { waitFor } from "../../demo/processes.js";

/** Three merges, ms. */
const MERGED_MS = 15_000;

/** Samples by the bucket's lower bound, with its width; both in the histogram's unit, two significant digits. */
export type Histogram = Map<number, { width: number; samples: number }>;

const size = (h: Histogram) => [...h.values()].reduce((sum, b) => sum + b.samples, 0);

/**
 * All that a histogram has recorded, once these are at least so many samples: Envoy merges what its workers recorded every
 * five seconds. @throws when they do not come.
 */
export async function histogramOf(adminPort: number, name: string, samples: number): Promise<Histogram> {
  let found: Histogram = new Map();
  await waitFor(
    `${samples} samples of ${name}`,
    async () => {
      const url = `http://127.0.0.1:${adminPort}/stats?filter=${name}&histogram_buckets=detailed`;
      const totals = /totals=(.*)/.exec(await (await fetch(url)).text())?.[1] ?? "";
      found = new Map(
        [...totals.matchAll(/([^\s,]+),([^\s:]+):(\d+)/g)].map(([, at, width, n]) => [
          Number(at),
          { width: Number(width), samples: Number(n) },
        ]),
      );
      return size(found) >= samples;
    },
    undefined,
    MERGED_MS,
  );
  return found;
}

/** The value that a share (0–1) of what was recorded after `before` lies below, as if even within a bucket. */
export function histogramQuantile(h: Histogram, share: number, before: Histogram = new Map()): number {
  const rows = [...h]
    .map(([at, b]) => ({ at, width: b.width, samples: b.samples - (before.get(at)?.samples ?? 0) }))
    .sort((a, b) => a.at - b.at);
  let left = share * rows.reduce((sum, r) => sum + r.samples, 0);
  for (const r of rows) {
    if (left <= r.samples) return r.at + (r.width * left) / Math.max(r.samples, 1);
    left -= r.samples;
  }
  return Number.NaN;
}
