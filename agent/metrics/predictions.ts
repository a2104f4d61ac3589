// What was predicted beside what engines found in their caches.
import type { Pod } from "../load/pod-registry.js";
import type { Metrics, Rows } from "./metrics.js";

export function predictionMetrics({ app, counter, gauge, perPod }: Metrics): void {
  const { registry: pods, wire, models } = app;
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
}
