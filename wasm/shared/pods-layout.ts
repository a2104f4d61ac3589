// Rows of pods and of their loads.

// @ts-ignore: decorator
@inline
export const MAX_PODS: u32 = 1024;

// Roles of a pod, bits.
// @ts-ignore: decorator
@inline
export const ROLE_DECODE: u32 = 1;
// @ts-ignore: decorator
@inline
export const ROLE_PREFILL: u32 = 2;

// Pod row of KIND_PODS: slot u16, flags u8 (bit 0 ready, bit 1 only known approximately), role u8, model u16, name length
// u8, address length u8, kv block tokens u32, capacity tokens u32, waiting u32, running u32, kv usage per mille u32, load
// age ms u32, prefill tokens per second f64, then name and address bytes, padded to 8.
// @ts-ignore: decorator
@inline
export const POD_ROW_BYTES: u32 = 40;
// Load row of KIND_LOADS: slot u16, flags u8, pad u8, waiting u32, running u32, kv usage per mille u32, age ms u32.
// @ts-ignore: decorator
@inline
export const LOAD_ROW_BYTES: u32 = 20;
/** Age of a load column that was never read. */
// @ts-ignore: decorator
@inline
export const AGE_NEVER: u32 = 0xffffffff;
