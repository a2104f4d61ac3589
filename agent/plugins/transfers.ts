// Shows what prefill/decode does, and the alarm for decodes that compute what they were promised.
import fp from "fastify-plugin";
import { Counter } from "prom-client";
import { PREFILL_COUNTERS } from "../table/transfer-watch.js";

export default fp(
  async (app) => {
    const { transfers } = app;
    app.onScraped.push((pod) =>
      transfers.scraped(pod.config.address, pod.metrics?.externalTokens ?? null, performance.now()),
    );
    app.readiness.note(() =>
      transfers
        .pods()
        .filter((pod) => pod.recomputed > 0)
        .map(({ address, promised, recomputed }) => ({
          code: "decode_recomputed",
          detail: `decode pod ${address} computed ${recomputed} of ${promised} prompt tokens itself although their blocks were promised`,
        })),
    );
    new Counter({
      name: "warmgate_prefill_events_total",
      help: "Prefill/decode in gateways, by what happened",
      labelNames: ["event"],
      registers: [app.prometheus],
      collect() {
        this.reset();
        for (const name of PREFILL_COUNTERS) this.inc({ event: name }, transfers.totals[name]);
      },
    });
    for (const field of ["promised", "recomputed"] as const)
      new Counter({
        name: `warmgate_transfer_${field}_tokens_total`,
        help:
          field === "promised"
            ? "Prompt tokens whose KV blocks a decode pod was promised"
            : "Of them, those that the decode pod computed itself",
        labelNames: ["pod"],
        registers: [app.prometheus],
        collect() {
          this.reset();
          for (const pod of transfers.pods()) this.inc({ pod: pod.address }, pod[field]);
        },
      });
  },
  { name: "transfers", dependencies: ["table-stream", "metrics", "load"] },
);
