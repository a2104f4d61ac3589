// Asks an engine where it publishes KV events: vLLM's GET /kv_event_sources answers its --kv-events-config per
// data-parallel rank, `{"0": {"publisher": "zmq", "endpoint": "tcp://*:5557", ...}}`.
import { request } from "undici";
import { boundedJson } from "../bounded-json.js";

/** Where a pod's events come from. */
export interface EventSource {
  events: string;
  replay: string | null;
}

export type EventSourceAnswer =
  | { kind: "found"; source: EventSource }
  /** It publishes nothing, or does not tell. */
  | { kind: "none" }
  /** Several ranks behind one address: where a request goes among them cannot be chosen. */
  | { kind: "ranks"; count: number };

const TIMEOUT_MS = 5000;
const MAX_BYTES = 1024 * 1024;

/** @throws when the engine does not answer. */
export async function eventSource(metricsBase: string): Promise<EventSourceAnswer> {
  const response = await request(`${metricsBase}/kv_event_sources`, {
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
  if (response.statusCode !== 200) {
    await response.body.dump();
    return { kind: "none" };
  }
  let document: unknown;
  try {
    document = await boundedJson(response.body, MAX_BYTES);
  } catch {
    return { kind: "none" };
  }
  return sourceOf(document, new URL(metricsBase).hostname);
}

/** Reads an answer of a pod at `host`; endpoints of other hosts are not believed. */
export function sourceOf(document: unknown, host: string): EventSourceAnswer {
  if (typeof document !== "object" || document === null) return { kind: "none" };
  const ranks = Object.values(document).filter(
    (rank): rank is Record<string, unknown> =>
      typeof rank === "object" && rank !== null && rank.enable_kv_cache_events !== false,
  );
  if (ranks.length > 1) return { kind: "ranks", count: ranks.length };
  const rank = ranks[0];
  if (!rank || (rank["publisher"] !== "zmq" && rank["publisher"] !== undefined)) return { kind: "none" };
  const events = atHost(rank["endpoint"], host);
  return events
    ? { kind: "found", source: { events, replay: atHost(rank["replay_endpoint"], host) } }
    : { kind: "none" };
}

/** An endpoint as an engine binds it, as others reach it: a wildcard stands for the pod's own host. */
function atHost(endpoint: unknown, host: string): string | null {
  if (typeof endpoint !== "string") return null;
  const parts = /^tcp:\/\/(\[[0-9a-f:.]+\]|[^:/]*):(\d{1,5})$/i.exec(endpoint);
  if (!parts) return null;
  const bound = parts[1]!;
  const wildcard = ["*", "0.0.0.0", "[::]", ""].includes(bound);
  return wildcard || bound === host ? `tcp://${host}:${parts[2]}` : null;
}
