// Under which plugin's name an operation of the scheduling program is told: the first of those that become it.
import type { OpName } from "./program.js";

/** What is timed: filters and scorers, and `Ready`, the choice of the pods that they begin with. */
export type TimedOp = Exclude<OpName, "MaxScore" | "WeightedRandom" | "RandomPick"> | "Ready";

export const OPERATION_PLUGINS: Readonly<Record<TimedOp, { is: "filter" | "scorer"; plugin: string }>> = {
  Ready: { is: "filter", plugin: "ready-filter" },
  FilterLabels: { is: "filter", plugin: "label-selector-filter" },
  FilterPrefixAffinity: { is: "filter", plugin: "prefix-cache-affinity-filter" },
  FilterSession: { is: "filter", plugin: "session-affinity-filter" },
  FilterUtilization: { is: "filter", plugin: "utilization-filter" },
  FilterAttribute: { is: "filter", plugin: "endpoint-attribute-filter" },
  FilterLora: { is: "filter", plugin: "lora-affinity-filter" },
  FilterContextLength: { is: "filter", plugin: "context-length-filter" },
  FilterExpression: { is: "filter", plugin: "expression-filter" },
  Queue: { is: "scorer", plugin: "queue-scorer" },
  Running: { is: "scorer", plugin: "running-requests-size-scorer" },
  KvUsage: { is: "scorer", plugin: "kv-cache-utilization-scorer" },
  LoadAware: { is: "scorer", plugin: "load-aware-scorer" },
  LoadBlend: { is: "scorer", plugin: "load-aware-scorer" },
  ActiveRequests: { is: "scorer", plugin: "active-request-scorer" },
  TokenLoad: { is: "scorer", plugin: "token-load-scorer" },
  Prefix: { is: "scorer", plugin: "prefix-cache-scorer" },
  Lora: { is: "scorer", plugin: "lora-affinity-scorer" },
  Session: { is: "scorer", plugin: "session-affinity-scorer" },
  NoHitLru: { is: "scorer", plugin: "no-hit-lru-scorer" },
  ContextLength: { is: "scorer", plugin: "context-length-aware" },
  Attribute: { is: "scorer", plugin: "endpoint-attribute-scorer" },
  HeaderLabel: { is: "scorer", plugin: "header-label-affinity-scorer" },
  Random: { is: "scorer", plugin: "random-scorer" },
  Expression: { is: "scorer", plugin: "expression-scorer" },
  WarmUntilBusy: { is: "scorer", plugin: "warm-until-busy" },
  RoundRobin: { is: "scorer", plugin: "round-robin-scorer" },
};

export const TIMED_OPS = Object.keys(OPERATION_PLUGINS) as TimedOp[];
