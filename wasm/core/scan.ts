// A request's body in one pass: the fields of the top level, and the prompt rendered where it stands. Duplicate keys
// count as Python's json has them: the last one wins, so a prompt that comes again is rendered anew in its place.
import { at, cursorStart, end, fault, miss, peek, resume, seek, skipValue, STOP_CUT, STOP_DEEP, stopped } from "./json-cursor";
import { NO_FIELD, readField } from "./json-key";
import { COPY_SLACK, copied, copyFull, copyString } from "./json-text";
import {
  bos,
  closeContent,
  INEXACT_FIELD,
  INEXACT_NO_PROMPT,
  INEXACT_PROMPT_TYPE,
  inexact,
  inexactReason,
  joint,
  literal,
  KIND_END,
  KIND_GENERATE,
  KIND_SYSTEM,
  KIND_USER,
  outAt,
  outFull,
  renderFinish,
  renderInit,
  renderReset,
  renderStart,
  renderText,
  renderWantsTurns,
  thinkingKnown,
  thinkingOff,
} from "./render";
import { renderMessages } from "./render-messages";
import { turnsKnown } from "./turn-program";
import { renderTurns } from "./turns";
import {
  F_CACHE_KEY,
  F_CONTINUE,
  F_ENGINE_ARGUMENTS,
  F_EXTRA_ARGUMENTS,
  F_GENERATION,
  F_INERT,
  F_INERT_EMPTY,
  F_INPUT,
  F_INSTRUCTIONS,
  F_MESSAGES,
  F_MODEL,
  F_PROMPT,
  F_RESERVED,
  F_SALT,
  F_SAMPLING,
  F_STREAM,
  F_STREAM_OPTIONS,
  F_TEMPLATE_ARGUMENTS,
  F_TOOLS,
  F_USER,
} from "./request-fields";

import { valueDigest } from "./value-digest";

export { outLen, outPtr } from "./render";

// @ts-ignore: decorator
@inline
export const API_CHAT: u32 = 0;
// @ts-ignore: decorator
@inline
export const API_COMPLETIONS: u32 = 1;
// @ts-ignore: decorator
@inline
export const API_RESPONSES: u32 = 2;
// @ts-ignore: decorator
@inline
export const API_EMBEDDINGS: u32 = 3;

// @ts-ignore: decorator
@inline
export const SCAN_OK: i32 = 0;
// @ts-ignore: decorator
@inline
export const SCAN_MALFORMED: i32 = 1;
// @ts-ignore: decorator
@inline
export const SCAN_NOT_OBJECT: i32 = 2;
// @ts-ignore: decorator
@inline
export const SCAN_TOO_DEEP: i32 = 3;
// @ts-ignore: decorator
@inline
export const SCAN_EMPTY: i32 = 4;

/** Bytes that are read, and not believed, behind a body. */
// @ts-ignore: decorator
@inline
export const SCAN_SLACK: usize = 64;

/** Longest model name, user, salt or cache key that is looked at, in bytes. */
// @ts-ignore: decorator
@inline
const VALUE_MAX: usize = 4096;

/** 0 absent, 1 a string, 2 of another type. */
export let hasModel: u32 = 0;
export let modelPtr: usize = 0;
export let modelLen: u32 = 0;
/** Where the model's value stands in the body, quotes included. */
export let modelFrom: usize = 0;
export let modelTo: usize = 0;
export let userPtr: usize = 0;
export let userLen: u32 = 0;
export let saltPtr: usize = 0;
export let saltLen: u32 = 0;
/** Where the cache salt's value stands in the body, quotes included, and how often there is one. */
export let saltFrom: usize = 0;
export let saltTo: usize = 0;
export let saltCount: u32 = 0;
export let cacheKeyPtr: usize = 0;
export let cacheKeyLen: u32 = 0;
export let stream: bool = false;
/** Whether a streamed answer is asked to end with its usage. */
export let streamUsage: bool = false;
/** Bit i: reserved field i was there, under whatever spelling. */
export let reserved: u32 = 0;
/** Whether the rendered bytes are the prompt's own, as far as they go. */
export let renderExact: bool = false;
/** What makes a prompt another one although its rendered bytes do not show it; 0 while they are exact. */
export let approximateSeed: u64 = 0;
/** Whether they are the whole prompt. */
export let promptIsComplete: bool = false;

let values: usize = 0;
let api: u32 = 0;
let generation: bool = true;
// What chat_template_kwargs says.
// @ts-ignore: decorator
@inline
const THINKING_UNSET: u32 = 0;
// @ts-ignore: decorator
@inline
const THINKING_ON: u32 = 1;
// @ts-ignore: decorator
@inline
const THINKING_OFF: u32 = 2;
// @ts-ignore: decorator
@inline
const THINKING_OTHER: u32 = 3;
let thinking: u32 = THINKING_UNSET;
let continued: bool = false;
let messagesAt: usize = 0;
let toolsAt: usize = 0;
let inputAt: usize = 0;
let instructionsAt: usize = 0;
let toolsTo: usize = 0;
let fieldReason: u32 = 0;
/** The prompt's value was there, and its end. */
let promptSeen: bool = false;
let promptWhole: bool = false;

/** Beginning of a raw prompt, for the session. */
export let rawSession: usize = 0;
export let rawSessionLen: u32 = 0;

/** Allocates the output (`capacity` bytes) and the space for small values. */
export function scanInit(capacity: u32): void {
  renderInit(capacity);
  if (!values) values = heap.alloc((VALUE_MAX + COPY_SLACK) * 4);
}

/**
 * Scans the body of `n` bytes at `p`, after which SCAN_SLACK bytes must be readable. `truncated`: the body goes on
 * beyond them. `template`: blob of the model's template, 0 for none. Returns SCAN_*.
 */
export function scanRequest(p: usize, n: u32, path: u32, truncated: bool, template: usize): i32 {
  api = path;
  hasModel = 0;
  modelLen = 0;
  userLen = 0;
  saltLen = 0;
  saltCount = 0;
  cacheKeyLen = 0;
  stream = false;
  streamUsage = false;
  reserved = 0;
  renderExact = false;
  approximateSeed = 0;
  promptIsComplete = false;
  generation = true;
  thinking = THINKING_UNSET;
  continued = false;
  messagesAt = 0;
  toolsAt = 0;
  inputAt = 0;
  instructionsAt = 0;
  fieldReason = 0;
  promptSeen = false;
  promptWhole = false;
  rawSessionLen = 0;
  renderStart(template);
  // A UTF-8 byte order mark is what json.loads of bytes skips, too.
  if (n >= 3 && load<u16>(p) == 0xbbef && load<u8>(p, 2) == 0xbf) {
    p += 3;
    n -= 3;
  }
  cursorStart(p, n, truncated);
  const first = peek();
  if (first == 0) return SCAN_EMPTY;
  const object = first == 0x7b;
  let whole = object ? fields() : skipValue(0);
  // Anything but white space behind the value is no JSON.
  if (whole && peek()) whole = fault();
  if (!whole && stopped != STOP_CUT) return stopped == STOP_DEEP ? SCAN_TOO_DEEP : SCAN_MALFORMED;
  if (!object) return SCAN_NOT_OBJECT;
  if (api == API_RESPONSES) promptWhole = renderResponses();
  if (!promptSeen) inexact(INEXACT_NO_PROMPT);
  else {
    if (whole && promptWhole && (api == API_CHAT || api == API_RESPONSES)) joint(generation ? KIND_GENERATE : KIND_END);
    if (api == API_CHAT && messagesAt) takeTurns(template, whole);
    printThinking(whole);
  }
  renderFinish(fieldReason);
  renderExact = inexactReason == 0;
  if (!renderExact && toolsAt) approximateSeed += valueDigest(toolsAt, <u32>(toolsTo - toolsAt));
  promptIsComplete = whole && promptWhole && !outFull;
  return SCAN_OK;
}

/** Another salt stands in the body now: `n` bytes at `p`. */
export function saltReplace(p: usize, n: u32): void {
  saltPtr = p;
  saltLen = n;
}

/** The top level, from its brace to behind its end. */
function fields(): bool {
  seek(at + 1);
  if (peek() == 0x7d) {
    seek(at + 1);
    return true;
  }
  for (;;) {
    const field = readField();
    if (field == NO_FIELD || !value(field)) return false;
    const next = peek();
    if (next == 0x2c) {
      seek(at + 1);
      continue;
    }
    if (next != 0x7d) return miss();
    seek(at + 1);
    return true;
  }
  return false;
}

// A value kept for later; the last one of a name wins.
let keptPtr: usize = 0;
let keptLen: u32 = 0;

/** Keeps the string under the cursor in `slot`; another value is kept as empty. */
function keep(slot: u32): bool {
  keptLen = 0;
  keptPtr = values + <usize>slot * (VALUE_MAX + COPY_SLACK);
  if (load<u8>(at) != 0x22) return skipValue(1);
  const ok = copyString(keptPtr, keptPtr + VALUE_MAX);
  if (ok) keptLen = <u32>(copied - keptPtr);
  return ok;
}

/** Takes the value under the cursor. */
function value(field: u32): bool {
  const start = at;
  const c = <u32>load<u8>(at);
  if (field >= F_RESERVED) {
    reserved |= 1 << (field - F_RESERVED);
    return skipValue(1);
  }
  switch (field) {
    case F_MODEL: {
      const ok = keep(0);
      hasModel = !ok ? 0 : c == 0x22 ? 1 : 2;
      modelPtr = keptPtr;
      modelFrom = start;
      modelTo = at;
      modelLen = keptLen;
      // No model has so long a name: what is cut off must not turn it into another one.
      if (ok && c == 0x22 && copyFull) modelLen = 0;
      return ok;
    }
    case F_USER: {
      const ok = keep(1);
      userPtr = keptPtr;
      userLen = keptLen;
      return ok;
    }
    case F_CACHE_KEY: {
      const ok = keep(2);
      cacheKeyPtr = keptPtr;
      cacheKeyLen = keptLen;
      return ok;
    }
    case F_SALT: {
      const ok = keep(3);
      saltPtr = keptPtr;
      saltLen = keptLen;
      saltFrom = start;
      saltTo = at;
      saltCount++;
      // Two salts with the same beginning are two salts.
      if (c == 0x22 && copyFull) {
        fieldReason |= INEXACT_FIELD;
        approximateSeed += valueDigest(start, <u32>(at - start));
      }
      return ok;
    }
    case F_STREAM:
      stream = c == 0x74;
      return skipValue(1);
    case F_STREAM_OPTIONS: {
      const ok = skipValue(1);
      streamUsage = ok && asksForUsage(start, at);
      return ok;
    }
    case F_GENERATION:
      // An engine reads some other values as one or the other; what it makes of them is not for us to guess.
      generation = c != 0x66;
      if (c != 0x66 && c != 0x74) fieldReason |= INEXACT_FIELD;
      return skipValue(1);
    case F_MESSAGES:
      return api == API_CHAT ? takeMessages(c) : other(c);
    case F_PROMPT:
      return api == API_COMPLETIONS ? takeRaw() : other(c);
    case F_INPUT:
      if (api == API_EMBEDDINGS) return takeRaw();
      if (api != API_RESPONSES) return other(c);
      inputAt = start;
      return skipValue(1);
    case F_INSTRUCTIONS:
      if (api != API_RESPONSES) return other(c);
      instructionsAt = start;
      return skipValue(1);
    case F_TOOLS: {
      if (api != API_CHAT) return other(c);
      toolsAt = c == 0x6e ? 0 : start;
      const ok = skipValue(1);
      toolsTo = at;
      return ok;
    }
    case F_CONTINUE:
      continued = c == 0x74;
      return skipValue(1);
    case F_INERT:
      return skipValue(1);
    case F_TEMPLATE_ARGUMENTS: {
      const ok = templateArguments(c);
      if (thinking != THINKING_UNSET) approximateSeed += valueDigest(start, <u32>(at - start));
      return ok;
    }
    case F_INERT_EMPTY: {
      const ok = skipValue(1);
      const empty = c == 0x7b && load<u8>(afterSpace(start + 1)) == 0x7d;
      if (c != 0x6e && c != 0x66 && !empty) fieldReason |= INEXACT_FIELD;
      return ok;
    }
    case F_ENGINE_ARGUMENTS:
    case F_SAMPLING:
      if (c != 0x6e) fieldReason |= INEXACT_FIELD;
      return c == 0x7b ? engineArguments(field, 1) : skipValue(1);
    default:
      return other(c);
  }
}

/** "enable_thinking" */
const ENABLE_THINKING: usize = memory.data<u8>([
  34, 101, 110, 97, 98, 108, 101, 95, 116, 104, 105, 110, 107, 105, 110, 103, 34,
]);

/** Arguments of the template under the cursor: none, or `enable_thinking` with true or false and nothing else. */
function templateArguments(c: u32): bool {
  const start = at;
  if (!skipValue(1)) return false;
  const stop = at;
  thinking = THINKING_UNSET;
  if (c == 0x6e || c == 0x66) return true;
  const first = c == 0x7b ? afterSpace(start + 1) : 0;
  if (first && load<u8>(first) == 0x7d) return true;
  thinking = THINKING_OTHER;
  if (!first || first + 22 > stop || memory.compare(first, ENABLE_THINKING, 17) != 0) return true;
  const colon = afterSpace(first + 17);
  const value = afterSpace(colon + 1);
  const on = load<u8>(value) == 0x74;
  if (!on && load<u8>(value) != 0x66) return true;
  if (load<u8>(afterSpace(value + (on ? 4 : 5))) == 0x7d) thinking = on ? THINKING_ON : THINKING_OFF;
  return true;
}

/** Writes what the template's arguments add to a prompt that is there whole, or marks it as not exact. */
function printThinking(whole: bool): void {
  if (thinking == THINKING_UNSET) return;
  if (thinking == THINKING_OTHER || !thinkingKnown() || !generation || api != API_CHAT) inexact(INEXACT_FIELD);
  else if (thinking == THINKING_OFF && whole && promptWhole) thinkingOff();
}

/** "include_usage" */
const INCLUDE_USAGE: usize = memory.data<u8>([
  34, 105, 110, 99, 108, 117, 100, 101, 95, 117, 115, 97, 103, 101, 34,
]);
/** Longest stream options that are looked at, in bytes. */
// @ts-ignore: decorator
@inline
const OPTIONS_MAX: usize = 256;

/** Whether the object between `from` and `to` has `"include_usage": true`. */
function asksForUsage(from: usize, to: usize): bool {
  if (to - from > OPTIONS_MAX) return false;
  for (let p = from; p + 20 <= to; p++) {
    if (memory.compare(p, INCLUDE_USAGE, 15) != 0) continue;
    p = afterSpace(p + 15);
    return load<u8>(p) == 0x3a && load<u8>(afterSpace(p + 1)) == 0x74;
  }
  return false;
}

/** The members of an object of engine arguments under the cursor, `depth` levels deep: reserved fields count here, too. */
function engineArguments(kind: u32, depth: u32): bool {
  seek(at + 1);
  if (peek() == 0x7d) {
    seek(at + 1);
    return true;
  }
  for (;;) {
    const field = readField();
    if (field == NO_FIELD) return false;
    if (field >= F_RESERVED) reserved |= 1 << (field - F_RESERVED);
    const inner = field == F_EXTRA_ARGUMENTS && kind == F_SAMPLING && load<u8>(at) == 0x7b;
    if (!(inner ? engineArguments(F_ENGINE_ARGUMENTS, depth + 1) : skipValue(depth + 1))) return false;
    const next = peek();
    if (next != 0x2c && next != 0x7d) return miss();
    seek(at + 1);
    if (next == 0x7d) return true;
  }
  return false;
}

/** A field that may change the prompt. An absent optional one and an explicit null are the same to an engine. */
function other(c: u32): bool {
  const start = at;
  const ok = skipValue(1);
  if (c != 0x6e) {
    fieldReason |= INEXACT_FIELD;
    approximateSeed += valueDigest(start, <u32>(at - start));
  }
  return ok;
}

/** Renders what the plain table does not cover by the template's turn program. */
function takeTurns(template: usize, whole: bool): void {
  if (toolsAt && (load<u8>(toolsAt) != 0x5b || load<u8>(afterSpace(toolsAt + 1)) == 0x5d)) {
    inexact(INEXACT_FIELD);
    return;
  }
  if (!toolsAt && !continued && !renderWantsTurns()) return;
  if (template && turnsKnown(template, toolsAt != 0)) {
    promptWhole = renderTurns(template, messagesAt, toolsAt, generation, continued, whole);
  } else inexact(INEXACT_FIELD);
}

/** First byte at or after `p` that is no white space, within the body or right behind it. */
function afterSpace(p: usize): usize {
  const back = at;
  seek(p);
  peek();
  const found = at;
  seek(back);
  return found;
}

function takeMessages(c: u32): bool {
  messagesAt = c == 0x5b ? at : 0;
  renderReset();
  promptSeen = c == 0x5b;
  promptWhole = promptSeen ? renderMessages() : skipValue(1);
  return promptWhole;
}

/** A prompt that no template wraps: a string, or a list of one string. */
function takeRaw(): bool {
  renderReset();
  promptSeen = true;
  const start = at;
  const list = load<u8>(at) == 0x5b;
  if (list) {
    seek(at + 1);
    peek();
  }
  if (at < end && load<u8>(at) == 0x22) {
    bos();
    const from = outAt();
    const ok = renderText();
    // Its session is its beginning: later calls of the same conversation only append to it.
    rawSession = from;
    rawSessionLen = <u32>min(outAt() - from, 1024);
    promptWhole = ok;
    if (!ok || !list) return ok;
    const c = peek();
    if (c == 0x5d) {
      seek(at + 1);
      return true;
    }
    if (c == 0) return miss();
  }
  inexact(INEXACT_PROMPT_TYPE);
  seek(start);
  promptWhole = skipValue(1);
  // Token ids, or several prompts: their JSON stands for them where prompts are matched approximately.
  literal(start, <u32>(at - start));
  return promptWhole;
}

/** Renders a response's instructions and input, in this order, whatever theirs was; true when all of it was there. */
function renderResponses(): bool {
  const back = at;
  const why = stopped;
  renderReset();
  promptSeen = inputAt != 0;
  const first = instructionsAt ? <u32>load<u8>(instructionsAt) : 0;
  let ok = true;
  if (first == 0x22) {
    joint(KIND_SYSTEM);
    ok = renderAs(KIND_SYSTEM, instructionsAt);
  } else if (first && first != 0x6e) inexact(INEXACT_PROMPT_TYPE);
  if (ok && inputAt) {
    const c = load<u8>(inputAt);
    if (c == 0x5b) {
      seek(inputAt);
      ok = renderMessages();
    } else if (c == 0x22) {
      joint(KIND_USER);
      ok = renderAs(KIND_USER, inputAt);
    } else inexact(INEXACT_PROMPT_TYPE);
  }
  resume(back, why);
  return ok;
}

/** Renders the string at `p` as a turn of `kind`. */
function renderAs(kind: u32, p: usize): bool {
  const start = outAt();
  seek(p);
  const whole = renderText();
  closeContent(start, kind, whole);
  return whole;
}
