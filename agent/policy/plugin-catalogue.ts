// Every plugin type of an EndpointPickerConfig that is known by name, and what of it gateways run. To let a type run,
// change its row here and teach compile.ts what the row says. Names and parameters are those of llm-d's router and of
// the Gateway API Inference Extension; docs/policy.md lists what runs.

export type PluginKind =
  | "scorer"
  | "filter"
  | "picker"
  | "handler"
  | "decider"
  | "producer"
  | "source"
  | "extractor"
  | "parser"
  | "detector"
  | "admitter"
  | "flow policy";

/** What a scorer adds its weight to; the filter's weighted profile has these three scores. */
export type ScoreColumn = "prefix" | "load" | "inflight";

export type Runs =
  /** Counts into one score of the weighted profile. */
  | { as: ScoreColumn }
  /** Is a whole order of pods by itself. */
  | { as: "warm-until-busy" }
  /** Gateway or agent do so whether it is listed or not; the text says what. */
  | { as: "built-in"; does: string };

/** What may stand at a parameter. */
export type ParameterRule =
  /** This value alone: it is what runs. */
  | { only: number | string | boolean }
  /** Anything, or a whole number within bounds; it is not used, and the text says why. */
  | { unused: string; bounds?: [from: number, to: number] }
  /** Known and not run. */
  | { refused: string };

export interface PluginType {
  kind: PluginKind;
  /** null = known by name, refused. */
  runs: Runs | null;
  parameters?: Record<string, ParameterRule>;
}

const OWN_INDEX = "the agent keeps an index of its own, fed by the pods' KV events";
const OWN_COUNT = "the gateway counts its own requests in flight";
const OWN_SCRAPE = "scrape in warmgate.yaml says how pods are read";
const OWN_TEXT = "prompts are matched by their text, without tokens";

const known = (kind: PluginKind, types: string[]): [string, PluginType][] =>
  types.map((type) => [type, { kind, runs: null }]);

const builtIn = (kind: PluginKind, does: string, types: string[], parameters: string[]) =>
  types.map((type): [string, PluginType] => [
    type,
    {
      kind,
      runs: { as: "built-in", does },
      parameters: Object.fromEntries(parameters.map((name) => [name, { unused: does }])),
    },
  ]);

const prefixParameters: Record<string, ParameterRule> = {
  prefixMatchInfoProducerName: { unused: OWN_INDEX },
  matchLengthWeight: { only: 0 },
  matchLengthScaleTokens: { unused: "it acts with a matchLengthWeight above 0 only" },
  autoTune: { unused: OWN_INDEX },
  blockSize: { unused: OWN_INDEX },
  blockSizeTokens: { unused: OWN_INDEX },
  hashBlockSize: { unused: OWN_INDEX },
  maxPrefixBlocksToMatch: { unused: OWN_INDEX },
  maxPrefixTokensToMatch: { unused: OWN_INDEX },
  lruCapacityPerServer: { unused: OWN_INDEX },
  tokenProcessorConfig: { unused: OWN_INDEX },
  indexerConfig: { unused: OWN_INDEX },
  kvEventsConfig: { unused: OWN_INDEX },
  tokenizersPoolConfig: { unused: OWN_TEXT },
  cacheHitThreshold: { refused: "matches of every length count" },
  maxPrefixLength: { refused: "matches of every length count; limits.bodyReadBytes bounds what is read" },
};

/** By type. */
export const PLUGIN_TYPES: ReadonlyMap<string, PluginType> = new Map<string, PluginType>([
  ["warm-until-busy", { kind: "scorer", runs: { as: "warm-until-busy" } }],
  ["precise-prefix-cache-scorer", { kind: "scorer", runs: { as: "prefix" }, parameters: prefixParameters }],
  ["prefix-cache-scorer", { kind: "scorer", runs: { as: "prefix" }, parameters: prefixParameters }],
  [
    "load-aware-scorer",
    {
      kind: "scorer",
      runs: { as: "load" },
      parameters: {
        threshold: { only: 10 },
        maxQueueLength: { only: 10 },
        queueLengthWeight: { only: 0.6 },
        gpuUtilWeight: { only: 0.4 },
      },
    },
  ],
  ["queue-scorer", { kind: "scorer", runs: { as: "load" } }],
  ["kv-cache-utilization-scorer", { kind: "scorer", runs: { as: "load" } }],
  [
    "active-request-scorer",
    {
      kind: "scorer",
      runs: { as: "inflight" },
      parameters: {
        idleThreshold: { only: 0 },
        maxBusyScore: { only: 1 },
        inFlightLoadProducerName: { unused: OWN_COUNT },
        requestTimeout: { unused: "a request counts until it ends" },
      },
    },
  ],
  ["running-requests-size-scorer", { kind: "scorer", runs: { as: "inflight" } }],
  ...known("scorer", [
    "token-load-scorer",
    "lora-affinity-scorer",
    "session-affinity-scorer",
    "no-hit-lru-scorer",
    "context-length-aware",
    "latency-scorer",
    "mm-embeddings-cache-scorer",
    "header-label-affinity-scorer",
    "endpoint-attribute-scorer",
    "topology-affinity-scorer",
    "kv-cache-manager-scorer",
    "random-scorer",
    "multicluster-kv-cache-utilization-scorer",
    "multicluster-queue-scorer",
    "multicluster-prefix-cache-scorer",
  ]),

  ...builtIn(
    "filter",
    "pods whose role is prefill are never chosen for a whole request",
    ["decode-filter"],
    [],
  ),
  ...known("filter", [
    "prefill-filter",
    "encode-filter",
    "label-selector-filter",
    "by-label-selector",
    "by-label",
    "session-affinity-filter",
    "utilization-filter",
    "endpoint-attribute-filter",
    "topology-affinity-filter",
    "prefix-cache-affinity-filter",
    "slo-headroom-tier-filter",
    "disaggregatedset-rollout-screener",
  ]),

  [
    "max-score-picker",
    {
      kind: "picker",
      runs: {
        as: "built-in",
        does: "the best pod first; ties by a hash of the prompt, alike in all workers",
      },
      parameters: {
        maxNumOfEndpoints: { bounds: [1, 3], unused: "three pods are always named, best first, for retries" },
      },
    },
  ],
  ...known("picker", ["random-picker", "weighted-random-picker"]),

  ...builtIn("handler", "one profile is run for every request", ["single-profile-handler"], []),
  ...known("handler", [
    "disagg-profile-handler",
    "pd-profile-handler",
    "disagg-headers-handler",
    "prefill-header-handler",
    "data-parallel-profile-handler",
    "header-profile-handler",
  ]),
  ...known("decider", [
    "prefix-based-pd-decider",
    "always-disagg-pd-decider",
    "always-disagg-multimodal-decider",
  ]),

  ...builtIn(
    "producer",
    OWN_INDEX,
    ["precise-prefix-cache-producer", "approx-prefix-cache-producer"],
    [
      "tokenProcessorConfig",
      "indexerConfig",
      "kvEventsConfig",
      "speculativeIndexing",
      "speculativeTTL",
      "autoTune",
      "blockSizeTokens",
      "maxPrefixTokensToMatch",
      "maxPrefixBlocksToMatch",
      "lruCapacityPerServer",
    ],
  ),
  ...builtIn(
    "producer",
    OWN_COUNT,
    ["inflight-load-producer"],
    ["addEstimatedOutputTokens", "outputRatio", "maxEstimatedOutputTokens"],
  ),
  ...builtIn(
    "producer",
    OWN_TEXT,
    ["token-producer", "tokenizer"],
    ["modelName", "vllm", "estimate", "udsTokenizerConfig"],
  ),
  ...known("producer", [
    "predicted-latency-producer",
    "burst-prefix-cache-producer",
    "mm-embeddings-cache-producer",
    "session-id-producer",
    "p2p-source-producer",
    "request-attribute-reporter",
    "agent-identity",
  ]),

  ...builtIn(
    "source",
    OWN_SCRAPE,
    ["metrics-data-source"],
    ["scheme", "path", "port", "insecureSkipVerify", "interval"],
  ),
  ...builtIn(
    "extractor",
    OWN_SCRAPE,
    ["core-metrics-extractor"],
    ["engineLabelKey", "defaultEngine", "engineConfigs"],
  ),
  ...known("source", [
    "models-data-source",
    "dcgm-data-source",
    "k8s-notification-source",
    "endpoint-notification-source",
    "file-discovery",
    "multicluster-file-discovery",
  ]),
  ...known("extractor", ["models-data-extractor", "dcgm-extractor", "topology-extractor"]),

  ...builtIn(
    "parser",
    "OpenAI's paths are read, any other path is passed on",
    ["openai-parser", "passthrough-parser"],
    [],
  ),
  ...known("parser", [
    "anthropic-parser",
    "vllmhttp-parser",
    "sglanghttp-parser",
    "vllmgrpc-parser",
    "vertexai-parser",
  ]),
  ...known("detector", ["utilization-detector", "concurrency-detector"]),
  ...known("admitter", ["latency-slo-admitter", "probabilistic-admitter"]),
  ...known("flow policy", [
    "global-strict-fairness-policy",
    "round-robin-fairness-policy",
    "program-aware-fairness",
    "fcfs-ordering-policy",
    "edf-ordering-policy",
    "slo-deadline-ordering-policy",
    "static-usage-limit-policy",
    "priority-holdback-policy",
    "soft-reflective-ceiling-policy",
    "eviction-sheddable-filter",
    "eviction-priority-then-time-ordering",
  ]),
]);

/** Kinds that a scheduling profile refers to. */
export const PROFILE_KINDS: readonly PluginKind[] = ["filter", "scorer", "picker"];

/** Types of a kind that run, in the order of the catalogue. */
export function runningTypes(kind: PluginKind): string[] {
  return [...PLUGIN_TYPES]
    .filter(([, type]) => type.kind === kind && type.runs !== null)
    .map(([name]) => name);
}

/** Top-level keys of an EndpointPickerConfig that are known and not run, with what to do instead. */
export const REFUSED_SECTIONS: Readonly<Record<string, string>> = {
  featureGates: "there are no feature gates here; remove it",
  dataLayer: "pods and how they are read stand in warmgate.yaml (pools, scrape)",
  flowControl: "requests are not queued in the gateway",
  requestHandler: "OpenAI's paths are read without it",
  saturationDetector: "requests are not refused by saturation",
  parser: "OpenAI's paths are read without it",
  profiles: "the older spelling is not read; use plugins and schedulingProfiles",
  pluginConfig: "the older spelling is not read; use plugins and schedulingProfiles",
};
