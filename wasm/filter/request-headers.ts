// One pass over a request's headers: what the filter needs from them, and which of them only a router may set.
import { Text, text } from "./abi/memory";
import { MAP_REQUEST, OK } from "./abi/types";
import { claimHeader, claimHeaderSize } from "../core/request-rules";
import { claimTake, controlLength, controlsClear, controlTake, SUBSET, subsetTake } from "./control-headers";
import { headerPairs, removeHeader, resultAt, resultSize } from "./host";

// Fields of a request, as spans into the pairs that the host gave; valid until the callback ends.
export let methodAt: usize = 0;
export let methodSize: u32 = 0;
export let pathAt: usize = 0;
export let pathSize: u32 = 0;
export let sessionAt: usize = 0;
export let sessionSize: u32 = 0;
export let credentialAt: usize = 0;
export let credentialSize: u32 = 0;
export let requestIdAt: usize = 0;
export let requestIdSize: u32 = 0;
export let traceAt: usize = 0;
export let traceSize: u32 = 0;
/** content-length in bytes, -1 when absent or not a number. */
export let contentLength: i64 = -1;
/** Up to 8 cookie headers (HTTP/2 clients may split them). */
export let cookieCount: u32 = 0;
const cookies: usize = heap.alloc(64);

export function cookieAt(i: u32): usize {
  return load<u32>(cookies + (i << 3));
}
export function cookieSize(i: u32): u32 {
  return load<u32>(cookies + (i << 3), 4);
}

const METHOD = text(":method");
const PATH = text(":path");
const SESSION = text("x-session-id");
const AUTHORIZATION = text("authorization");
const API_KEY = text("x-api-key");
const COOKIE = text("cookie");
const LENGTH = text("content-length");
const REQUEST_ID = text("x-request-id");
const TRACE = text("traceparent");

// Names that a client has no business setting; a name that ends with "-" stands for every name it begins.
const FORBIDDEN: StaticArray<Text> = [
  text("x-gateway-destination-endpoint"),
  text("x-gateway-destination-endpoint-"),
  text("x-prefiller-"),
  text("x-data-parallel-"),
  text("x-encoder-"),
  text("x-kv-cache-source-"),
  text("x-envoy-upstream-rq-"),
  text("x-envoy-max-retries"),
  text("x-envoy-retry-"),
  text("x-envoy-hedge-"),
  text("x-selected-"),
  text("x-decode-pod"),
  text("x-prefill-pod"),
  text("x-cache-hit"),
  text("x-cache-prefix-length"),
];

// @ts-ignore: decorator
@inline
function is(p: usize, n: u32, t: Text): bool {
  return <usize>n == t.size && memory.compare(p, t.at, t.size) == 0;
}

function forbidden(p: usize, n: u32): bool {
  // Every forbidden name begins with "x-" and is at least 11 bytes long.
  if (n < 11 || load<u16>(p) != 0x2d78) return false;
  for (let i = 0; i < FORBIDDEN.length; i++) {
    const t = unchecked(FORBIDDEN[i]);
    if (<usize>n < t.size || memory.compare(p, t.at, t.size) != 0) continue;
    if (<usize>n == t.size || load<u8>(t.at + t.size - 1) == 0x2d) return true;
  }
  return false;
}

function number(p: usize, n: u32): i64 {
  if (n == 0 || n > 15) return -1;
  let v: i64 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const c = load<u8>(p + i);
    if (c < 48 || c > 57) return -1;
    v = v * 10 + (c - 48);
  }
  return v;
}

/**
 * Reads the request's headers and removes those that only we may set. Returns how many were removed, -1 when the
 * headers could not be read.
 */
export function readRequestHeaders(): i32 {
  methodSize = 0;
  pathSize = 0;
  sessionAt = 0;
  sessionSize = 0;
  credentialSize = 0;
  requestIdSize = 0;
  traceSize = 0;
  contentLength = -1;
  cookieCount = 0;
  controlsClear();
  if (headerPairs(MAP_REQUEST) != OK || resultSize < 4) return -1;
  const end = resultAt + resultSize;
  const count = load<u32>(resultAt);
  if (count > 4096 || resultAt + 4 + <usize>count * 8 > end) return -1;
  let sizes = resultAt + 4;
  let at = sizes + <usize>count * 8;
  let removed = 0;
  for (let i: u32 = 0; i < count; i++, sizes += 8) {
    const n = load<u32>(sizes);
    const vn = load<u32>(sizes, 4);
    const value = at + n + 1;
    if (value + vn >= end + 1 || value < at) return -1;
    if (forbidden(at, n)) {
      if (is(at, n, SUBSET)) subsetTake(value, vn);
      // A repeated name is removed whole by the first call; the second finds nothing, which is as good.
      removeHeader(MAP_REQUEST, at, n);
      removed++;
    } else {
      take(at, n, value, vn);
      if (controlLength(n)) controlTake(at, n, value, vn);
      if (claimHeaderSize && n == claimHeaderSize && memory.compare(at, claimHeader, n) == 0) claimTake(value, vn);
    }
    at = value + vn + 1;
  }
  return removed;
}

function take(p: usize, n: u32, v: usize, vn: u32): void {
  switch (n) {
    case 5:
      if (is(p, n, PATH)) {
        pathAt = v;
        pathSize = vn;
      }
      break;
    case 6:
      if (is(p, n, COOKIE) && cookieCount < 8) {
        store<u32>(cookies + (cookieCount << 3), <u32>v);
        store<u32>(cookies + (cookieCount << 3), vn, 4);
        cookieCount++;
      }
      break;
    case 7:
      if (is(p, n, METHOD)) {
        methodAt = v;
        methodSize = vn;
      }
      break;
    case 9:
      if (is(p, n, API_KEY) && credentialSize == 0) {
        credentialAt = v;
        credentialSize = vn;
      }
      break;
    case 11:
      if (is(p, n, TRACE)) {
        traceAt = v;
        traceSize = vn;
      }
      break;
    case 12:
      if (is(p, n, SESSION)) {
        sessionAt = v;
        sessionSize = vn;
      } else if (is(p, n, REQUEST_ID)) {
        requestIdAt = v;
        requestIdSize = vn;
      }
      break;
    case 13:
      if (is(p, n, AUTHORIZATION)) {
        credentialAt = v;
        credentialSize = vn;
      }
      break;
    case 14:
      if (is(p, n, LENGTH)) contentLength = number(v, vn);
      break;
    default:
      break;
  }
}

const CHAT = text("/v1/chat/completions");
const COMPLETIONS = text("/v1/completions");
const RESPONSES = text("/v1/responses");
const EMBEDDINGS = text("/v1/embeddings");

const decoded: usize = heap.alloc(64);

// @ts-ignore: decorator
@inline
function hex(c: u8): i32 {
  if (c >= 48 && c <= 57) return c - 48;
  const l = c | 0x20;
  return l >= 97 && l <= 102 ? l - 87 : -1;
}

/**
 * API_* of the path of a POST that is scheduled by its body, else -1. The path is percent-decoded first, as engines
 * do, so that no spelling of it escapes the checks on the body.
 */
export function scheduledApi(): i32 {
  if (methodSize != 4 || load<u32>(methodAt) != 0x54534f50) return -1; // POST
  let n: u32 = 0;
  for (let i: u32 = 0; i < pathSize && n < 32; i++, n++) {
    let c = load<u8>(pathAt + i);
    if (c == 0x3f || c == 0x23) break; // ? and #
    if (c == 0x25 && i + 2 < pathSize) {
      const high = hex(load<u8>(pathAt + i + 1));
      const low = hex(load<u8>(pathAt + i + 2));
      if (high >= 0 && low >= 0) {
        c = <u8>((high << 4) | low);
        i += 2;
      }
    }
    store<u8>(decoded + n, c);
  }
  if (is(decoded, n, CHAT)) return 0;
  if (is(decoded, n, COMPLETIONS)) return 1;
  if (is(decoded, n, RESPONSES)) return 2;
  if (is(decoded, n, EMBEDDINGS)) return 3;
  return -1;
}
