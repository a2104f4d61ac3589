// Owns the Prometheus registry.
import fp from "fastify-plugin";
import { collectDefaultMetrics, type Registry } from "prom-client";
import { endpointPickerMetrics } from "../metrics/endpoint-picker.js";
import { gatewayMetrics } from "../metrics/gateways.js";
import { kvCacheManagerMetrics } from "../metrics/kv-cache-manager.js";
import { Metrics } from "../metrics/metrics.js";
import { podMetrics } from "../metrics/pods-and-index.js";
import { predictionMetrics } from "../metrics/predictions.js";

declare module "fastify" {
  interface FastifyInstance {
    prometheus: Registry;
  }
}

export default fp(
  async (app) => {
    const metrics = new Metrics(app);
    collectDefaultMetrics({ register: metrics.registry });
    kvCacheManagerMetrics(metrics);
    endpointPickerMetrics(metrics);
    gatewayMetrics(metrics);
    predictionMetrics(metrics);
    podMetrics(metrics);
    app.decorate("prometheus", metrics.registry);
  },
  { name: "metrics", dependencies: ["table", "kv-events", "models", "load", "table-stream", "cache"] },
);
