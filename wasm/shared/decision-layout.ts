// One decision, as it was taken.

// Decision payload: table sequence u64, policy version u32, reason u8, controls u8, model u16, prompt tokens u32,
// predicted cached tokens u32, priority i32, scheduling µs u32, request id length u16, rows u16, pods that passed u16,
// pods considered u16; then what the pick knew of the request, zero without a pick: prompt tokens f64, spread u64,
// session u64, seed u64, requests per second and pod f64, time ns u64, hashes of 4 headers u64, profile u8, flags u8,
// columns u8, 5 bytes zero; then the request id padded to 8, then rows, one for each ready pod, as it was before the
// request counted: address length u16, rank u8 (1 is the pod, 2 and 3 come next, 0 the others), flags u8, cached tokens
// that counted u32, cost f64, requests in flight u32, prefills pending u32, slot u16, place in the order of last choices
// u16 (1 = longest ago, 0 = none), the same of those that hit no cache u16, zero u16 (but for a pair's), pending work f64, pending tokens
// f64, ns since when the head of its prefills is at work u64, waiting u32, running u32, kv usage per mille u32, capacity
// u32, prefill rate f64, label bits u64, columns f32, address padded to 8.
// @ts-ignore: decorator
@inline
export const DECISION_HEAD_BYTES: u32 = 128;
// @ts-ignore: decorator
@inline
export const DECISION_ID_SIZE: u32 = 32;
// @ts-ignore: decorator
@inline
export const DECISION_ROWS: u32 = 34;
// @ts-ignore: decorator
@inline
export const DECISION_PASSED: u32 = 36;
// @ts-ignore: decorator
@inline
export const DECISION_CONSIDERED: u32 = 38;
// @ts-ignore: decorator
@inline
export const DECISION_TOKENS: u32 = 40;
// @ts-ignore: decorator
@inline
export const DECISION_SPREAD: u32 = 48;
// @ts-ignore: decorator
@inline
export const DECISION_SESSION: u32 = 56;
// @ts-ignore: decorator
@inline
export const DECISION_SEED: u32 = 64;
// @ts-ignore: decorator
@inline
export const DECISION_RATE: u32 = 72;
// @ts-ignore: decorator
@inline
export const DECISION_TIME: u32 = 80;
// @ts-ignore: decorator
@inline
export const DECISION_HEADERS: u32 = 88;
// @ts-ignore: decorator
@inline
export const DECISION_PROFILE: u32 = 120;
// @ts-ignore: decorator
@inline
export const DECISION_FLAGS: u32 = 121;
// @ts-ignore: decorator
@inline
export const DECISION_COLUMNS: u32 = 122;
// @ts-ignore: decorator
@inline
export const DECISION_ROW_BYTES: u32 = 88;
// @ts-ignore: decorator
@inline
export const DECISION_MAX_ROWS: u32 = 256;
// Pair, behind the rows of a decision with DECISION_PAIRED: time ns u64, prompt tokens f64, work that counts on the first
// decode pod f64, transfer tokens per second f64, stall weight f64, cost of the pair f64, of one pod alone f64 (0: not
// asked), mode u8, splits u8, place of the decode pod among the candidates u8 (0 = no split), flags u8 (of a decision),
// rows u16, 2 bytes zero; then rows as above, at the pair's time: the decode candidates in their order (rank 1 to 3), then
// the other ready prefill pods (rank 0). Byte 30 of these is the place among the prefill pods chosen, 0 for none; the
// cost is that of a prefill there.
// @ts-ignore: decorator
@inline
export const PAIR_HEAD_BYTES: u32 = 64;
// @ts-ignore: decorator
@inline
export const PAIR_TIME: u32 = 0;
// @ts-ignore: decorator
@inline
export const PAIR_TOKENS: u32 = 8;
// @ts-ignore: decorator
@inline
export const PAIR_WORK: u32 = 16;
// @ts-ignore: decorator
@inline
export const PAIR_TOKENS_PER_SECOND: u32 = 24;
// @ts-ignore: decorator
@inline
export const PAIR_STALL_WEIGHT: u32 = 32;
// @ts-ignore: decorator
@inline
export const PAIR_COST: u32 = 40;
// @ts-ignore: decorator
@inline
export const PAIR_ALONE_COST: u32 = 48;
// @ts-ignore: decorator
@inline
export const PAIR_MODE: u32 = 56;
// @ts-ignore: decorator
@inline
export const PAIR_SPLITS: u32 = 57;
// @ts-ignore: decorator
@inline
export const PAIR_DECODE: u32 = 58;
// @ts-ignore: decorator
@inline
export const PAIR_FLAGS: u32 = 59;
// @ts-ignore: decorator
@inline
export const PAIR_ROWS: u32 = 60;
// Flags of a decision.
/** Counts of other gateways came late. */
// @ts-ignore: decorator
@inline
export const DECISION_SHARING_SLOW: u8 = 1;
/** Therefore token-aware stood in for warm-until-busy. */
// @ts-ignore: decorator
@inline
export const DECISION_STOOD_IN: u8 = 2;
/** There were more pods than a record holds. */
// @ts-ignore: decorator
@inline
export const DECISION_CUT: u8 = 4;
// @ts-ignore: decorator
@inline
export const DECISION_COLUMNS_FRESH: u8 = 8;
/** A pair of pods was chosen from, too. */
// @ts-ignore: decorator
@inline
export const DECISION_PAIRED: u8 = 16;
// Flags of a decision's row.
/** Its scraped columns were young enough to use. */
// @ts-ignore: decorator
@inline
export const ROW_FRESH: u8 = 1;
/** It was left out, because it had refused connections. */
// @ts-ignore: decorator
@inline
export const ROW_OUT: u8 = 2;
/** It had the session. */
// @ts-ignore: decorator
@inline
export const ROW_SESSION: u8 = 4;
// What it had of the adapter that was asked for.
// @ts-ignore: decorator
@inline
export const ROW_ADAPTER_ACTIVE: u8 = 8;
// @ts-ignore: decorator
@inline
export const ROW_ADAPTER_WAITING: u8 = 16;
// @ts-ignore: decorator
@inline
export const ROW_ADAPTER_ROOM: u8 = 32;
// What it does alone; nothing for one that does both.
// @ts-ignore: decorator
@inline
export const ROW_DECODES: u8 = 64;
// @ts-ignore: decorator
@inline
export const ROW_PREFILLS: u8 = 128;

// Reasons of a decision.
// @ts-ignore: decorator
@inline
export const DECISION_ROUTED: u32 = 0;
// @ts-ignore: decorator
@inline
export const DECISION_NO_TABLE: u32 = 1;
// @ts-ignore: decorator
@inline
export const DECISION_NO_PODS: u32 = 2;
// @ts-ignore: decorator
@inline
export const DECISION_FILTERED_OUT: u32 = 3;
// @ts-ignore: decorator
@inline
export const DECISION_SATURATED: u32 = 4;
// @ts-ignore: decorator
@inline
export const DECISION_NOT_CACHED: u32 = 5;
// @ts-ignore: decorator
@inline
export const DECISION_SUBSET_EMPTY: u32 = 6;
