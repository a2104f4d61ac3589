// One decision as gateways record it; record-bytes.ts reads and writes it.
import type { Role } from "../wire/rows.js";

/** Order of the reasons is that of wasm/shared/decision-layout.ts. */
export const DECISION_REASONS = [
  "routed",
  "no_table",
  "no_pods",
  "filtered_out",
  "saturated",
  "not_cached",
  "subset_empty",
] as const;

/** One request's way to its pod, as a gateway worker saw it. */
export interface Decision {
  kind: "decision";
  processId: bigint;
  vmId: bigint;
  tableSequence: number;
  policyVersion: number;
  reason: (typeof DECISION_REASONS)[number];
  requestId: string;
  model: number;
  promptTokens: number;
  predictedTokens: number;
  priority: number;
  schedulingMicros: number;
  passed: number;
  considered: number;
  /** What the pick knew of the request; null when there was none. */
  pick: PickFacts | null;
  /** Best first, then by slot; as they were before the request counted anywhere. */
  candidates: DecisionCandidate[];
  /** Whether its prefill runs on another pod; null when that was not in question. */
  pair: PairDecision | null;
}

/** 64-bit numbers are hex digits: hashes and random bits, none of them anybody's own text. */
export interface PickFacts {
  /** Index of the profile in the program. */
  profile: number;
  /** Counts of other gateways came late, and so token-aware stood in for warm-until-busy. */
  sharingSlow: boolean;
  stoodIn: boolean;
  /** Whether every pod that could be chosen is among the candidates; else the decision cannot be replayed. */
  complete: boolean;
  columnsFresh: boolean;
  promptTokens: number;
  spread: string;
  session: string;
  seed: string;
  perPodRate: number;
  /** The worker's monotonic clock, ns, decimal. */
  timeNs: string;
  headers: string[];
}

export interface DecisionCandidate {
  address: string;
  /** 1 is the pod, 2 and 3 come next, 0 the others. */
  rank: number;
  /** As they counted in the pick. */
  cachedTokens: number;
  /** Lower is better; seconds with warm-until-busy, the negated sum of weighted scores otherwise. */
  cost: number;
  inflightRequests: number;
  pendingPrefills: number;
  slot: number;
  /** Place in the order of last choices, 1 = longest ago, 0 = none; of all, and of those that hit no cache. */
  turn: number;
  coldTurn: number;
  /** Prefill work without a first token, in tokens of a short prompt. */
  pendingWork: number;
  pendingTokens: number;
  /** Since when the first of these is at work, ns of the worker's clock, decimal; "0" = none is. */
  headSinceNs: string;
  waiting: number;
  running: number;
  /** 0–1. */
  kvUsage: number;
  capacityTokens: number;
  prefillTokensPerSecond: number;
  /** Whether the scraped columns were young enough to use. */
  loadFresh: boolean;
  /** Left out because it refused connections. */
  out: boolean;
  /** It had the session. */
  session: boolean;
  role: Role;
  adapter: { active: boolean; waiting: boolean; room: boolean };
  /** Label selectors that take it, hex. */
  labels: string;
  /** Bits of its custom columns, which are f32 or hashes; empty when the policy has none. */
  columns: number[];
}

/** What the choice of a pair of pods knew, and what came of it. */
export interface PairDecision {
  splits: boolean;
  /** Place of the decode pod among the decode candidates, 0 without a split. */
  decode: number;
  /** Predicted, with a split and without; f64's greatest without a pair, and 0 where one pod alone was not asked about. */
  seconds: number;
  aloneSeconds: number;
  /** As in the table's disaggregation section. */
  mode: number;
  transferTokensPerSecond: number;
  stallWeight: number;
  promptTokens: number;
  /** Prefill work of this request that counts on the first decode candidate. */
  work: number;
  timeNs: string;
  complete: boolean;
  columnsFresh: boolean;
  /** The decode candidates in their order (`rank`), then the other pods that prefill; as they were then. */
  candidates: PairCandidate[];
}

/** `cost` is that of a prefill there: predicted seconds, or what the prefill profile says. */
export interface PairCandidate extends DecisionCandidate {
  /** 1 is the prefill pod, 2 and 3 come next, 0 the others. */
  prefillRank: number;
}
