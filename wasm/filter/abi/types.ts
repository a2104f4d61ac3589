// Numbers of the proxy-wasm ABI 0.2.1 (proxy-wasm/spec, abi-versions/v0.2.1) as Envoy uses them.

// @ts-ignore: decorator
@inline
export const OK: u32 = 0;
// @ts-ignore: decorator
@inline
export const NOT_FOUND: u32 = 1;
// @ts-ignore: decorator
@inline
export const CAS_MISMATCH: u32 = 8;

// Actions of header callbacks and of body callbacks.
// @ts-ignore: decorator
@inline
export const CONTINUE: u32 = 0;
/** Headers: hold them and go on to the body. Body: hold and buffer. */
// @ts-ignore: decorator
@inline
export const STOP: u32 = 1;

// @ts-ignore: decorator
@inline
export const MAP_REQUEST: u32 = 0;
// @ts-ignore: decorator
@inline
export const MAP_RESPONSE: u32 = 2;
/** Headers of an HTTP call's answer. */
// @ts-ignore: decorator
@inline
export const MAP_CALL: u32 = 6;

// @ts-ignore: decorator
@inline
export const BUFFER_REQUEST_BODY: u32 = 0;
// @ts-ignore: decorator
@inline
export const BUFFER_RESPONSE_BODY: u32 = 1;
// @ts-ignore: decorator
@inline
export const BUFFER_CALL_BODY: u32 = 4;
// @ts-ignore: decorator
@inline
export const BUFFER_GRPC: u32 = 5;
// @ts-ignore: decorator
@inline
export const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;

// @ts-ignore: decorator
@inline
export const METRIC_COUNTER: u32 = 0;
// @ts-ignore: decorator
@inline
export const METRIC_GAUGE: u32 = 1;
// @ts-ignore: decorator
@inline
export const METRIC_HISTOGRAM: u32 = 2;

// @ts-ignore: decorator
@inline
export const LOG_INFO: u32 = 2;
// @ts-ignore: decorator
@inline
export const LOG_WARN: u32 = 3;
// @ts-ignore: decorator
@inline
export const LOG_ERROR: u32 = 4;

// Envoy's response flags as bits of `response.flags` (envoy/stream_info/stream_info.h, CoreResponseFlag).
// @ts-ignore: decorator
@inline
export const FLAG_UPSTREAM_REMOTE_RESET: u64 = 1 << 4;
// @ts-ignore: decorator
@inline
export const FLAG_UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
// @ts-ignore: decorator
@inline
export const FLAG_UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
