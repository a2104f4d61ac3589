// What a worker says of itself: that it is there, and what it counted.

// Hello payload: lowest format u16, highest format u16, flags u32 (bit 0 main thread), process id u64, VM id u64,
// build u64.
// @ts-ignore: decorator
@inline
export const HELLO_BYTES: u32 = 32;

// Report payload: process id u64, VM id u64, flags u32 (bit 0 lease holder), pod rows u32, 29 counters u64,
// operation rows u32, 4 bytes zero, then per operation of the scheduling program that was timed: kind u32 (program-layout.ts), 4
// bytes zero, runs u64, ns of these u64; then per pod: address length u32, in-flight requests u32, in-flight tokens u64, requests u64, prompt tokens u64, predicted
// tokens u64, first tokens seen u64, first token time µs u64, uncached tokens of those u64, address padded to 8.
// @ts-ignore: decorator
@inline
export const REPORT_COUNTERS: u32 = 24;
// @ts-ignore: decorator
@inline
export const REPORT_COUNTER_COUNT: u32 = 29;
// @ts-ignore: decorator
@inline
export const REPORT_OPS: u32 = 256;
// @ts-ignore: decorator
@inline
export const REPORT_HEAD_BYTES: u32 = 264;
// @ts-ignore: decorator
@inline
export const REPORT_OP_BYTES: u32 = 24;
// @ts-ignore: decorator
@inline
export const REPORT_ROW_BYTES: u32 = 64;
