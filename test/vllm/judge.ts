// Predicted against actual cached tokens.
import type { TokenBytes } from "../../agent/wire.js";
import { KV_BLOCK } from "./engine.js";
import type { Played } from "./play.js";
import type { Witness } from "./witness.js";

/** Bytes of a text block, the agent's default. */
const TEXT_BLOCK = 128;

export type Verdict = "within" | "over" | "under" | "failed";

/** One request, judged. */
export interface Judged {
  played: Played;
  verdict: Verdict;
  /** Tokens by which the prediction may be too low. */
  slack: number;
  /** Tokens that each pod held when the request was sent, by pod name, as far as its engine had said. */
  held: Map<string, number>;
  /** What the same judge says of a promise of just these tokens: an engine evicts before it says so. */
  byEvents: Verdict;
  best: boolean;
}

export interface Share {
  requests: number;
  /** 0 to 1. */
  withinOneBlock: number;
}

export interface Summary extends Share {
  over: number;
  under: number;
  /** Of these, wrong in the way of a reader of every event, the moment it comes: the engine had not told what it did. */
  untold: number;
  /** Share of requests with cached tokens, 0 to 1. */
  withHits: number;
  /** Share that such a reader would have within one block, 0 to 1. */
  byEventsWithinOneBlock: number;
  /** Share of requests whose pod held as much of the prompt as the other, 0 to 1. */
  routedToBest: number;
}

/**
 * Judges a request: at most one KV block above what was cached, and below by at most the tokens of the text block that
 * the cached part ends in, rounded up to a KV block.
 */
export function judge(played: Played, table: TokenBytes, witnesses: Map<string, Witness>): Judged {
  const { answer, turn } = played;
  const held = new Map(
    [...witnesses].map(([name, witness]) => [
      name,
      witness.cachedTokens(answer.prompt, turn.salt, answer.sentAt),
    ]),
  );
  const slack = Math.ceil(textBlockTokens(answer.prompt, answer.cached, table) / KV_BLOCK) * KV_BLOCK;
  const verdict = (promised: number): Verdict => {
    if (answer.status !== 200) return "failed";
    const difference = promised - answer.cached;
    return difference > KV_BLOCK ? "over" : difference < -slack ? "under" : "within";
  };
  return {
    played,
    verdict: verdict(answer.predicted),
    slack,
    held,
    byEvents: verdict(held.get(answer.pod) ?? 0),
    best: (held.get(answer.pod) ?? 0) >= Math.max(0, ...held.values()),
  };
}

/** Tokens that begin in the text block which holds the last of the first `cached` tokens' bytes. */
function textBlockTokens(prompt: number[], cached: number, table: TokenBytes): number {
  const ends: number[] = [];
  let end = 0;
  for (const id of prompt) {
    end += table.offsets[id + 1]! - table.offsets[id]!;
    ends.push(end);
  }
  const block = Math.floor(((ends[Math.max(0, cached - 1)] ?? 1) - 1) / TEXT_BLOCK);
  return ends.filter((e) => Math.floor((e - 1) / TEXT_BLOCK) === block).length;
}

const share = (n: number, of: number) => (of === 0 ? 0 : n / of);

export function summarize(judged: Judged[]): Summary {
  const count = (test: (j: Judged) => boolean) => judged.filter(test).length;
  const requests = judged.length;
  return {
    requests,
    withinOneBlock: share(
      count((j) => j.verdict === "within"),
      requests,
    ),
    over: count((j) => j.verdict === "over"),
    under: count((j) => j.verdict === "under"),
    untold: count((j) => (j.verdict === "over" || j.verdict === "under") && j.byEvents === j.verdict),
    withHits: share(
      count((j) => j.played.answer.cached > 0),
      requests,
    ),
    byEventsWithinOneBlock: share(
      count((j) => j.byEvents === "within"),
      requests,
    ),
    routedToBest: share(
      count((j) => j.best),
      requests,
    ),
  };
}

/** One line for a person: what was sent, what was said, what was true, and what each pod's events say. */
export function describe(judged: Judged): string {
  const { turn, answer, index } = judged.played;
  const events = [...judged.held].map(([name, tokens]) => `${name}=${tokens}`).join(" ");
  return (
    `${judged.verdict}: ${turn.kind} turn ${index} on ${answer.pod || "no pod"}: predicted ${answer.predicted}, ` +
    `cached ${answer.cached} of ${answer.prompt.length} (slack ${judged.slack}; by events ${events})` +
    (answer.status === 200 ? "" : `; HTTP ${answer.status}: ${answer.text.slice(0, 200)}`)
  );
}
