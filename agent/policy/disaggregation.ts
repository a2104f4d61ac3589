// Disaggregation in the policy: when a prefill runs on another pod than its decode. docs/disaggregation.md explains it.
import { type Static, Type } from "typebox";
import { DURATION_PATTERN, durationMs } from "../config/duration.js";
import type { Mistake } from "../config/validate.js";
import type { DisaggregationProgram } from "../wire.js";
import type { Decider } from "./handlers.js";

const Duration = (fallback: string, description: string) =>
  Type.String({ pattern: DURATION_PATTERN, examples: ["500ms", "30s"], default: fallback, description });

const keys = {
  mode: Type.Union([Type.Literal("none"), Type.Literal("gateway"), Type.Literal("sidecar")], {
    default: "none",
    description:
      "One pod does all; the gateway sends prefills to prefill pods; or it names them to the decode pods' sidecars",
  }),
  threshold: Type.Integer({
    minimum: 0,
    maximum: 10_000_000,
    default: 10,
    description: "Uncached prompt tokens above which a split is considered",
  }),
  split: Type.Union([Type.Literal("pays"), Type.Literal("always")], {
    default: "pays",
    description: "Above the threshold: when it is predicted to pay, or always",
  }),
  timeout: Duration("30s", "Longest time of a prefill, all its tries together"),
  onFailure: Type.Union([Type.Literal("local"), Type.Literal("error")], {
    default: "local",
    description: "When no prefill pod delivers: the decode pod prefills, or the client gets an error",
  }),
  maxConcurrent: Type.Integer({
    minimum: 1,
    maximum: 1024,
    default: 256,
    description: "Most prefills that one gateway worker has under way",
  }),
  maxBodyBytes: Type.Integer({
    minimum: 4096,
    maximum: 16_777_216,
    default: 4_194_304,
    description: "Longest request body that is split",
  }),
  blocksExpire: Duration("480s", "How long prefill pods hold blocks that nobody pulls"),
  transferTokensPerSecond: Type.Number({
    minimum: 1,
    maximum: 1e9,
    default: 200_000,
    description: "How fast KV blocks move between pods, in prompt tokens",
  }),
  stallWeight: Type.Number({
    minimum: 0,
    maximum: 1000,
    default: 0.25,
    description: "What a second's wait of a running answer weighs against one for a first token",
  }),
};

/** Every key is there. */
export const DisaggregationSchema = Type.Object(keys, { additionalProperties: false });
/** Every key is optional. */
export const DisaggregationInputSchema = Type.Partial(DisaggregationSchema);
export type Disaggregation = Static<typeof DisaggregationSchema>;

export const DEFAULT_DISAGGREGATION: Disaggregation = {
  mode: "none",
  threshold: 10,
  split: "pays",
  timeout: "30s",
  onFailure: "local",
  maxConcurrent: 256,
  maxBodyBytes: 4_194_304,
  blocksExpire: "480s",
  transferTokensPerSecond: 200_000,
  stallWeight: 0.25,
};

/** What gateways run of it. A decider of the scheduling configuration says when to split, in place of `d`. */
export function disaggregationProgram(d: Disaggregation, decider: Decider | null): DisaggregationProgram {
  const by = d.mode === "sidecar" ? "sidecar" : "gateway";
  const split = decider === null ? d.split : decider.kind === "never" ? "none" : "always";
  return {
    mode: d.mode === "none" ? "none" : split,
    by,
    // llm-d splits from so many tokens on, we above.
    threshold: decider === null ? d.threshold : Math.max(0, decider.uncachedTokens - 1),
    promptTokens: decider?.promptTokens ?? 0,
    timeoutMs: durationMs(d.timeout),
    onFailure: d.onFailure,
    maxConcurrent: d.maxConcurrent,
    maxBodyBytes: d.maxBodyBytes,
    blocksExpireMs: durationMs(d.blocksExpire),
    transferTokensPerSecond: d.transferTokensPerSecond,
    stallWeight: d.stallWeight,
  };
}

/** What of the two, the document's section and a decider, does not act as it is written. */
export function disaggregationNotes(d: Disaggregation, decider: Decider | null): Mistake[] {
  if (decider === null) return [];
  if (d.mode === "none")
    return [{ path: decider.path, message: "splits nothing while disaggregation.mode is none" }];
  return (["threshold", "split"] as const)
    .filter((key) => d[key] !== DEFAULT_DISAGGREGATION[key])
    .map((key) => ({
      path: ["disaggregation", key],
      message: "is not used: the scheduling configuration says itself when a prompt is split",
    }));
}
