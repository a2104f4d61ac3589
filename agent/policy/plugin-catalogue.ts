// Every plugin type of an EndpointPickerConfig that is known by name. Names and parameters are those of llm-d's router,
// of the Gateway API Inference Extension and of the older documents; docs/policy.md lists what runs.
import { FILTERS, PICKERS } from "./filters.js";
import { HANDLERS } from "./handlers.js";
import { builtIn, known, type PluginKind, type PluginType } from "./plugin-type.js";
import { SCORERS } from "./scorers.js";
import { SCRAPERS } from "./scrapers.js";

const OWN_INDEX = "the agent keeps an index of its own, fed by the pods' KV events";
const OWN_COUNT = "the gateway counts its own requests in flight";
const OWN_SCRAPE = "scrape in warmgate.yaml says how pods are read";
const OWN_TEXT = "prompts are matched by their text, without tokens";

/** By type. */
export const PLUGIN_TYPES: ReadonlyMap<string, PluginType> = new Map<string, PluginType>([
  ...SCORERS,
  ...FILTERS,
  ...PICKERS,
  ...HANDLERS,
  ...builtIn(
    "handler",
    "the gateway writes the headers of a split by itself",
    ["disagg-headers-handler", "prefill-header-handler"],
    ["prefillProfile", "encodeProfile"],
  ),
  ...known("handler", ["data-parallel-profile-handler"]),
  ...known("decider", ["always-disagg-multimodal-decider"]),
  ...SCRAPERS,

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
  ...builtIn(
    "producer",
    "sessions go by x-session-id, which every request has",
    ["session-id-producer"],
    ["headerName", "cookieName"],
  ),
  ...known("producer", [
    "predicted-latency-producer",
    "burst-prefix-cache-producer",
    "mm-embeddings-cache-producer",
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
  ...builtIn("source", "the agent knows the pods and their changes", ["endpoint-notification-source"], []),
  ...known("source", [
    "models-data-source",
    "dcgm-data-source",
    "k8s-notification-source",
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

/** Top-level keys of an EndpointPickerConfig that are kept and do nothing, with who does it instead. */
export const UNUSED_SECTIONS: Readonly<Record<string, string>> = {
  featureGates: "there are no feature gates here",
  dataLayer: "pods and how they are read stand in warmgate.yaml (pools, scrape)",
  requestHandler: "OpenAI's paths are read without it",
  saturationDetector: "it acts with flow control only",
  parser: "OpenAI's paths are read without it",
};

/** Those that are refused, since leaving them out would be another policy. */
export const REFUSED_SECTIONS: Readonly<Record<string, string>> = {
  flowControl: "requests are not queued by an EndpointPickerConfig here; remove it",
};
