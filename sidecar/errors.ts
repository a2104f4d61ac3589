// Every answer that the sidecar itself gives to a request it cannot serve.
import type { ServerResponse } from "node:http";

/** Error code → HTTP status. The code is the contract, the message may change. */
export const SIDECAR_ERRORS = {
  malformed_json: 400,
  reserved_field: 400,
  invalid_prefiller: 400,
  unknown_data_parallel_rank: 400,
  body_unreadable: 400,
  prefiller_not_allowed: 403,
  body_too_large: 413,
  content_encoding_unsupported: 415,
  prefill_failed: 502,
  decode_failed: 502,
  decode_not_ready: 503,
  draining: 503,
  prefill_timeout: 504,
  internal: 500,
} as const;

export type SidecarErrorCode = keyof typeof SIDECAR_ERRORS;

/** A request that ends with one of our own answers. */
export class RequestRefused extends Error {
  override readonly name = "RequestRefused";
  constructor(
    readonly code: SidecarErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** The client closed its connection before it had the answer. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
  constructor() {
    super("the client closed the connection");
  }
}

/** Answers in the shape of the OpenAI API: `{"error":{"message","type","param","code"}}`. */
export function sendError(response: ServerResponse, code: SidecarErrorCode, message: string): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const status = SIDECAR_ERRORS[code];
  const type = status < 500 ? "invalid_request_error" : "server_error";
  const body = Buffer.from(JSON.stringify({ error: { message, type, param: null, code } }));
  response.writeHead(status, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
}
