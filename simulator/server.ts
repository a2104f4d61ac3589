// vLLM's HTTP surface over a pod, on plain node:http: a frame per token leaves no room for a framework.
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { sendError, sendJson, streamedAnswer, wholeAnswer } from "./answers.js";
import { renderChat } from "./chat-template.js";
import {
  checkModel,
  type Fields,
  type GenerationRequest,
  readChatRequest,
  readCompletionRequest,
  readMessages,
  withSpecialTokens,
} from "./generation-request.js";
import {
  badRequest,
  invalidJson,
  methodNotAllowed,
  notFound,
  scaleOutDisabled,
  tooLarge,
} from "./http-errors.js";
import type { Pod } from "./pod.js";

const BODY_LIMIT_BYTES = 256 * 1024 * 1024;
/** An upload that takes no longer is taken as instant, so that a busy machine does not show up as TTFT; real ms. */
const UPLOAD_GRACE_MS = 50;
const CREATED = Math.floor(Date.now() / 1000);

interface Exchange {
  pod: Pod;
  request: IncomingMessage;
  response: ServerResponse;
  /** Parsed body of a POST, else null. */
  body: unknown;
  /** Simulated ms. */
  arrivedAt: number;
}

type Handler = (exchange: Exchange) => void;

const json = (answer: (exchange: Exchange) => unknown): Handler => {
  return (exchange) => sendJson(exchange.response, 200, JSON.stringify(answer(exchange)));
};

const text = (type: string, answer: (exchange: Exchange) => string): Handler => {
  return (exchange) => {
    exchange.response.writeHead(200, { "content-type": type });
    exchange.response.end(answer(exchange));
  };
};

function generate(exchange: Exchange, request: GenerationRequest, prefix: string): void {
  const { pod, response } = exchange;
  const asked = exchange.request.headers["x-request-id"];
  const id = typeof asked === "string" && asked !== "" ? asked : randomBytes(8).toString("hex");
  const { model, blockSize } = pod.options;
  const head = {
    id: `${prefix}-${id}`,
    model,
    created: Math.floor(Date.now() / 1000),
    blockSize,
    saysCached: pod.saysCached,
  };
  const sink = (request.stream ? streamedAnswer : wholeAnswer)(response, request, head);
  const session = exchange.request.headers["x-session-id"];
  const cancel = pod.generate(request, exchange.arrivedAt, typeof session === "string" ? session : "", sink);
  response.on("close", () => {
    if (!response.writableEnded) cancel();
  });
}

function tokenize({ pod, body }: Exchange): unknown {
  const fields = body as Fields;
  checkModel(fields, pod.options.model);
  const chat = fields.messages !== undefined;
  if (!chat && typeof fields.prompt !== "string")
    throw badRequest("give a prompt (a string) or messages", "prompt");
  const prompt = chat
    ? renderChat(readMessages(fields.messages), fields.add_generation_prompt !== false)
    : withSpecialTokens(fields.prompt as string, fields);
  const tokens = Array.from(pod.tokenizer.encode(prompt));
  const strings =
    fields.return_token_strs === true ? tokens.map((id) => pod.tokenizer.vocabulary.symbols(id)) : null;
  return { count: tokens.length, max_model_len: pod.maxModelLen, tokens, token_strs: strings };
}

function detokenize({ pod, body }: Exchange): unknown {
  const { tokens } = body as Fields;
  if (!Array.isArray(tokens)) throw badRequest("tokens must be a list of token ids", "tokens");
  try {
    return { prompt: pod.tokenizer.decode(tokens) };
  } catch (error) {
    throw badRequest(error instanceof Error ? error.message : String(error), "tokens");
  }
}

function models({ pod }: Exchange): unknown {
  const { model } = pod.options;
  const card = { id: model, object: "model", created: CREATED, owned_by: "vllm", root: model, parent: null };
  return { object: "list", data: [{ ...card, max_model_len: pod.maxModelLen, permission: [] }] };
}

function eventSources({ pod }: Exchange): unknown {
  const { port, replayPort, topic } = pod.publisher;
  const source = {
    enable_kv_cache_events: true,
    publisher: "zmq",
    endpoint: `tcp://127.0.0.1:${port}`,
    replay_endpoint: `tcp://127.0.0.1:${replayPort}`,
    buffer_steps: pod.options.bufferSteps,
    hwm: 100_000,
    max_queue_size: 100_000,
    topic,
  };
  return { 0: source };
}

function simStats({ pod }: Exchange): unknown {
  const { stats } = pod;
  return {
    name: pod.options.name,
    ...pod.load(),
    requests: stats.requests,
    promptTokens: stats.promptTokens,
    cachedTokens: stats.cachedTokens,
    completionTokens: stats.completionTokens,
    eventLoopLagMs: pod.lag.histogram.summary(),
    firstTokenLagMs: pod.firstTokenLag.summary(),
    ttftMs: { mean: stats.meanTtft() },
    timeScale: pod.options.timeScale,
    routingHeadersSeen: stats.routingHeadersSeen,
    heldBlocks: pod.holds.blocks,
    expiredTransfers: pod.holds.expired,
    externalTokens: pod.metrics.externalPromptTokens,
    cpuSeconds: (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
  };
}

function resetStats({ pod }: Exchange): unknown {
  pod.stats.clear();
  pod.lag.histogram.clear();
  pod.firstTokenLag.clear();
  return { success: true };
}

/** Makes the pod lose its events (`loseEvents`) or say a figure that is not true (`cachedTokens`), until told otherwise. */
function faults({ pod, body }: Exchange): unknown {
  const { loseEvents, cachedTokens } = body as Fields;
  if (typeof loseEvents === "boolean") pod.publisher.losing = loseEvents;
  if (cachedTokens === null || typeof cachedTokens === "number") pod.saysCached = cachedTokens;
  return { loseEvents: pod.publisher.losing, cachedTokens: pod.saysCached };
}

function pull({ pod, request, response, body }: Exchange): void {
  const { engine_id: engineId, request_id: requestId } = body as Fields;
  const cancel = pod.servePull(String(engineId), String(requestId), (read) => {
    if (read) sendJson(response, 200, JSON.stringify(read));
    else sendError(response, notFound(request.url ?? "/"));
  });
  response.on("close", () => {
    if (!response.writableEnded) cancel();
  });
}

const routes: Record<string, Partial<Record<string, Handler>>> = {
  "/v1/chat/completions": {
    POST: (exchange) =>
      generate(exchange, readChatRequest(exchange.body, exchange.pod.options.model), "chatcmpl"),
  },
  "/v1/completions": {
    POST: (exchange) =>
      generate(exchange, readCompletionRequest(exchange.body, exchange.pod.options.model), "cmpl"),
  },
  "/v1/chat/completions/render": {
    POST: () => {
      throw scaleOutDisabled();
    },
  },
  "/tokenize": { POST: json(tokenize) },
  "/detokenize": { POST: json(detokenize) },
  "/v1/models": { GET: json(models) },
  "/health": { GET: text("text/plain", () => "") },
  "/ping": { GET: text("text/plain", () => ""), POST: text("text/plain", () => "") },
  "/version": { GET: json(() => ({ version: "0.32.0" })) },
  "/load": { GET: json(() => ({ server_load: 0 })) },
  "/metrics": { GET: text("text/plain; version=0.0.4; charset=utf-8", ({ pod }) => pod.metricsPage()) },
  "/reset_prefix_cache": { POST: json(({ pod }) => ({ success: pod.resetPrefixCache() })) },
  "/kv_event_sources": { GET: json(eventSources) },
  "/sim/stats": { GET: json(simStats) },
  "/sim/kv/pull": { POST: pull },
  "/sim/faults": { POST: json(faults) },
  "/sim/stats/reset": { POST: json(resetStats) },
};

function parse(body: Buffer): unknown {
  if (body.length === 0) return {};
  try {
    const text = body.toString("utf8");
    // Python's json takes a byte order mark before the text.
    return JSON.parse(text.startsWith("\ufeff") ? text.slice(1) : text);
  } catch (error) {
    throw invalidJson(error instanceof Error ? error.message : String(error));
  }
}

/** An HTTP server for the pod, not yet listening. */
export function createPodServer(pod: Pod): Server {
  const server = createServer({ maxHeaderSize: 256 * 1024 }, (request, response) => {
    const startedAt = performance.now();
    response.setHeader("x-sim-pod", pod.options.name);
    response.setHeader("server", "uvicorn");
    pod.stats.headers(Object.keys(request.headers));
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= BODY_LIMIT_BYTES) chunks.push(chunk);
    });
    request.on("end", () => {
      try {
        if (length > BODY_LIMIT_BYTES) throw tooLarge(BODY_LIMIT_BYTES);
        const path = (request.url ?? "/").split("?", 1)[0] as string;
        const methods = routes[path];
        if (!methods) throw notFound(path);
        const handler = methods[request.method ?? "GET"];
        if (!handler) throw methodNotAllowed();
        const arrived = Math.max(startedAt, performance.now() - UPLOAD_GRACE_MS);
        const body =
          request.method === "POST"
            ? parse(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
            : null;
        handler({ pod, request, response, body, arrivedAt: arrived * pod.clock.scale });
      } catch (error) {
        sendError(response, error);
      }
    });
  });
  server.on("listening", () => {
    pod.holds.port = (server.address() as AddressInfo).port;
  });
  // A gateway keeps connections; closing idle ones under it would race with its next request.
  server.keepAliveTimeout = 0;
  server.headersTimeout = 0;
  server.requestTimeout = 0;
  return server;
}
