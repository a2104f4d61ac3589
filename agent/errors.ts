// Every error code that a person or a client of the agent can meet.
import type { FastifyReply } from "fastify";

/** HTTP errors: code → status. The code is the contract, the message may change. */
export const HTTP_ERRORS = {
  unauthorized: 401,
  forbidden_host: 403,
  not_found: 404,
  model_not_found: 404,
  pod_not_found: 404,
  precondition_failed: 412,
  body_too_large: 413,
  unsupported_media_type: 415,
  invalid_request: 400,
  invalid_policy: 422,
  internal: 500,
  state_unwritable: 503,
} as const;

export type HttpErrorCode = keyof typeof HTTP_ERRORS;

/** A mistake in what a client sent: where, as a JSON pointer, and why. */
export interface HttpProblem {
  path: string;
  reason: string;
}

/** Answers with `{"error":{"code","message","problems"?}}` and the code's status. */
export function replyError(
  reply: FastifyReply,
  code: HttpErrorCode,
  message: string,
  problems?: HttpProblem[],
): FastifyReply {
  return reply
    .code(HTTP_ERRORS[code])
    .send({ error: { code, message, ...(problems === undefined ? {} : { problems }) } });
}

/** Our code for a refusal of the HTTP server itself (body not readable, too long, of another type), else null. */
export function codeOfStatus(status: number | undefined): HttpErrorCode | null {
  if (status === undefined || status < 400 || status > 499) return null;
  if (status === HTTP_ERRORS.body_too_large) return "body_too_large";
  if (status === HTTP_ERRORS.unsupported_media_type) return "unsupported_media_type";
  return "invalid_request";
}

/** Exit codes of the command line. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** A mistake in a file or flag that a person can correct; the message says where and what to do. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Something outside that the agent needs to start is not usable. */
export class StartError extends Error {
  override readonly name = "StartError";
}
