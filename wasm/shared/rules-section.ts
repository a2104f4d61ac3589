// Writer of the rules section: fixed fields first, rows behind them; rules-layout.ts has the offsets.
import { HEAD_BYTES } from "./frame-layout";
import {
  RULES_DETECTOR,
  RULES_FLAGS,
  RULES_HEADROOM,
  RULES_HEAD_BYTES,
  RULES_KV_USAGE,
  RULES_MAX_CONCURRENCY,
  RULES_MAX_RETRIES,
  RULES_MAX_TIMEOUT_MS,
  RULES_MAX_TOKENS,
  RULES_MODE,
  RULES_QUEUE_BODY,
  RULES_QUEUE_BYTES,
  RULES_QUEUE_DEPTH,
  RULES_QUEUE_REQUESTS,
  RULES_QUEUE_TTL_MS,
  RULES_ROWS,
  RULES_SAMPLE,
  RULES_SLOW_SHARING_MS,
  RULE_CLAIM_HEADER,
  RULE_CLAIM_VALUE,
  RULE_OBJECTIVE,
  RULE_OVERRIDE,
  RULE_PRINCIPAL,
  RULE_REWRITE,
  RULE_ROW_BYTES,
  RULE_TARGET,
  RULE_TOKEN,
} from "./rules-layout";
import { sectionBytes, sectionMore, sectionRaw, sectionSize } from "./sections";

// Numbers that Node needs are exported, never repeated there.
export const rulePrincipal: u32 = RULE_PRINCIPAL;
export const ruleClaimHeader: u32 = RULE_CLAIM_HEADER;
export const ruleClaimValue: u32 = RULE_CLAIM_VALUE;
export const ruleToken: u32 = RULE_TOKEN;
export const ruleObjective: u32 = RULE_OBJECTIVE;
export const ruleOverride: u32 = RULE_OVERRIDE;
export const ruleRewrite: u32 = RULE_REWRITE;
export const ruleTarget: u32 = RULE_TARGET;

let rows: u32 = 0;

/** Begins the section with its fixed fields. */
export function rulesBegin(
  flags: u32,
  maxTimeoutMs: u32,
  maxRetries: u32,
  detector: u32,
  mode: u32,
  slowSharingMs: u32,
  queueDepth: f64,
  kvUsage: f64,
  headroom: f64,
  maxConcurrency: f64,
  maxTokens: f64,
  queueRequests: u32,
  queueBytes: u32,
  queueBody: u32,
  queueTtlMs: u32,
  sample: u32,
): void {
  const p = sectionRaw(RULES_HEAD_BYTES);
  rows = 0;
  store<u32>(p, flags, RULES_FLAGS);
  store<u32>(p, maxTimeoutMs, RULES_MAX_TIMEOUT_MS);
  store<u32>(p, maxRetries, RULES_MAX_RETRIES);
  store<u32>(p, detector, RULES_DETECTOR);
  store<u32>(p, mode, RULES_MODE);
  store<u32>(p, slowSharingMs, RULES_SLOW_SHARING_MS);
  store<f64>(p, queueDepth, RULES_QUEUE_DEPTH);
  store<f64>(p, kvUsage, RULES_KV_USAGE);
  store<f64>(p, headroom, RULES_HEADROOM);
  store<f64>(p, maxConcurrency, RULES_MAX_CONCURRENCY);
  store<f64>(p, maxTokens, RULES_MAX_TOKENS);
  store<u32>(p, queueRequests, RULES_QUEUE_REQUESTS);
  store<u32>(p, queueBytes, RULES_QUEUE_BYTES);
  store<u32>(p, queueBody, RULES_QUEUE_BODY);
  store<u32>(p, queueTtlMs, RULES_QUEUE_TTL_MS);
  store<u32>(p, sample, RULES_SAMPLE);
}

/** Appends a row of a kind RULE_*. */
export function ruleRow(kind: u32, number: i32, text: usize, length: u32): void {
  const at = sectionMore(RULE_ROW_BYTES + ((length + 7) & ~7));
  store<u8>(at, <u8>kind);
  store<u16>(at, <u16>length, 2);
  store<i32>(at, number, 4);
  memory.copy(at + RULE_ROW_BYTES, text, length);
  rows++;
}

/** Ends the section; returns the payload's length. */
export function rulesEnd(): u32 {
  store<u32>(sectionBytes() + HEAD_BYTES, rows, RULES_ROWS);
  return sectionSize() - HEAD_BYTES;
}
