// A request's body: a first pass over the top level finds every field and skips its value; then the prompt is
// rendered from where it stands. Duplicate keys count as Python's json has them: the last one wins.
import {
  at,
  cursorStart,
  ended,
  peek,
  seek,
  skipString,
  skipValue,
  stringAt,
  stringEnd,
  stringEscaped,
  tooDeep,
} from "./json-cursor";
import { unescape, unescapeFault } from "./json-text";
import {
  bos,
  closeContent,
  copyString,
  INEXACT_FIELD,
  INEXACT_NO_PROMPT,
  INEXACT_PROMPT_TYPE,
  inexact,
  inexactReason,
  joint,
  KIND_END,
  KIND_GENERATE,
  KIND_SYSTEM,
  KIND_USER,
  outAt,
  outFull,
  renderAgain,
  renderFinish,
  renderInit,
  renderMalformed,
  renderMessages,
  renderStart,
} from "./render";
import {
  F_CACHE_KEY,
  F_GENERATION,
  F_INERT,
  F_INPUT,
  F_INSTRUCTIONS,
  F_MESSAGES,
  F_MODEL,
  F_PROMPT,
  F_RESERVED,
  F_SALT,
  F_STREAM,
  F_USER,
  fieldOf,
} from "./request-fields";

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

/** Longest model name, user, salt or cache key that is looked at, in bytes. */
// @ts-ignore: decorator
@inline
const VALUE_MAX: usize = 4096;

/** 0 absent, 1 a string, 2 of another type. */
export let hasModel: u32 = 0;
export let modelPtr: usize = 0;
export let modelLen: u32 = 0;
export let userPtr: usize = 0;
export let userLen: u32 = 0;
export let saltPtr: usize = 0;
export let saltLen: u32 = 0;
export let cacheKeyPtr: usize = 0;
export let cacheKeyLen: u32 = 0;
export let stream: bool = false;
/** Bit i: reserved field i was there, under whatever spelling. */
export let reserved: u32 = 0;
/** Whether the rendered bytes are the prompt's own, as far as they go. */
export let renderExact: bool = false;
/** Whether they are the whole prompt. */
export let promptIsComplete: bool = false;

let values: usize = 0;
let key: usize = 0;
let generation: bool = true;
let messagesAt: usize = 0;
let promptAt: usize = 0;
let inputAt: usize = 0;
let instructionsAt: usize = 0;
let otherField: bool = false;
/** The messages were rendered while they were parsed: wholly, or as far as a cut let them. */
let rendered: bool = false;
let messagesWhole: bool = false;
let chat: bool = false;
let badEscape: bool = false;

/** Allocates the output (`capacity` bytes) and the space for small values. */
export function scanInit(capacity: u32): void {
  renderInit(capacity);
  if (values) return;
  values = heap.alloc((VALUE_MAX + 64) * 4);
  key = heap.alloc(128);
}

/**
 * Scans the body of `n` bytes at `p`, after which 16 bytes must be readable. `truncated`: the body goes on beyond
 * them. `template`: blob of the model's template, 0 for none. Returns SCAN_*.
 */
export function scanRequest(p: usize, n: u32, api: u32, truncated: bool, template: usize): i32 {
  hasModel = 0;
  modelLen = 0;
  userLen = 0;
  saltLen = 0;
  cacheKeyLen = 0;
  stream = false;
  reserved = 0;
  renderExact = false;
  promptIsComplete = false;
  generation = true;
  messagesAt = 0;
  promptAt = 0;
  inputAt = 0;
  instructionsAt = 0;
  otherField = false;
  rendered = false;
  chat = api == API_CHAT;
  badEscape = false;
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
  if (first != 0x7b) {
    const valid = skipValue() && peek() == 0;
    return valid ? SCAN_NOT_OBJECT : tooDeep ? SCAN_TOO_DEEP : SCAN_MALFORMED;
  }
  seek(at + 1);
  if (!fields()) {
    if (tooDeep) return SCAN_TOO_DEEP;
    if (!ended) return SCAN_MALFORMED;
  }
  if (badEscape) return SCAN_MALFORMED;
  const whole = !ended;
  const complete = render(api);
  renderFinish();
  if (renderMalformed()) return SCAN_MALFORMED;
  renderExact = inexactReason == 0;
  promptIsComplete = whole && complete && !outFull;
  return SCAN_OK;
}

/** The top level, from behind its brace. False when malformed or cut off. */
function fields(): bool {
  if (peek() == 0x7d) {
    seek(at + 1);
    return peek() == 0;
  }
  for (;;) {
    if (peek() != 0x22 || !skipString()) return false;
    let field: u32;
    if (stringEscaped) {
      const n = unescape(stringAt, stringEnd, key, key + 100);
      if (unescapeFault) return false;
      field = fieldOf(key, <u32>n);
    } else field = fieldOf(stringAt, <u32>(stringEnd - stringAt));
    if (peek() != 0x3a) return false;
    seek(at + 1);
    const c = peek();
    if (c == 0) return false;
    if (!value(field, c)) return false;
    const next = peek();
    if (next == 0x2c) {
      seek(at + 1);
      continue;
    }
    if (next != 0x7d) return false;
    seek(at + 1);
    // Anything but white space behind the object is no JSON.
    return peek() == 0;
  }
  return false;
}

// A value kept for later; the last one of a name wins.
let keptPtr: usize = 0;
let keptLen: u32 = 0;
function keep(slot: u32): void {
  keptPtr = values + <usize>slot * (VALUE_MAX + 64);
  keptLen = <u32>unescape(stringAt, stringEnd, keptPtr, keptPtr + VALUE_MAX);
  if (unescapeFault) badEscape = true;
}

/** Takes the value under the cursor, whose first byte is `c`. */
function value(field: u32, c: u32): bool {
  const start = at;
  if (field >= F_RESERVED) {
    reserved |= 1 << (field - F_RESERVED);
    return skipValue();
  }
  switch (field) {
    case F_MODEL:
      hasModel = c == 0x22 ? 1 : 2;
      if (!skipValue()) {
        hasModel = 0;
        return false;
      }
      if (c != 0x22) return true;
      keep(0);
      modelPtr = keptPtr;
      modelLen = keptLen;
      return true;
    case F_USER:
    case F_CACHE_KEY:
    case F_SALT:
      if (!skipValue()) return false;
      keptLen = 0;
      if (c == 0x22) keep(field == F_USER ? 1 : field == F_CACHE_KEY ? 2 : 3);
      if (field == F_USER) {
        userPtr = keptPtr;
        userLen = keptLen;
      } else if (field == F_CACHE_KEY) {
        cacheKeyPtr = keptPtr;
        cacheKeyLen = keptLen;
      } else {
        saltPtr = keptPtr;
        saltLen = keptLen;
      }
      return true;
    case F_STREAM:
      stream = c == 0x74;
      return skipValue();
    case F_GENERATION:
      generation = c != 0x66;
      return skipValue();
    case F_MESSAGES:
      messagesAt = start;
      return chat && c == 0x5b ? messages(start) : skipValue();
    case F_PROMPT:
      promptAt = start;
      return skipValue();
    case F_INPUT:
      inputAt = start;
      return skipValue();
    case F_INSTRUCTIONS:
      instructionsAt = start;
      return skipValue();
    case F_INERT:
      return skipValue();
    default:
      // An absent optional field and an explicit null are the same to an engine.
      if (c != 0x6e) otherField = true;
      return skipValue();
  }
}

/** Renders an array of messages in the pass that parses it, or, where that does not work out, only goes past it. */
function messages(start: usize): bool {
  renderAgain();
  messagesWhole = renderMessages(start);
  rendered = messagesWhole;
  if (rendered) return true;
  if (ended) {
    rendered = true;
    return false;
  }
  seek(start);
  return skipValue();
}

/** Renders the prompt; true when all of it was there. */
function render(api: u32): bool {
  const cutOff = ended;
  if (api == API_CHAT && !rendered) renderAgain();
  if (otherField) inexact(INEXACT_FIELD);
  if (api == API_CHAT) {
    if (!messagesAt || load<u8>(messagesAt) != 0x5b) {
      inexact(INEXACT_NO_PROMPT);
      return false;
    }
    if (rendered ? cutOff && !messagesWhole : !renderMessages(messagesAt)) return false;
    joint(generation ? KIND_GENERATE : KIND_END);
    return true;
  }
  if (api == API_RESPONSES) return renderResponses();
  return renderRaw(api == API_COMPLETIONS ? promptAt : inputAt);
}

function renderResponses(): bool {
  if (instructionsAt && load<u8>(instructionsAt) == 0x22) {
    seek(instructionsAt);
    skipString();
    joint(KIND_SYSTEM);
    const start = outAt();
    copyString();
    closeContent(start, KIND_SYSTEM);
  } else if (instructionsAt && load<u8>(instructionsAt) != 0x6e) inexact(INEXACT_PROMPT_TYPE);
  if (!inputAt) {
    inexact(INEXACT_NO_PROMPT);
    return false;
  }
  const c = load<u8>(inputAt);
  if (c == 0x5b) {
    if (!renderMessages(inputAt)) return false;
  } else if (c == 0x22) {
    seek(inputAt);
    joint(KIND_USER);
    const start = outAt();
    const whole = skipString();
    copyString();
    if (!whole) return false;
    closeContent(start, KIND_USER);
  } else {
    inexact(INEXACT_PROMPT_TYPE);
    return false;
  }
  joint(KIND_GENERATE);
  return true;
}

/** A prompt that no template wraps: a string, or a list of one string. */
function renderRaw(p: usize): bool {
  if (!p) {
    inexact(INEXACT_NO_PROMPT);
    return false;
  }
  seek(p);
  let c = peek();
  const list = c == 0x5b;
  if (list) {
    seek(at + 1);
    c = peek();
  }
  if (c != 0x22) {
    inexact(INEXACT_PROMPT_TYPE);
    return false;
  }
  bos();
  const start = outAt();
  const whole = skipString();
  copyString();
  if (!whole) return false;
  if (list && peek() != 0x5d) {
    inexact(INEXACT_PROMPT_TYPE);
    return false;
  }
  closeRaw(start);
  return true;
}

/** A raw prompt's session is its beginning: later calls of the same conversation only append to it. */
function closeRaw(start: usize): void {
  rawSession = start;
  rawSessionLen = <u32>min(outAt() - start, 1024);
}

/** Beginning of a raw prompt, for the session. */
export let rawSession: usize = 0;
export let rawSessionLen: u32 = 0;
