// What an answer says its prompt had in the cache: `usage.prompt_tokens_details.cached_tokens` of the OpenAI API,
// `usage.input_tokens_details.cached_tokens` of its Responses. The last one counts; null or no such field says nothing.
//
// Frames are only looked at on their way, so what is cut by the end of one goes on in the next.
import { podBlockTokens } from "../core/pods";
import { API_EMBEDDINGS, API_RESPONSES } from "../core/scan";
import { BUFFER_RESPONSE_BODY, OK } from "./abi/types";
import { text } from "./abi/memory";
import { buffer, resultAt, resultSize } from "./host";
import { recordCached } from "./prediction-report";
import { Stream } from "./streams";

/** How much of a frame's end is looked at: behind an answer's usage little follows. */
// @ts-ignore: decorator
@inline
export const USAGE_BYTES: u32 = 8192;
/** Streams of this worker that are read at once; looking at a frame costs about a microsecond. */
// @ts-ignore: decorator
@inline
const MOST_STREAMS: u32 = 128;

/** `"cached_tokens"`. A quote within a JSON string is escaped, so only a key reads like this. */
const KEY: usize = memory.data<u8>([
  34, 99, 97, 99, 104, 101, 100, 95, 116, 111, 107, 101, 110, 115, 34, 0,
]);
// Bytes of KEY that have come, then these.
// @ts-ignore: decorator
@inline
const AFTER_KEY: u8 = 15;
// @ts-ignore: decorator
@inline
const AFTER_COLON: u8 = 16;
// @ts-ignore: decorator
@inline
const IN_NUMBER: u8 = 17;
/** A prompt is shorter. */
// @ts-ignore: decorator
@inline
const MOST_TOKENS: u32 = 100000000;

let streamsRead: u32 = 0;

/** Decides whether the answer to `s`, which begins, is looked through. */
export function usageBegin(s: Stream): void {
  if (!s.textBlockTokens || s.prefillPod || s.api == <u8>API_EMBEDDINGS) return;
  if (s.streaming) {
    // A stream without its usage has nothing to find.
    if ((!s.asksUsage && s.api != <u8>API_RESPONSES) || streamsRead == MOST_STREAMS) return;
    streamsRead++;
  }
  s.readsUsage = true;
}

/** Looks at a frame of `size` bytes. */
export function usageRead(s: Stream, size: u32): void {
  if (!s.readsUsage) return;
  const n = min(size, USAGE_BYTES);
  if (n && buffer(BUFFER_RESPONSE_BODY, size - n, n) == OK) usageFeed(s, size > n);
}

/** The same with the frame's end read already, as the last result; `cut`: it has more bytes before that. */
export function usageFeed(s: Stream, cut: bool): void {
  if (!s.readsUsage) return;
  if (cut) s.usageState = 0;
  let state = s.usageState;
  let p = resultAt;
  const end = resultAt + resultSize;
  const begin = load<u64>(KEY);
  while (p < end) {
    if (state == 0) {
      while (p + 8 <= end && load<u64>(p) != begin) p++;
      if (p + 8 <= end) {
        p += 8;
        state = 8;
        continue;
      }
    }
    const c = load<u8>(p++);
    if (state < AFTER_KEY) {
      // Only its first and last byte are quotes: what fails may be the beginning of the next.
      state = c == load<u8>(KEY + state) ? state + 1 : c == 0x22 ? 1 : 0;
      continue;
    }
    if (state == IN_NUMBER) {
      const digit = <u32>c - 48;
      if (digit <= 9 && s.usageNumber < MOST_TOKENS) {
        s.usageNumber = s.usageNumber * 10 + digit;
        continue;
      }
      if (digit > 9) {
        s.cachedTokens = s.usageNumber + 1;
        s.countedTokens = countBefore(p, resultAt);
      }
    } else if (c == 0x20) continue;
    else if (state == AFTER_KEY && c == 0x3a) {
      state = AFTER_COLON;
      continue;
    } else if (state == AFTER_COLON && <u32>c - 48 <= 9) {
      s.usageNumber = <u32>c - 48;
      state = IN_NUMBER;
      continue;
    }
    state = c == 0x22 ? 1 : 0;
  }
  s.usageState = state;
}

/** How far before the cached tokens the prompt's are looked for, in bytes. */
// @ts-ignore: decorator
@inline
const COUNT_BYTES: usize = 512;
const PROMPT_TOKENS = text('"prompt_tokens":');
const INPUT_TOKENS = text('"input_tokens":');

/** What the last `"prompt_tokens"` or `"input_tokens"` before `at` says; 0 when there is none after `begin`. */
function countBefore(at: usize, begin: usize): u32 {
  const from = at - begin > COUNT_BYTES ? at - COUNT_BYTES : begin;
  for (let p = at - INPUT_TOKENS.size; p >= from; p--) {
    if (load<u8>(p) != 0x22) continue;
    const name = load<u8>(p, 1) == 0x70 ? PROMPT_TOKENS : INPUT_TOKENS;
    if (at - p <= name.size || memory.compare(p, name.at, name.size) != 0) continue;
    p += name.size;
    while (p < at && load<u8>(p) == 0x20) p++;
    let n: u32 = 0;
    for (; p < at && <u32>load<u8>(p) - 48 <= 9 && n < MOST_TOKENS; p++) n = n * 10 + <u32>load<u8>(p) - 48;
    return n;
  }
  return 0;
}

/**
 * Ends the reading and counts what was found. A prediction is right within one block: at most a KV block above, at most
 * a text block's tokens, rounded up to KV blocks, below.
 */
export function usageEnd(s: Stream): void {
  if (!s.readsUsage) return;
  s.readsUsage = false;
  if (s.streaming) streamsRead--;
  if (!s.cachedTokens || !s.compared || s.pod < 0) return;
  const cached = s.cachedTokens - 1;
  const block = podBlockTokens(s.pod);
  const below = ((s.textBlockTokens + block - 1) / block) * block;
  recordCached(s, cached, s.announced > cached + block, s.announced + below < cached);
}
