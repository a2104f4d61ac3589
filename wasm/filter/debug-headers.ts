// Response headers that tell of the decision, for those whom the policy lets see them.
import { podName, podNameSize } from "../core/pods";
import { Text, text } from "./abi/memory";
import { BUFFER_RESPONSE_BODY, MAP_RESPONSE, OK } from "./abi/types";
import { USAGE_BYTES, usageFeed } from "./answer-usage";
import { digits } from "./decimal";
import { buffer, getHeader, now, resultAt, resultSize, scratch, setHeader } from "./host";
import { requestIdAt, Stream, traceAt } from "./streams";

const SELECTED_POD = text("x-selected-pod");
const DECODE_POD = text("x-decode-pod");
const PREFILL_POD = text("x-prefill-pod");
const PREFILL_TIME = text("x-prefill-time-ms");
const CACHE_HIT = text("x-cache-hit");
const PREFIX_LENGTH = text("x-cache-prefix-length");
const SCHEDULING_TIME = text("x-scheduling-time-ms");
const FILTER_TIME = text("x-filter-time-ms");
const SCORER_TIME = text("x-scorer-time-ms");
const TOTAL_TIME = text("x-total-time-ms");
const REQUEST_ID = text("x-request-id");
const TRACE_ID = text("x-trace-id");
const TOKENS_GENERATED = text("x-tokens-generated");
const TOKENS_PER_SECOND = text("x-tokens-per-second");
const CONTENT_TYPE = text("content-type");
const CONTENT_LENGTH = text("content-length");
const JSON_TYPE = text("application/json");
const COMPLETION_TOKENS = text('"completion_tokens":');
const OUTPUT_TOKENS = text('"output_tokens":');
const TRUE = text("true");
const FALSE = text("false");

/** Longest JSON answer that is held until its usage is known. */
// @ts-ignore: decorator
@inline
export const HELD_BYTES: u32 = 262144;
function put(name: Text, p: usize, n: usize): void {
  if (n) setHeader(MAP_RESPONSE, name, p, n);
}

/** Milliseconds with three decimals from microseconds. */
function putMs(name: Text, p: usize, us: u64): void {
  let n = digits(p, us / 1000);
  store<u8>(p + n, 0x2e);
  const rest = <u32>(us % 1000);
  store<u8>(p + n + 1, <u8>(48 + rest / 100));
  store<u8>(p + n + 2, <u8>(48 + (rest / 10) % 10));
  store<u8>(p + n + 3, <u8>(48 + (rest % 10)));
  n += 4;
  put(name, p, n);
}

export function writeDebugHeaders(s: Stream): void {
  const p = scratch(32);
  if (!p) return;
  if (s.pod >= 0) {
    put(SELECTED_POD, podName(s.pod), podNameSize(s.pod));
    put(DECODE_POD, podName(s.pod), podNameSize(s.pod));
  }
  if (s.prefillPod) {
    const prefill = <u32>s.prefillPod - 1;
    put(PREFILL_POD, podName(prefill), podNameSize(prefill));
    // A sidecar says it itself.
    if (s.prefillUs) putMs(PREFILL_TIME, p, s.prefillUs);
  }
  if (s.promptTokens) {
    const hit = s.predicted ? TRUE : FALSE;
    put(CACHE_HIT, hit.at, hit.size);
    put(PREFIX_LENGTH, p, digits(p, s.predicted));
    putMs(SCHEDULING_TIME, p, s.schedulingUs);
    putMs(FILTER_TIME, p, s.matchUs);
    putMs(SCORER_TIME, p, s.pickUs);
  }
  putMs(TOTAL_TIME, p, (now() - s.startNs) / 1000);
  put(REQUEST_ID, requestIdAt(s), s.requestIdSize);
  put(TRACE_ID, traceAt(s), s.traceSize);
}

/** Whether the answer is JSON that says its length and is at most HELD_BYTES. */
export function shortJson(): bool {
  if (getHeader(MAP_RESPONSE, CONTENT_TYPE) != OK || resultSize < JSON_TYPE.size) return false;
  if (memory.compare(resultAt, JSON_TYPE.at, JSON_TYPE.size) != 0) return false;
  if (getHeader(MAP_RESPONSE, CONTENT_LENGTH) != OK || resultSize == 0 || resultSize > 6) return false;
  let length: u32 = 0;
  for (let i: usize = 0; i < resultSize; i++) {
    const digit = <u32>load<u8>(resultAt + i) - 48;
    if (digit > 9) return false;
    length = length * 10 + digit;
  }
  return length <= HELD_BYTES;
}

/** Puts what the answer's usage says into its headers. */
export function writeUsage(s: Stream, size: u32): void {
  // usage stands near the end of an answer; the text before it may be long.
  const n = min(size, USAGE_BYTES);
  if (buffer(BUFFER_RESPONSE_BODY, size - n, n) != OK) return;
  usageFeed(s, size > n);
  let tokens = numberAfter(COMPLETION_TOKENS);
  if (tokens < 0) tokens = numberAfter(OUTPUT_TOKENS);
  const p = scratch(32);
  if (tokens < 0 || !p) return;
  put(TOKENS_GENERATED, p, digits(p, tokens));
  const micros = (now() - s.dispatchNs) / 1000;
  if (s.dispatchNs == 0 || micros == 0) return;
  const tenths = (<u64>tokens * 10000000) / micros;
  let k = digits(p, tenths / 10);
  store<u8>(p + k, 0x2e);
  store<u8>(p + k + 1, <u8>(48 + (tenths % 10)));
  k += 2;
  put(TOKENS_PER_SECOND, p, k);
}

/** Number behind the last unescaped `"name":` in the bytes read last, -1 when there is none. */
function numberAfter(name: Text): i64 {
  if (resultSize < name.size + 1) return -1;
  for (let at = resultAt + resultSize - name.size - 1; at >= resultAt; at--) {
    if (memory.compare(at, name.at, name.size) != 0 || (at > resultAt && load<u8>(at - 1) == 0x5c)) continue;
    const end = resultAt + resultSize;
    let q = at + name.size;
    while (q < end && load<u8>(q) == 0x20) q++;
    let v: i64 = -1;
    for (; q < end && v < 1000000000; q++) {
      const digit = <u32>load<u8>(q) - 48;
      if (digit > 9) break;
      v = (v < 0 ? 0 : v * 10) + digit;
    }
    return v;
  }
  return -1;
}

