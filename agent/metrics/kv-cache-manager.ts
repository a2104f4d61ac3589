// The KV-cache manager's names.
import { Histogram } from "prom-client";
import { hitRate } from "../kv/cache-facts.js";
import type { Metrics } from "./metrics.js";

export function kvCacheManagerMetrics({ app, counter, gauge, perPod, registry: prometheus }: Metrics): void {
  const { registry: pods, wire } = app;
  gauge("kv_cache_manager_total_blocks", "KV blocks held by all pods, duplicates included", [], () => [
    [{}, wire.stats().blocks],
  ]);
  gauge("kv_cache_manager_unique_blocks", "Different KV blocks by text", [], () => [
    [{}, wire.uniqueBlocks()],
  ]);
  gauge("kv_cache_manager_pods_tracked", "Pods whose KV events are followed", [], () => [
    [{}, pods.pods.filter((pod) => pod.feed).length],
  ]);
  gauge(
    "kv_cache_manager_hit_rate",
    "Cached share of the prompt tokens a pod looked up, since its start",
    ["pod"],
    () => perPod((pod) => hitRate(pod)),
  );
  gauge(
    "kv_cache_manager_global_hit_rate",
    "Cached share of the prompt tokens all pods looked up",
    [],
    () => {
      const rate = app.cacheFacts.globalHitRate();
      return rate === null ? [] : [[{}, rate]];
    },
  );
  gauge("kv_cache_manager_cache_utilization", "Used share of a pod's KV cache (0-1)", ["pod"], () =>
    perPod((pod) => pod.metrics?.kvUsage),
  );
  counter("kv_cache_manager_events_received_total", "KV events by type", ["type"], () => {
    const sum = { BlockStored: 0, BlockRemoved: 0, AllBlocksCleared: 0, other: 0 };
    for (const { index } of pods.pods) {
      sum.BlockStored += index.counts.stored;
      sum.BlockRemoved += index.counts.removed;
      sum.AllBlocksCleared += index.counts.cleared;
      sum.other += index.counts.unknown;
    }
    return Object.entries({ ...sum, ...app.announced.counts }).map(([type, n]) => [{ type }, n]);
  });
  gauge("warmgate_announced_blocks", "Blocks known by JSON events, by their hashes alone", [], () => [
    [{}, app.announced.size],
  ]);
  counter("warmgate_bound_messages_total", "Messages to ZMQ_BIND_ADDRESS", ["pod"], () => {
    const counts = app.boundEvents?.counts;
    return counts
      ? [
          [{ pod: "known" }, counts.messages - counts.unknownPod],
          [{ pod: "unknown" }, counts.unknownPod],
        ]
      : [];
  });
  gauge(
    "kv_cache_manager_eviction_rate",
    "KV blocks that a pod removed per second, over the last minute",
    ["pod"],
    () => perPod((pod) => (pod.feed ? pod.index.evictions.perSecond(performance.now()) : null)),
  );
  const processing = new Histogram({
    name: "kv_cache_manager_event_processing_duration_seconds",
    help: "Time to decode and index one event batch",
    buckets: [0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
    registers: [prometheus],
  });
  app.onBatch.push((ms) => processing.observe(ms / 1000));
  counter("kv_cache_manager_score_requests_total", "Requests to the score route", ["result"], () =>
    Object.entries(app.cacheFacts.scored).map(([result, n]) => [{ result }, n]),
  );
  const scoring = new Histogram({
    name: "kv_cache_manager_score_request_duration_seconds",
    help: "Time from a score request's body to its answer",
    buckets: [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1],
    registers: [prometheus],
  });
  app.cacheFacts.onScore = (ms) => scoring.observe(ms / 1000);
}
