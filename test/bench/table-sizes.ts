// What a larger table costs: two gateways with a table each, loaded in turn in one run.
import { ascending, median, quantile } from "../../demo/quantile.js";
import { type BenchGateway, startAnswering } from "./bench-gateway.js";
import type { BenchBody } from "./bodies.js";
import { requestsFor } from "./load.js";
import { say } from "./result.js";
import { added, round2, rounds } from "./round.js";

interface SizesOptions {
  /** The one in question and the one it is compared with. */
  gateway: BenchGateway;
  beside: BenchGateway;
  podPorts: number[];
  bodies: Map<number, BenchBody[]>;
  rounds: number;
  seconds: number;
}

/**
 * CPU that the filter adds beyond each gateway's own buffer filter, by body size, and the ratio of the two: of the
 * medians, and the quartiles over rounds. @throws when a request fails.
 */
export async function compareTables(o: SizesOptions): Promise<object[]> {
  await o.gateway.start();
  await o.beside.start();
  const stopPods = await startAnswering(o.podPorts);
  try {
    const out: object[] = [];
    for (const [bodyBytes, bodies] of o.bodies) {
      const m = await rounds(
        {
          buffer: o.gateway.target("buffer"),
          on: o.gateway.target("on"),
          besideBuffer: o.beside.target("buffer"),
          besideOn: o.beside.target("on"),
        },
        requestsFor(bodies.map((b) => b.bytes)),
        { connections: 16, rounds: o.rounds, seconds: o.seconds },
      );
      const large = added(m.on, m.buffer);
      const small = added(m.besideOn, m.besideBuffer);
      const each = ascending(
        m.on.cpuUs.map(
          (v, i) => (v - m.buffer.cpuUs[i]!) / (m.besideOn.cpuUs[i]! - m.besideBuffer.cpuUs[i]!),
        ),
      );
      const ratio = round2(large.medianUs / small.medianUs);
      const quartiles = [0.25, 0.5, 0.75].map((q) => round2(quantile(each, q)));
      out.push({ bodyBytes, added: large, beside: small, ratio, roundQuartiles: quartiles });
      say(
        `${bodyBytes} bytes: added ${large.medianUs} µs (${large.spreadUs.join(" … ")}) beside ${small.medianUs} (${small.spreadUs.join(" … ")}), ${ratio} times; by rounds ${quartiles.join(", ")}; buffer ${round2(median(m.buffer.cpuUs))} and ${round2(median(m.besideBuffer.cpuUs))}`,
      );
    }
    return out;
  } finally {
    await stopPods();
  }
}
