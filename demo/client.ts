// One streamed chat completion over a kept connection: time to the first byte, usage, our headers.
import { Agent, request } from "node:http";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface Answer {
  status: number;
  /** From sending to the first byte of the body, real ms. */
  ttftMs: number;
  text: string;
  promptTokens: number;
  cachedTokens: number;
  /** x-cache-prefix-length; 0 when absent. */
  predictedTokens: number;
  /** x-scheduling-time-ms in µs, undefined when absent. */
  schedulingUs: number | undefined;
  completionTokens: number;
  /** From sending to the end of the answer, real ms. */
  totalMs: number;
  /** Longest wait between two frames of the answer, real ms; 0 with one frame. */
  longestGapMs: number;
  /** x-prefill-pod; empty when one pod did all. */
  prefillPod: string;
  /** x-sim-pod. */
  pod: string;
}

/** Sends chats to one listener. */
export class ChatClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, scheduling: "fifo" });

  constructor(
    readonly port: number,
    readonly model: string,
    readonly headers: Record<string, string> = {},
  ) {}

  close(): void {
    this.#agent.destroy();
  }

  /** @throws Error when the connection fails; an HTTP error is an answer. */
  chat(messages: ChatMessage[], outputTokens: number, keepText: boolean, session?: string): Promise<Answer> {
    const body = Buffer.from(
      JSON.stringify({
        model: this.model,
        messages,
        max_tokens: outputTokens,
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    return new Promise((resolve, reject) => {
      const start = performance.now();
      const req = request(
        {
          host: "127.0.0.1",
          port: this.port,
          method: "POST",
          path: "/v1/chat/completions",
          agent: this.#agent,
          headers: {
            "content-type": "application/json",
            "content-length": body.length,
            ...(session === undefined ? {} : { "x-session-id": session }),
            ...this.headers,
          },
        },
        (res) => {
          let ttftMs = 0;
          let longestGapMs = 0;
          let lastAt = 0;
          const chunks: Buffer[] = [];
          res.on("data", (chunk: Buffer) => {
            const now = performance.now();
            if (ttftMs === 0) ttftMs = now - start;
            else longestGapMs = Math.max(longestGapMs, now - lastAt);
            lastAt = now;
            if (keepText || chunks.length < 4) chunks.push(chunk);
            // Only the end holds the usage: the middle of a long answer need not be kept.
            else {
              chunks.splice(1, 1);
              chunks.push(chunk);
            }
          });
          res.on("error", reject);
          res.on("end", () => {
            const head = (name: string) => res.headers[name] as string | undefined;
            const scheduling = head("x-scheduling-time-ms");
            resolve({
              status: res.statusCode ?? 0,
              ttftMs,
              totalMs: lastAt - start,
              longestGapMs,
              prefillPod: head("x-prefill-pod") ?? "",
              ...parse(Buffer.concat(chunks).toString("utf8"), keepText),
              predictedTokens: Number(head("x-cache-prefix-length") ?? 0),
              schedulingUs: scheduling === undefined ? undefined : Number(scheduling) * 1000,
              pod: head("x-sim-pod") ?? "",
            });
          });
        },
      );
      req.on("error", reject);
      req.end(body);
    });
  }
}

function parse(sse: string, keepText: boolean) {
  let text = "";
  let promptTokens = 0;
  let cachedTokens = 0;
  let completionTokens = 0;
  for (const line of sse.split("\n")) {
    if (!line.startsWith("data: {")) continue;
    if (!keepText && !line.includes('"usage"')) continue;
    let frame: {
      choices?: { delta?: { content?: string } }[];
      usage?: {
        prompt_tokens: number;
        completion_tokens?: number;
        prompt_tokens_details?: { cached_tokens?: number } | null;
      } | null;
    };
    try {
      frame = JSON.parse(line.slice(6));
    } catch {
      continue; // the frame at the seam of what was left out
    }
    text += frame.choices?.[0]?.delta?.content ?? "";
    if (frame.usage) {
      promptTokens = frame.usage.prompt_tokens;
      completionTokens = frame.usage.completion_tokens ?? 0;
      cachedTokens = frame.usage.prompt_tokens_details?.cached_tokens ?? 0;
    }
  }
  return { text, promptTokens, cachedTokens, completionTokens };
}
