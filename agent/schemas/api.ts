// Shapes of the agent's HTTP answers; they are the API document.
import { Type } from "typebox";

export const ReasonSchema = Type.Object({ code: Type.String(), detail: Type.String() });

export const ErrorSchema = Type.Object({
  error: Type.Object({
    code: Type.String(),
    message: Type.String(),
    problems: Type.Optional(
      Type.Array(
        Type.Object({
          path: Type.String({ description: "JSON pointer into what was sent" }),
          reason: Type.String(),
        }),
      ),
    ),
  }),
});

export const ReadySchema = Type.Object({
  ready: Type.Boolean(),
  reasons: Type.Array(ReasonSchema, { description: "Why it is not ready" }),
  notes: Type.Array(ReasonSchema, { description: "What it lacks though it works" }),
});

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const PREDICTIONS = {
  answers: Type.Integer({ description: "That said how many prompt tokens were cached" }),
  cachedTokens: Type.Integer({ description: "What they said" }),
  predictedTokens: Type.Integer({ description: "What was promised" }),
  withinOneBlock: Nullable(
    Type.Number({ description: "Share of them within a KV block above and a text block below, 0-1" }),
  ),
};

export const PodSchema = Type.Object({
  name: Type.String(),
  pool: Type.String(),
  model: Type.String(),
  address: Type.String(),
  role: Type.String(),
  labels: Type.Record(Type.String(), Type.String()),
  slot: Type.Integer(),
  ready: Type.Boolean(),
  problem: Nullable(Type.String()),
  load: Nullable(
    Type.Object({
      waiting: Type.Number(),
      running: Type.Number(),
      kvUsage: Type.Number({ description: "0-1" }),
      ageMs: Type.Number(),
    }),
  ),
  cache: Type.Object({
    blockTokens: Type.Integer(),
    capacityTokens: Nullable(Type.Integer()),
    hitRate: Nullable(Type.Number()),
  }),
  predictions: Type.Object(
    {
      ...PREDICTIONS,
      alarm: Nullable(Type.String({ description: "How promises and answers part" })),
      fallen: Type.Boolean({ description: "What the pod announces is not used until it agrees again" }),
    },
    { description: "What its announced blocks promised against what its answers say" },
  ),
  prefillTokensPerSecond: Type.Number(),
  inflightRequests: Type.Integer({ description: "Through all gateways that report" }),
  events: Nullable(
    Type.Object({
      state: Type.String(),
      sequence: Nullable(Type.Integer()),
      batches: Type.Integer(),
      replayed: Type.Integer(),
      gaps: Type.Integer(),
      missed: Type.Integer(),
      restarts: Type.Integer(),
      malformed: Type.Integer(),
      suspect: Type.Boolean(),
      partial: Type.Boolean(),
      orphans: Type.Integer(),
    }),
  ),
});

export const PodsSchema = Type.Object({ pods: Type.Array(PodSchema) });

export const PolicyStatusSchema = Type.Object({
  version: Type.Integer({ description: "Goes up by one with each change" }),
  etag: Type.String(),
  source: Type.Union([Type.Literal("file"), Type.Literal("rest")]),
  changedAt: Type.String({ format: "date-time" }),
  runs: Type.Object(
    {
      handler: Type.String({ description: "Single, Disaggregated or Header" }),
      profiles: Type.Array(
        Type.Object({
          name: Type.String(),
          role: Type.String(),
          filters: Type.Array(Type.String()),
          scorers: Type.Array(Type.Object({ name: Type.String(), weight: Type.Number() })),
          picker: Type.String(),
        }),
      ),
    },
    { description: "What gateways run of `scheduling`" },
  ),
  notes: Type.Array(Type.Object({ path: Type.String(), reason: Type.String() }), {
    description: "What is accepted and does not act as it is written",
  }),
});

export const ModelsSchema = Type.Object({
  models: Type.Array(
    Type.Object({
      name: Type.String(),
      pool: Type.String(),
      names: Type.Array(Type.Object({ name: Type.String(), lora: Type.Union([Type.String(), Type.Null()]) })),
      template: Type.String({ description: "waiting, probing, off, exact or inexact" }),
      shapes: Type.Array(
        Type.Object({
          shape: Type.String({ description: "completions, chat, tools, chat.parts, tools.calls, ..." }),
          exact: Type.Boolean(),
          reason: Type.Union([Type.String(), Type.Null()]),
        }),
      ),
      neverExact: Type.Array(Type.Object({ request: Type.String(), reason: Type.String() }), {
        description: "Requests that are not matched by text, whatever the model",
      }),
      predictions: Type.Object(PREDICTIONS, { description: "Of all its pods" }),
    }),
  ),
});
