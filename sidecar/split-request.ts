// A request that prefills on another pod and decodes here.
import { setTimeout as delay } from "node:timers/promises";
import type { CompletionApi } from "./completion-api.js";
import type { Exchange, Transfer } from "./connectors/connector.js";
import type { Passage, SidecarContext } from "./context.js";
import { settleDecode, startDecode, timedAnswer } from "./decode-leg.js";
import { ClientGone, RequestRefused } from "./errors.js";
import type { GenerationBody } from "./generation-body.js";
import { downstreamHeaders } from "./headers.js";
import type { RecomputeReason } from "./metrics.js";
import { attemptPrefill, type Prefilled } from "./prefill-leg.js";
import type { Target } from "./prefiller.js";
import { isEventStream, type RelayOutcome } from "./relay.js";
import type { WholeAnswer } from "./upstream.js";

/** Answers larger than this are passed on without waiting for a sign that the engine declined, in bytes. */
const DECLINE_LIMIT = 64 << 10;

/**
 * Serves one request with the connector's protocol. Candidates are tried in their order; when all fail, the local engine
 * prefills, or the failure is the answer (`--prefill-failure`).
 * @throws RequestRefused and ClientGone
 */
export async function serveSplit(
  context: SidecarContext,
  passage: Passage,
  api: CompletionApi,
  body: GenerationBody,
  candidates: readonly Target[],
): Promise<void> {
  const { connector } = context;
  if (connector.decodeFirst && body.has(connector.decodeFirst.field)) {
    if (await servedByDecodeFirst(context, passage, body)) return;
  }
  const start = performance.now();
  let last: Prefilled = { kind: "no_parameters" };
  for (const target of candidates) {
    for (let attempt = 0; ; attempt++) {
      const exchange = await prepare(context, passage, target);
      if ("kind" in exchange) {
        last = exchange;
      } else if (connector.order === "concurrent") {
        const served = await serveConcurrent(context, passage, api, body, target, exchange);
        if (served === true) return;
        last = served;
      } else {
        const prefill = body.forPrefill(api, exchange.prefill);
        last = await attemptPrefill(context, passage, target, exchange, prefill).result;
      }
      const again = last.kind === "failed" && last.retry && attempt < context.options.prefillMaxRetries;
      if (!again) break;
      await delay(context.options.prefillRetryBackoffMs);
      if (passage.client.gone) throw new ClientGone();
    }
    if (last.kind !== "failed") break;
  }
  const prefillMs = performance.now() - start;
  switch (last.kind) {
    case "transfer":
      return decodeWithTransfer(context, passage, body, last.transfer, prefillMs);
    case "refused":
      return passOn(passage, last.answer);
    case "no_parameters":
      return recompute(
        context,
        passage,
        body,
        "no_parameters",
        prefillMs,
        "the prefill answer had no parameters",
      );
    case "failed":
      if (context.options.prefillFailure === "fallback" && connector.localPrefill) {
        return recompute(context, passage, body, "prefill_failed", prefillMs, last.why);
      }
      if (last.answer) return passOn(passage, last.answer);
      throw new RequestRefused(
        last.outcome === "timeout" ? "prefill_timeout" : "prefill_failed",
        last.outcome === "timeout"
          ? `no prefill pod answered within ${context.options.prefillTimeoutMs} ms (--prefill-timeout)`
          : "no prefill pod gave a usable answer",
      );
  }
}

// A connector may have to ask the pod something before; failing at that is a failed attempt.
async function prepare(
  context: SidecarContext,
  passage: Passage,
  target: Target,
): Promise<Exchange | Extract<Prefilled, { kind: "failed" }>> {
  try {
    return await context.connector.exchange(target, passage.id);
  } catch (error) {
    context.metrics.prefills.inc({ outcome: "unreachable" });
    context.metrics.connectionErrors.inc({ leg: "prefill" });
    return {
      kind: "failed",
      outcome: "unreachable",
      retry: true,
      why: (error as Error).message,
      answer: null,
    };
  }
}

async function decodeWithTransfer(
  context: SidecarContext,
  passage: Passage,
  body: GenerationBody,
  transfer: Transfer,
  prefillMs: number,
): Promise<void> {
  countTransfer(context, transfer);
  const answer = timedAnswer(context, passage, { prefillMs, transfer: true });
  const outcome = await startDecode(context, passage, body.with(transfer.changes), "transfer", answer)
    .outcome;
  if (!fetchedBlocks(passage, outcome)) context.metrics.unclaimed.inc();
  settleDecode(context, passage, outcome);
}

async function recompute(
  context: SidecarContext,
  passage: Passage,
  body: GenerationBody,
  reason: RecomputeReason,
  prefillMs: number,
  why: string,
): Promise<void> {
  context.metrics.recomputes.inc({ reason });
  context.recomputeAlarm.raise({ requestId: passage.id, reason, why });
  const bytes = context.connector.recompute ? body.with(context.connector.recompute) : body.bytes;
  const answer = timedAnswer(context, passage, { prefillMs, transfer: false });
  settleDecode(context, passage, await startDecode(context, passage, bytes, "recompute", answer).outcome);
}

// True when the request ended here; otherwise what failed, and the client has seen nothing.
async function serveConcurrent(
  context: SidecarContext,
  passage: Passage,
  api: CompletionApi,
  body: GenerationBody,
  target: Target,
  exchange: Exchange,
): Promise<true | Prefilled> {
  const start = performance.now();
  const prefillBody = context.connector.oneToken
    ? body.forPrefill(api, exchange.prefill)
    : body.with(exchange.prefill);
  const times = { prefillMs: null as number | null, transfer: true };
  const attempt = attemptPrefill(context, passage, target, exchange, prefillBody);
  const transfer = exchange.transfer!;
  countTransfer(context, transfer);
  const answer = timedAnswer(context, passage, times);
  const decode = startDecode(context, passage, body.with(transfer.changes), "transfer", answer);
  let failed = null as Prefilled | null;
  const watched = attempt.result.then(
    (prefilled) => {
      times.prefillMs = performance.now() - start;
      // Without a prefill the decode pod waits for blocks that never come; once it answers, it has them.
      if (prefilled.kind !== "transfer" && decode.cancelUnseen(new Error("the prefill failed")))
        failed = prefilled;
    },
    // The client left: the decode leg says so too.
    () => {},
  );
  const outcome = await decode.outcome;
  if (outcome.kind === "unanswered") attempt.cancel(outcome.error);
  if (outcome.kind === "cancelled") await watched;
  if (failed) return failed;
  settleDecode(context, passage, outcome);
  return true;
}

// Asks the local engine; true when it answered, false when it declined for want of cached tokens.
async function servedByDecodeFirst(
  context: SidecarContext,
  passage: Passage,
  body: GenerationBody,
): Promise<boolean> {
  const { declined } = context.connector.decodeFirst!;
  const timed = timedAnswer(context, passage, { prefillMs: null, transfer: false });
  const decode = startDecode(context, passage, body.bytes, "local", {
    ...timed,
    gate(status, headers, answer, ended) {
      if (status !== 200) return "pass";
      const text = answer.toString("latin1");
      if (declined.test(text)) return "drop";
      // A declining stream has a role event at most before it says so.
      if (ended || answer.length > DECLINE_LIMIT) return "pass";
      return isEventStream(headers) && countEvents(text) >= 2 ? "pass" : "wait";
    },
  });
  const outcome = await decode.outcome;
  settleDecode(context, passage, outcome);
  return outcome.kind !== "dropped";
}

function countEvents(text: string): number {
  return text.split(/\r?\n\r?\n/).length - 1;
}

function countTransfer({ metrics, options }: SidecarContext, { blocks, tokens }: Transfer): void {
  if (blocks > 0) {
    metrics.transferBlocks.inc(blocks);
    if (options.kvBlockBytes > 0) metrics.transferBytes.inc(blocks * options.kvBlockBytes);
  }
  if (tokens > 0) metrics.transferTokens.inc(tokens);
}

// Whether the decode pod got as far as fetching: an error or nothing at all leaves the blocks with the prefill pod.
function fetchedBlocks({ client }: Passage, outcome: RelayOutcome): boolean {
  if (outcome.kind === "client_gone") return client.response.headersSent;
  return (outcome.kind === "done" || outcome.kind === "cut") && outcome.status < 400;
}

function passOn({ client, id }: Passage, { status, headers, body }: WholeAnswer): void {
  if (client.gone) throw new ClientGone();
  const flat = downstreamHeaders({ ...headers, "content-length": String(body.length) }, id);
  client.response.writeHead(status, flat);
  client.response.end(body);
}
