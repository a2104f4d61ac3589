// The local engine's leg: its answer goes to the client, and its failures become ours.
import type { Readable } from "node:stream";
import type { Passage, SidecarContext } from "./context.js";
import { ClientGone, RequestRefused } from "./errors.js";
import type { DecodeKind } from "./metrics.js";
import { type Relaying, type RelayOptions, type RelayOutcome, relay } from "./relay.js";

/** Times of a prefill/decode request for the answer's headers, in milliseconds; null = not known or none. */
export interface LegTimes {
  prefillMs: number | null;
  /** Whether a transfer was asked of the decode pod. */
  transfer: boolean;
}

/** Starts the decode leg; the client leaving cancels it. */
export function startDecode(
  context: SidecarContext,
  passage: Passage,
  body: Buffer | Readable | null,
  kind: DecodeKind,
  options: RelayOptions,
): Relaying {
  const { metrics } = context;
  metrics.decodes.inc({ kind });
  metrics.legsInFlight.inc({ leg: "decode" });
  const { method, path, headers } = passage;
  const relaying = relay(passage.engine, { method, path, headers, body }, passage.client, options);
  void relaying.outcome.then((outcome) => {
    metrics.legsInFlight.dec({ leg: "decode" });
    if (outcome.kind === "unanswered" || outcome.kind === "cut")
      metrics.connectionErrors.inc({ leg: "decode" });
  });
  return relaying;
}

/** Answers with times: as headers where they are known when the head goes out, else as trailers. */
export function timedAnswer(context: SidecarContext, passage: Passage, times: LegTimes): RelayOptions {
  const start = performance.now();
  return {
    id: passage.id,
    headers(streamed) {
      const now = performance.now() - start;
      const flat: string[] = [];
      if (times.prefillMs !== null) flat.push("x-prefill-time-ms", times.prefillMs.toFixed(3));
      if (times.transfer) {
        flat.push("x-kv-transfer-time-ms", now.toFixed(3));
        if (streamed) context.metrics.transferDuration.observe(now / 1000);
      }
      if (!streamed) flat.push("x-decode-time-ms", now.toFixed(3));
      return flat;
    },
    trailers: () => ({ "x-decode-time-ms": (performance.now() - start).toFixed(3) }),
  };
}

/**
 * Makes the end of a decode leg the end of the request.
 * @throws RequestRefused when the engine gave no answer; ClientGone when there is no one to answer.
 */
export function settleDecode(context: SidecarContext, passage: Passage, outcome: RelayOutcome): void {
  switch (outcome.kind) {
    case "done":
    case "dropped":
    case "cancelled":
      return;
    case "client_gone":
      throw new ClientGone();
    case "cut":
      context.log.warn(
        { requestId: passage.id, why: outcome.error.message },
        "the local engine broke off an answer; the client's connection was closed as well",
      );
      return;
    case "unanswered": {
      if (outcome.error instanceof RequestRefused) throw outcome.error;
      const refused = (outcome.error as NodeJS.ErrnoException).code === "ECONNREFUSED";
      throw new RequestRefused(
        refused ? "decode_not_ready" : "decode_failed",
        refused
          ? "the local engine refuses connections: it is starting or has ended"
          : "the local engine closed the connection without an answer",
      );
    }
  }
}
