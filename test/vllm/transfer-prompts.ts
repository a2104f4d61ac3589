// Prompts of the prefill/decode part, and how one is asked.
import { request } from "undici";
import { MODEL_NAME } from "./engine.js";

export interface Prompt {
  path: "/v1/chat/completions" | "/v1/completions";
  /** messages or prompt. */
  body: Record<string, unknown>;
  /** Tokens to generate. */
  tokens: number;
}

export interface Asked {
  prompt: Prompt;
  stream: boolean;
  salt: string;
  /** kv_transfer_params, where the caller plays the router itself. */
  transfer?: object;
}

interface Said {
  status: number;
  headers: Record<string, unknown>;
  text: string;
  /** Token ids of the text. */
  ids: number[];
  promptTokens: number;
  transfer: object | undefined;
}

const GENERATED = 24;
const WORDS = (
  "import class return value queue worker parser compile the of a list order warehouse carrier shelf open file " +
  'Größe 日本語 naïve — “quotes” 🙂 9007199254740993 \\u0041 {"kv_transfer_params":null} \t exception handler\n'
).split(" ");

/** `count` prompts of 40 to 400 words, chat and completions in turn. */
export function prompts(count: number, random: () => number): Prompt[] {
  const text = () =>
    Array.from(
      { length: 40 + Math.floor(random() * 360) },
      () => WORDS[Math.floor(random() * WORDS.length)]!,
    ).join(" ");
  return Array.from({ length: count }, (_, i) =>
    i % 2 === 0
      ? {
          path: "/v1/chat/completions",
          body: {
            messages: [
              { role: "system", content: "Answer in short sentences." },
              { role: "user", content: text() },
            ],
          },
          tokens: GENERATED,
        }
      : { path: "/v1/completions", body: { prompt: text() }, tokens: GENERATED },
  );
}

/** Two prompts of as many tokens, which differ in all of them but the last 16. */
export function controlPrompts(): [Prompt, Prompt] {
  const of = (first: number): Prompt => ({
    path: "/v1/completions",
    body: { prompt: Array.from({ length: 208 }, (_, i) => (i < 192 ? first : 1000) + i) },
    tokens: GENERATED,
  });
  return [of(2000), of(4000)];
}

/** Asks with temperature 0, so that the text depends on prompt and KV blocks alone. @throws when there is no answer. */
export async function askPrompt(base: string, { prompt, stream, salt, transfer }: Asked): Promise<Said> {
  const { statusCode, headers, body } = await request(base + prompt.path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: MODEL_NAME,
      ...prompt.body,
      max_tokens: prompt.tokens,
      temperature: 0,
      ignore_eos: true,
      return_token_ids: true,
      cache_salt: salt,
      ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
      ...(transfer ? { kv_transfer_params: transfer } : {}),
    }),
    headersTimeout: 120_000,
    bodyTimeout: 120_000,
  });
  const raw = await body.text();
  const said: Said = {
    status: statusCode,
    headers,
    text: raw,
    ids: [],
    promptTokens: 0,
    transfer: undefined,
  };
  if (statusCode !== 200) return said;
  said.text = "";
  for (const part of stream ? events(raw) : [JSON.parse(raw) as Body]) {
    const choice = part.choices?.[0];
    said.text += choice?.text ?? choice?.message?.content ?? choice?.delta?.content ?? "";
    said.ids.push(...(choice?.token_ids ?? []));
    if (part.usage) said.promptTokens = part.usage.prompt_tokens;
    if (part.kv_transfer_params) said.transfer = part.kv_transfer_params;
  }
  return said;
}

interface Body {
  choices?: {
    text?: string;
    token_ids?: number[] | null;
    message?: { content?: string | null };
    delta?: { content?: string | null };
  }[];
  usage?: { prompt_tokens: number } | null;
  kv_transfer_params?: object | null;
}

function events(stream: string): Body[] {
  return stream
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice(6)) as Body);
}
