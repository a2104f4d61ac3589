// The prefill leg: one attempt at one prefill pod, and what its answer means.

import type { Exchange, Transfer } from "./connectors/connector.js";
import type { Passage, SidecarContext } from "./context.js";
import { ClientGone } from "./errors.js";
import { prefillHeaders } from "./headers.js";
import type { PrefillOutcome } from "./metrics.js";
import type { Target } from "./prefiller.js";
import { collect, type UpstreamFailure, type WholeAnswer } from "./upstream.js";

/** A prefill answer holds block ids and at most one token with its log probabilities. */
const ANSWER_LIMIT = 64 << 20;

/** What came of an attempt. */
export type Prefilled =
  | { kind: "transfer"; transfer: Transfer }
  /** A good answer without parameters: the decode pod will compute the prompt again. */
  | { kind: "no_parameters" }
  /** The request itself is at fault, so that every pod would say the same. */
  | { kind: "refused"; answer: WholeAnswer }
  | {
      kind: "failed";
      outcome: PrefillOutcome;
      /** Whether the same pod may do better at once. */
      retry: boolean;
      why: string;
      answer: WholeAnswer | null;
    };

/** A running attempt. */
export interface PrefillAttempt {
  /** Never rejects but with ClientGone. */
  result: Promise<Prefilled>;
  cancel(why: Error): void;
}

/** Sends `body` to the prefill pod; the client leaving cancels it. */
export function attemptPrefill(
  context: SidecarContext,
  passage: Passage,
  target: Target,
  exchange: Exchange,
  body: Buffer,
): PrefillAttempt {
  const { metrics, options } = context;
  const request = {
    method: "POST",
    path: passage.path,
    headers: prefillHeaders(passage.headers, exchange.prefillHeaders),
    body,
  };
  metrics.legsInFlight.inc({ leg: "prefill" });
  const pool = context.prefillPools.get(target.authority);
  const { answer, cancel } = collect(pool, request, options.prefillTimeoutMs, ANSWER_LIMIT);
  const release = passage.client.onGone(cancel);
  const result = answer
    .then(
      (whole) => judge(exchange, whole),
      (error: UpstreamFailure) => failure(error),
    )
    .then((prefilled) => {
      if (passage.client.gone) {
        metrics.prefills.inc({ outcome: "client_gone" });
        if (prefilled.kind === "transfer") metrics.unclaimed.inc();
        throw new ClientGone();
      }
      metrics.prefills.inc({ outcome: outcomeOf(prefilled) });
      if (prefilled.kind === "failed") {
        context.connector.failed?.(target);
        if (prefilled.outcome === "unreachable") metrics.connectionErrors.inc({ leg: "prefill" });
        const { why } = prefilled;
        context.log.debug({ requestId: passage.id, prefiller: target.authority, why }, "a prefill failed");
      }
      return prefilled;
    })
    .finally(() => {
      release();
      metrics.legsInFlight.dec({ leg: "prefill" });
    });
  return { result, cancel };
}

// 408 and 429 are of the pod's moment; the other 4xx say that the request is wrong.
function isRequestFault(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}

function judge(exchange: Exchange, answer: WholeAnswer): Prefilled {
  const { status } = answer;
  if (isRequestFault(status)) return { kind: "refused", answer };
  if (status < 200 || status > 299) {
    const retry = status === 502 || status === 503 || status === 504;
    return { kind: "failed", outcome: "error_status", retry, why: `status ${status}`, answer };
  }
  if (!exchange.transferFrom) {
    return exchange.transfer ? { kind: "transfer", transfer: exchange.transfer } : { kind: "no_parameters" };
  }
  try {
    const transfer = exchange.transferFrom(answer.body);
    return transfer ? { kind: "transfer", transfer } : { kind: "no_parameters" };
  } catch (error) {
    const why = `the answer is not what the connector expects: ${(error as Error).message}`;
    return { kind: "failed", outcome: "malformed", retry: false, why, answer: null };
  }
}

function failure(error: UpstreamFailure): Prefilled {
  const retry = error.kind === "unreachable";
  return { kind: "failed", outcome: FAILURES[error.kind], retry, why: error.message, answer: null };
}

const FAILURES: Record<UpstreamFailure["kind"], PrefillOutcome> = {
  unreachable: "unreachable",
  timeout: "timeout",
  too_large: "malformed",
  cancelled: "cancelled",
};

function outcomeOf(prefilled: Prefilled): PrefillOutcome {
  switch (prefilled.kind) {
    case "transfer":
      return "ok";
    case "no_parameters":
      return "no_parameters";
    case "refused":
      return "error_status";
    case "failed":
      return prefilled.outcome;
  }
}
