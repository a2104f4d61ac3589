// Writes answers as vLLM's OpenAI server does: one JSON body, or server-sent events.
import type { ServerResponse } from "node:http";
import type { GenerationRequest } from "./generation-request.js";
import { ApiError } from "./http-errors.js";
import type { GenerationSink, Usage } from "./pod.js";

const FINGERPRINT = "vllm-0.32.0-simulated";

/** What names an answer. */
export interface AnswerHead {
  id: string;
  model: string;
  /** Seconds since the epoch. */
  created: number;
  blockSize: number;
  /** What it says was cached although it was not; null = the truth. */
  saysCached: number | null;
}

function usageFields(usage: Usage, head: AnswerHead, chat: boolean): object {
  const cacheable = Math.floor(usage.promptTokens / head.blockSize) * head.blockSize;
  return {
    prompt_tokens: usage.promptTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    completion_tokens: usage.completionTokens,
    prompt_tokens_details: {
      cached_tokens: head.saysCached ?? usage.cachedTokens,
      created_cache_tokens: chat ? Math.max(0, cacheable - usage.cachedTokens) : null,
      multimodal_tokens: null,
    },
    completion_tokens_details: null,
  };
}

/** Answers with an error; an error that is not an ApiError is a fault of the simulator and reads as vLLM's 500. */
export function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const known = error instanceof ApiError;
  const answer = known ? error : new ApiError(500, "InternalServerError", String(error));
  if (!known) process.stderr.write(`simulator: ${error instanceof Error ? error.stack : String(error)}\n`);
  sendJson(response, answer.status, answer.body());
}

/** Answers with a JSON text. */
export function sendJson(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

/** Collects the answers and sends them at the end. */
export function wholeAnswer(
  response: ServerResponse,
  request: GenerationRequest,
  head: AnswerHead,
): GenerationSink {
  const chat = request.api === "chat";
  const texts: string[] = [];
  const tokens: number[][] = [];
  const reasons: string[] = [];
  let prompts: Uint32Array[] = [];
  const ids = (list: ArrayLike<number> | undefined): number[] | null =>
    request.returnTokenIds && list ? Array.from(list) : null;
  const choice = (text: string, index: number): object => {
    const ending = {
      logprobs: null,
      finish_reason: reasons[index],
      stop_reason: null,
      token_ids: ids(tokens[index]),
    };
    if (!chat)
      return {
        index,
        text,
        ...ending,
        prompt_logprobs: null,
        prompt_token_ids: ids(prompts[Math.floor(index / request.answers)]),
      };
    const message = { role: "assistant", content: text, refusal: null, annotations: null, audio: null };
    return { index, message: { ...message, function_call: null, reasoning: null }, ...ending };
  };
  return {
    accepted: (tokenized) => {
      prompts = tokenized;
    },
    part: (index, text, more, reason) => {
      texts[index] = (texts[index] ?? "") + text;
      if (request.returnTokenIds) tokens[index] = [...(tokens[index] ?? []), ...more];
      if (reason) reasons[index] = reason;
    },
    done: (usage, transfer) => {
      const body = {
        id: head.id,
        object: chat ? "chat.completion" : "text_completion",
        created: head.created,
        model: head.model,
        choices: texts.map(choice),
        service_tier: null,
        system_fingerprint: FINGERPRINT,
        usage: usageFields(usage, head, chat),
        ...(chat ? { prompt_logprobs: null, prompt_token_ids: ids(prompts[0]) } : {}),
        kv_transfer_params: transfer,
      };
      sendJson(response, 200, JSON.stringify(body));
    },
    failed: (error) => sendError(response, error),
  };
}

/** Sends the answers while they grow. Headers go out as soon as the request is accepted, before its first token. */
export function streamedAnswer(
  response: ServerResponse,
  request: GenerationRequest,
  head: AnswerHead,
): GenerationSink {
  const chat = request.api === "chat";
  const object = chat ? "chat.completion.chunk" : "text_completion";
  const open = `data: {"id":${JSON.stringify(head.id)},"object":"${object}","created":${head.created},"model":${JSON.stringify(head.model)},"choices":[`;
  const begun: boolean[] = [];
  let prompts: Uint32Array[] = [];
  const ids = (list: ArrayLike<number> | undefined): string =>
    request.returnTokenIds && list ? JSON.stringify(Array.from(list)) : "null";
  const opening = (index: number): string => {
    if (begun[index] || !chat) return "";
    begun[index] = true;
    const delta = `{"index":${index},"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`;
    return `${open}${delta}],"prompt_token_ids":${ids(prompts[0])}}\n\n`;
  };
  return {
    accepted: (tokenized) => {
      prompts = tokenized;
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
      response.flushHeaders();
    },
    part: (index, text, tokens, reason) => {
      const content = chat ? `"delta":{"content":${JSON.stringify(text)}}` : `"text":${JSON.stringify(text)}`;
      const ending = reason ? `"${reason}","stop_reason":null` : "null";
      let frame = opening(index);
      frame += `${open}{"index":${index},${content},"logprobs":null,"finish_reason":${ending},"token_ids":${ids(tokens)}`;
      if (!chat && !begun[index] && request.returnTokenIds) {
        begun[index] = true;
        frame += `,"prompt_token_ids":${ids(prompts[Math.floor(index / request.answers)])}`;
      }
      response.write(`${frame}}]}\n\n`);
    },
    done: (usage) => {
      const last = request.includeUsage
        ? `${open}],"usage":${JSON.stringify(usageFields(usage, head, chat))},"system_fingerprint":"${FINGERPRINT}"}\n\n`
        : "";
      response.end(`${last}data: [DONE]\n\n`);
    },
    failed: (error) => sendError(response, error),
  };
}
