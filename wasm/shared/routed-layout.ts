// Prompts that are matched approximately, and the pods that they went to.

// Payload: rows u32, zero u32, then per prompt: address length u32, blocks u32, tokens of a block f64, address padded
// to 8, block hashes u64.
// @ts-ignore: decorator
@inline
export const ROUTED_HEAD_BYTES: u32 = 8;
// @ts-ignore: decorator
@inline
export const ROUTED_ROW_BYTES: u32 = 16;
