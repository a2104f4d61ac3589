// What a prefill pod answered: the transfer parameters as the bytes they came in, and how many tokens they promise.
import { at, cursorStart, peek, seek, skipString, skipValue, stringAt, stringEnd } from "./json-cursor";

/** No JSON object. */
// @ts-ignore: decorator
@inline
export const ANSWER_RUBBISH: u32 = 0;
/** An answer without parameters: the engine has no connector, or did not end the request by its limit. */
// @ts-ignore: decorator
@inline
export const ANSWER_EMPTY: u32 = 1;
// @ts-ignore: decorator
@inline
export const ANSWER_OK: u32 = 2;

export let answerAt: usize = 0;
export let answerSize: u32 = 0;
/** Prompt tokens whose blocks the answer promises; 0 when it says nothing. */
export let answerTokens: u32 = 0;

// "kv_transfer_params", "remote_num_tokens", "usage" and "prompt_tokens" are ASCII and never escaped by an engine.
function name(s: string): usize {
  const p = heap.alloc(s.length + 16);
  store<u32>(p, s.length);
  String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, p + 4);
  return p;
}
const PARAMETERS = name("kv_transfer_params");
const USAGE = name("usage");
const PROMISED = name("remote_num_tokens");
const PROMPT = name("prompt_tokens");

let valueAt: usize = 0;
let valueEnd: usize = 0;

/** Finds a member of the object at `p` of `n` bytes; false when it is not there. `broken`: the text is at fault. */
let broken: bool = false;
function member(p: usize, n: u32, wanted: usize): bool {
  broken = true;
  let found = false;
  cursorStart(p, n, false);
  if (peek() != 0x7b) return false;
  seek(at + 1);
  if (peek() == 0x7d) {
    broken = false;
    return false;
  }
  const size = load<u32>(wanted);
  for (;;) {
    if (peek() != 0x22 || !skipString()) return false;
    const hit = <u32>(stringEnd - stringAt) == size && memory.compare(stringAt, wanted + 4, size) == 0;
    if (peek() != 0x3a) return false;
    seek(at + 1);
    peek();
    const start = at;
    if (!skipValue(1)) return false;
    if (hit) {
      found = true;
      valueAt = start;
      valueEnd = at;
    }
    const next = peek();
    if (next == 0x7d) break;
    if (next != 0x2c) return false;
    seek(at + 1);
  }
  broken = false;
  return found;
}

/** The member's value as a number below a billion, 0 when it is none. */
function numberOf(p: usize, n: u32, wanted: usize): u32 {
  if (!member(p, n, wanted) || valueEnd - valueAt > 9) return 0;
  let v: u32 = 0;
  for (let q = valueAt; q < valueEnd; q++) {
    const digit = <u32>load<u8>(q) - 48;
    if (digit > 9) return 0;
    v = v * 10 + digit;
  }
  return v;
}

/** Reads the answer of `n` bytes at `p`, behind which 64 bytes must be readable. Returns ANSWER_*. */
export function readPrefillAnswer(p: usize, n: u32): u32 {
  answerSize = 0;
  answerTokens = 0;
  const found = member(p, n, PARAMETERS);
  if (broken) return ANSWER_RUBBISH;
  if (!found || load<u8>(valueAt) != 0x7b || valueEnd - valueAt < 8) return ANSWER_EMPTY;
  answerAt = valueAt;
  answerSize = <u32>(valueEnd - valueAt);
  answerTokens = numberOf(answerAt, answerSize, PROMISED);
  if (answerTokens == 0 && member(p, n, USAGE)) {
    const at = valueAt;
    answerTokens = numberOf(at, <u32>(valueEnd - at), PROMPT);
  }
  return ANSWER_OK;
}
