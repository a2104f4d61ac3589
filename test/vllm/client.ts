// Sends one request through the gateway and reads what it was told and what really was cached.
import { Agent, request } from "undici";
import type { Turn } from "./conversations.js";

export interface Answer {
  status: number;
  text: string;
  /** x-selected-pod, "" when the request was not scheduled. */
  pod: string;
  /** x-cache-prefix-length in tokens; 0 when absent. */
  predicted: number;
  /** usage.prompt_tokens_details.cached_tokens. */
  cached: number;
  /** The prompt's token ids. */
  prompt: number[];
  /** performance.now() when it was sent. */
  sentAt: number;
  /** performance.now() when the answer was whole. */
  doneAt: number;
}

interface Body {
  prompt_token_ids?: number[] | null;
  choices?: {
    text?: string;
    prompt_token_ids?: number[] | null;
    message?: { content?: string | null };
    delta?: { content?: string | null };
  }[];
  usage?: { prompt_tokens_details?: { cached_tokens?: number } | null } | null;
}

export class GatewayClient {
  readonly #agent = new Agent({ keepAliveTimeout: 1000, bodyTimeout: 120_000, headersTimeout: 120_000 });

  constructor(readonly base: string) {}

  close(): Promise<void> {
    return this.#agent.close();
  }

  /** @throws when the connection fails; an HTTP error is an answer. */
  async send(turn: Turn): Promise<Answer> {
    const sentAt = performance.now();
    const { statusCode, headers, body } = await request(this.base + turn.path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(turn.body),
      dispatcher: this.#agent,
    });
    const raw = await body.text();
    const answer: Answer = {
      status: statusCode,
      text: statusCode === 200 ? "" : raw,
      pod: String(headers["x-selected-pod"] ?? ""),
      predicted: Number(headers["x-cache-prefix-length"] ?? 0),
      cached: 0,
      prompt: [],
      sentAt,
      doneAt: performance.now(),
    };
    if (statusCode !== 200) return answer;
    for (const part of turn.body["stream"] ? frames(raw) : [JSON.parse(raw) as Body]) {
      const choice = part.choices?.[0];
      answer.text += choice?.text ?? choice?.message?.content ?? choice?.delta?.content ?? "";
      const prompt = part.prompt_token_ids ?? choice?.prompt_token_ids;
      if (prompt) answer.prompt = prompt;
      if (part.usage) answer.cached = part.usage.prompt_tokens_details?.cached_tokens ?? 0;
    }
    return answer;
  }
}

function frames(stream: string): Body[] {
  return stream
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice(6)) as Body);
}
