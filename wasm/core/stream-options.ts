// stream_options: whether a streamed answer ends with its usage.
import { afterSpace } from "./json-cursor";

/** "include_usage" */
const INCLUDE_USAGE: usize = memory.data<u8>([
  34, 105, 110, 99, 108, 117, 100, 101, 95, 117, 115, 97, 103, 101, 34,
]);
/** Longest stream options that are looked at, in bytes. */
// @ts-ignore: decorator
@inline
const OPTIONS_MAX: usize = 256;

/** Whether the object between `from` and `to` has `"include_usage": true`. */
export function asksForUsage(from: usize, to: usize): bool {
  if (to - from > OPTIONS_MAX) return false;
  for (let p = from; p + 20 <= to; p++) {
    if (memory.compare(p, INCLUDE_USAGE, 15) != 0) continue;
    p = afterSpace(p + 15);
    return load<u8>(p) == 0x3a && load<u8>(afterSpace(p + 1)) == 0x74;
  }
  return false;
}
