// Keys of an object as fields, whatever their spelling.
import { at, end, miss, peek, runOut, seek, skipString, stringAt, stringEnd, stringEscaped } from "./json-cursor";
import { COPY_SLACK, copied, copyString } from "./json-text";
import { F_CONTENT, F_ROLE, F_TEXT, F_TYPE, fieldOf } from "./request-fields";

/** No key: the input is at fault or ends here. */
// @ts-ignore: decorator
@inline
export const NO_FIELD: u32 = 0xffffffff;

/** A longer key is none that has a meaning. */
// @ts-ignore: decorator
@inline
const KEY_MAX: usize = 64;
const key: usize = heap.alloc(KEY_MAX + COPY_SLACK);

/** Unescaped bytes of the last `readName`. */
export const namePtr: usize = key;
export let nameLen: u32 = 0;

/** Goes past the string under the cursor and keeps its text in `namePtr`, as much as fits a key. */
export function readName(): bool {
  const ok = copyString(key, key + KEY_MAX);
  nameLen = <u32>(copied - key);
  return ok;
}

/** Reads a key and goes to the first byte of its value; its field, or NO_FIELD. */
export function readField(): u32 {
  if (peek() != 0x22) {
    miss();
    return NO_FIELD;
  }
  const start = at;
  let field: u32;
  // The names that every message has, read at once with their closing quote.
  const head = load<u64>(start, 1);
  if (<u32>head == 0x656c6f72 && <u8>(head >> 32) == 0x22) {
    field = F_ROLE;
    seek(start + 6);
  } else if (head == 0x22746e65746e6f63) {
    field = F_CONTENT;
    seek(start + 9);
  } else if (<u32>head == 0x74786574 && <u8>(head >> 32) == 0x22) {
    field = F_TEXT;
    seek(start + 6);
  } else if (<u32>head == 0x65707974 && <u8>(head >> 32) == 0x22) {
    field = F_TYPE;
    seek(start + 6);
  } else {
    if (!skipString()) return NO_FIELD;
    if (stringEscaped) {
      seek(start);
      readName();
      field = fieldOf(namePtr, nameLen);
    } else field = fieldOf(stringAt, <u32>(stringEnd - stringAt));
  }
  if (at > end) {
    // The match was with what stands behind the end.
    seek(end);
    runOut();
    return NO_FIELD;
  }
  if (peek() != 0x3a) {
    miss();
    return NO_FIELD;
  }
  seek(at + 1);
  if (peek()) return field;
  runOut();
  return NO_FIELD;
}
