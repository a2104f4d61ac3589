// What was predicted of pods and what their answers said, as counted since the last frame.

// Payload: rows u32, zero u32, then per pod: address length u32, zero u32, requests u64, tokens that announced blocks
// promised of them u64, answers that said what was cached u64, tokens promised of these u64, tokens cached u64, answers
// with too much promised u64, too little u64, then PREDICTIONS_TENANTS × (tenant u32 (0 = no record), requests u32,
// answers u32, right answers u32, tokens promised u64), then the address padded to 8.
// @ts-ignore: decorator
@inline
export const PREDICTIONS_HEAD_BYTES: u32 = 8;
// @ts-ignore: decorator
@inline
export const PREDICTIONS_TENANTS: u32 = 8;
// @ts-ignore: decorator
@inline
export const PREDICTIONS_TENANT_BYTES: u32 = 24;
// @ts-ignore: decorator
@inline
export const PREDICTIONS_ROW_BYTES: u32 = 256;
/** Stands for all tenants that found no record of their own. */
// @ts-ignore: decorator
@inline
export const TENANT_OTHERS: u32 = 0xffffffff;
