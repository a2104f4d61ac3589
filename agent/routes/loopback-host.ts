// A page in a browser can reach loopback under a name of its own: without a token, the name must be ours.
import type { FastifyReply, FastifyRequest } from "fastify";
import { replyError } from "../errors.js";

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/** Refuses a request under another name than loopback's; `what` says what it asked for. Undefined when it may pass. */
export function refuseForeignHost(
  request: FastifyRequest,
  reply: FastifyReply,
  what: string,
): FastifyReply | undefined {
  if (LOOPBACK_HOST.test(request.headers.host ?? "")) return undefined;
  return replyError(
    reply,
    "forbidden_host",
    `without tokenFile ${what} under localhost, 127.0.0.1 or [::1] only; set tokenFile for other names`,
  );
}
