// Pods, their events, the index that these make, its table and its checkpoints.
import type { Metrics, Rows } from "./metrics.js";

export function podMetrics({ app, counter, gauge, perPod }: Metrics): void {
  const { registry: pods, wire, publisher, checkpointer, models } = app;
  gauge("warmgate_pod_ready", "Whether a pod answers", ["pod"], () => perPod((pod) => (pod.ready ? 1 : 0)));
  gauge("warmgate_pod_prefill_tokens_per_second", "Uncached prefill rate assumed of a pod", ["pod"], () =>
    perPod((pod) => pod.rate.value),
  );
  counter("warmgate_scrapes_total", "Scrapes of pods", ["pod", "result"], () =>
    pods.pods.flatMap(
      (pod): Rows => Object.entries(pod.scrapes).map(([result, n]) => [{ pod: pod.config.name, result }, n]),
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
      perPod((pod) => pod.feed?.counts[field]),
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
  counter("warmgate_checkpoints_total", "Checkpoints written", [], () => [[{}, checkpointer.counts.written]]);
  gauge("warmgate_checkpoint_bytes", "Size of the last checkpoint", [], () => [
    [{}, checkpointer.counts.bytes],
  ]);
  gauge("warmgate_checkpoint_blocked_seconds", "Time the last checkpoint held the event loop", [], () => [
    [{}, checkpointer.counts.blockedMs / 1000],
  ]);
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
}
