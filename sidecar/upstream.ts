// One request to an upstream server, cancellable at any moment of its life.
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";

/** What goes out. */
export interface UpstreamRequest {
  method: string;
  /** Path with query, as the client sent it. */
  path: string;
  /** Flat: name, value, name, value. */
  headers: string[];
  body: Buffer | Readable | null;
}

/** What comes back, in order: `head`, `data`..., and then `end` or `fail`; `fail` alone when there is no answer. */
export interface UpstreamEvents {
  head(status: number, headers: IncomingHttpHeaders): void;
  data(chunk: Buffer): void;
  end(): void;
  fail(error: Error): void;
}

/** A dispatched request. `cancel` is silent: no event follows it. */
export class UpstreamCall implements Dispatcher.DispatchHandler {
  private controller: Dispatcher.DispatchController | null = null;
  private cancelled: Error | null = null;
  private over = false;

  constructor(
    dispatcher: Dispatcher,
    request: UpstreamRequest,
    private readonly events: UpstreamEvents,
  ) {
    try {
      dispatcher.dispatch(
        {
          method: request.method as Dispatcher.HttpMethod,
          path: request.path,
          headers: request.headers,
          body: request.body,
        },
        this,
      );
    } catch (error) {
      // A request that undici refuses to write (an invalid header, a pool that closed): tell it like a broken connection.
      queueMicrotask(() => this.onResponseError(null, error as Error));
    }
  }

  /** Breaks the connection of a running request; one that still waits for a connection is never written. */
  cancel(why: Error): void {
    if (this.over || this.cancelled) return;
    this.cancelled = why;
    this.controller?.abort(why);
  }

  /** Stops reading until `resume`: back-pressure towards the server. */
  pause(): void {
    this.controller?.pause();
  }

  resume(): void {
    this.controller?.resume();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.cancelled) controller.abort(this.cancelled);
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status >= 200 && !this.cancelled) this.events.head(status, headers);
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.cancelled) this.events.data(chunk);
  }

  onResponseEnd(): void {
    this.over = true;
    if (!this.cancelled) this.events.end();
  }

  onResponseError(_: Dispatcher.DispatchController | null, error: Error): void {
    if (this.over) return;
    this.over = true;
    if (!this.cancelled) this.events.fail(error);
  }
}

/** An upstream's whole answer. */
export interface WholeAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** A request that had no whole answer, and why. */
export class UpstreamFailure extends Error {
  override readonly name = "UpstreamFailure";
  constructor(
    readonly kind: "unreachable" | "timeout" | "too_large" | "cancelled",
    message: string,
  ) {
    super(message);
  }
}

/** A running request whose answer is collected. */
export interface Collecting {
  answer: Promise<WholeAnswer>;
  /** Breaks it off; `answer` then fails with kind `cancelled`. */
  cancel(why: Error): void;
}

/**
 * Sends a request and collects its answer.
 * @param deadlineMs from now to the answer's last byte.
 * @param limit of the answer's body in bytes.
 */
export function collect(
  dispatcher: Dispatcher,
  request: UpstreamRequest,
  deadlineMs: number,
  limit: number,
): Collecting {
  let cancel: (why: Error) => void = () => {};
  const answer = new Promise<WholeAnswer>((resolve, reject) => {
    let status = 0;
    let headers: IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    let size = 0;
    const stop = (kind: UpstreamFailure["kind"], message: string) => {
      const why = new UpstreamFailure(kind, message);
      clearTimeout(timer);
      call.cancel(why);
      reject(why);
    };
    const timer = setTimeout(() => stop("timeout", `no answer within ${deadlineMs} ms`), deadlineMs);
    const call = new UpstreamCall(dispatcher, request, {
      head(s, h) {
        status = s;
        headers = h;
      },
      data(chunk) {
        size += chunk.length;
        chunks.push(chunk);
        if (size > limit) stop("too_large", `the answer is larger than ${limit} bytes`);
      },
      end() {
        clearTimeout(timer);
        resolve({ status, headers, body: chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size) });
      },
      fail(error) {
        clearTimeout(timer);
        reject(
          new UpstreamFailure(
            "unreachable",
            error.message || (error as NodeJS.ErrnoException).code || error.name,
          ),
        );
      },
    });
    cancel = (why) => stop("cancelled", why.message);
  });
  return { answer, cancel };
}
