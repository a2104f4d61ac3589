// Owns the Prometheus registry. Everything is read from the parts when it is asked for; nothing is counted twice.
import fp from "fastify-plugin";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { hitRate } from "../kv/cache-facts.js";
import type { EventFeed } from "../kv/event-feed.js";
import type { Pod } from "../load/pod-registry.js";

declare module "fastify" {
  interface FastifyInstance {
    prometheus: Registry;
  }
}

type Rows = [labels: Record<string, string>, value: number][];

export default fp(
  async (app) => {
    const registry = new Registry();
    collectDefaultMetrics({ register: registry });
    const metric = (
      kind: "counter" | "gauge",
      name: string,
      help: string,
      labelNames: string[],
      rows: () => Rows,
    ) => {
      if (kind === "gauge") {
        new Gauge({
          name,
          help,
          labelNames,
          registers: [registry],
          collect() {
            this.reset();
            for (const [labels, value] of rows()) this.set(labels, value);
          },
        });
      } else {
        new Counter({
          name,
          help,
          labelNames,
          registers: [registry],
          collect() {
            this.reset();
            for (const [labels, value] of rows()) this.inc(labels, value);
          },
        });
      }
    };
    const gauge = metric.bind(null, "gauge");
    const counter = metric.bind(null, "counter");
    const { registry: pods, wire, publisher, checkpointer, reports, models } = app;
    const perPod = (value: (pod: Pod) => number | null | undefined): Rows =>
      pods.pods.flatMap((pod): Rows => {
        const v = value(pod);
        return v === null || v === undefined || Number.isNaN(v) ? [] : [[{ pod: pod.config.name }, v]];
      });
    const feeds = (value: (feed: EventFeed) => number): Rows =>
      perPod((pod) => (pod.feed ? value(pod.feed) : null));
    const reported = (value: (total: NonNullable<ReturnType<typeof reports.pods.get>>) => number): Rows =>
      perPod((pod) => {
        const total = reports.pods.get(pod.config.address);
        return total ? value(total) : null;
      });

    // The KV-cache manager's names (the contract's §3).
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
      registers: [registry],
    });
    app.onBatch.push((ms) => processing.observe(ms / 1000));
    counter("kv_cache_manager_score_requests_total", "Requests to the score route", ["result"], () =>
      Object.entries(app.cacheFacts.scored).map(([result, n]) => [{ result }, n]),
    );
    const scoring = new Histogram({
      name: "kv_cache_manager_score_request_duration_seconds",
      help: "Time from a score request's body to its answer",
      buckets: [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1],
      registers: [registry],
    });
    app.cacheFacts.onScore = (ms) => scoring.observe(ms / 1000);

    // The endpoint picker's names (the contract's §2), from what gateway workers report.
    counter("llmd_epp_scheduling_decisions_total", "Decisions of all gateway workers", ["result"], () =>
      (["success", "no_pods", "filtered_out"] as const).map((result) => [{ result }, reports.totals[result]]),
    );
    counter(
      "llmd_epp_scheduling_duration_seconds_sum",
      "Time that the timed decisions took, seconds",
      [],
      () => [[{}, reports.totals.scheduling_us / 1e6]],
    );
    counter("llmd_epp_scheduling_duration_seconds_count", "Decisions timed: one in eight", [], () => [
      [{}, reports.totals.scheduling_timed],
    ]);
    counter("llmd_epp_candidate_pods_total", "Pods looked at by decisions", [], () => [
      [{}, reports.totals.candidate_pods],
    ]);
    counter("llmd_epp_filtered_pods_total", "Pods that filters took out", [], () => [
      [{}, Math.max(0, reports.totals.candidate_pods - reports.totals.passed_pods)],
    ]);
    counter("llmd_epp_scored_pods_total", "Pods scored", [], () => [[{}, reports.totals.passed_pods]]);
    counter(
      "llmd_epp_session_affinity_hits_total",
      "Requests that went to their session's pod, under a policy with session affinity",
      [],
      () => [[{}, reports.totals.session_hits]],
    );
    counter(
      "llmd_epp_session_affinity_misses_total",
      "Requests that did not: their session was new, was forgotten, or moved",
      [],
      () => [[{}, reports.totals.session_misses]],
    );
    gauge(
      "llmd_epp_cache_hit_rate",
      "Predicted cached share of the prompt tokens sent to a pod",
      ["pod"],
      () => reported((t) => (t.promptTokens > 0 ? t.predictedTokens / t.promptTokens : Number.NaN)),
    );
    gauge(
      "llmd_epp_cache_prefix_length_bytes",
      "Mean predicted cached prefix of a request to a pod",
      ["pod"],
      () => {
        const { bytesSeen, tokensSeen } = wire.stats();
        const bytesPerToken = tokensSeen > 0 ? bytesSeen / tokensSeen : Number.NaN;
        return reported((t) =>
          t.requests > 0 ? (t.predictedTokens / t.requests) * bytesPerToken : Number.NaN,
        );
      },
    );

    // Our own.
    counter("warmgate_gateway_events_total", "What gateway workers counted", ["event"], () =>
      Object.entries(reports.totals).map(([event, n]) => [{ event }, n]),
    );
    gauge("warmgate_gateway_workers", "Gateway workers that reported within a minute", [], () => [
      [{}, reports.workers],
    ]);
    gauge("warmgate_gateways", "Gateways that share in-flight counts, heard within 3 s", [], () => [
      [{}, app.sharing.gateways],
    ]);
    gauge(
      "warmgate_gateways_sharing_slowly",
      "Of these, those that hear of the others too late: llm-d-token-aware stands in for warm-until-busy there",
      [],
      () => [[{}, app.sharing.slowGateways]],
    );
    gauge("warmgate_pod_inflight_requests", "Requests under way on a pod through all gateways", ["pod"], () =>
      perPod((pod) => reports.inflight(pod.config.address)),
    );
    counter("warmgate_pod_requests_total", "Requests that gateways sent to a pod", ["pod"], () =>
      reported((t) => t.requests),
    );
    counter(
      "warmgate_pod_prompt_tokens_total",
      "Prompt tokens sent to a pod, as estimated by gateways",
      ["pod"],
      () => reported((t) => t.promptTokens),
    );
    counter(
      "warmgate_pod_predicted_tokens_total",
      "Tokens predicted to be cached on the pod they went to",
      ["pod"],
      () => reported((t) => t.predictedTokens),
    );
    counter(
      "warmgate_pod_engine_cached_tokens_total",
      "Prompt tokens that the engine itself counts as found in its cache, also of requests that no gateway sent",
      ["pod"],
      () => perPod((pod) => (pod.metrics?.countsPrefixes ? pod.metrics.prefixHits : null)),
    );
    gauge(
      "warmgate_predictions_off",
      "1 when what a pod announces and what its engine finds in its cache part",
      ["pod"],
      () => perPod((pod) => (pod.feed ? Number(pod.predictions.alarm !== null) : null)),
    );
    gauge("warmgate_pod_fallen", "1 while a pod's announced blocks are not believed", ["pod"], () =>
      perPod((pod) => (pod.feed ? Number(pod.predictions.fallen !== null) : null)),
    );
    gauge(
      "warmgate_approximate_blocks",
      "Text blocks that a pod is taken to hold because gateways sent it them",
      ["pod"],
      () => perPod((pod) => wire.approximateBlocks(pod.slot)),
    );
    counter("warmgate_approximate_told_blocks_total", "Text blocks that gateways told of", [], () => [
      [{}, app.approximate.told],
    ]);
    const answers = (
      name: string,
      help: string,
      value: (totals: Pod["predictions"]["totals"], pod: Pod) => number,
    ) =>
      counter(name, help, ["pod", "model"], () =>
        pods.pods.flatMap((pod): Rows => {
          const { predictions, pool, config } = pod;
          if (predictions.totals.requests === 0) return [];
          return [[{ pod: config.name, model: pool.model.name }, value(predictions.totals, pod)]];
        }),
      );
    answers(
      "warmgate_answers_compared_total",
      "Answers that said how many prompt tokens were cached, and whose prediction was exact",
      (t) => t.answers,
    );
    answers(
      "warmgate_answers_cached_tokens_total",
      "Tokens that these answers said were cached",
      (t) => t.cachedTokens,
    );
    answers(
      "warmgate_answers_predicted_tokens_total",
      "Tokens that the pod's announced blocks promised of them",
      (t) => t.promisedTokens,
    );
    answers(
      "warmgate_answers_over_total",
      "Answers with more than a KV block less cached than was promised",
      (t) => t.over,
    );
    answers(
      "warmgate_answers_under_total",
      "Answers with more than a text block more cached than was promised",
      (t) => t.under,
    );
    const checked = (field: "checked" | "encoded" | "different", name: string, help: string) =>
      counter(name, help, ["model"], () =>
        models.models.flatMap(({ id, pool }): Rows => {
          const check = app.canonicalChecks.get(id);
          return check ? [[{ model: pool.model.name }, check.counts[field]]] : [];
        }),
      );
    checked(
      "checked",
      "warmgate_sampled_blocks_checked_total",
      "Blocks of decode steps whose tokens were judged",
    );
    checked(
      "encoded",
      "warmgate_sampled_blocks_tokenized_total",
      "Of these, those tokenized afresh to be judged",
    );
    checked(
      "different",
      "warmgate_sampled_blocks_left_out_total",
      "Of these, those that no prompt would be tokenized into",
    );
    gauge("warmgate_pod_ready", "Whether a pod answers", ["pod"], () => perPod((pod) => (pod.ready ? 1 : 0)));
    gauge("warmgate_pod_prefill_tokens_per_second", "Uncached prefill rate assumed of a pod", ["pod"], () =>
      perPod((pod) => pod.rate.value),
    );
    counter("warmgate_scrapes_total", "Scrapes of pods", ["pod", "result"], () =>
      pods.pods.flatMap(
        (pod): Rows =>
          Object.entries(pod.scrapes).map(([result, n]) => [{ pod: pod.config.name, result }, n]),
      ),
    );
    gauge("warmgate_event_sequence", "Last KV event batch in the index", ["pod"], () =>
      perPod((pod) => pod.feed?.position?.sequence),
    );
    gauge("warmgate_index_suspect", "1 when event batches of a pod were lost", ["pod"], () =>
      perPod((pod) => (pod.feed ? (pod.index.suspect ? 1 : 0) : null)),
    );
    for (const [field, help] of [
      ["batches", "KV event batches applied"],
      ["replayed", "Of these, by replay"],
      ["gaps", "Holes seen in a pod's sequence"],
      ["missed", "Batches that no replay brought back"],
      ["restarts", "Times an engine began anew"],
      ["malformed", "Messages that could not be read"],
      ["replayFailures", "Replays without an answer"],
      ["tails", "Batches lost at the end of a burst and found by asking"],
    ] as const)
      counter(`warmgate_event_${snake(field)}_total`, help, ["pod"], () =>
        feeds((feed) => feed.counts[field]),
      );
    counter("warmgate_events_skipped_total", "Events not wholly indexed", ["reason"], () => {
      const sums = new Map<string, number>();
      for (const { index } of pods.pods)
        for (const [reason, n] of Object.entries(index.counts.skipped))
          sums.set(reason, (sums.get(reason) ?? 0) + n);
      return [...sums].map(([reason, n]) => [{ reason }, n]);
    });
    gauge("warmgate_orphans", "Event runs that wait for their parent block", [], () => [
      [{}, pods.pods.reduce((n, pod) => n + pod.index.orphans.size, 0)],
    ]);
    counter("warmgate_orphans_dropped_total", "Event runs whose parent never came", [], () => [
      [{}, pods.pods.reduce((n, pod) => n + pod.index.orphans.dropped, 0)],
    ]);
    gauge("warmgate_index_entries", "Prefix entries in the table", [], () => [[{}, wire.stats().entries]]);
    gauge("warmgate_index_bytes", "Memory of index and table", [], () => [[{}, wire.stats().bytes]]);
    counter("warmgate_index_refused_entries_total", "Entries that did not fit maxEntries", [], () => [
      [{}, wire.stats().refusedEntries],
    ]);
    gauge("warmgate_table_subscribers", "Gateway workers on the table stream", [], () => [
      [{}, publisher.subscribers],
    ]);
    counter("warmgate_table_frames_total", "Frames sent, all subscribers together", [], () => [
      [{}, publisher.counts.frames],
    ]);
    counter("warmgate_table_bytes_total", "Bytes of these frames", [], () => [[{}, publisher.counts.bytes]]);
    counter("warmgate_table_snapshots_total", "Snapshots sent", [], () => [[{}, publisher.counts.snapshots]]);
    gauge("warmgate_template_exact", "1 when a model's chat template is known exactly", ["model"], () =>
      models.models.map((m) => [{ model: m.pool.model.name }, m.template.kind === "exact" ? 1 : 0]),
    );
    counter("warmgate_checkpoints_total", "Checkpoints written", [], () => [
      [{}, checkpointer.counts.written],
    ]);
    gauge("warmgate_checkpoint_bytes", "Size of the last checkpoint", [], () => [
      [{}, checkpointer.counts.bytes],
    ]);
    gauge("warmgate_checkpoint_blocked_seconds", "Time the last checkpoint held the event loop", [], () => [
      [{}, checkpointer.counts.blockedMs / 1000],
    ]);
    app.decorate("prometheus", registry);
  },
  { name: "metrics", dependencies: ["table", "kv-events", "models", "load", "table-stream", "cache"] },
);

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
}
