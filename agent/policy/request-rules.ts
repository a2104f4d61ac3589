// The part of a policy that says what requests may ask for and when they wait or are refused: its shape, its defaults,
// and the rules that gateways run. docs/requests.md explains each key.
import { type Static, Type } from "typebox";
import { DURATION_PATTERN, durationMs } from "../config/duration.js";
import type { Mistake } from "../config/validate.js";
import type { RulesProgram } from "../wire.js";

const closed = { additionalProperties: false } as const;
/** Goes into JSON and into headers as it is. */
const Model = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^"\\\\\\u0000-\\u001f]+$' });
const Name = Type.String({ minLength: 1, maxLength: 255 });
const Duration = (fallback: string, description: string) =>
  Type.String({ pattern: DURATION_PATTERN, default: fallback, description });
const Count = (fallback: number, maximum: number, description: string, minimum = 0) =>
  Type.Integer({ minimum, maximum, default: fallback, description });

const callers = {
  principals: Type.Array(Name, {
    maxItems: 64,
    default: [],
    description: "URI SANs or subjects of client certificates; a final * stands for any end",
  }),
  claimHeader: Type.String({
    pattern: "^[a-z0-9-]{0,64}$",
    default: "",
    description: "Header with a claim that the gateway has verified; set by the gateway alone",
  }),
  claimValues: Type.Array(Name, { maxItems: 64, default: [], description: "Its values that are trusted" }),
  tokens: Type.Array(Type.String({ pattern: "^[0-9a-f]{64}$" }), {
    maxItems: 64,
    default: [],
    description: "SHA-256, in hex, of bearer tokens or API keys",
  }),
};

const requests = {
  maxTimeout: Duration("10m", "Most that x-request-timeout gets; 0s: it is not honoured"),
  maxRetries: Count(3, 10, "Most that x-max-retries gets"),
  objectives: Type.Record(
    Type.String({ pattern: "^[ -~]{1,255}$" }),
    Type.Integer({ minimum: -1000, maximum: 1000 }),
    {
      maxProperties: 128,
      default: {},
      description: "Priority by the name in x-llm-d-inference-objective; below zero is sheddable",
    },
  ),
  overrides: Type.Array(Model, {
    maxItems: 64,
    default: [],
    description: "Models that trusted callers may ask for in x-model-override",
  }),
  subsetMetadata: Type.Boolean({
    default: false,
    description:
      "Whether the gateway's own filters may restrict a request to some pods (envoy.lb.subset_hint)",
  }),
  rewrites: Type.Array(
    Type.Object(
      {
        model: Model,
        targets: Type.Array(
          Type.Object({ model: Model, weight: Type.Optional(Count(1, 1_000_000, "Share")) }, closed),
          { minItems: 1, maxItems: 16 },
        ),
      },
      closed,
    ),
    { maxItems: 64, default: [], description: "Other models for a model, by weight" },
  ),
};

const saturation = {
  detector: Type.Union(
    [Type.Literal("utilization-detector"), Type.Literal("concurrency-detector"), Type.Literal("none")],
    { default: "utilization-detector" },
  ),
  queueDepthThreshold: Count(5, 100_000, "Waiting requests at which a pod is full", 1),
  kvCacheUtilThreshold: Type.Number({ exclusiveMinimum: 0, maximum: 1, default: 0.8 }),
  headroom: Type.Number({
    minimum: 0,
    maximum: 10,
    default: 0,
    description: "How far beyond its threshold a pod may go before requests wait",
  }),
  concurrencyMode: Type.Union([Type.Literal("requests"), Type.Literal("tokens"), Type.Literal("hybrid")], {
    default: "requests",
  }),
  maxConcurrency: Count(100, 1_000_000, "Requests in flight at which a pod is full", 1),
  maxTokenConcurrency: Count(1_000_000, 1_000_000_000, "Prompt tokens without a first token, the same", 1),
};

const flowControl = {
  enabled: Type.Boolean({ default: false, description: "Whether requests wait when every pod is full" }),
  maxRequests: Count(512, 1024, "Requests that may wait, per gateway worker", 1),
  maxBytes: Count(67_108_864, 1_073_741_824, "Bytes of their bodies, per gateway worker", 1),
  maxBodyBytes: Count(1_048_576, 16_777_216, "Longest body that may wait", 1),
  defaultRequestTTL: Duration("30s", "Longest wait"),
};

const decisions = {
  sampleRate: Type.Number({ minimum: 0, maximum: 1, default: 0, description: "Share that is recorded" }),
  filterState: Type.Boolean({ default: false, description: "Whether access logs can show decisions" }),
};

const sharing = {
  slowAfter: Duration("100ms", "In-flight counts of other gateways that take longer count as slow"),
  whenSlow: Type.Union([Type.Literal("token-aware"), Type.Literal("keep")], {
    default: "token-aware",
    description: "What warm-until-busy does then: llm-d's token-aware stands in for it, or it goes on",
  }),
};

const optional = <T extends Record<string, Parameters<typeof Type.Optional>[0]>>(of: T) =>
  Type.Optional(Type.Partial(Type.Object(of, closed), closed));

/** Keys that may be written. */
export const ruleInput = {
  requests: optional(requests),
  saturation: optional(saturation),
  flowControl: optional(flowControl),
  decisions: optional(decisions),
  sharing: optional(sharing),
};
export const callersInput = optional(callers);

/** The same with nothing left out. */
export const ruleShape = {
  requests: Type.Object(requests, closed),
  saturation: Type.Object(saturation, closed),
  flowControl: Type.Object(flowControl, closed),
  decisions: Type.Object(decisions, closed),
  sharing: Type.Object(sharing, closed),
};
export const callersShape = Type.Object(callers, closed);

export type RuleInput = { [K in keyof typeof ruleInput]?: Static<(typeof ruleInput)[K]> };
export type RulePolicy = { [K in keyof typeof ruleShape]: Static<(typeof ruleShape)[K]> };
export type Callers = Static<typeof callersShape>;

export const DEFAULT_CALLERS: Callers = { principals: [], claimHeader: "", claimValues: [], tokens: [] };

export const DEFAULT_RULES: RulePolicy = {
  requests: {
    maxTimeout: "10m",
    maxRetries: 3,
    objectives: {},
    overrides: [],
    subsetMetadata: false,
    rewrites: [],
  },
  saturation: {
    detector: "utilization-detector",
    queueDepthThreshold: 5,
    kvCacheUtilThreshold: 0.8,
    headroom: 0,
    concurrencyMode: "requests",
    maxConcurrency: 100,
    maxTokenConcurrency: 1_000_000,
  },
  flowControl: {
    enabled: false,
    maxRequests: 512,
    maxBytes: 67_108_864,
    maxBodyBytes: 1_048_576,
    defaultRequestTTL: "30s",
  },
  decisions: { sampleRate: 0, filterState: false },
  sharing: { slowAfter: "100ms", whenSlow: "token-aware" },
};

/** Fills in what was left out. */
export function completedRules(input: RuleInput): RulePolicy {
  const d = DEFAULT_RULES;
  return {
    requests: { ...d.requests, ...input.requests },
    saturation: { ...d.saturation, ...input.saturation },
    flowControl: { ...d.flowControl, ...input.flowControl },
    decisions: { ...d.decisions, ...input.decisions },
    sharing: { ...d.sharing, ...input.sharing },
  };
}

/** Most bytes of all names together: gateways hold 64 KiB of rules. */
const MAX_TEXT = 60_000;
const DAY_MS = 24 * 3_600_000;

/** What is wrong with rules of the right shape. */
export function ruleMistakes(rules: RulePolicy, trusted: Callers): Mistake[] {
  const mistakes: Mistake[] = [];
  const at = (path: (string | number)[], message: string) => mistakes.push({ path, message });
  const bounds: [string, string, string, number][] = [
    ["requests", "maxTimeout", rules.requests.maxTimeout, 0],
    ["flowControl", "defaultRequestTTL", rules.flowControl.defaultRequestTTL, 10],
    ["sharing", "slowAfter", rules.sharing.slowAfter, 1],
  ];
  for (const [section, key, value, least] of bounds) {
    const ms = durationMs(value);
    if (ms < least || ms > DAY_MS) at([section, key], `must be from ${least}ms to 24h, not ${value}`);
  }
  if (trusted.claimValues.length > 0 && trusted.claimHeader === "")
    at(["trust", "callers", "claimValues"], "needs claimHeader, the header that carries the claim");
  const seen = new Set<string>();
  rules.requests.rewrites.forEach(({ model, targets }, i) => {
    if (seen.has(model))
      at(["requests", "rewrites", i, "model"], `${JSON.stringify(model)} is rewritten twice; keep one`);
    seen.add(model);
    if (targets.every(({ weight }) => weight === 0))
      at(["requests", "rewrites", i, "targets"], "no target has weight; give one of them a weight above 0");
  });
  const bytes = Buffer.byteLength(JSON.stringify([rules.requests, trusted]));
  if (bytes > MAX_TEXT)
    at(["requests"], `has too many names (${bytes} bytes, at most ${MAX_TEXT}); name fewer of them`);
  return mistakes;
}

/** What is accepted and may surprise. */
export function ruleNotes({ saturation, flowControl }: RulePolicy): Mistake[] {
  if (!flowControl.enabled || saturation.detector === "concurrency-detector") return [];
  const why =
    saturation.detector === "none"
      ? "has no effect: saturation.detector is none, so no pod is ever full"
      : "acts at the pace of scrapes with utilization-detector; concurrency-detector follows every request";
  return [{ path: ["flowControl", "enabled"], message: why }];
}

/** What gateways run. */
export function compileRules(rules: RulePolicy, trusted: Callers): RulesProgram {
  const { requests: r, flowControl: f } = rules;
  return {
    callers: {
      principals: trusted.principals,
      claim: trusted.claimHeader === "" ? null : { header: trusted.claimHeader, values: trusted.claimValues },
      tokens: trusted.tokens.map((hex) => Uint8Array.from(Buffer.from(hex, "hex"))),
    },
    maxTimeoutMs: durationMs(r.maxTimeout),
    maxRetries: r.maxRetries,
    objectives: Object.entries(r.objectives).map(([name, priority]) => ({ name, priority })),
    overrides: r.overrides,
    rewrites: r.rewrites.map(({ model, targets }) => ({
      model,
      targets: targets.map((t) => ({ model: t.model, weight: t.weight ?? 1 })),
    })),
    saturation: rules.saturation,
    queue: {
      enabled: f.enabled,
      maxRequests: f.maxRequests,
      maxBytes: f.maxBytes,
      maxBodyBytes: f.maxBodyBytes,
      ttlMs: durationMs(f.defaultRequestTTL),
    },
    sampleRate: rules.decisions.sampleRate,
    filterState: rules.decisions.filterState,
    slowSharingMs: durationMs(rules.sharing.slowAfter),
    keepWhenSlow: rules.sharing.whenSlow === "keep",
    subsetMetadata: r.subsetMetadata,
  };
}
