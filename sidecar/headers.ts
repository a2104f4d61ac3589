// Which headers travel on: all of them but those of the connection and those that are ours to read.
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";

/** The one id of a request, on both legs and in the answer. */
export const REQUEST_ID = "x-request-id";

const HOP_BY_HOP = [
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

const NOT_UPSTREAM = new Set([
  ...HOP_BY_HOP,
  "host",
  "expect",
  REQUEST_ID,
  "x-prefiller-host-port",
  "x-prefiller-hosts-ports",
  "x-prefiller-url",
  "x-encoder-hosts-ports",
  "x-kv-cache-source-host-port",
  "x-data-parallel-host-port",
]);

// The prefill answer is read here, so it must come as plain text; a rank is the decode pod's own.
const NOT_TO_PREFILL = new Set(["accept-encoding", "x-data-parallel-rank", "accept"]);

const NOT_DOWNSTREAM = new Set([...HOP_BY_HOP, REQUEST_ID]);

/** The client's request id, or a new one. */
export function requestId(request: IncomingMessage): string {
  const given = request.headers[REQUEST_ID];
  return typeof given === "string" && given !== "" ? given : randomUUID();
}

/**
 * The request's headers for an upstream, flat (name, value, name, value), spelled and ordered as they came.
 * @param keepLength false when the body goes as a buffer, whose length undici writes.
 */
export function upstreamHeaders(request: IncomingMessage, id: string, keepLength: boolean): string[] {
  const raw = request.rawHeaders;
  const named = connectionNames(request.headers.connection);
  const headers: string[] = [REQUEST_ID, id];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (NOT_UPSTREAM.has(name) || named?.has(name)) continue;
    if (name === "content-length" && !keepLength) continue;
    headers.push(raw[i]!, raw[i + 1]!);
  }
  return headers;
}

/** The headers of the prefill leg: those of the decode leg (credential, id, trace) but for what concerns the answer. */
export function prefillHeaders(decodeHeaders: readonly string[], extra: readonly string[]): string[] {
  const headers: string[] = [];
  for (let i = 0; i < decodeHeaders.length; i += 2) {
    if (!NOT_TO_PREFILL.has(decodeHeaders[i]!.toLowerCase()))
      headers.push(decodeHeaders[i]!, decodeHeaders[i + 1]!);
  }
  headers.push("accept", "application/json", ...extra);
  return headers;
}

/** An upstream's answer headers for the client, flat, with the request's id. */
export function downstreamHeaders(headers: IncomingHttpHeaders, id: string): string[] {
  const flat: string[] = [];
  const named = connectionNames(headers.connection);
  for (const name in headers) {
    if (NOT_DOWNSTREAM.has(name) || named?.has(name)) continue;
    const value = headers[name];
    if (typeof value === "string") flat.push(name, value);
    else if (value) for (const one of value) flat.push(name, one);
  }
  flat.push(REQUEST_ID, id);
  return flat;
}

// A Connection header may name more headers that end here, but not those by which a body is understood: an engine would
// then read as JSON what was not checked as JSON.
function connectionNames(value: string | string[] | undefined): Set<string> | null {
  if (value === undefined || value === "keep-alive" || value === "close") return null;
  const names = new Set(
    String(value)
      .toLowerCase()
      .split(/\s*,\s*/),
  );
  names.delete("content-type");
  names.delete("content-length");
  return names;
}
