// Shape of /api/v1/decisions, and of what `warmgate replay` reads.
import { type Static, Type } from "typebox";
import { DECISION_REASONS } from "../decisions/record.js";

export const DecisionsQuerySchema = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  requestId: Type.Optional(Type.String({ maxLength: 64, description: "x-request-id of one request" })),
  replay: Type.Optional(
    Type.Boolean({ default: false, description: "All that the picks were made from, for warmgate replay" }),
  ),
});

const Unsigned = (bits: number, description?: string) =>
  Type.Integer({ minimum: 0, maximum: 2 ** bits - 1, ...(description ? { description } : {}) });
const Hex = (description: string) => Type.String({ pattern: "^[0-9a-f]{1,16}$", description });
const Nanoseconds = (description: string) => Type.String({ pattern: "^[0-9]{1,20}$", description });

/** What the pick knew of the request. */
export const PickSchema = Type.Object({
  profile: Unsigned(8, "Index in the program"),
  sharingSlow: Type.Boolean({ description: "Counts of other gateways came later than sharing.slowAfter" }),
  stoodIn: Type.Boolean({ description: "Therefore token-aware stood in for warm-until-busy" }),
  complete: Type.Boolean({ description: "Every pod that could be chosen is listed; else no replay" }),
  columnsFresh: Type.Boolean(),
  promptTokens: Type.Number({ minimum: 0 }),
  spread: Hex("Keyed hash of the prompt's first block that no pod has, or of the session"),
  session: Hex("Hash of the session, 0 for none"),
  seed: Hex("Random bits of this pick"),
  perPodRate: Type.Number({ minimum: 0, description: "Requests per second and pod" }),
  timeNs: Nanoseconds("The worker's monotonic clock"),
  headers: Type.Array(Hex("Hash of a header that the program looks at"), { maxItems: 4 }),
});

const candidate = {
  address: Type.String({ maxLength: 64 }),
  rank: Unsigned(8, "1 is the pod, 2 and 3 come next, 0 the others"),
  cachedTokens: Unsigned(32, "As they counted in the pick"),
  cost: Type.Number({
    description:
      "Lower is better; seconds with warm-until-busy, the negated sum of weighted scores otherwise",
  }),
  inflightRequests: Unsigned(32),
  pendingPrefills: Unsigned(32),
};
const columns = {
  slot: Unsigned(10),
  turn: Unsigned(16, "Place in the order of last choices, 1 = longest ago, 0 = none"),
  coldTurn: Unsigned(16, "The same of those that hit no cache"),
  pendingWork: Type.Number({ minimum: 0, description: "Tokens of a short prompt" }),
  pendingTokens: Type.Number({ minimum: 0 }),
  headSinceNs: Nanoseconds("Since when the first pending prefill is at work; 0 = none is"),
  waiting: Unsigned(32),
  running: Unsigned(32),
  kvUsage: Type.Number({ minimum: 0 }),
  capacityTokens: Unsigned(32),
  prefillTokensPerSecond: Type.Number({ exclusiveMinimum: 0 }),
  loadFresh: Type.Boolean(),
  out: Type.Boolean({ description: "Left out because it refused connections" }),
  session: Type.Boolean({ description: "It had the session" }),
  role: Type.Union([Type.Literal("prefill"), Type.Literal("decode"), Type.Literal("both")]),
  adapter: Type.Object({ active: Type.Boolean(), waiting: Type.Boolean(), room: Type.Boolean() }),
  labels: Hex("Label selectors that take it, bits"),
  columns: Type.Array(Unsigned(32), { maxItems: 16, description: "Bits of its custom columns" }),
};

/** A candidate with all that the pick knew of it. */
export const ReplayCandidateSchema = Type.Object({ ...candidate, ...columns });

/** What the choice of a prefill pod knew beside that, and what came of it. */
export const PairSchema = Type.Object({
  splits: Type.Boolean({ description: "The prefill runs on another pod than the decode" }),
  decode: Type.Integer({
    minimum: 0,
    maximum: 3,
    description: "Place of its decode pod among the candidates",
  }),
  seconds: Type.Number({ description: "Predicted with the best pair; f64's greatest without one" }),
  aloneSeconds: Type.Number({ description: "Predicted with one pod alone; 0 where that was not asked" }),
  mode: Unsigned(8, "1: when it pays, 2: always"),
  transferTokensPerSecond: Type.Number({ exclusiveMinimum: 0 }),
  stallWeight: Type.Number({ minimum: 0 }),
  promptTokens: Type.Number({ minimum: 0 }),
  work: Type.Number({ minimum: 0, description: "Of this request, counted on the first decode candidate" }),
  timeNs: Nanoseconds("The worker's monotonic clock"),
  complete: Type.Boolean({ description: "Every pod that prefills is listed; else no replay" }),
  columnsFresh: Type.Boolean(),
  candidates: Type.Array(
    Type.Object({
      ...candidate,
      ...columns,
      prefillRank: Type.Integer({ minimum: 0, maximum: 3, description: "1 is the prefill pod" }),
    }),
    { maxItems: 256, description: "Decode candidates in their order, then the pods that prefill" },
  ),
});

/** What a replay needs of one decision; the rest is for people. */
export const ReplayDecisionSchema = Type.Object({
  requestId: Type.String(),
  policyVersion: Type.Integer(),
  reason: Type.String(),
  podsPassed: Type.Integer(),
  pick: Type.Union([PickSchema, Type.Null()]),
  candidates: Type.Array(ReplayCandidateSchema, { maxItems: 256 }),
  pair: Type.Optional(Type.Union([PairSchema, Type.Null()])),
});
export type ReplayDecision = Static<typeof ReplayDecisionSchema>;

export const DecisionsSchema = Type.Object({
  decisions: Type.Array(
    Type.Object({
      at: Type.String({ format: "date-time", description: "When the agent got it" }),
      gateway: Type.String({ description: "Process of the gateway" }),
      worker: Type.String(),
      tableSequence: Type.Integer({ description: "Version of the table that was used" }),
      policyVersion: Type.Integer(),
      reason: Type.String({ description: DECISION_REASONS.join(", ") }),
      requestId: Type.String(),
      promptTokens: Type.Integer({ description: "Estimated" }),
      predictedTokens: Type.Integer({ description: "Expected to be cached on the pod" }),
      priority: Type.Integer(),
      schedulingMs: Type.Number(),
      podsConsidered: Type.Integer(),
      podsPassed: Type.Integer({ description: "The filters" }),
      stoodIn: Type.Boolean({
        description: "token-aware decided in the place of warm-until-busy, because sharing was slow",
      }),
      prefill: Type.Union(
        [
          Type.Object({
            splits: Type.Boolean({ description: "It runs on another pod than the decode" }),
            pods: Type.Array(
              Type.Object({
                pod: Type.Union([Type.String(), Type.Null()]),
                address: Type.String(),
                cost: Type.Number({
                  description: "Lower is better; predicted seconds without a prefill profile",
                }),
              }),
              { description: "The best three that prefill" },
            ),
            decode: Type.Union([Type.String(), Type.Null()], {
              description: "Address of the pair's decode pod",
            }),
            seconds: Type.Union([Type.Number(), Type.Null()], {
              description: "Predicted with the best pair; null without one",
            }),
            aloneSeconds: Type.Union([Type.Number(), Type.Null()], {
              description: "Predicted with one pod alone; null where that was not asked",
            }),
          }),
          Type.Null(),
        ],
        { description: "Whether the prefill was to run on another pod; null when that was not in question" },
      ),
      pick: Type.Optional(Type.Union([PickSchema, Type.Null()])),
      pair: Type.Optional(Type.Union([PairSchema, Type.Null()])),
      candidates: Type.Array(
        Type.Object({
          pod: Type.Union([Type.String(), Type.Null()], {
            description: "null: the agent does not know it any more",
          }),
          ...candidate,
          ...Object.fromEntries(Object.entries(columns).map(([name, type]) => [name, Type.Optional(type)])),
        }),
        { description: "The best 16; with replay all" },
      ),
    }),
  ),
  programs: Type.Optional(
    Type.Record(Type.String(), Type.String(), {
      description: "With replay: base64 of the compiled scheduling programs, by policy version",
    }),
  ),
});
