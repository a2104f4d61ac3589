// The APIs that generate text, and the fields of their requests that a prefill leg must change.

/** A generating API by its path. */
export type CompletionApi = "chat" | "completions" | "messages" | "responses" | "generate";

const APIS = new Map<string, CompletionApi>([
  ["/v1/chat/completions", "chat"],
  ["/v1/completions", "completions"],
  ["/v1/messages", "messages"],
  ["/v1/responses", "responses"],
  ["/inference/v1/generate", "generate"],
]);

/** The API behind a request's path (query ignored), or null when it generates nothing. */
export function apiOf(url: string): CompletionApi | null {
  const query = url.indexOf("?");
  return APIS.get(query < 0 ? url : url.slice(0, query)) ?? null;
}

/** Top-level fields that only a router may set: with them a client could make the decode pod dial any host. */
export const RESERVED_FIELDS = [
  "kv_transfer_params",
  "ec_transfer_params",
  "bootstrap_host",
  "bootstrap_port",
  "bootstrap_room",
  "cache_hit_threshold",
] as const;

/** Engine arguments may hold the same fields one level down, where vLLM copies them to the same place. */
export const NESTED_ARGUMENTS = ["vllm_xargs", "sampling_params"] as const;

/** Within `sampling_params`, what `vllm_xargs` is at the top. */
export const EXTRA_ARGUMENTS = "extra_args";

/** Every field that limits the number of tokens, in any of the APIs. */
export const LIMIT_FIELDS = [
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
  "min_tokens",
] as const;

/**
 * The limits that a prefill request must have, present in the client's body or not. `min_tokens` keeps an end-of-text
 * or stop token from ending the request by itself: vLLM hands over blocks only when the length limit ended it.
 */
export const REQUIRED_LIMITS: Record<CompletionApi, readonly string[]> = {
  chat: ["max_tokens", "max_completion_tokens", "min_tokens"],
  completions: ["max_tokens", "max_completion_tokens", "min_tokens"],
  messages: ["max_tokens", "max_completion_tokens", "min_tokens"],
  responses: ["max_output_tokens"],
  generate: [],
};

/** What `sampling_params` of `generate` must have. */
export const REQUIRED_SAMPLING_LIMITS = ["max_tokens", "min_tokens"] as const;
