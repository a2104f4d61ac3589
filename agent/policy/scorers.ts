// Scorer types and their parameters. Formulas and sources: docs/policy.md.
import type { Path } from "../config/validate.js";
import type { Build } from "./build.js";
import type { ParameterRule, Parameters } from "./parameters.js";
import { known, type OpParts, operation, type PluginRow } from "./plugin-type.js";

const OWN_INDEX = "the agent keeps an index of its own, fed by the pods' KV events";
const OWN_COUNT = "the gateway counts its own requests in flight";
const OWN_TEXT = "prompts are matched by their text, without tokens";
/** Largest number of tokens, requests or pods that a parameter may name. */
const MANY = 1e9;

const share = (value: number): ParameterRule => ({ is: "number", default: value, from: 0, to: 1 });
const amount = (value: number, from: number, to = MANY): ParameterRule => ({
  is: "number",
  default: value,
  from,
  to,
});

const prefixParameters: Readonly<Record<string, ParameterRule>> = {
  matchLengthWeight: share(0),
  matchLengthScaleTokens: amount(8192, 1),
  cacheHitThreshold: share(0),
  maxPrefixLength: amount(0, 0),
  prefixMatchInfoProducerName: { unused: OWN_INDEX },
  mode: { unused: OWN_INDEX },
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
  kvCacheRedisAddr: { unused: OWN_INDEX },
  tokenizersPoolConfig: { unused: OWN_TEXT },
};

function prefix(p: Parameters): OpParts {
  return {
    op: "Prefix",
    p: [
      p.number("matchLengthWeight"),
      p.number("matchLengthScaleTokens"),
      p.number("cacheHitThreshold"),
      p.number("maxPrefixLength"),
    ],
  };
}

/** llm-d's formula, or the older documents' blend of queue and cache when one of its parameters is given. */
function loadAware(p: Parameters): OpParts {
  const blend = ["queueLengthWeight", "gpuUtilWeight", "maxQueueLength"].some((name) => p.has(name));
  if (!blend) return { op: "LoadAware", p: [p.number("threshold")] };
  const longest = p.has("maxQueueLength")
    ? p.number("maxQueueLength")
    : p.has("threshold")
      ? p.number("threshold")
      : 10;
  return { op: "LoadBlend", p: [longest, p.number("queueLengthWeight"), p.number("gpuUtilWeight")] };
}

/** Of session-affinity-scorer and -filter. */
export const sessionParameters: Readonly<Record<string, ParameterRule>> = {
  ttl: { is: "duration", default: "300s", from: 1000, to: 24 * 3_600_000 },
  stickiness: { is: "choice", of: ["low", "medium", "high"], default: "high" },
  sessionIdConfig: { is: "value" },
  strategy: { unused: "sessions go by x-session-id, which every request has" },
  profileName: { unused: "sessions go by x-session-id, which every request has" },
  encodedEndpointHeaderConfig: { unused: "sessions go by x-session-id, which every request has" },
};

/** TTL in ms and stickiness. */
export function session(p: Parameters, build: Build, path: Path): Pick<OpParts, "a" | "p"> {
  const given = p.value("sessionIdConfig") as { evictionTtlSeconds?: unknown } | undefined;
  let ttl = p.number("ttl");
  if (given?.evictionTtlSeconds !== undefined) {
    const seconds = Number(given.evictionTtlSeconds);
    if (seconds >= 1 && seconds <= 86_400) ttl = seconds * 1000;
    else build.refuse([...path, "sessionIdConfig", "evictionTtlSeconds"], "must be a number from 1 to 86400");
  }
  const stickiness = { low: "Low", medium: "Medium", high: "High" }[p.text("stickiness")];
  return { a: `Stickiness.${stickiness}`, p: [ttl] };
}

function attribute(p: Parameters, build: Build, path: Path): OpParts {
  const column = build.attribute(p.text("attributeKey"), [...path, "attributeKey"]);
  const { type = "linear_higher_is_better", normalization } = (p.value("algorithm") ?? {}) as {
    type?: string;
    normalization?: { fixedRange?: { min?: number; max?: number } } | string;
  };
  if (type !== "linear_lower_is_better" && type !== "linear_higher_is_better")
    build.refuse([...path, "algorithm"], "type must be linear_lower_is_better or linear_higher_is_better");
  const flags = type === "linear_lower_is_better" ? 1 : 0;
  const range = typeof normalization === "object" ? normalization.fixedRange : undefined;
  if (!range) return { op: "Attribute", a: column, flags };
  const { min, max } = range;
  if (typeof min !== "number" || typeof max !== "number" || !(max > min))
    build.refuse([...path, "algorithm"], "normalization.fixedRange needs min and max, min below max");
  return { op: "Attribute", a: column, p: [Number(min), Number(max)], flags: flags | 2 };
}

function expression(p: Parameters, build: Build, path: Path): OpParts {
  const [first, count] = build.expression(p.text("expression"), [...path, "expression"]);
  return { op: "Expression", a: first, p: [count] };
}

const simple = (type: string, op: OpParts["op"]) => operation("scorer", type, {}, () => ({ op }));

export const SCORERS: PluginRow[] = [
  simple("warm-until-busy", "WarmUntilBusy"),
  operation("scorer", "precise-prefix-cache-scorer", prefixParameters, prefix),
  operation("scorer", "prefix-cache-scorer", prefixParameters, prefix),
  operation(
    "scorer",
    "load-aware-scorer",
    {
      threshold: amount(128, 1),
      maxQueueLength: amount(10, 1),
      queueLengthWeight: share(0.6),
      gpuUtilWeight: share(0.4),
    },
    loadAware,
  ),
  simple("queue-scorer", "Queue"),
  simple("kv-cache-utilization-scorer", "KvUsage"),
  simple("kv-cache-scorer", "KvUsage"),
  simple("running-requests-size-scorer", "Running"),
  operation(
    "scorer",
    "active-request-scorer",
    {
      idleThreshold: amount(0, 0),
      maxBusyScore: share(1),
      inFlightLoadProducerName: { unused: OWN_COUNT },
      requestTimeout: { unused: "a request counts until it ends" },
    },
    (p) => ({ op: "ActiveRequests", p: [p.number("idleThreshold"), p.number("maxBusyScore")] }),
  ),
  operation(
    "scorer",
    "token-load-scorer",
    { queueThresholdTokens: amount(4_194_304, 1), inFlightLoadProducerName: { unused: OWN_COUNT } },
    (p) => ({ op: "TokenLoad", p: [p.number("queueThresholdTokens")] }),
  ),
  operation("scorer", "lora-affinity-scorer", {}, (_, build) => {
    build.adapters = true;
    return { op: "Lora" };
  }),
  operation("scorer", "session-affinity-scorer", sessionParameters, (p, build, path) => ({
    op: "Session",
    ...session(p, build, path),
  })),
  operation(
    "scorer",
    "no-hit-lru-scorer",
    {
      lruSize: { is: "number", default: 1024, from: 1, to: 1024, whole: true },
      prefixMatchInfoProducerName: { unused: OWN_INDEX },
      prefixPluginType: { unused: OWN_INDEX },
      prefixPluginName: { unused: OWN_INDEX },
    },
    (p) => ({ op: "NoHitLru", p: [p.number("lruSize")] }),
  ),
  operation(
    "scorer",
    "context-length-aware",
    {
      label: { is: "text", default: "llm-d.ai/context-length-range" },
      enableFiltering: { only: false, because: "the scorer; context-length-filter drops pods" },
    },
    (p, build, path) => ({ op: "ContextLength", a: build.range(p.text("label"), path) }),
  ),
  operation(
    "scorer",
    "header-label-affinity-scorer",
    { headerName: { is: "text", default: null }, labelKey: { is: "text", default: null } },
    (p, build, path) => ({
      op: "HeaderLabel",
      a: build.header(p.text("headerName"), [...path, "headerName"]),
      p: [build.label(p.text("labelKey"), path)],
    }),
  ),
  operation(
    "scorer",
    "endpoint-attribute-scorer",
    {
      attributeKey: { is: "text", default: null },
      algorithm: { is: "value" },
      producer: { unused: "attributes are found by their name" },
    },
    attribute,
  ),
  operation(
    "scorer",
    "kv-cache-manager-scorer",
    {
      cache_threshold: share(0.5),
      endpoint: { unused: "the agent is the KV-cache manager, and gateways have its index" },
      timeout: { unused: "the agent is the KV-cache manager, and gateways have its index" },
    },
    (p) => ({ op: "Prefix", p: [0, 1, p.number("cache_threshold"), 0] }),
  ),
  simple("random-scorer", "Random"),
  simple("round-robin-scorer", "RoundRobin"),
  operation("scorer", "expression-scorer", { expression: { is: "text", default: null } }, expression),
  ...known("scorer", [
    "latency-scorer",
    "mm-embeddings-cache-scorer",
    "topology-affinity-scorer",
    "multicluster-kv-cache-utilization-scorer",
    "multicluster-queue-scorer",
    "multicluster-prefix-cache-scorer",
  ]),
];
