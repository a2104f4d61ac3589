// Shape of /api/v1/decisions.
import { Type } from "typebox";
import { DECISION_REASONS } from "../wire.js";

export const DecisionsQuerySchema = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  requestId: Type.Optional(Type.String({ maxLength: 64, description: "x-request-id of one request" })),
});

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
      candidates: Type.Array(
        Type.Object({
          pod: Type.Union([Type.String(), Type.Null()], {
            description: "null: the agent does not know it any more",
          }),
          address: Type.String(),
          rank: Type.Integer({ description: "1 is the pod, 2 and 3 come next, 0 the others" }),
          cachedTokens: Type.Integer(),
          cost: Type.Number({
            description:
              "Lower is better; seconds with warm-until-busy, the negated sum of weighted scores otherwise",
          }),
          inflightRequests: Type.Integer(),
          pendingPrefills: Type.Integer(),
        }),
      ),
    }),
  ),
});
