// Prefill and decode on different pods: the policy, and what was promised to decode pods.

// Disaggregation payload: mode u32, threshold tokens u32, timeout ms u32, on failure u32, calls u32, body bytes u32,
// expiry ms u32, prompt tokens u32, transfer tokens per second f64, stall weight f64, by u32, pad u32.
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_MODE: u32 = 0;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_THRESHOLD: u32 = 4;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_TIMEOUT_MS: u32 = 8;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_FAILURE: u32 = 12;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_CALLS: u32 = 16;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_BODY_BYTES: u32 = 20;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_EXPIRY_MS: u32 = 24;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_PROMPT: u32 = 28;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_TOKENS_PER_SECOND: u32 = 32;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_STALL_WEIGHT: u32 = 40;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_BY: u32 = 48;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_BYTES: u32 = 56;

/** One pod does all. */
// @ts-ignore: decorator
@inline
export const SPLIT_NONE: u32 = 0;
/** Above the threshold and when it is predicted to pay. */
// @ts-ignore: decorator
@inline
export const SPLIT_WHEN_IT_PAYS: u32 = 1;
/** Always above the threshold. */
// @ts-ignore: decorator
@inline
export const SPLIT_ALWAYS: u32 = 2;

/** The filter sends the prefill and hands its parameters over. */
// @ts-ignore: decorator
@inline
export const SPLIT_BY_GATEWAY: u32 = 0;
/** The filter names the prefill pods; the decode pod's sidecar does the rest. */
// @ts-ignore: decorator
@inline
export const SPLIT_BY_SIDECAR: u32 = 1;

/** When no prefill pod delivers, the decode pod prefills. */
// @ts-ignore: decorator
@inline
export const FAILURE_LOCAL: u32 = 0;
/** When no prefill pod delivers, the client gets an error. */
// @ts-ignore: decorator
@inline
export const FAILURE_ERROR: u32 = 1;

// Transfers payload: process id u64, VM id u64, pod rows u32, pad u32, TRANSFER_COUNTERS × u64, then per pod: address
// length u32, pad u32, transfers u64, promised tokens u64, address padded to 8.
// @ts-ignore: decorator
@inline
export const TRANSFERS_ROWS: u32 = 16;
// @ts-ignore: decorator
@inline
export const TRANSFERS_COUNTERS: u32 = 24;
// @ts-ignore: decorator
@inline
export const TRANSFER_COUNTER_COUNT: u32 = 13;
// @ts-ignore: decorator
@inline
export const TRANSFERS_HEAD_BYTES: u32 = 128;
// @ts-ignore: decorator
@inline
export const TRANSFERS_ROW_BYTES: u32 = 24;
