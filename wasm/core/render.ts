// Conversations to prompt bytes: the literal between two turns from the template's joints, then the turn's text.
import {
  at,
  end,
  ended,
  peek,
  runOut,
  seek,
  skipString,
  skipValue,
  stringAt,
  stringEnd,
  stringEscaped,
} from "./json-cursor";
import { JOINT_UNKNOWN, TEMPLATE_BOS, TEMPLATE_JOINTS, TEMPLATE_STRIP } from "../shared/layout";
import {
  hex4,
  letters,
  putCodePoint,
  stripLeft,
  stripRight,
  unescape,
  unescapeFault,
  unescapeFull,
} from "./json-text";
import { F_CONTENT, F_ROLE, F_TEXT, F_TYPE, fieldOf } from "./request-fields";

// @ts-ignore: decorator
@inline
export const KIND_START: u32 = 0;
// @ts-ignore: decorator
@inline
export const KIND_SYSTEM: u32 = 1;
// @ts-ignore: decorator
@inline
export const KIND_USER: u32 = 2;
// @ts-ignore: decorator
@inline
export const KIND_ASSISTANT: u32 = 3;
// @ts-ignore: decorator
@inline
export const KIND_END: u32 = 4;
// @ts-ignore: decorator
@inline
export const KIND_GENERATE: u32 = 5;
// @ts-ignore: decorator
@inline
const KIND_OTHER: u32 = 6;

// Why a prompt could not be rendered exactly, bits.
// @ts-ignore: decorator
@inline
export const INEXACT_FIELD: u32 = 1;
// @ts-ignore: decorator
@inline
export const INEXACT_PART: u32 = 2;
// @ts-ignore: decorator
@inline
export const INEXACT_ROLE: u32 = 4;
// @ts-ignore: decorator
@inline
export const INEXACT_JOINT: u32 = 8;
// @ts-ignore: decorator
@inline
export const INEXACT_MESSAGE_FIELD: u32 = 16;
// @ts-ignore: decorator
@inline
export const INEXACT_PROMPT_TYPE: u32 = 32;
// @ts-ignore: decorator
@inline
export const INEXACT_NO_PROMPT: u32 = 64;
// @ts-ignore: decorator
@inline
export const INEXACT_NO_TEMPLATE: u32 = 128;

/** Contents up to the end of the first user turn, for the session: at most this many. */
// @ts-ignore: decorator
@inline
export const MAX_SEGMENTS: u32 = 16;

let buffer: usize = 0;
let limit: usize = 0;
let out: usize = 0;
let template: usize = 0;
let previous: u32 = KIND_START;
let userSeen: bool = false;
let malformed: bool = false;

/** Rendered bytes. */
export let outPtr: usize = 0;
export let outLen: u32 = 0;
export let inexactReason: u32 = 0;
/** The output was full: what is there is a prefix. */
export let outFull: bool = false;
export let messageCount: u32 = 0;
/** Segments: address u32, length u32, kind u32. */
export let segmentCount: u32 = 0;
const segments: usize = heap.alloc(MAX_SEGMENTS * 12);

export function segmentPtr(i: u32): usize {
  return load<u32>(segments + <usize>i * 12);
}
export function segmentLen(i: u32): u32 {
  return load<u32>(segments + <usize>i * 12, 4);
}
export function segmentKind(i: u32): u32 {
  return load<u32>(segments + <usize>i * 12, 8);
}

export function renderInit(capacity: u32): void {
  if (buffer) return;
  buffer = heap.alloc(<usize>capacity + 64);
  memory.fill(buffer, 0, <usize>capacity + 64);
  limit = buffer + capacity;
}

export function renderStart(blob: usize): void {
  template = blob;
  malformed = false;
  renderAgain();
}

/** Forgets what was rendered: a later value of the same key takes its place. */
export function renderAgain(): void {
  out = buffer;
  outPtr = buffer;
  outLen = 0;
  inexactReason = 0;
  outFull = false;
  messageCount = 0;
  segmentCount = 0;
  previous = KIND_START;
  userSeen = false;
}

export function renderFinish(): void {
  outLen = <u32>(out - buffer);
}

export function inexact(reason: u32): void {
  inexactReason |= reason;
}

/** A syntax fault that the first pass could not see: a bad escape in a content. */
export function renderMalformed(): bool {
  return malformed;
}

function literal(p: usize, n: u32): void {
  if (out + n > limit) {
    outFull = true;
    n = <u32>(limit - out);
  }
  memory.copy(out, p, n);
  out += n;
}

/** Writes what stands between the last turn and one of `kind`. */
export function joint(kind: u32): void {
  if (template) {
    const j = template + TEMPLATE_JOINTS + ((previous * 6 + kind) << 3);
    const length = load<u32>(j, 4);
    if (length == JOINT_UNKNOWN) inexact(INEXACT_JOINT);
    else literal(template + load<u32>(j), length);
  } else inexact(INEXACT_NO_TEMPLATE);
  previous = kind;
}

/** Writes what the tokenizer puts before a raw prompt. */
export function bos(): void {
  if (template) literal(template + load<u32>(template, TEMPLATE_BOS), load<u32>(template, TEMPLATE_BOS + 4));
  else inexact(INEXACT_NO_TEMPLATE);
}

/** Copies the string that the cursor skipped last, unescaped. */
export function copyString(): void {
  const n = unescape(stringAt, stringEnd, out, limit);
  if (unescapeFault) malformed = true;
  if (unescapeFull) outFull = true;
  out += n;
}

/**
 * Copies the string that the cursor is on, unescaped, in the pass that finds its end. False when it does not end or
 * has a bad escape; what was there is written all the same.
 */
function copyQuoted(): bool {
  const quote = i8x16.splat(0x22);
  const escape = i8x16.splat(0x5c);
  let p = at + 1;
  let o = out;
  while (p < end) {
    if (o + 16 > limit) return copyToLimit(p, o);
    const v = v128.load(p);
    v128.store(o, v);
    const m = i8x16.bitmask(v128.or(i8x16.eq(v, quote), i8x16.eq(v, escape)));
    if (!m) {
      p += 16;
      o += 16;
      continue;
    }
    const run = <usize>ctz(m);
    p += run;
    o += run;
    if (p >= end) break;
    if (load<u8>(p) == 0x22) {
      seek(p + 1);
      out = o;
      return true;
    }
    if (p + 1 >= end) break;
    const letter = load<u8>(p, 1);
    const plain = load<u8>(letters + letter);
    if (plain) {
      store<u8>(o, plain);
      o++;
      p += 2;
      continue;
    }
    if (letter != 0x75) {
      malformed = true;
      return false;
    }
    if (p + 6 > end) break;
    let c = hex4(p + 2);
    if (c < 0) {
      malformed = true;
      return false;
    }
    p += 6;
    if (c >= 0xd800 && c < 0xdc00 && p + 6 <= end && load<u16>(p) == 0x755c) {
      const low = hex4(p + 2);
      if (low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
      }
    }
    o += putCodePoint(o, c);
  }
  // A step may have gone past the end of a cut input.
  if (p > end) o -= p - end;
  out = o;
  seek(end);
  return runOut();
}

/** The output is nearly full: what fits is written with every step checked, and the string is gone past. */
function copyToLimit(p: usize, o: usize): bool {
  out = o;
  seek(p - 1);
  const whole = skipString();
  copyString();
  outFull = true;
  return whole;
}

/** Ends a content that began at `start`: strips it as the template does and keeps it for the session. */
export function closeContent(start: usize, kind: u32): void {
  if (!userSeen && segmentCount < MAX_SEGMENTS) {
    let from = stripLeft(start, out);
    const stop = stripRight(from, out);
    const rule = template ? load<u8>(template + TEMPLATE_STRIP + kind) : 0;
    if ((rule == 1 || rule == 2) && from > start) {
      memory.copy(start, from, out - from);
      out -= from - start;
      const length = stop - from;
      from = start;
      if (rule == 1) out = from + length;
      segment(from, length, kind);
    } else {
      if (rule == 1 || rule == 3) out = stop;
      segment(from, stop - from, kind);
    }
    userSeen = kind == KIND_USER;
    return;
  }
  if (!template) return;
  const rule = load<u8>(template + TEMPLATE_STRIP + kind);
  if (rule == 0) return;
  if (rule != 3) {
    const from = stripLeft(start, out);
    if (from > start) {
      memory.copy(start, from, out - from);
      out -= from - start;
    }
  }
  if (rule != 2) out = stripRight(start, out);
}

function segment(p: usize, n: usize, kind: u32): void {
  const s = segments + <usize>segmentCount * 12;
  store<u32>(s, <u32>p);
  store<u32>(s, <u32>n, 4);
  store<u32>(s, kind, 8);
  segmentCount++;
}

/** Where the next byte goes. */
export function outAt(): usize {
  return out;
}

/**
 * Renders the array of messages at `p` and goes past it. False when it is malformed, cut off or holds something that
 * is no object.
 */
export function renderMessages(p: usize): bool {
  seek(p + 1);
  if (peek() == 0x5d) {
    seek(at + 1);
    return true;
  }
  for (;;) {
    if (peek() != 0x7b) {
      inexact(INEXACT_PROMPT_TYPE);
      return false;
    }
    if (!renderMessageOnce()) return false;
    const c = peek();
    if (c != 0x2c) {
      if (c == 0x5d) seek(at + 1);
      return c == 0x5d;
    }
    seek(at + 1);
  }
  return false;
}

const key: usize = heap.alloc(128);

/** Field of the key that the cursor is on; the cursor ends on its value. Only for input that is well-formed. */
function readKey(): u32 {
  if (peek() != 0x22 || !skipString()) return 0xffffffff;
  let field: u32;
  if (stringEscaped) {
    const n = unescape(stringAt, stringEnd, key, key + 100);
    field = fieldOf(key, <u32>n);
  } else field = fieldOf(stringAt, <u32>(stringEnd - stringAt));
  if (peek() != 0x3a) return 0xffffffff;
  seek(at + 1);
  return peek() == 0 ? 0xffffffff : field;
}

function kindOf(p: usize, n: u32): u32 {
  if (n == 4 && load<u32>(p) == 0x72657375) return KIND_USER;
  if (n == 6 && load<u32>(p) == 0x74737973 && load<u16>(p, 4) == 0x6d65) return KIND_SYSTEM;
  if (n == 9 && load<u64>(p) == 0x6e61747369737361 && load<u8>(p, 8) == 0x74) return KIND_ASSISTANT;
  return KIND_OTHER;
}

/**
 * Renders one message object in the usual order, role before content, each once, while it is parsed. Anything else
 * starts over with the slower pass, which looks at the whole object first. False when malformed or cut off.
 */
function renderMessageOnce(): bool {
  const object = at;
  const mark = out;
  const before = previous;
  let kind = KIND_OTHER;
  let done = false;
  seek(at + 1);
  if (peek() == 0x7d) return renderMessage();
  let more = true;
  while (more) {
    const field = readKey();
    if (field == 0xffffffff) return startOver(object, mark, before);
    const value = at;
    if (field == F_ROLE && kind == KIND_OTHER && load<u8>(value) == 0x22) {
      if (!skipString() || stringEscaped) return startOver(object, mark, before);
      kind = kindOf(stringAt, <u32>min(stringEnd - stringAt, 64));
      if (kind == KIND_OTHER) return startOver(object, mark, before);
    } else if (field == F_CONTENT && kind != KIND_OTHER && !done && load<u8>(value) == 0x22) {
      messageCount++;
      joint(kind);
      const start = out;
      if (!copyQuoted()) {
        // What a cut left of the content counts; no turn is closed.
        return false;
      }
      closeContent(start, kind);
      done = true;
    } else return startOver(object, mark, before);
    const c = peek();
    more = c == 0x2c;
    if (!more && c != 0x7d) return done ? false : startOver(object, mark, before);
    seek(at + 1);
  }
  return done || startOver(object, mark, before);
}

/** Undoes what the quick pass wrote of the message at `object` and renders it by the slower one. */
function startOver(object: usize, mark: usize, before: u32): bool {
  if (out != mark) {
    messageCount--;
    if (segmentCount && segmentPtr(segmentCount - 1) >= mark) {
      if (segmentKind(segmentCount - 1) == KIND_USER) userSeen = false;
      segmentCount--;
    }
  }
  out = mark;
  previous = before;
  seek(object);
  return renderMessage();
}

/** Renders one message object. Role and content may come in any order and more than once; the last one counts. */
function renderMessage(): bool {
  const mark = out;
  let kind = KIND_OTHER;
  let content: usize = 0;
  seek(at + 1);
  let whole = peek() == 0x7d;
  let more = !whole;
  if (whole) seek(at + 1);
  while (more) {
    more = false;
    const field = readKey();
    if (field == 0xffffffff) break;
    const value = at;
    if (field == F_CONTENT) content = value;
    else if (field == F_ROLE) {
      if (load<u8>(value) == 0x22 && skipString()) {
        const n = unescape(stringAt, min(stringEnd, stringAt + 64), key, key + 100);
        kind = kindOf(key, <u32>n);
      } else kind = KIND_OTHER;
      seek(value);
    } else if (field != F_TYPE && load<u32>(value) != 0x6c6c756e) inexact(INEXACT_MESSAGE_FIELD);
    if (!skipValue()) break;
    const c = peek();
    more = c == 0x2c;
    whole = c == 0x7d;
    if (more || whole) seek(at + 1);
  }
  const after = at;
  if (kind == KIND_OTHER) {
    // A message cut off before its role says nothing; one with another role ends what we can render.
    if (whole) inexact(INEXACT_ROLE);
    out = mark;
    return whole;
  }
  messageCount++;
  joint(kind);
  const start = out;
  if (content) {
    seek(content);
    renderContent();
  }
  if (whole) closeContent(start, kind);
  seek(after);
  return whole;
}

/** A string, null, or a list of text parts joined by a line feed, empty ones left out (vLLM's "string" format). */
export function renderContent(): void {
  const c = peek();
  if (c == 0x22) {
    skipString();
    copyString();
    return;
  }
  if (c == 0x6e) return; // null
  if (c != 0x5b) {
    inexact(INEXACT_PART);
    return;
  }
  seek(at + 1);
  let parts = 0;
  while (peek() == 0x7b) {
    const mark = out;
    if (parts) literal(LINE_FEED, 1);
    const start = out;
    if (!renderPart()) return;
    if (out == start) out = mark;
    else parts++;
    if (peek() != 0x2c) return;
    seek(at + 1);
  }
  if (!ended && peek() != 0x5d) inexact(INEXACT_PART);
}

const LINE_FEED: usize = memory.data<u8>([10]);

/** One part of a content list. */
function renderPart(): bool {
  let text: usize = 0;
  let isText = false;
  seek(at + 1);
  if (peek() == 0x7d) {
    seek(at + 1);
    inexact(INEXACT_PART);
    return true;
  }
  let whole = false;
  let more = true;
  while (more) {
    more = false;
    const field = readKey();
    if (field == 0xffffffff) break;
    const value = at;
    if (field == F_TEXT) text = value;
    else if (field == F_TYPE) {
      isText = false;
      if (load<u8>(value) == 0x22 && skipString()) {
        const n = unescape(stringAt, min(stringEnd, stringAt + 64), key, key + 100);
        isText = textType(key, <u32>n);
      }
      seek(value);
    } else inexact(INEXACT_PART);
    if (!skipValue()) break;
    const c = peek();
    more = c == 0x2c;
    whole = c == 0x7d;
    if (more || whole) seek(at + 1);
  }
  const after = at;
  if (!isText) {
    if (whole) inexact(INEXACT_PART);
  } else if (text && load<u8>(text) == 0x22) {
    seek(text);
    skipString();
    copyString();
  } else if (whole) inexact(INEXACT_PART);
  seek(after);
  return whole;
}

/** "text", "input_text" or "output_text". */
function textType(p: usize, n: u32): bool {
  if (n == 4) return load<u32>(p) == 0x74786574;
  if (n == 10) return load<u32>(p) == 0x75706e69 && load<u32>(p, 6) == 0x74786574 && load<u16>(p, 4) == 0x5f74;
  if (n == 11) return load<u64>(p) == 0x745f74757074756f && load<u32>(p, 7) == 0x74786574;
  return false;
}
