// The rendered prompt: literals from the template's joints, texts stripped as the template does, and the texts up to
// the end of the first user turn, for the session. Once the output is full nothing more is written, so that what is
// there stays a prefix of the prompt.
import {
  JOINT_UNKNOWN,
  PLAIN_EMPTY_UNKNOWN,
  PLAIN_PARTS_CONCATENATED,
  PLAIN_PARTS_UNKNOWN,
  PLAIN_THINK_UNKNOWN,
  PLAIN_THINKING,
  TEMPLATE_BOS,
  TEMPLATE_FLAGS,
  TEMPLATE_JOINTS,
  TEMPLATE_STRIP,
  TEMPLATE_THINKING,
} from "../shared/models-layout";
import { skipString } from "./json-cursor";
import { COPY_SLACK, copied, copyFull, copyString, stripLeft, stripRight, wholeCharacters } from "./json-text";

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
/** A role that no template program covers. Its text counts for the session only. */
// @ts-ignore: decorator
@inline
export const KIND_OTHER: u32 = 6;

// Why a prompt could not be rendered exactly, bits.
/** A top-level field that may change the prompt. */
// @ts-ignore: decorator
@inline
export const INEXACT_FIELD: u32 = 1;
/** A content that is neither a string nor a list of text parts. */
// @ts-ignore: decorator
@inline
export const INEXACT_PART: u32 = 2;
/** No role, or one that is not covered. */
// @ts-ignore: decorator
@inline
export const INEXACT_ROLE: u32 = 4;
/** A sequence of roles that the template program does not know. */
// @ts-ignore: decorator
@inline
export const INEXACT_JOINT: u32 = 8;
/** A message with more than role and content. */
// @ts-ignore: decorator
@inline
export const INEXACT_MESSAGE_FIELD: u32 = 16;
/** Token ids, several prompts, a message that is no object. */
// @ts-ignore: decorator
@inline
export const INEXACT_PROMPT_TYPE: u32 = 32;
/** No messages, prompt or input. */
// @ts-ignore: decorator
@inline
export const INEXACT_NO_PROMPT: u32 = 64;
// @ts-ignore: decorator
@inline
export const INEXACT_NO_TEMPLATE: u32 = 128;

/** A text that the template treats in a way of its own: an empty one, one with reasoning in it. */
// @ts-ignore: decorator
@inline
export const INEXACT_TEXT: u32 = 256;
/** A number of more digits than are printed again, a key that stands twice, or too much nesting. */
// @ts-ignore: decorator
@inline
export const INEXACT_JSON: u32 = 512;
/** More messages than are looked at. */
// @ts-ignore: decorator
@inline
export const INEXACT_LENGTH: u32 = 1024;

/** Contents up to the end of the first user turn, for the session: at most this many. */
// @ts-ignore: decorator
@inline
export const MAX_SEGMENTS: u32 = 16;

let buffer: usize = 0;
let room: u32 = 0;
/** The output of turns has a buffer of its own: the session's texts stay in the first. */
let turnsBuffer: usize = 0;
let limit: usize = 0;
let out: usize = 0;
let template: usize = 0;
let flags: u32 = 0;
let previous: u32 = KIND_START;
let userSeen: bool = false;
let promptReason: u32 = 0;

/** Rendered bytes. */
export let outPtr: usize = 0;
export let outLen: u32 = 0;
export let inexactReason: u32 = 0;
/** The output was full: what is there is a prefix. */
export let outFull: bool = false;
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

/** Allocates the outputs once and touches them, so that no request pays for a page fault. */
export function renderInit(capacity: u32): void {
  if (buffer) return;
  room = capacity;
  buffer = allocate();
  turnsBuffer = allocate();
}

function allocate(): usize {
  const p = heap.alloc(<usize>room + COPY_SLACK);
  memory.fill(p, 0, <usize>room + COPY_SLACK);
  return p;
}

/** Begins a request. */
export function renderStart(blob: usize): void {
  template = blob;
  flags = blob ? <u32>load<u8>(blob, TEMPLATE_FLAGS) : 0;
  outPtr = buffer;
  limit = buffer + room;
  outLen = 0;
  inexactReason = 0;
  renderReset();
}

/** Begins a prompt. A later one of the same request replaces it. */
export function renderReset(): void {
  out = buffer;
  outFull = false;
  segmentCount = 0;
  previous = KIND_START;
  userSeen = false;
  promptReason = 0;
}

/** Begins the same prompt again, for a turn program; the session's texts stay. */
export function renderAgain(): void {
  out = turnsBuffer;
  outPtr = turnsBuffer;
  limit = turnsBuffer + room;
  outFull = false;
  promptReason = 0;
}

/** Whether a turn program may know what the plain table does not. */
export function renderWantsTurns(): bool {
  return (promptReason & (INEXACT_ROLE | INEXACT_JOINT | INEXACT_MESSAGE_FIELD)) != 0;
}

/** Ends a request, to whose fields `fieldReason` says what they do to exactness. */
export function renderFinish(fieldReason: u32): void {
  outLen = <u32>(out - outPtr);
  inexactReason = promptReason | fieldReason;
}

/** Marks the prompt as not rendered exactly. */
export function inexact(reason: u32): void {
  promptReason |= reason;
}

/** Where the next byte goes. */
// @ts-ignore: decorator
@inline
export function outAt(): usize {
  return out;
}

/** Where writing must end. */
// @ts-ignore: decorator
@inline
export function outLimit(): usize {
  return limit;
}

/** What was written ends at `stop`; `full`: what would come next has no room or is not known. */
export function outEnd(stop: usize, full: bool): void {
  out = stop;
  outFull = outFull || full;
}

/** Takes back what was written since `mark`. */
export function outRewind(mark: usize, full: bool): void {
  out = mark;
  outFull = full;
}

let markOut: usize = 0;
let markFull: bool = false;
let markPrevious: u32 = 0;
let markReason: u32 = 0;

/** Remembers the state before a message, for `takeBack`. */
export function markMessage(): void {
  markOut = out;
  markFull = outFull;
  markPrevious = previous;
  markReason = promptReason;
}

export function takeBack(): void {
  out = markOut;
  outFull = markFull;
  previous = markPrevious;
  promptReason = markReason;
}

/** Writes `n` bytes, as far as there is room. */
export function literal(p: usize, n: u32): void {
  if (outFull) return;
  if (<usize>n > limit - out) {
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

/** Writes what thinking off adds behind the generation prompt. */
export function thinkingOff(): void {
  literal(template + load<u32>(template, TEMPLATE_THINKING), load<u32>(template, TEMPLATE_THINKING + 4));
}

/** Whether the template says what `enable_thinking` changes. */
export function thinkingKnown(): bool {
  return template != 0 && (flags & PLAIN_THINKING) != 0;
}

/** Writes what the tokenizer puts before a raw prompt. */
export function bos(): void {
  const length = template ? load<u32>(template, TEMPLATE_BOS + 4) : JOINT_UNKNOWN;
  if (length == JOINT_UNKNOWN) inexact(INEXACT_NO_TEMPLATE);
  else literal(template + load<u32>(template, TEMPLATE_BOS), length);
}

/** Goes past the string under the cursor and writes its text. */
export function renderText(): bool {
  if (outFull) return skipString();
  const ok = copyString(out, limit);
  out = copied;
  outFull = copyFull;
  return ok;
}

/** Whether lists of parts are unknown, and the bytes of what joins them, by the plain table. */
export function plainParts(): void {
  if (flags & PLAIN_PARTS_UNKNOWN) inexact(INEXACT_PART);
}
export function plainPartsJoin(): u32 {
  return flags & PLAIN_PARTS_CONCATENATED ? 0 : 1;
}

/** "x-anthropic-billing-header": vLLM drops the line that begins a system text with it. */
const BILLING: usize = memory.data<u8>([
  120, 45, 97, 110, 116, 104, 114, 111, 112, 105, 99, 45, 98, 105, 108, 108, 105, 110, 103, 45, 104, 101, 97, 100, 101, 114,
]);

/** Marks a system text that an engine would shorten. */
export function systemText(start: usize): void {
  if (out - start >= 26 && memory.compare(start, BILLING, 26) == 0) inexact(INEXACT_TEXT);
}

/** Marks a text with "</think>" in it. */
export function thinkText(start: usize): void {
  // The output has slack behind it: eight bytes are always readable.
  for (let p = start; p + 8 <= out; p++) {
    if (load<u8>(p) == 0x3c && load<u64>(p) == 0x3e6b6e6968742f3c) {
      inexact(INEXACT_TEXT);
      return;
    }
  }
}

/**
 * Ends a content that began at `start`: strips it as the template does and keeps it for the session. Where the content
 * is not `whole`, what might be stripped with the rest of it known goes, too.
 */
export function closeContent(start: usize, kind: u32, whole: bool): void {
  const rule: u32 = template && kind <= KIND_ASSISTANT ? load<u8>(template + TEMPLATE_STRIP + kind) : 0;
  if (kind == KIND_SYSTEM) systemText(start);
  if (flags && kind <= KIND_ASSISTANT) {
    if (flags & PLAIN_THINK_UNKNOWN && kind == KIND_ASSISTANT) thinkText(start);
    if (flags & (PLAIN_EMPTY_UNKNOWN << (kind - 1)) && stripLeft(start, out) == out) inexact(INEXACT_TEXT);
  }
  const wanted = !userSeen && segmentCount < MAX_SEGMENTS;
  if (kind == KIND_USER) userSeen = true;
  if (!rule && !wanted) return;
  if (rule && (!whole || outFull)) out = wholeCharacters(start, out);
  let from = stripLeft(start, out);
  let stop = stripRight(from, out);
  if (from > start && (rule == 1 || rule == 2)) {
    memory.copy(start, from, out - from);
    out -= from - start;
    stop -= from - start;
    from = start;
  }
  if (rule == 1 || rule == 3) out = stop == from ? start : stop;
  if (!wanted) return;
  const s = segments + <usize>segmentCount * 12;
  store<u32>(s, <u32>from);
  store<u32>(s, <u32>(stop - from), 4);
  store<u32>(s, kind, 8);
  segmentCount++;
}
