// Figures of a run: what the clients saw, what the pods say of themselves, what was predicted.
import { renderChat } from "../simulator/chat-template.js";
import type { Played } from "./play.js";
import { BLOCK } from "./prompt-blocks.js";
import { ascending, quantile } from "./quantile.js";

/** Bytes of a text block. */
const TEXT_BLOCK = 128;

export interface Distribution {
  mean: number;
  p50: number;
  p90: number;
  p99: number;
}

export function distribution(values: number[]): Distribution {
  const sorted = ascending(values);
  const at = (share: number) => (sorted.length > 0 ? quantile(sorted, share) : 0);
  const round = (v: number) => Math.round(v * 100) / 100;
  return {
    mean: round(sorted.reduce((a, b) => a + b, 0) / (sorted.length || 1)),
    p50: round(at(0.5)),
    p90: round(at(0.9)),
    p99: round(at(0.99)),
  };
}

export interface RunSummary {
  requests: number;
  failed: number;
  hitRate: number;
  /** Simulated ms. */
  ttftMs: Distribution;
}

/** `timeScale`: simulated seconds per real second. */
export function summarize(played: Played[], timeScale: number): RunSummary {
  const good = played.filter((p) => p.answer !== null && p.error === null).map((p) => p.answer!);
  const prompt = good.reduce((n, a) => n + a.promptTokens, 0);
  const cached = good.reduce((n, a) => n + a.cachedTokens, 0);
  return {
    requests: played.length,
    failed: played.length - good.length,
    hitRate: prompt ? cached / prompt : 0,
    ttftMs: distribution(good.map((a) => a.ttftMs * timeScale)),
  };
}

interface PredictionSummary {
  requests: number;
  withinOneBlock: number;
  over: number;
  under: number;
  /** Share of requests that had cached tokens. */
  withHits: number;
}

/**
 * Predicted against actual cached tokens. Within one block: at most one KV block above, and below by at most the
 * tokens of one text block of this prompt, rounded up to a KV block.
 */
export function predictions(played: Played[]): PredictionSummary {
  let requests = 0;
  let within = 0;
  let over = 0;
  let under = 0;
  let hits = 0;
  for (const { answer, messages, error } of played) {
    if (!answer || error) continue;
    requests++;
    if (answer.cachedTokens > 0) hits++;
    const bytes = Buffer.byteLength(renderChat(messages, true));
    const slack = Math.ceil((TEXT_BLOCK * answer.promptTokens) / bytes / BLOCK) * BLOCK;
    const difference = answer.predictedTokens - answer.cachedTokens;
    if (difference > BLOCK) over++;
    else if (difference < -slack) under++;
    else within++;
  }
  const share = (n: number) => (requests ? n / requests : 0);
  return { requests, withinOneBlock: share(within), over, under, withHits: share(hits) };
}
