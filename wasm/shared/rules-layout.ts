// Rules for requests: trust, priorities, caps, rewrites, saturation, queue.

// Rules payload: fixed fields, then `rows` rows.
// @ts-ignore: decorator
@inline
export const RULES_FLAGS: u32 = 0;
// @ts-ignore: decorator
@inline
export const RULES_MAX_TIMEOUT_MS: u32 = 4;
// @ts-ignore: decorator
@inline
export const RULES_MAX_RETRIES: u32 = 8;
// @ts-ignore: decorator
@inline
export const RULES_DETECTOR: u32 = 12;
// @ts-ignore: decorator
@inline
export const RULES_MODE: u32 = 16;
// @ts-ignore: decorator
@inline
export const RULES_SLOW_SHARING_MS: u32 = 20;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_DEPTH: u32 = 24;
// @ts-ignore: decorator
@inline
export const RULES_KV_USAGE: u32 = 32;
// @ts-ignore: decorator
@inline
export const RULES_HEADROOM: u32 = 40;
// @ts-ignore: decorator
@inline
export const RULES_MAX_CONCURRENCY: u32 = 48;
// @ts-ignore: decorator
@inline
export const RULES_MAX_TOKENS: u32 = 56;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_REQUESTS: u32 = 64;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_BYTES: u32 = 68;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_BODY: u32 = 72;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_TTL_MS: u32 = 76;
// @ts-ignore: decorator
@inline
export const RULES_SAMPLE: u32 = 80;
// @ts-ignore: decorator
@inline
export const RULES_ROWS: u32 = 84;
// @ts-ignore: decorator
@inline
export const RULES_HEAD_BYTES: u32 = 88;
/** Longest rules payload in bytes; readers keep a region of this size. */
// @ts-ignore: decorator
@inline
export const RULES_MAX_BYTES: u32 = 65536;

// Flags of the rules.
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_ON: u32 = 1;
// @ts-ignore: decorator
@inline
export const RULES_FILTER_STATE: u32 = 2;
/** warm-until-busy decides also while counts of other gateways come late. */
// @ts-ignore: decorator
@inline
export const RULES_KEEP_WHEN_SLOW: u32 = 4;
/** The gateway's own filters may say in metadata which pods a request may go to. */
// @ts-ignore: decorator
@inline
export const RULES_SUBSET_METADATA: u32 = 8;

// Saturation detectors, and what the concurrency detector counts.
// @ts-ignore: decorator
@inline
export const DETECTOR_NONE: u32 = 0;
// @ts-ignore: decorator
@inline
export const DETECTOR_UTILIZATION: u32 = 1;
// @ts-ignore: decorator
@inline
export const DETECTOR_CONCURRENCY: u32 = 2;
// @ts-ignore: decorator
@inline
export const CONCURRENCY_REQUESTS: u32 = 0;
// @ts-ignore: decorator
@inline
export const CONCURRENCY_TOKENS: u32 = 1;
// @ts-ignore: decorator
@inline
export const CONCURRENCY_HYBRID: u32 = 2;

// Rule row: kind u8, zero u8, text length u16, number i32, text padded to 8.
// @ts-ignore: decorator
@inline
export const RULE_ROW_BYTES: u32 = 8;
/** URI SAN or subject of a trusted client certificate; a final "*" stands for any end. */
// @ts-ignore: decorator
@inline
export const RULE_PRINCIPAL: u32 = 1;
/** Name of the header that carries a verified claim. */
// @ts-ignore: decorator
@inline
export const RULE_CLAIM_HEADER: u32 = 2;
/** Value of it that is trusted. */
// @ts-ignore: decorator
@inline
export const RULE_CLAIM_VALUE: u32 = 3;
/** SHA-256 of a trusted credential, 32 bytes. */
// @ts-ignore: decorator
@inline
export const RULE_TOKEN: u32 = 4;
/** Name of an objective; number = its priority. */
// @ts-ignore: decorator
@inline
export const RULE_OBJECTIVE: u32 = 5;
/** Model that a trusted caller may ask for instead. */
// @ts-ignore: decorator
@inline
export const RULE_OVERRIDE: u32 = 6;
/** Model that is rewritten; its targets are the next rows of kind RULE_TARGET. */
// @ts-ignore: decorator
@inline
export const RULE_REWRITE: u32 = 7;
/** Target of the rewrite before it; number = its weight. */
// @ts-ignore: decorator
@inline
export const RULE_TARGET: u32 = 8;
