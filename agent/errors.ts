// Every error code that a person or a client of the agent can meet.
import type { FastifyReply } from "fastify";

/** HTTP errors: code → status. The code is the contract, the message may change. */
export const HTTP_ERRORS = {
  unauthorized: 401,
  not_found: 404,
  invalid_request: 400,
  internal: 500,
} as const;

export type HttpErrorCode = keyof typeof HTTP_ERRORS;

/** Answers with `{"error":{"code","message"}}` and the code's status. */
export function replyError(reply: FastifyReply, code: HttpErrorCode, message: string): FastifyReply {
  return reply.code(HTTP_ERRORS[code]).send({ error: { code, message } });
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
