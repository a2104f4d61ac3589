// What the sidecar answers by itself: its health, and metrics.
import type { ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import type { Passage, SidecarContext } from "./context.js";
import { sendError } from "./errors.js";
import { collect } from "./upstream.js";

const ENGINE_METRICS_TIMEOUT_MS = 2000;
const ENGINE_METRICS_LIMIT = 32 << 20;

/** 200 while the sidecar takes requests, 503 once it drains. */
export function answerHealth(response: ServerResponse, draining: boolean): void {
  if (draining) sendError(response, "draining", "the sidecar is draining: it finishes what it has and ends");
  else response.writeHead(200, { "content-type": "application/json" }).end('{"status":"ok"}');
}

/**
 * The sidecar's metrics and after them the engine's, so that scrapers of the pod's port keep seeing vllm:*. Without an
 * answer of the engine its part is missing.
 */
export async function answerMetrics(context: SidecarContext, passage: Passage): Promise<void> {
  const { metrics } = context;
  metrics.allowlistSize.set(context.allowlist.size);
  metrics.prefillPools.set(context.prefillPools.size);
  const [own, engine] = await Promise.all([metrics.registry.metrics(), engineMetrics(passage.engine)]);
  const { response } = passage.client;
  if (response.destroyed) return;
  response.writeHead(200, { "content-type": metrics.registry.contentType });
  response.end(engine === null ? own : Buffer.concat([Buffer.from(own), engine]));
}

async function engineMetrics(engine: Dispatcher): Promise<Buffer | null> {
  const request = { method: "GET", path: "/metrics", headers: ["accept", "text/plain"], body: null };
  try {
    const { status, body } = await collect(engine, request, ENGINE_METRICS_TIMEOUT_MS, ENGINE_METRICS_LIMIT)
      .answer;
    return status === 200 ? body : null;
  } catch {
    return null;
  }
}
