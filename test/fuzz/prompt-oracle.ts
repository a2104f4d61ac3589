// An independent reference for what a request's prompt is, built on JSON.parse: the last of equal keys counts, a content
// is a string, null or a list of text parts, and anything that could change the prompt makes it unknown. It works on
// bytes, so that text which is no UTF-8 and lone surrogates are judged, too.
import type { Strip, TemplateProgram } from "../../agent/wire.js";

/** Fields that do not touch the prompt's text, from the OpenAI and vLLM request schemas. */
export const INERT = [
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
  "stream_options",
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
] as const;

/** Fields that only a router may set, in the order of their bits. */
export const RESERVED = [
  "kv_transfer_params",
  "ec_transfer_params",
  "bootstrap_host",
  "bootstrap_port",
  "bootstrap_room",
  "cache_hit_threshold",
] as const;

const HARMLESS = new Set<string>([
  ...INERT,
  ...RESERVED,
  "model",
  "stream",
  "user",
  "cache_salt",
  "prompt_cache_key",
  "add_generation_prompt",
]);

/** Fields that say nothing when they are false or an empty object. */
const NO_EFFECT = new Set(["echo", "chat_template_kwargs", "mm_processor_kwargs", "media_io_kwargs"]);
const isNothing = (value: Json) => value === false || (isObject(value) && Object.keys(value).length === 0);

/** Raw bytes from 0x80 on stand in the parsed text as U+E080 to U+E0FF, so that no escape is mistaken for them. */
const RAW = 0xe000;

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * Parses a body; undefined when JSON.parse does not take it (NaN, Infinity) or an escape names one of the characters
 * that stand for raw bytes.
 */
export function parse(body: Uint8Array): Json | undefined {
  let text = "";
  const from = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0;
  for (let i = from; i < body.length; i++)
    text += String.fromCharCode(body[i]! < 0x80 ? body[i]! : RAW + body[i]!);
  if (/\\u[eE]0[89a-fA-F]/.test(text)) return undefined;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

/** Bytes of a parsed string: what was raw as it was, the rest as UTF-8, a lone surrogate as three bytes. */
function bytesOf(text: string): number[] {
  const out: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text.codePointAt(i)!;
    if (c > 0xffff) i++;
    if (c >= RAW + 0x80 && c <= RAW + 0xff) out.push(c - RAW);
    else if (c < 0x80) out.push(c);
    else if (c < 0x800) out.push(0xc0 | (c >> 6), 0x80 | (c & 63));
    else if (c < 0x10000) out.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    else out.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
  }
  return out;
}

const ONE = new Set([9, 10, 11, 12, 13, 0x1c, 0x1d, 0x1e, 0x1f, 0x20]);
const MORE = new Set(
  [0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000]
    .concat(Array.from({ length: 11 }, (_, i) => 0x2000 + i))
    .map((c) => bytesOf(String.fromCodePoint(c)).join()),
);

/** Length of the white space (Python's str.isspace) that begins at `i`, 0 for none. */
function spaceAt(bytes: number[], i: number): number {
  if (ONE.has(bytes[i]!)) return 1;
  for (const n of [2, 3]) if (i + n <= bytes.length && MORE.has(bytes.slice(i, i + n).join())) return n;
  return 0;
}

export function strip(bytes: number[], how: Strip): number[] {
  let from = 0;
  let to = bytes.length;
  if (how === "both" || how === "left")
    for (let n = spaceAt(bytes, from); from < to && n; n = spaceAt(bytes, from)) from += n;
  if (how === "both" || how === "right")
    for (let found = true; found && to > from; ) {
      found = false;
      for (const n of [1, 2, 3])
        if (to - n >= from && spaceAt(bytes.slice(0, to), to - n) === n) {
          to -= n;
          found = true;
          break;
        }
    }
  return bytes.slice(from, to);
}

const isObject = (v: Json | undefined): v is { [key: string]: Json } =>
  typeof v === "object" && v !== null && !Array.isArray(v);

/** Text of a content, null when it is not known. */
function contentOf(content: Json | undefined): number[] | null {
  if (content === undefined || content === null) return [];
  if (typeof content === "string") return bytesOf(content);
  if (!Array.isArray(content)) return null;
  const texts: number[][] = [];
  for (const part of content) {
    if (!isObject(part)) return null;
    const { type, text, ...rest } = part;
    if (type !== "text" && type !== "input_text" && type !== "output_text") return null;
    if (typeof text !== "string" || Object.values(rest).some((v) => v !== null)) return null;
    const bytes = bytesOf(text);
    if (bytes.length) texts.push(bytes);
  }
  return texts.flatMap((t, i) => (i ? [10, ...t] : t));
}

const KINDS: Record<string, number> = { system: 1, user: 2, assistant: 3 };
const RULES = ["raw", "system", "user", "assistant"] as const;

class Turns {
  readonly out: number[] = [];
  #previous = 0;
  known = true;
  constructor(readonly template: TemplateProgram) {}

  joint(kind: number): void {
    const literal = this.template.joints[this.#previous]?.[kind];
    if (literal) this.out.push(...literal);
    else this.known = false;
    this.#previous = kind;
  }

  turn(kind: number, text: number[]): void {
    this.joint(kind);
    this.out.push(...strip(text, this.template.strip[RULES[kind] as "system" | "user" | "assistant"]));
  }

  messages(list: Json[]): void {
    for (const message of list) {
      if (!isObject(message)) {
        this.known = false;
        return;
      }
      const { role, content, ...rest } = message;
      for (const [name, value] of Object.entries(rest))
        if (value !== null && !(name === "type" && value === "message")) this.known = false;
      const kind = typeof role === "string" && Object.hasOwn(KINDS, role) ? KINDS[role]! : 0;
      const text = contentOf(content);
      if (!kind || !text) {
        this.known = false;
        return;
      }
      this.turn(kind, text);
    }
  }
}

/**
 * The prompt of a parsed body on endpoint `api` (0 chat, 1 completions, 2 responses, 3 embeddings), null when it
 * cannot be told exactly.
 */
export function promptOf(body: Json, api: number, template: TemplateProgram): number[] | null {
  if (!isObject(body)) return null;
  const own = [["messages"], ["prompt"], ["input", "instructions"], ["input"]][api]!;
  for (const [name, value] of Object.entries(body))
    if (
      value !== null &&
      !HARMLESS.has(name) &&
      !own.includes(name) &&
      !(NO_EFFECT.has(name) && isNothing(value))
    )
      return null;
  const generation = body["add_generation_prompt"];
  if (generation !== undefined && typeof generation !== "boolean") return null;
  const turns = new Turns(template);
  if (api === 0) {
    if (!Array.isArray(body["messages"])) return null;
    turns.messages(body["messages"]);
  } else if (api === 2) {
    const { instructions, input } = body;
    if (typeof instructions === "string") turns.turn(1, bytesOf(instructions));
    else if (instructions !== undefined && instructions !== null) return null;
    if (typeof input === "string") turns.turn(2, bytesOf(input));
    else if (Array.isArray(input)) turns.messages(input);
    else return null;
  } else {
    const raw = body[own[0]!];
    const one = Array.isArray(raw) && raw.length === 1 ? raw[0] : raw;
    if (typeof one !== "string") return null;
    return template.bos && [...template.bos, ...bytesOf(one)];
  }
  turns.joint(generation === false ? 4 : 5);
  return turns.known ? turns.out : null;
}

/** Bits of the reserved fields that a parsed body has. */
export function reservedIn(body: Json): number {
  if (!isObject(body)) return 0;
  return RESERVED.reduce((bits, name, i) => bits | (Object.hasOwn(body, name) ? 1 << i : 0), 0);
}
