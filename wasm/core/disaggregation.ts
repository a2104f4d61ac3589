// The disaggregation section of the table: when a request's prefill runs on another pod, and what happens when that
// fails. It has a frame of its own, so that a filter without it reads every other section.
import {
  DISAGGREGATION_BODY_BYTES,
  DISAGGREGATION_BY,
  DISAGGREGATION_BYTES,
  DISAGGREGATION_CALLS,
  DISAGGREGATION_EXPIRY_MS,
  DISAGGREGATION_FAILURE,
  DISAGGREGATION_MODE,
  DISAGGREGATION_PROMPT,
  DISAGGREGATION_STALL_WEIGHT,
  DISAGGREGATION_THRESHOLD,
  DISAGGREGATION_TIMEOUT_MS,
  DISAGGREGATION_TOKENS_PER_SECOND,
  FAILURE_LOCAL,
  SPLIT_BY_GATEWAY,
  SPLIT_NONE,
} from "../shared/disaggregation-layout";

export let splitMode: u32 = SPLIT_NONE;
/** Who carries a split out. */
export let splitBy: u32 = SPLIT_BY_GATEWAY;
/** Uncached tokens above which a split is considered. */
export let splitThreshold: u32 = 0;
/** Shortest prompt that is considered, tokens. */
export let splitPrompt: u32 = 0;
/** Longest time that all tries of one prefill may take together. */
export let splitTimeoutMs: u32 = 30000;
export let splitFailure: u32 = FAILURE_LOCAL;
/** Prefills that one worker has under way at most. */
export let splitCalls: u32 = 256;
/** Longest body that is split, bytes. */
export let splitBodyBytes: u32 = 4194304;
/** How long a prefill pod holds blocks that nobody pulls. */
export let splitExpiryMs: u32 = 480000;
/** How fast blocks move between pods, prompt tokens per second. */
export let splitTokensPerSecond: f64 = 200000;
/** What a second's wait of a running answer weighs against a second's wait for a first token. */
export let splitStallWeight: f64 = 0.25;

/** Sets what the choice of a pair looks at alone; false, with nothing changed, when it is out of range. */
export function splitFormula(mode: u32, tokensPerSecond: f64, stallWeight: f64): bool {
  if (!(tokensPerSecond > 0) || !(stallWeight >= 0)) return false;
  splitMode = mode;
  splitTokensPerSecond = tokensPerSecond;
  splitStallWeight = stallWeight;
  return true;
}

/** Takes a section; false, with nothing changed, when it is not whole or out of range. */
export function disaggregationRead(p: usize, n: u32): bool {
  if (n < DISAGGREGATION_BYTES) return false;
  if (load<u32>(p, DISAGGREGATION_BODY_BYTES) > 16777216) return false;
  const rate = load<f64>(p, DISAGGREGATION_TOKENS_PER_SECOND);
  if (!splitFormula(load<u32>(p, DISAGGREGATION_MODE), rate, load<f64>(p, DISAGGREGATION_STALL_WEIGHT))) return false;
  splitBy = load<u32>(p, DISAGGREGATION_BY);
  splitThreshold = load<u32>(p, DISAGGREGATION_THRESHOLD);
  splitPrompt = load<u32>(p, DISAGGREGATION_PROMPT);
  splitTimeoutMs = load<u32>(p, DISAGGREGATION_TIMEOUT_MS);
  splitFailure = load<u32>(p, DISAGGREGATION_FAILURE);
  splitCalls = load<u32>(p, DISAGGREGATION_CALLS);
  splitBodyBytes = load<u32>(p, DISAGGREGATION_BODY_BYTES);
  splitExpiryMs = load<u32>(p, DISAGGREGATION_EXPIRY_MS);
  return true;
}
