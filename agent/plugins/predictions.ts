// Owns the loop's end: what gateways and engines say of the predictions goes to each pod's watch; a pod whose announced
// blocks are not to be believed falls, and people are told.
import fp from "fastify-plugin";
import type { Pod } from "../load/pod-registry.js";
import type { PredictionRow } from "../wire.js";

declare module "fastify" {
  interface FastifyInstance {
    predictions: {
      /** Takes what a gateway worker counted. */
      take(rows: readonly PredictionRow[]): void;
      /** A pod's metrics were read. */
      scraped(pod: Pod): void;
    };
  }
}

/** An alarm is told again so often, ms. */
const REMIND_MS = 60_000;

export default fp(
  async (app) => {
    const log = app.pino.child({ component: "predictions" });
    const toldAt = new Map<Pod, number>();
    const fallen = new Map<Pod, boolean>();

    const tell = (pod: Pod) => {
      const { alarm, check, totals } = pod.predictions;
      const now = performance.now();
      if (alarm === null) {
        if (toldAt.delete(pod))
          log.info(
            { event_type: "predictions", pod_id: pod.config.name },
            "the pod's predictions agree again",
          );
      } else if (now - (toldAt.get(pod) ?? Number.NEGATIVE_INFINITY) >= REMIND_MS) {
        toldAt.set(pod, now);
        log.warn(
          { event_type: "predictions", pod_id: pod.config.name, ...totals, ratio: check.ratio },
          `predictions and engine part: ${alarm}`,
        );
      }
      const falls = pod.predictions.fallen !== null;
      if (falls === (fallen.get(pod) ?? false)) return;
      fallen.set(pod, falls);
      log.warn(
        { event_type: "fall", pod_id: pod.config.name, fallen: falls },
        falls
          ? "the pod's announced blocks are not used until they agree with its answers again"
          : "the pod's announced blocks are used again",
      );
      app.publisher.podsChanged();
    };

    app.decorate("predictions", {
      take: (rows) => {
        const now = performance.now();
        for (const row of rows) {
          const pod = app.registry.byAddress(row.address);
          if (!pod?.feed) continue;
          pod.predictions.take(row, now);
          tell(pod);
        }
      },
      scraped: (pod) => {
        const { feed, metrics } = pod;
        if (!feed || !metrics?.countsPrefixes) return;
        pod.predictions.engine(metrics.prefixHits, app.registry.blockTokens(pod), performance.now());
        tell(pod);
      },
    });
    app.readiness.note(() =>
      app.registry.pods.flatMap(({ config, predictions }) =>
        predictions.alarm === null
          ? []
          : [{ code: "predictions_off", detail: `pod ${config.name}: ${predictions.alarm}` }],
      ),
    );
    const timer = setInterval(() => {
      for (const pod of app.registry.pods) if (toldAt.has(pod)) tell(pod);
    }, REMIND_MS);
    app.addHook("preClose", async () => clearInterval(timer));
  },
  { name: "predictions", dependencies: ["table", "kv-events"] },
);
