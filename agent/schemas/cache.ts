// Shapes of the score and cache routes; they are the API document.
import { Type } from "typebox";

const Share = (description: string) => Type.Union([Type.Number(), Type.Null()], { description });

export const ScoreRequestSchema = Type.Object(
  {
    model: Type.Optional(
      Type.String({ description: "May be left out where one model is served", maxLength: 255 }),
    ),
    prompt: Type.Optional(
      Type.Union([Type.String(), Type.Array(Type.String()), Type.Array(Type.Integer())], {
        description: "As in /v1/completions: a text, or the token ids of one prompt",
      }),
    ),
    messages: Type.Optional(Type.Array(Type.Unknown(), { description: "As in /v1/chat/completions" })),
    prompt_blocks: Type.Optional(
      Type.Array(Type.Union([Type.String(), Type.Integer()]), {
        minItems: 1,
        maxItems: 65_536,
        description:
          "Block hashes as engines publish them, from the first block on: decimal or 0x text, or integers up to 2^53",
      }),
    ),
    candidate_pods: Type.Optional(
      Type.Array(Type.String(), {
        maxItems: 1024,
        description: "Names or addresses; without it all pods of the model",
      }),
    ),
    cache_salt: Type.Optional(Type.String({ maxLength: 4096 })),
  },
  {
    additionalProperties: true,
    description:
      "One of prompt, messages or prompt_blocks. Further fields are judged as in a request: one that may change the prompt makes it inexact",
  },
);

export const ScoreSchema = Type.Object({
  model: Type.String(),
  exact: Type.Boolean({ description: "False: the prompt's text is not known, and nothing is claimed" }),
  reasons: Type.Array(Type.String(), { description: "Why it is not exact" }),
  scores: Type.Array(
    Type.Object({
      pod_id: Type.String(),
      cache_hit_rate: Type.Number({ description: "blocks_present / blocks_total" }),
      blocks_present: Type.Integer({ description: "Leading blocks that the pod holds without a hole" }),
      blocks_total: Type.Integer({
        description:
          "Blocks of `limits.blockBytes` bytes of the prompt's text, or the number of prompt_blocks",
      }),
      cached_tokens: Type.Union([Type.Integer(), Type.Null()], {
        description: "What the engine would report as cached_tokens; null for prompt_blocks",
      }),
      score: Type.Number({ minimum: 0, maximum: 100 }),
      cache_size_mb: Share("Memory of the pod's KV blocks; null without `model.kvBytesPerToken`"),
    }),
    { description: "In the order of candidate_pods" },
  ),
  recommendation: Type.Union([Type.String(), Type.Null()], {
    description: "The ready pod with the highest score, of equals the one with the least load",
  }),
  unknown_pods: Type.Array(Type.String(), { description: "Of candidate_pods: those that are not known" }),
});

export const CacheStateSchema = Type.Object({
  total_blocks: Type.Integer({ description: "KV blocks held by all pods, duplicates included" }),
  unique_blocks: Type.Integer({ description: "Different ones, by text" }),
  total_pods: Type.Integer(),
  average_cache_utilization: Share("0-1, mean of the pods that say"),
  global_hit_rate: Share("Cached share of all prompt tokens that engines looked up"),
  cache_size_total_gb: Share("Memory of all KV blocks; null without `model.kvBytesPerToken`"),
  last_updated: Type.Union([Type.String({ format: "date-time" }), Type.Null()], {
    description: "When the last KV event was applied",
  }),
});

export const PodCacheSchema = Type.Object({
  pod_id: Type.String(),
  blocks_cached: Type.Integer(),
  cache_utilization: Share("0-1, as the engine says"),
  cache_size_gb: Share("Memory of the KV blocks; null without `model.kvBytesPerToken`"),
  hit_rate: Share("Cached share of the prompt tokens that the engine looked up"),
  eviction_rate_per_sec: Type.Number({ description: "Blocks removed per second over the last minute" }),
  top_blocks: Type.Array(
    Type.Object({
      block_hash: Type.String({ description: "Under the installation's secret; not the engine's" }),
      access_count: Type.Integer({ description: "How often a prompt went on from this block" }),
      last_access: Type.String({ format: "date-time" }),
    }),
  ),
  status: Type.Union(
    [
      Type.Literal("ok"),
      Type.Literal("catching_up"),
      Type.Literal("suspect"),
      Type.Literal("fallen"),
      Type.Literal("no_events"),
      Type.Literal("not_ready"),
    ],
    { description: "What the index knows of the pod" },
  ),
});
