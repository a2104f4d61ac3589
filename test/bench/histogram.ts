// Histograms of an Envoy: what was recorded between two readings.
import { setTimeout } from "node:timers/promises";

/** Samples by the bucket's lower bound, with its width; both in the histogram's unit, two significant digits. */
export type Histogram = Map<number, { width: number; samples: number }>;

const size = (h: Histogram) => [...h.values()].reduce((sum, b) => sum + b.samples, 0);

/**
 * All that a histogram has recorded, once these are at least so many samples: Envoy merges what its workers recorded every
 * five seconds. @throws when they do not come.
 */
export async function histogramOf(adminPort: number, name: string, samples: number): Promise<Histogram> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const text = await (
      await fetch(`http://127.0.0.1:${adminPort}/stats?filter=${name}&histogram_buckets=detailed`)
    ).text();
    const totals = /totals=(.*)/.exec(text)?.[1] ?? "";
    const found: Histogram = new Map(
      [...totals.matchAll(/([^\s,]+),([^\s:]+):(\d+)/g)].map(([, at, width, n]) => [
        Number(at),
        { width: Number(width), samples: Number(n) },
      ]),
    );
    if (size(found) >= samples) return found;
    if (Date.now() > deadline) throw new Error(`Envoy has no ${samples} samples of ${name}: ${text}`);
    await setTimeout(500);
  }
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
