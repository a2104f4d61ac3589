// Shape of the policy document: the same in warmgate.yaml (`policy:`) and at /api/v1/policy. docs/policy.md explains
// each key.
import { type Static, Type } from "typebox";
import { DURATION_PATTERN } from "../config/duration.js";
import { DEFAULT_DISAGGREGATION, DisaggregationInputSchema, DisaggregationSchema } from "./disaggregation.js";
import {
  callersInput,
  callersShape,
  DEFAULT_CALLERS,
  DEFAULT_RULES,
  ruleInput,
  ruleShape,
} from "./request-rules.js";

const closed = { additionalProperties: false } as const;
const Name = Type.String({ minLength: 1, maxLength: 255 });
/** Largest weight of a scorer. */
const Weight = Type.Number({ minimum: 0, maximum: 1_000_000 });
/** Known and refused with a reason of its own (plugin-catalogue.ts), whatever its value. */
const Refused = Type.Optional(Type.Unknown({ description: "Known and not run: refused with the reason" }));
/** Known, kept, and without effect; a note says why. */
const Unused = Type.Optional(Type.Unknown({ description: "Known and kept, without effect" }));

const PluginSchema = Type.Object(
  {
    type: Name,
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "Default: the type" })),
    parameters: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  },
  closed,
);

const ProfileSchema = Type.Object(
  {
    name: Name,
    plugins: Type.Array(Type.Object({ pluginRef: Name, weight: Type.Optional(Weight) }, closed), {
      maxItems: 64,
    }),
  },
  closed,
);

/** Parts of `scheduling` that are llm-d's EndpointPickerConfig. */
const endpointPickerConfig = {
  apiVersion: Type.Optional(
    Type.Union([Type.Literal("llm-d.ai/v1alpha1"), Type.Literal("inference.networking.x-k8s.io/v1alpha1")]),
  ),
  kind: Type.Optional(Type.Literal("EndpointPickerConfig")),
  plugins: Type.Optional(Type.Array(PluginSchema, { minItems: 1, maxItems: 256 })),
  schedulingProfiles: Type.Optional(Type.Array(ProfileSchema, { minItems: 1, maxItems: 8 })),
  featureGates: Unused,
  dataLayer: Unused,
  requestHandler: Unused,
  saturationDetector: Unused,
  parser: Unused,
};

const Arguments = Type.Optional(Type.Record(Type.String(), Type.Unknown()));

const EnabledSchema = Type.Object(
  {
    enabled: Type.Optional(
      Type.Array(
        Type.Object(
          {
            name: Name,
            weight: Type.Optional(Weight),
            interval: Type.Optional(Type.String({ pattern: DURATION_PATTERN, examples: ["5s", "500ms"] })),
            args: Arguments,
          },
          closed,
        ),
        { maxItems: 64 },
      ),
    ),
  },
  closed,
);

/** The older spelling of the same: profiles with plugins by slot, and their arguments apart. */
const olderSpelling = {
  profiles: Type.Optional(
    Type.Array(
      Type.Object(
        {
          name: Name,
          plugins: Type.Object(
            {
              filter: Type.Optional(EnabledSchema),
              score: Type.Optional(EnabledSchema),
              scrape: Type.Optional(EnabledSchema),
              pick: Type.Optional(EnabledSchema),
            },
            closed,
          ),
        },
        closed,
      ),
      { minItems: 1, maxItems: 8, description: "The older spelling; written, never shown" },
    ),
  ),
  pluginConfig: Type.Optional(
    Type.Array(Type.Object({ name: Name, args: Arguments }, closed), {
      maxItems: 256,
      description: "Of the older spelling; written, never shown",
    }),
  ),
};

const SchedulingSchema = Type.Object(
  {
    ...endpointPickerConfig,
    ...olderSpelling,
    profile: Type.Optional(
      Type.Union(
        [
          Type.Literal("warm-until-busy"),
          Type.Literal("llm-d-token-aware"),
          Type.Literal("llm-d-blend"),
          Type.Literal("seed-blend"),
          Type.Literal("load-only"),
          Type.Literal("session-only"),
          Type.Literal("round-robin"),
          Type.Literal("weighted"),
        ],
        { description: "Short form of a whole EndpointPickerConfig; written, never shown" },
      ),
    ),
    weights: Type.Optional(
      Type.Object(
        { prefix: Type.Optional(Weight), load: Type.Optional(Weight), inflight: Type.Optional(Weight) },
        { ...closed, description: "Of the short form profile: weighted; written, never shown" },
      ),
    ),
    flowControl: Refused,
  },
  closed,
);

const BodyReadBytes = Type.Integer({
  minimum: 4096,
  maximum: 16_777_216,
  default: 524_288,
  description: "Most bytes of a request body that are read for matching",
});
const BlockBytes = Type.Union([Type.Literal(64), Type.Literal(128), Type.Literal(256)], {
  default: 128,
  description: "Bytes of a text block; changes with the agent's restart only",
});
const MaxEntries = Type.Integer({
  minimum: 1000,
  maximum: 16_000_000,
  default: 1_000_000,
  description: "Most prefix entries that a gateway worker holds; changes with the agent's restart only",
});
const StaleMax = Type.String({
  pattern: DURATION_PATTERN,
  examples: ["30s", "10m"],
  default: "10m",
  description: "How long a gateway uses its table without hearing from the agent",
});
const DebugHeaders = Type.Union([Type.Literal("all"), Type.Literal("trusted"), Type.Literal("none")], {
  default: "trusted",
  description: "Who gets cache, pod and timing response headers",
});
const ReservedFields = Type.Union([Type.Literal("reject"), Type.Literal("allow")], {
  default: "reject",
  description: "A client's kv_transfer_params and the like",
});
const Isolation = Type.Union([Type.Literal("none"), Type.Literal("salt")], {
  default: "none",
  description:
    "salt: a cache_salt derived from the tenant is put into every body, so that no two share cached prefixes",
});

/** What may be written: every key is optional, and `scheduling` has a short form. */
export const PolicyInputSchema = Type.Object(
  {
    apiVersion: Type.Optional(Type.Literal("warmgate/v1")),
    scheduling: Type.Optional(SchedulingSchema),
    limits: Type.Optional(
      Type.Object(
        {
          bodyReadBytes: Type.Optional(BodyReadBytes),
          blockBytes: Type.Optional(BlockBytes),
          maxEntries: Type.Optional(MaxEntries),
          staleMax: Type.Optional(StaleMax),
        },
        closed,
      ),
    ),
    headers: Type.Optional(Type.Object({ debugHeaders: Type.Optional(DebugHeaders) }, closed)),
    sessions: Type.Optional(Type.Object({}, closed)),
    disaggregation: Type.Optional(DisaggregationInputSchema),
    trust: Type.Optional(
      Type.Object(
        {
          reservedFields: Type.Optional(ReservedFields),
          isolation: Type.Optional(Isolation),
          callers: callersInput,
        },
        closed,
      ),
    ),
    ...ruleInput,
  },
  closed,
);

/** What is kept and shown: every key is there, `scheduling` in llm-d's spelling. */
export const PolicySchema = Type.Object(
  {
    apiVersion: Type.Literal("warmgate/v1"),
    scheduling: Type.Object(
      {
        ...endpointPickerConfig,
        plugins: Type.Array(PluginSchema),
        schedulingProfiles: Type.Array(ProfileSchema),
      },
      closed,
    ),
    limits: Type.Object(
      { bodyReadBytes: BodyReadBytes, blockBytes: BlockBytes, maxEntries: MaxEntries, staleMax: StaleMax },
      closed,
    ),
    headers: Type.Object({ debugHeaders: DebugHeaders }, closed),
    sessions: Type.Object({}, closed),
    disaggregation: DisaggregationSchema,
    trust: Type.Object(
      { reservedFields: ReservedFields, isolation: Isolation, callers: callersShape },
      closed,
    ),
    ...ruleShape,
  },
  closed,
);

/** A policy as somebody writes it. */
export type PolicyInput = Static<typeof PolicyInputSchema>;
/** A policy with nothing left out. */
export type Policy = Static<typeof PolicySchema>;
export type Scheduling = Policy["scheduling"];
/** Weights of the short form `profile: weighted`. */
export interface Weights {
  prefix: number;
  load: number;
  inflight: number;
}

/** `policy:` left out of warmgate.yaml. */
export const DEFAULT_WEIGHTS: Weights = { prefix: 50, load: 30, inflight: 20 };

export const DEFAULT_POLICY: Policy = {
  apiVersion: "warmgate/v1",
  scheduling: {
    plugins: [{ type: "warm-until-busy" }],
    schedulingProfiles: [{ name: "default", plugins: [{ pluginRef: "warm-until-busy" }] }],
  },
  limits: { bodyReadBytes: 524_288, blockBytes: 128, maxEntries: 1_000_000, staleMax: "10m" },
  headers: { debugHeaders: "trusted" },
  sessions: {},
  disaggregation: DEFAULT_DISAGGREGATION,
  trust: { reservedFields: "reject", isolation: "none", callers: DEFAULT_CALLERS },
  ...DEFAULT_RULES,
};
