// What gateways count, and what they are sent.
import type { Metrics } from "./metrics.js";

export function gatewayMetrics({ app, counter, gauge, perPod, reported }: Metrics): void {
  const { reports } = app;
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
}
