// The rules section: what a request may ask for, and when pods count as full. The payload is kept as it came; a look-up
// walks its rows, which are few.
import {
  CONCURRENCY_REQUESTS,
  DETECTOR_NONE,
  RULE_CLAIM_HEADER,
  RULE_CLAIM_VALUE,
  RULE_OBJECTIVE,
  RULE_OVERRIDE,
  RULE_PRINCIPAL,
  RULE_REWRITE,
  RULE_ROW_BYTES,
  RULE_TARGET,
  RULE_TOKEN,
  RULES_DETECTOR,
  RULES_FLAGS,
  RULES_HEAD_BYTES,
  RULES_HEADROOM,
  RULES_KV_USAGE,
  RULES_MAX_BYTES,
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
} from "../shared/rules-layout";

const rules: usize = heap.alloc(RULES_MAX_BYTES);
let rowsEnd: usize = rules + RULES_HEAD_BYTES;
/** Bit k: there is a row of kind k. */
let kinds: u32 = 0;

/** Whether rules have arrived. */
export let rulesKnown: bool = false;
/** RULES_QUEUE_ON and its like. */
export let ruleFlags: u32 = 0;
export let maxTimeoutMs: u32 = 0;
export let maxRetries: u32 = 0;
export let detector: u32 = DETECTOR_NONE;
export let concurrencyMode: u32 = CONCURRENCY_REQUESTS;
/** Sharing of in-flight counts between gateways that takes longer is slow, ms. */
export let slowSharingMs: u32 = 100;
export let queueDepthThreshold: f64 = 5;
/** 0–1. */
export let kvUsageThreshold: f64 = 0.8;
export let headroom: f64 = 0;
export let maxConcurrency: f64 = 100;
export let maxTokenConcurrency: f64 = 1000000;
/** Bounds of the queue, per worker. */
export let queueRequests: u32 = 0;
export let queueBytes: u32 = 0;
export let queueBody: u32 = 0;
export let queueTtlMs: u32 = 0;
/** Share of decisions that are recorded, in units of 2^-32. */
export let sample: u32 = 0;
/** Header with a verified claim; size 0 for none. */
export let claimHeader: usize = 0;
export let claimHeaderSize: u32 = 0;

/** Text of the last row found. */
export let ruleText: usize = 0;
export let ruleTextSize: u32 = 0;
/** Its number. */
export let ruleNumber: i32 = 0;

/** Takes a rules section; false, with nothing changed, when it is not whole. */
export function rulesRead(p: usize, n: u32): bool {
  if (n < RULES_HEAD_BYTES || n > RULES_MAX_BYTES) return false;
  const rows = load<u32>(p, RULES_ROWS);
  let at = p + RULES_HEAD_BYTES;
  const end = p + n;
  let seen: u32 = 0;
  for (let i: u32 = 0; i < rows; i++) {
    if (at + RULE_ROW_BYTES > end) return false;
    const kind = <u32>load<u8>(at);
    if (kind == RULE_TOKEN && load<u16>(at, 2) != 32) return false;
    seen |= 1 << (kind & 31);
    at += RULE_ROW_BYTES + ((<u32>load<u16>(at, 2) + 7) & ~7);
    if (at > end) return false;
  }
  memory.copy(rules, p, n);
  rowsEnd = rules + (at - p);
  kinds = seen;
  rulesKnown = true;
  ruleFlags = load<u32>(p, RULES_FLAGS);
  maxTimeoutMs = load<u32>(p, RULES_MAX_TIMEOUT_MS);
  maxRetries = load<u32>(p, RULES_MAX_RETRIES);
  detector = load<u32>(p, RULES_DETECTOR);
  concurrencyMode = load<u32>(p, RULES_MODE);
  slowSharingMs = load<u32>(p, RULES_SLOW_SHARING_MS);
  queueDepthThreshold = load<f64>(p, RULES_QUEUE_DEPTH);
  kvUsageThreshold = load<f64>(p, RULES_KV_USAGE);
  headroom = load<f64>(p, RULES_HEADROOM);
  maxConcurrency = load<f64>(p, RULES_MAX_CONCURRENCY);
  maxTokenConcurrency = load<f64>(p, RULES_MAX_TOKENS);
  queueRequests = load<u32>(p, RULES_QUEUE_REQUESTS);
  queueBytes = load<u32>(p, RULES_QUEUE_BYTES);
  queueBody = load<u32>(p, RULES_QUEUE_BODY);
  queueTtlMs = load<u32>(p, RULES_QUEUE_TTL_MS);
  sample = load<u32>(p, RULES_SAMPLE);
  const header = first(RULE_CLAIM_HEADER);
  claimHeader = header ? header + RULE_ROW_BYTES : 0;
  claimHeaderSize = header ? <u32>load<u16>(header, 2) : 0;
  return true;
}

/** Whether there is a rule of a kind. */
// @ts-ignore: decorator
@inline
export function ruleAny(kind: u32): bool {
  return (kinds & (1 << kind)) != 0;
}

/** Whether any caller can be trusted. */
export function trustConfigured(): bool {
  return (kinds & ((1 << RULE_PRINCIPAL) | (1 << RULE_CLAIM_VALUE) | (1 << RULE_TOKEN))) != 0;
}

// @ts-ignore: decorator
@inline
function after(row: usize): usize {
  return row + RULE_ROW_BYTES + ((<usize>load<u16>(row, 2) + 7) & ~7);
}

function first(kind: u32): usize {
  if (!ruleAny(kind)) return 0;
  for (let row = rules + RULES_HEAD_BYTES; row < rowsEnd; row = after(row)) {
    if (load<u8>(row) == <u8>kind) return row;
  }
  return 0;
}

function take(row: usize): void {
  ruleText = row + RULE_ROW_BYTES;
  ruleTextSize = load<u16>(row, 2);
  ruleNumber = load<i32>(row, 4);
}

/** Looks for the row of a kind with exactly this text. */
export function ruleFind(kind: u32, p: usize, n: u32): bool {
  const row = find(kind, p, n);
  if (row) take(row);
  return row != 0;
}

function find(kind: u32, p: usize, n: u32): usize {
  if (!ruleAny(kind)) return 0;
  for (let row = rules + RULES_HEAD_BYTES; row < rowsEnd; row = after(row)) {
    if (load<u8>(row) != <u8>kind || <u32>load<u16>(row, 2) != n) continue;
    if (memory.compare(row + RULE_ROW_BYTES, p, n) == 0) return row;
  }
  return 0;
}

/** Whether a certificate's name is a trusted principal; a rule's final "*" stands for any end. */
export function principalTrusted(p: usize, n: u32): bool {
  if (!ruleAny(RULE_PRINCIPAL) || n == 0) return false;
  for (let row = rules + RULES_HEAD_BYTES; row < rowsEnd; row = after(row)) {
    if (load<u8>(row) != <u8>RULE_PRINCIPAL) continue;
    const size = <u32>load<u16>(row, 2);
    const text = row + RULE_ROW_BYTES;
    const open = size > 0 && load<u8>(text + size - 1) == 0x2a;
    const compared = open ? size - 1 : size;
    if ((open ? n >= compared : n == size) && memory.compare(text, p, compared) == 0) return true;
  }
  return false;
}

/** Priority of an objective into `ruleNumber`; false for an unknown one. */
export function objectiveFind(p: usize, n: u32): bool {
  return ruleFind(RULE_OBJECTIVE, p, n);
}

/** Whether a trusted caller may ask for this model. */
export function overrideAllowed(p: usize, n: u32): bool {
  return ruleFind(RULE_OVERRIDE, p, n);
}

/**
 * Target of a model's rewrite, in `ruleText`: by weight, the same one for the same `spread`, so that a conversation
 * stays with its model. False when the model is not rewritten.
 */
export function rewriteTarget(p: usize, n: u32, spread: u64): bool {
  const row = find(RULE_REWRITE, p, n);
  if (!row) return false;
  let total: u64 = 0;
  for (let t = after(row); t < rowsEnd && load<u8>(t) == <u8>RULE_TARGET; t = after(t)) {
    total += <u64>max<i32>(load<i32>(t, 4), 0);
  }
  if (total == 0) return false;
  // The upper half of a product of a hash and the total is spread evenly without a division.
  let at = ((spread >> 32) * total) >> 32;
  for (let t = after(row); t < rowsEnd && load<u8>(t) == <u8>RULE_TARGET; t = after(t)) {
    const weight = <u64>max<i32>(load<i32>(t, 4), 0);
    if (at < weight) {
      take(t);
      return true;
    }
    at -= weight;
  }
  return false;
}
