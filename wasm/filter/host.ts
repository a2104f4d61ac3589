// The seam to Envoy: typed calls over the raw imports. Results of reads are in `resultAt` and `resultSize`.
import {
  clock_time_get,
  proxy_continue_stream,
  proxy_define_metric,
  proxy_get_buffer,
  proxy_get_header,
  proxy_get_header_pairs,
  proxy_get_metric,
  proxy_get_property,
  proxy_get_shared,
  proxy_grpc_send,
  proxy_grpc_stream,
  proxy_http_call,
  proxy_increment_metric,
  proxy_log,
  proxy_record_metric,
  proxy_remove_header,
  proxy_replace_header,
  proxy_send_local_response,
  proxy_set_buffer,
  proxy_set_effective_context,
  proxy_set_property,
  proxy_set_shared,
  proxy_set_tick_period,
  random_get,
} from "./abi/imports";
import { allocate, Text } from "./abi/memory";
import { OK } from "./abi/types";

const OUT: usize = memory.data(32, 8);

/** Where and how long the last read's result is; (0, 0) when it failed or was empty. */
export let resultAt: usize = 0;
export let resultSize: usize = 0;

function take(status: u32): u32 {
  if (status == OK) {
    resultAt = load<u32>(OUT);
    resultSize = load<u32>(OUT, 4);
    if (!resultAt) resultSize = 0;
  } else {
    resultAt = 0;
    resultSize = 0;
  }
  return status;
}

// @ts-ignore: decorator
@inline
function clear(): void {
  store<u64>(OUT, 0);
}

/** Monotonic time in ns; 0 when the host has no clock. */
export function now(): u64 {
  store<u64>(OUT, 0, 8);
  clock_time_get(1, 1, OUT + 8);
  return load<u64>(OUT, 8);
}

/** 64 random bits. */
export function random(): u64 {
  store<u64>(OUT, 0, 8);
  random_get(OUT + 8, 8);
  return load<u64>(OUT, 8);
}

export function log(level: u32, t: Text): void {
  proxy_log(level, t.at, t.size);
}

export function setTick(ms: u32): u32 {
  return proxy_set_tick_period(ms);
}

export function headerPairs(map: u32): u32 {
  clear();
  return take(proxy_get_header_pairs(map, OUT, OUT + 4));
}

export function getHeader(map: u32, name: Text): u32 {
  clear();
  return take(proxy_get_header(map, name.at, name.size, OUT, OUT + 4));
}

export function setHeader(map: u32, name: Text, p: usize, n: usize): u32 {
  return proxy_replace_header(map, name.at, name.size, p, n);
}

export function removeHeader(map: u32, p: usize, n: usize): u32 {
  return proxy_remove_header(map, p, n);
}

export function buffer(kind: u32, start: u32, n: u32): u32 {
  clear();
  return take(proxy_get_buffer(kind, start, n, OUT, OUT + 4));
}

/** Replaces the whole of a buffer of `old` bytes. */
export function replaceBuffer(kind: u32, old: u32, p: usize, n: usize): u32 {
  return proxy_set_buffer(kind, 0, old, p, n);
}

/** Sends a request; its answer comes to proxy_on_http_call_response. Returns its token, 0 when it could not be sent. */
export function httpCall(
  cluster: Text,
  headers: usize,
  headersSize: usize,
  body: usize,
  bodySize: usize,
  timeoutMs: u32,
): u32 {
  store<u32>(OUT, 0, 8);
  const status = proxy_http_call(
    cluster.at,
    cluster.size,
    headers,
    headersSize,
    body,
    bodySize,
    0,
    0,
    timeoutMs,
    OUT + 8,
  );
  return status == OK ? load<u32>(OUT, 8) : 0;
}

export function property(path: Text): u32 {
  clear();
  return take(proxy_get_property(path.at, path.size, OUT, OUT + 4));
}

/** Puts a value into filter state, for access logs, as `wasm.` and the name. */
export function setProperty(name: Text, p: usize, n: usize): u32 {
  return proxy_set_property(name.at, name.size, p, n);
}

export function sendLocal(
  status: u32,
  details: Text,
  body: usize,
  bodySize: usize,
  headers: usize,
  headersSize: usize,
): u32 {
  return proxy_send_local_response(status, details.at, details.size, body, bodySize, headers, headersSize, -1);
}

/** Resumes the request of the effective context. */
export function continueRequest(): u32 {
  return proxy_continue_stream(0);
}

export function effectiveContext(id: u32): u32 {
  return proxy_set_effective_context(id);
}

/** No value has this number: a write with it succeeds only where there is no value yet. */
// @ts-ignore: decorator
@inline
const NO_VALUE: u32 = 0xffffffff;
/** Compare-and-swap number of the last `getShared`; of a key without a value one that makes its first value. */
export let sharedCas: u32 = NO_VALUE;

export function getShared(key: Text): u32 {
  clear();
  store<u32>(OUT, 0, 8);
  const status = take(proxy_get_shared(key.at, key.size, OUT, OUT + 4, OUT + 8));
  sharedCas = status == OK ? load<u32>(OUT, 8) : NO_VALUE;
  return status;
}

export function setShared(key: Text, p: usize, n: usize, cas: u32): u32 {
  return proxy_set_shared(key.at, key.size, p, n, cas);
}

/** Id of a metric; 0 when it could not be defined (0 is never a valid id in Envoy's numbering of gauges here). */
export function defineMetric(kind: u32, p: usize, n: usize): u32 {
  store<u32>(OUT, 0, 8);
  return proxy_define_metric(kind, p, n, OUT + 8) == OK ? load<u32>(OUT, 8) + 1 : 0;
}

/** Adds to a counter or gauge; false when that was not done. Ids are those of `defineMetric`, 0 is none. */
export function addMetric(id: u32, by: i64): bool {
  return by == 0 || (id != 0 && proxy_increment_metric(id - 1, by) == OK);
}

/** Sets a gauge or adds to a histogram; false when that was not done. */
export function recordMetric(id: u32, value: u64): bool {
  return id != 0 && proxy_record_metric(id - 1, value) == OK;
}

/** Process-wide value of a counter or gauge; 0 when there is none. */
export function metricValue(id: u32): u64 {
  if (!id) return 0;
  store<u64>(OUT, 0, 8);
  return proxy_get_metric(id - 1, OUT + 8) == OK ? load<u64>(OUT, 8) : 0;
}

/** Opens a bidirectional stream; returns its token, or 0 when it could not be opened. */
export function grpcOpen(cluster: Text, service: Text, method: Text, metadata: usize, metadataSize: usize): u32 {
  store<u32>(OUT, 0, 8);
  const status = proxy_grpc_stream(
    cluster.at,
    cluster.size,
    service.at,
    service.size,
    method.at,
    method.size,
    metadata,
    metadataSize,
    OUT + 8,
  );
  return status == OK ? load<u32>(OUT, 8) : 0;
}

export function grpcSend(token: u32, p: usize, n: usize): u32 {
  return proxy_grpc_send(token, p, n, 0);
}

/** Scratch from the arena, valid until the outermost callback ends; 0 when there is no room. */
export function scratch(n: usize): usize {
  return allocate(n);
}
