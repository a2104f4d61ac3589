// Reading a request's body, never more of it than allowed.
import type { IncomingMessage } from "node:http";
import { Transform } from "node:stream";
import { ClientGone, RequestRefused } from "./errors.js";

function tooLarge(limit: number): RequestRefused {
  return new RequestRefused(
    "body_too_large",
    `the request body is larger than ${limit} bytes (--max-body-bytes)`,
  );
}

/** @throws RequestRefused `body_too_large` when the declared length alone is over the limit. */
export function refuseDeclaredLength(request: IncomingMessage, limit: number): void {
  if (Number(request.headers["content-length"] ?? 0) > limit) throw tooLarge(limit);
}

/**
 * The whole body.
 * @throws RequestRefused `body_too_large`; ClientGone when it ends early.
 */
export function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) {
        request.removeAllListeners("data");
        reject(tooLarge(limit));
      } else {
        chunks.push(chunk);
      }
    });
    request.on("end", () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)));
    request.on("error", () => reject(new ClientGone()));
    request.on("close", () => {
      if (!request.complete) reject(new ClientGone());
    });
  });
}

/** The body as a stream that fails with `body_too_large` once it passes the limit. */
export function limitedBody(request: IncomingMessage, limit: number): Transform {
  let size = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > limit) done(tooLarge(limit));
      else done(null, chunk);
    },
  });
  request.on("error", () => counted.destroy(new ClientGone()));
  request.on("close", () => {
    if (!request.complete) counted.destroy(new ClientGone());
  });
  return request.pipe(counted);
}

/** Whether the request has a body at all. */
export function hasBody(request: IncomingMessage): boolean {
  return (
    request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"] ?? 0) > 0
  );
}
