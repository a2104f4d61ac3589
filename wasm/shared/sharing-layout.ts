// What gateways have under way: shares from each, foreign counts to each.

// Share payload: sender's monotonic ns u64, flags u32, rows u32, then rows:
// address length u32, requests u32, prefills u32, zero u32, prefill work u64, prefill tokens u64, address padded to 8.
// @ts-ignore: decorator
@inline
export const SHARE_HEAD_BYTES: u32 = 16;
// @ts-ignore: decorator
@inline
export const SHARE_ROW_BYTES: u32 = 32;

/** All rows: pods that are left out have nothing. */
// @ts-ignore: decorator
@inline
export const SHARE_WHOLE: u32 = 1;
/** Counts of others come too late to the sender. */
// @ts-ignore: decorator
@inline
export const SHARE_SLOW: u32 = 2;

// Foreign payload: ns of the reader's last share u64 (0: none that an answer is due to), other gateways u32, rows u32,
// then rows: slot u32, requests u32, prefills u32, zero u32, prefill work f64, prefill tokens f64.
// @ts-ignore: decorator
@inline
export const FOREIGN_HEAD_BYTES: u32 = 16;
// @ts-ignore: decorator
@inline
export const FOREIGN_ROW_BYTES: u32 = 32;
