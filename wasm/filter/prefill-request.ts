// The HTTP request of a prefill: the client's own path, credential and trace, to one pod.
import { podAddress, podAddressSize } from "../core/pods";
import { Text, text } from "./abi/memory";
import { MAP_REQUEST, OK } from "./abi/types";
import { prefillCluster } from "./configuration";
import { DIGITS_MAX, digits } from "./decimal";
import { getHeader, httpCall, resultAt, resultSize, scratch } from "./host";

const METHOD = text(":method");
const POST = text("POST");
const LENGTH = text("content-length");
const TYPE = text("content-type");
const JSON_TYPE = text("application/json");
const DESTINATION = text("x-gateway-destination-endpoint");
// Headers of the client that the prefill carries, too.
const CARRIED: StaticArray<Text> = [
  text(":path"),
  text(":authority"),
  text("authorization"),
  text("x-api-key"),
  text("x-request-id"),
  text("traceparent"),
  text("tracestate"),
  text("x-session-id"),
];

// The block that the ABI wants: a count, the sizes of all names and values, then these, each with a NUL behind it.
// @ts-ignore: decorator
@inline
const MOST: u32 = 12;
const sizes: usize = heap.alloc(MOST << 3);
const values: usize = heap.alloc(MOST << 3); // name pointer u32, value pointer u32
let count: u32 = 0;
let bytes: u32 = 0;

function add(name: Text, value: usize, size: usize): void {
  const at = <usize>count << 3;
  store<u32>(sizes + at, <u32>name.size);
  store<u32>(sizes + at, <u32>size, 4);
  store<u32>(values + at, <u32>name.at);
  store<u32>(values + at, <u32>value, 4);
  bytes += <u32>(name.size + size) + 2;
  count++;
}

/**
 * Sends `n` bytes at `body` to `pod` with the headers of the effective context's request. Returns the call's token, 0
 * when it could not be sent.
 */
export function sendPrefill(pod: u32, body: usize, n: u32, timeoutMs: u32): u32 {
  count = 0;
  bytes = 0;
  const length = scratch(DIGITS_MAX);
  if (!length) return 0;
  add(METHOD, POST.at, POST.size);
  add(TYPE, JSON_TYPE.at, JSON_TYPE.size);
  add(LENGTH, length, digits(length, n));
  add(DESTINATION, podAddress(pod), podAddressSize(pod));
  for (let i = 0; i < CARRIED.length; i++) {
    const name = unchecked(CARRIED[i]);
    if (getHeader(MAP_REQUEST, name) == OK && resultSize) add(name, resultAt, resultSize);
  }
  const size = 4 + (count << 3) + bytes;
  const block = scratch(size);
  if (!block) return 0;
  store<u32>(block, count);
  memory.copy(block + 4, sizes, <usize>count << 3);
  let at = block + 4 + (<usize>count << 3);
  for (let i: u32 = 0; i < count; i++) {
    const nameSize = load<u32>(sizes + (<usize>i << 3));
    const valueSize = load<u32>(sizes + (<usize>i << 3), 4);
    memory.copy(at, load<u32>(values + (<usize>i << 3)), nameSize);
    store<u8>(at + nameSize, 0);
    at += nameSize + 1;
    memory.copy(at, load<u32>(values + (<usize>i << 3), 4), valueSize);
    store<u8>(at + valueSize, 0);
    at += valueSize + 1;
  }
  return httpCall(prefillCluster, block, size, body, n, timeoutMs);
}
