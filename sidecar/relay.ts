// An upstream's answer on its way to the client: streamed, with back-pressure, and cancelled when the client leaves.
import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";
import type { ClientLink } from "./client-link.js";
import { ClientGone } from "./errors.js";
import { downstreamHeaders } from "./headers.js";
import { UpstreamCall, type UpstreamRequest } from "./upstream.js";

/** What a gate says about the answer so far: wait for more, pass it on, or drop it (the client sees nothing of it). */
export type GateVerdict = "wait" | "pass" | "drop";

/** How an answer is passed on. */
export interface RelayOptions {
  id: string;
  /** More headers for the answer, flat; asked at the answer's first body byte for streams, at its head otherwise. */
  headers?(streamed: boolean): string[];
  /** More headers that are known only at the end: sent as trailers when the client accepts them. */
  trailers?(): Record<string, string>;
  /** Judges the answer before the client sees any of it. */
  gate?(status: number, headers: IncomingHttpHeaders, body: Buffer, ended: boolean): GateVerdict;
}

/** How an answer went. */
export type RelayOutcome =
  | { kind: "done"; status: number }
  /** Dropped by the gate. */
  | { kind: "dropped" }
  /** Nothing was sent to the client yet. */
  | { kind: "unanswered"; error: Error }
  /** The answer broke in the middle: the client's connection is broken as well, so that it cannot take it for whole. */
  | { kind: "cut"; status: number; error: Error }
  | { kind: "client_gone" }
  /** Cancelled by the caller before the client saw any of it. */
  | { kind: "cancelled" };

/** A running answer. */
export interface Relaying {
  outcome: Promise<RelayOutcome>;
  /** Breaks it off if the client has seen nothing yet, and says whether it did. */
  cancelUnseen(why: Error): boolean;
}

/** Sends a request and passes its answer on to the client. */
export function relay(
  dispatcher: Dispatcher,
  request: UpstreamRequest,
  client: ClientLink,
  options: RelayOptions,
): Relaying {
  const relaying = new Relay(client, options);
  relaying.start(dispatcher, request);
  return relaying;
}

/** Whether the answer comes event by event. */
export function isEventStream(headers: IncomingHttpHeaders): boolean {
  return String(headers["content-type"] ?? "").startsWith("text/event-stream");
}

class Relay implements Relaying {
  readonly outcome: Promise<RelayOutcome>;
  private settle!: (outcome: RelayOutcome) => void;
  private call!: UpstreamCall;
  private release: () => void = () => {};
  private settled = false;
  private status = 0;
  private headers: IncomingHttpHeaders = {};
  private held: Buffer[] | null = null;
  private sentHead = false;
  private readonly onDrain = () => this.call.resume();

  constructor(
    private readonly client: ClientLink,
    private readonly options: RelayOptions,
  ) {
    this.outcome = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  start(dispatcher: Dispatcher, request: UpstreamRequest): void {
    this.call = new UpstreamCall(dispatcher, request, this);
    this.release = this.client.onGone((why) => {
      this.call.cancel(why);
      this.finish({ kind: "client_gone" });
    });
  }

  cancelUnseen(why: Error): boolean {
    if (this.sentHead || this.settled) return false;
    this.call.cancel(why);
    this.finish({ kind: "cancelled" });
    return true;
  }

  head(status: number, headers: IncomingHttpHeaders): void {
    this.status = status;
    this.headers = headers;
    if (this.options.gate) this.held = [];
    // A stream's head waits for its first byte: only then is the time of the transfer known.
    else if (!this.options.headers || !isEventStream(headers)) this.sendHead(false);
  }

  data(chunk: Buffer): void {
    if (this.held) {
      this.held.push(chunk);
      this.judge(false);
      return;
    }
    if (!this.sentHead) this.sendHead(true);
    this.write(chunk);
  }

  end(): void {
    if (this.held && !this.judge(true)) return;
    if (!this.sentHead) this.sendHead(false);
    const { response } = this.client;
    if (this.options.trailers && response.hasHeader("trailer")) response.addTrailers(this.options.trailers());
    response.end();
    response.off("drain", this.onDrain);
    this.finish({ kind: "done", status: this.status });
  }

  fail(error: Error): void {
    const { response } = this.client;
    if (error instanceof ClientGone) {
      this.finish({ kind: "client_gone" });
    } else if (this.sentHead) {
      this.finish({ kind: "cut", status: this.status, error });
      response.destroy();
    } else {
      this.finish({ kind: "unanswered", error });
    }
  }

  // True when the answer may go on to the client.
  private judge(ended: boolean): boolean {
    const body = Buffer.concat(this.held!);
    const verdict = this.options.gate!(this.status, this.headers, body, ended);
    if (verdict === "wait" && !ended) return false;
    this.held = null;
    if (verdict === "drop") {
      this.call.cancel(new Error("the answer is not for the client"));
      this.finish({ kind: "dropped" });
      return false;
    }
    this.sendHead(isEventStream(this.headers));
    if (body.length > 0) this.write(body);
    return true;
  }

  private sendHead(streamed: boolean): void {
    this.sentHead = true;
    const { response } = this.client;
    const flat = downstreamHeaders(this.headers, this.options.id);
    if (this.options.headers) flat.push(...this.options.headers(streamed));
    // Trailers need chunks; with a length there is no room for them.
    const trailers =
      this.options.trailers !== undefined &&
      this.headers["content-length"] === undefined &&
      /\btrailers\b/i.test(String(response.req.headers.te ?? ""));
    if (trailers) response.setHeader("trailer", Object.keys(this.options.trailers!()).join(", "));
    response.writeHead(this.status, flat);
    if (streamed) response.on("drain", this.onDrain);
  }

  private write(chunk: Buffer): void {
    const { response } = this.client;
    if (response.write(chunk)) return;
    this.call.pause();
    if (response.listenerCount("drain") === 0) response.on("drain", this.onDrain);
  }

  private finish(outcome: RelayOutcome): void {
    if (this.settled) return;
    this.settled = true;
    this.release();
    this.settle(outcome);
  }
}
