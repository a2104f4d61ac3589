// Writer of the disaggregation section; disaggregation-layout.ts has the offsets.
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
} from "./disaggregation-layout";
import { sectionRaw } from "./sections";

/** Writes the section; returns the payload's length. */
export function disaggregationSection(
  mode: u32,
  threshold: u32,
  timeoutMs: u32,
  failure: u32,
  calls: u32,
  bodyBytes: u32,
  expiryMs: u32,
  promptTokens: u32,
  tokensPerSecond: f64,
  stallWeight: f64,
  by: u32,
): u32 {
  const p = sectionRaw(DISAGGREGATION_BYTES);
  store<u32>(p, mode, DISAGGREGATION_MODE);
  store<u32>(p, threshold, DISAGGREGATION_THRESHOLD);
  store<u32>(p, timeoutMs, DISAGGREGATION_TIMEOUT_MS);
  store<u32>(p, failure, DISAGGREGATION_FAILURE);
  store<u32>(p, calls, DISAGGREGATION_CALLS);
  store<u32>(p, bodyBytes, DISAGGREGATION_BODY_BYTES);
  store<u32>(p, expiryMs, DISAGGREGATION_EXPIRY_MS);
  store<u32>(p, promptTokens, DISAGGREGATION_PROMPT);
  store<f64>(p, tokensPerSecond, DISAGGREGATION_TOKENS_PER_SECOND);
  store<f64>(p, stallWeight, DISAGGREGATION_STALL_WEIGHT);
  store<u32>(p, by, DISAGGREGATION_BY);
  return DISAGGREGATION_BYTES;
}
