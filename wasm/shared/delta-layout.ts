// A delta, and the sets of pods that a snapshot begins with: runs of rows.

// A run: kind u16, count u16, then count rows.
/** Row: set id u16, 6 bytes of padding, then the mask (mask words × 8 bytes). */
// @ts-ignore: decorator
@inline
export const RUN_SETS: u16 = 1;
/** Row: hash u64, set id u16, tokens/16 u16. */
// @ts-ignore: decorator
@inline
export const RUN_PUTS: u16 = 2;
/** Row: hash u64. */
// @ts-ignore: decorator
@inline
export const RUN_REMOVES: u16 = 3;
// @ts-ignore: decorator
@inline
export const PUT_BYTES: u32 = 12;
/** Rows of all runs of one delta frame together. */
// @ts-ignore: decorator
@inline
export const MAX_DELTA_ROWS: u32 = 4096;
// @ts-ignore: decorator
@inline
export const MAX_SETS: u32 = 65536;
