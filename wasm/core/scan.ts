// A request's body in one pass: the fields of the top level, and the prompt rendered where it stands. Duplicate keys
// count as Python's json has them: the last one wins, so a prompt that comes again is rendered anew in its place.
import {
  afterSpace,
  at,
  cursorStart,
  fault,
  miss,
  peek,
  seek,
  skipValue,
  STOP_CUT,
  STOP_DEEP,
  stopped,
} from "./json-cursor";
import { NO_FIELD, readField } from "./json-key";
import { COPY_SLACK, copied, copyFull, copyString } from "./json-text";
import {
  INEXACT_FIELD,
  INEXACT_NO_PROMPT,
  inexact,
  inexactReason,
  joint,
  KIND_END,
  KIND_GENERATE,
  outFull,
  renderFinish,
  renderInit,
  renderStart,
} from "./render";
import {
  F_CACHE_KEY,
  F_CONTINUE,
  F_ENGINE_ARGUMENTS,
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
import {
  promptSeen,
  promptStart,
  promptWhole,
  takeMessages,
  takeRaw,
  takeResponse,
  takeTurns,
} from "./request-prompt";
import { engineArguments, reservedSeen, reservedStart } from "./reserved-fields";
import { asksForUsage } from "./stream-options";
import {
  printThinking,
  templateArguments,
  templateArgumentsSay,
  templateArgumentsStart,
} from "./template-arguments";
import { valueDigest } from "./value-digest";

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
/** Whether the rendered bytes are the prompt's own, as far as they go. */
export let renderExact: bool = false;
/** What makes a prompt another one although its rendered bytes do not show it; 0 while they are exact. */
export let approximateSeed: u64 = 0;
/** Whether they are the whole prompt. */
export let promptIsComplete: bool = false;

let values: usize = 0;
let api: u32 = 0;
let generation: bool = true;
let continued: bool = false;
let toolsAt: usize = 0;
let inputAt: usize = 0;
let instructionsAt: usize = 0;
let toolsTo: usize = 0;
let fieldReason: u32 = 0;

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
  renderExact = false;
  approximateSeed = 0;
  promptIsComplete = false;
  generation = true;
  continued = false;
  toolsAt = 0;
  inputAt = 0;
  instructionsAt = 0;
  fieldReason = 0;
  promptStart();
  reservedStart();
  templateArgumentsStart();
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
  if (api == API_RESPONSES) takeResponse(instructionsAt, inputAt);
  if (!promptSeen) inexact(INEXACT_NO_PROMPT);
  else {
    if (whole && promptWhole && (api == API_CHAT || api == API_RESPONSES)) joint(generation ? KIND_GENERATE : KIND_END);
    if (api == API_CHAT) takeTurns(template, toolsAt, generation, continued, whole);
    printThinking(generation && api == API_CHAT, whole && promptWhole);
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
    reservedSeen(field);
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
      if (templateArgumentsSay()) approximateSeed += valueDigest(start, <u32>(at - start));
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
