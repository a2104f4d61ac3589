// The endpoint picker's names, from what gateway workers report.
import { OPERATION_PLUGINS } from "../policy/operation-plugins.js";
import type { Metrics } from "./metrics.js";

export function endpointPickerMetrics({ app, counter, gauge, reported }: Metrics): void {
  const { wire, reports } = app;
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
  for (const is of ["filter", "scorer"] as const) {
    const timed = () =>
      [...reports.ops].flatMap(([op, total]) => {
        const { is: what, plugin } = OPERATION_PLUGINS[op];
        return what === is ? [{ plugin, ...total }] : [];
      });
    const name = `llmd_epp_${is}_duration_seconds`;
    counter(`${name}_sum`, `Time that a ${is} took in the timed decisions, seconds`, [is], () =>
      timed().map(({ plugin, ns }) => [{ [is]: plugin }, ns / 1e9]),
    );
    counter(`${name}_count`, `Runs of a ${is} in the timed decisions`, [is], () =>
      timed().map(({ plugin, runs }) => [{ [is]: plugin }, runs]),
    );
  }
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
  gauge("llmd_epp_cache_hit_rate", "Predicted cached share of the prompt tokens sent to a pod", ["pod"], () =>
    reported((t) => (t.promptTokens > 0 ? t.predictedTokens / t.promptTokens : Number.NaN)),
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
}
