// Which top-level field of a request means what: handled, reserved for routers, without effect on the prompt's text
// (inert), or anything else, which makes the request inexact.

// @ts-ignore: decorator
@inline
export const F_OTHER: u32 = 0;
// @ts-ignore: decorator
@inline
export const F_INERT: u32 = 1;
// @ts-ignore: decorator
@inline
export const F_MODEL: u32 = 2;
// @ts-ignore: decorator
@inline
export const F_MESSAGES: u32 = 3;
// @ts-ignore: decorator
@inline
export const F_PROMPT: u32 = 4;
// @ts-ignore: decorator
@inline
export const F_INPUT: u32 = 5;
// @ts-ignore: decorator
@inline
export const F_INSTRUCTIONS: u32 = 6;
// @ts-ignore: decorator
@inline
export const F_STREAM: u32 = 7;
// @ts-ignore: decorator
@inline
export const F_USER: u32 = 8;
// @ts-ignore: decorator
@inline
export const F_SALT: u32 = 9;
// @ts-ignore: decorator
@inline
export const F_CACHE_KEY: u32 = 10;
// @ts-ignore: decorator
@inline
export const F_GENERATION: u32 = 11;
// @ts-ignore: decorator
@inline
export const F_ROLE: u32 = 12;
// @ts-ignore: decorator
@inline
export const F_CONTENT: u32 = 13;
// @ts-ignore: decorator
@inline
export const F_TYPE: u32 = 14;
// @ts-ignore: decorator
@inline
export const F_TEXT: u32 = 15;
// @ts-ignore: decorator
@inline
export const F_TOOL_CALLS: u32 = 16;
// @ts-ignore: decorator
@inline
export const F_CALL_ID: u32 = 17;
// @ts-ignore: decorator
@inline
export const F_REASONING: u32 = 18;
// @ts-ignore: decorator
@inline
export const F_REASONING_CONTENT: u32 = 19;
// @ts-ignore: decorator
@inline
export const F_NAME: u32 = 20;
// @ts-ignore: decorator
@inline
export const F_FUNCTION: u32 = 21;
// @ts-ignore: decorator
@inline
export const F_ARGUMENTS: u32 = 22;
// @ts-ignore: decorator
@inline
export const F_ID: u32 = 23;
// @ts-ignore: decorator
@inline
export const F_INDEX: u32 = 24;
// @ts-ignore: decorator
@inline
export const F_DESCRIPTION: u32 = 25;
// @ts-ignore: decorator
@inline
export const F_PARAMETERS: u32 = 26;
// @ts-ignore: decorator
@inline
export const F_STRICT: u32 = 27;
// @ts-ignore: decorator
@inline
export const F_TOOLS: u32 = 28;
// @ts-ignore: decorator
@inline
export const F_CONTINUE: u32 = 29;
/** A message's field that engines drop before the template. */
// @ts-ignore: decorator
@inline
export const F_DROPPED: u32 = 30;
/** Without effect when it is false or an empty object, which is what its absence means. */
// @ts-ignore: decorator
@inline
export const F_INERT_EMPTY: u32 = 31;
/** An object in which engines take the reserved fields, too: `vllm_xargs`, and `extra_args` of `sampling_params`. */
// @ts-ignore: decorator
@inline
export const F_ENGINE_ARGUMENTS: u32 = 32;
// @ts-ignore: decorator
@inline
export const F_SAMPLING: u32 = 33;
// @ts-ignore: decorator
@inline
export const F_EXTRA_ARGUMENTS: u32 = 34;
/** Inert, but says whether a streamed answer ends with its usage. */
// @ts-ignore: decorator
@inline
export const F_STREAM_OPTIONS: u32 = 35;
/** Inert when empty or null; `enable_thinking` alone in it may be exact. */
// @ts-ignore: decorator
@inline
export const F_TEMPLATE_ARGUMENTS: u32 = 36;
/** F_RESERVED + i is reserved field number i. */
// @ts-ignore: decorator
@inline
export const F_RESERVED: u32 = 64;

const TOP: StaticArray<string> = [
  "model",
  "messages",
  "prompt",
  "input",
  "instructions",
  "stream",
  "user",
  "cache_salt",
  "prompt_cache_key",
  "add_generation_prompt",
];
const INNER: StaticArray<string> = [
  "role",
  "content",
  "type",
  "text",
  "tool_calls",
  "tool_call_id",
  "reasoning",
  "reasoning_content",
  "name",
  "function",
  "arguments",
  "id",
  "index",
  "description",
  "parameters",
  "strict",
  "tools",
  "continue_final_message",
];
const INERT_EMPTY: StaticArray<string> = ["echo", "mm_processor_kwargs", "media_io_kwargs"];
const DROPPED: StaticArray<string> = ["refusal", "annotations", "audio", "function_call"];
const RESERVED: StaticArray<string> = [
  "kv_transfer_params",
  "ec_transfer_params",
  "bootstrap_host",
  "bootstrap_port",
  "bootstrap_room",
  "cache_hit_threshold",
];
// From vLLM's request schemas (0.32): what is sampled, returned or scheduled, but not what is prompted. Left out on
// purpose: prompt_logprobs (turns cache reads off), truncate_prompt_tokens, reasoning_effort and chat_template_kwargs
// (read by templates), documents, media and LoRA settings, and what other engines may know under a name of their own.
const INERT: StaticArray<string> = [
  "tool_choice",
  "response_format",
  "structured_outputs",
  "guided_json",
  "guided_regex",
  "guided_choice",
  "guided_grammar",
  "guided_decoding_backend",
  "guided_whitespace_pattern",
  "structural_tag",
  "include_reasoning",
  "thinking_token_budget",
  "allowed_token_ids",
  "bad_words",
  "logprob_token_ids",
  "use_beam_search",
  "early_stopping",
  "watermarking",
  "repetition_detection",
  "stream_interval",
  "return_token_offsets",
  "return_prompt_text",
  "max_tool_calls",
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "n",
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
  "min_tokens",
  "stop",
  "stop_token_ids",
  "presence_penalty",
  "frequency_penalty",
  "repetition_penalty",
  "length_penalty",
  "logit_bias",
  "logprobs",
  "top_logprobs",
  "seed",
  "metadata",
  "store",
  "service_tier",
  "parallel_tool_calls",
  "ignore_eos",
  "include_stop_str_in_output",
  "skip_special_tokens",
  "spaces_between_special_tokens",
  "priority",
  "request_id",
  "session_id",
  "safety_identifier",
  "encoding_format",
  "dimensions",
  "best_of",
  "return_token_ids",
  "return_tokens_as_token_ids",
];

// Open addressing by a hash of the name: entry = name pointer u32, length u16, field u16.
// @ts-ignore: decorator
@inline
const SLOTS: u32 = 256;
const table: usize = heap.alloc(SLOTS << 3);
memory.fill(table, 0, SLOTS << 3);

// @ts-ignore: decorator
@inline
function slotOf(p: usize, n: u32): u32 {
  return (n * 31 + <u32>load<u8>(p) * 7 + <u32>load<u8>(p + n - 1) * 131 + <u32>load<u8>(p + (n >> 1)) * 17) & (SLOTS - 1);
}

function add(name: string, field: u32): void {
  const n = <u32>String.UTF8.byteLength(name);
  const p = heap.alloc(n + 8);
  String.UTF8.encodeUnsafe(changetype<usize>(name), name.length, p);
  let i = slotOf(p, n);
  while (load<u32>(table + (i << 3))) i = (i + 1) & (SLOTS - 1);
  store<u32>(table + (i << 3), <u32>p);
  store<u16>(table + (i << 3), <u16>n, 4);
  store<u16>(table + (i << 3), <u16>field, 6);
}

for (let i = 0; i < TOP.length; i++) add(TOP[i], F_MODEL + i);
for (let i = 0; i < INNER.length; i++) add(INNER[i], F_ROLE + i);
for (let i = 0; i < INERT_EMPTY.length; i++) add(INERT_EMPTY[i], F_INERT_EMPTY);
for (let i = 0; i < DROPPED.length; i++) add(DROPPED[i], F_DROPPED);
for (let i = 0; i < RESERVED.length; i++) add(RESERVED[i], F_RESERVED + i);
for (let i = 0; i < INERT.length; i++) add(INERT[i], F_INERT);

add("vllm_xargs", F_ENGINE_ARGUMENTS);
add("sampling_params", F_SAMPLING);
add("extra_args", F_EXTRA_ARGUMENTS);
add("stream_options", F_STREAM_OPTIONS);
add("chat_template_kwargs", F_TEMPLATE_ARGUMENTS);

/** Field of a key of `n` unescaped bytes at `p`. */
export function fieldOf(p: usize, n: u32): u32 {
  if (n == 0 || n > 64) return F_OTHER;
  let i = slotOf(p, n);
  for (;;) {
    const name = <usize>load<u32>(table + (i << 3));
    if (!name) return F_OTHER;
    if (load<u16>(table + (i << 3), 4) == <u16>n && memory.compare(name, p, n) == 0) return load<u16>(table + (i << 3), 6);
    i = (i + 1) & (SLOTS - 1);
  }
  return F_OTHER;
}
