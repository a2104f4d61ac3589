// What a larger table costs: two gateways with a table each, loaded in turn in one run.
import { ascending, median } from "../../demo/quantile.js";
import { type BenchGateway, startAnswering, startGateways } from "./bench-gateway.js";
import type { BenchBody } from "./bodies.js";
import { requestsFor } from "./load.js";
import { say } from "./result.js";
import { added, type Measured, pooled, round1, round2, rounds } from "./round.js";

interface SizesOptions {
  /** The one in question and the one it is compared with. */
  gateway: BenchGateway;
  beside: BenchGateway;
  podPorts: number[];
  bodies: Map<number, BenchBody[]>;
  /** How often both are started anew, and rounds over all starts. */
  starts: number;
  rounds: number;
  seconds: number;
}

type Rows = Record<"buffer" | "on" | "besideBuffer" | "besideOn", Measured>;

/**
 * CPU that the filter adds beyond each gateway's own buffer filter, by body size, and the ratio of the two: of the
 * medians, and of each start's. @throws when a request fails.
 */
export async function compareTables(o: SizesOptions): Promise<object[]> {
  const runs = new Map<number, Rows[]>([...o.bodies.keys()].map((size) => [size, []]));
  const stopPods = await startAnswering(o.podPorts);
  try {
    for (let start = 0; start < o.starts; start++) {
      await startGateways([o.gateway, o.beside]);
      const targets = {
        buffer: o.gateway.target("buffer"),
        on: o.gateway.target("on"),
        besideBuffer: o.beside.target("buffer"),
        besideOn: o.beside.target("on"),
      };
      for (const [size, bodies] of o.bodies) {
        const requests = requestsFor(bodies);
        const m = await rounds(targets, requests, {
          connections: 16,
          rounds: Math.ceil(o.rounds / o.starts),
          seconds: o.seconds,
        });
        runs.get(size)!.push(m);
        say(`start ${start + 1} of ${o.starts}: ${size} bytes, ${ratio(m)} times`);
      }
      await o.gateway.stopEnvoy();
      await o.beside.stopEnvoy();
    }
  } finally {
    await stopPods();
  }
  return [...runs].map(([bodyBytes, starts]) => {
    const m = pooled(starts);
    const large = added(m.on, m.buffer);
    const small = added(m.besideOn, m.besideBuffer);
    const ofStarts = ascending(starts.map(ratio));
    say(
      `${bodyBytes} bytes: added ${large.medianUs} µs (${large.spreadUs.join(" … ")}) beside ${small.medianUs} (${small.spreadUs.join(" … ")}), ${ratio(m)} times; by starts ${ofStarts.join(", ")}; buffer ${round1(median(m.buffer.cpuUs))} and ${round1(median(m.besideBuffer.cpuUs))}`,
    );
    return { bodyBytes, added: large, beside: small, ratio: ratio(m), ratiosOfStarts: ofStarts };
  });
}

const ratio = (m: Rows) =>
  round2(added(m.on, m.buffer).medianUs / added(m.besideOn, m.besideBuffer).medianUs);
