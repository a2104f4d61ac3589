// What a policy's plugins need of each pod, as the table has it: label bits, custom columns, adapters.
import { selects } from "../policy/label-selector.js";
import type { ColumnSource, SchedulingProgram } from "../policy/program.js";
import type { ColumnRow } from "../wire.js";
import type { Pod } from "./pod-registry.js";

/** Kubernetes label that tells a pod's role; a pod without it has the role of its configuration. */
const ROLE_LABEL = "llm-d.ai/role";

/** Rows of all pods; `now` on the clock of `performance.now()`. Values older than their time to live are missing. */
export function columnRows(
  { columns, selectors, adapters }: SchedulingProgram,
  pods: readonly Pod[],
  now: number,
): ColumnRow[] {
  return pods.map((pod) => {
    const labels = { [ROLE_LABEL]: pod.config.role, ...pod.config.labels };
    const lora = adapters ? pod.metrics?.adapters : undefined;
    return {
      slot: pod.slot,
      model: pod.model,
      labels: selectors.reduce((bits, s, i) => (selects(s, labels) ? bits | (1n << BigInt(i)) : bits), 0n),
      columns: columns.map((source) => columnValue(source, pod, labels, now)),
      activeAdapters: lora?.active ?? [],
      waitingAdapters: lora?.waiting ?? [],
      maxAdapters: lora?.most ?? 0,
    };
  });
}

function columnValue(
  source: ColumnSource,
  pod: Pod,
  labels: Record<string, string>,
  now: number,
): number | string | null {
  if (source.from === "attribute") {
    const found = pod.attributes.get(source.name);
    return found && now - found.at <= found.ttlMs ? found.value : Number.NaN;
  }
  const text = Object.hasOwn(labels, source.label) ? labels[source.label]! : null;
  if (source.from === "label") return text;
  if (text === null) return Number.NaN;
  const range = /^\s*(\d+)\s*-\s*(\d+)\s*$/.exec(text);
  // The filter takes -1 for a label that is no range.
  if (!range || Number(range[1]) > Number(range[2])) return -1;
  return Number(range[source.from === "range-start" ? 1 : 2]);
}
