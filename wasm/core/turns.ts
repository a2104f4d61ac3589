// Conversations that the plain table does not cover: tools, calls, results, reasoning that is sent back, and turns that
// are printed by where they stand. The agent's copy of this, which learns and judges programs, is
// agent/model/turn-program.ts.
import { JOINT_UNKNOWN, TEMPLATE_TURNS } from "../shared/models-layout";
import {
  TURN_KINDS,
  TURNS_EDITS,
  TURNS_EMPTY,
  TURNS_FLAGS,
  TURNS_JOINTS,
  TURNS_NAME_INERT,
  TURNS_PARTS_CONCATENATED,
  TURNS_REPEATED_UNKNOWN,
  TURNS_RESULT_FIELDS,
  TURNS_SHAPES,
  TURNS_SYSTEM_AT,
  TURNS_THINK_UNKNOWN,
  TURNS_TOOLS_AT,
  TURNS_TOOLS_FIRST,
} from "../shared/turns-layout";
import { at, resume, seek, stopped } from "./json-cursor";
import { stripLeft, stripRight, wholeCharacters } from "./json-text";
import { escapeByte } from "./python-json";
import {
  INEXACT_FIELD,
  INEXACT_JOINT,
  INEXACT_MESSAGE_FIELD,
  INEXACT_NO_TEMPLATE,
  INEXACT_PART,
  INEXACT_ROLE,
  INEXACT_TEXT,
  inexact,
  KIND_ASSISTANT,
  KIND_SYSTEM,
  KIND_USER,
  literal,
  outAt,
  outEnd,
  outFull,
  outLimit,
  outRewind,
  renderAgain,
  renderText,
  systemText,
  thinkText,
} from "./render";
import { renderParts } from "./render-messages";
import { listCount, printCalls } from "./turn-calls";
import {
  callIdOf,
  callsOf,
  contentOf,
  isNamed,
  lastUser,
  messages,
  messagesCut,
  messagesFind,
  reasoningOf,
  roleOf,
} from "./turn-messages";
import { printTools } from "./turn-tools";

// Kinds of what is printed, as in agent/model/turn-program.ts.
// @ts-ignore: decorator
@inline
const SYSTEM: u32 = 1;
// @ts-ignore: decorator
@inline
const USER: u32 = 2;
// @ts-ignore: decorator
@inline
const ASSISTANT: u32 = 3;
// @ts-ignore: decorator
@inline
const END: u32 = 4;
// @ts-ignore: decorator
@inline
const GENERATE: u32 = 5;
// @ts-ignore: decorator
@inline
const ASSISTANT_LATE: u32 = 6;
// @ts-ignore: decorator
@inline
const ASSISTANT_LAST: u32 = 7;
// @ts-ignore: decorator
@inline
const CALL_TEXT: u32 = 8;
// @ts-ignore: decorator
@inline
const CALL_TEXT_LATE: u32 = 9;
// @ts-ignore: decorator
@inline
const REASONING: u32 = 10;
// @ts-ignore: decorator
@inline
const REASONING_LATE: u32 = 11;
// @ts-ignore: decorator
@inline
const REASONING_LAST: u32 = 12;
// @ts-ignore: decorator
@inline
const CALL: u32 = 13;
// @ts-ignore: decorator
@inline
const CALL_LATE: u32 = 14;
// @ts-ignore: decorator
@inline
const CALL_AFTER: u32 = 15;
// @ts-ignore: decorator
@inline
const RESULT: u32 = 19;
// @ts-ignore: decorator
@inline
const RESULT_SECOND: u32 = 20;
// @ts-ignore: decorator
@inline
const TEXT_AFTER: u32 = 23;

// @ts-ignore: decorator
@inline
const EDIT_JSON: u32 = 7;
// @ts-ignore: decorator
@inline
const EDIT_DROP: u32 = 8;

// Places of the system text and of the tools.
// @ts-ignore: decorator
@inline
const SYSTEM_OWN: u32 = 0;
// @ts-ignore: decorator
@inline
const SYSTEM_LAST_USER: u32 = 1;
// @ts-ignore: decorator
@inline
const SYSTEM_FINAL_USER: u32 = 2;
// @ts-ignore: decorator
@inline
const TOOLS_START: u32 = 0;
// @ts-ignore: decorator
@inline
const TOOLS_AFTER_SYSTEM: u32 = 1;
// @ts-ignore: decorator
@inline
const TOOLS_LAST_USER: u32 = 2;

// Shapes, bits.
// @ts-ignore: decorator
@inline
const SHAPE_PARTS: u32 = 1;
// @ts-ignore: decorator
@inline
export const SHAPE_CALLS: u32 = 2;
// @ts-ignore: decorator
@inline
export const SHAPE_PARALLEL: u32 = 4;
// @ts-ignore: decorator
@inline
const SHAPE_RESULTS: u32 = 8;
// @ts-ignore: decorator
@inline
const SHAPE_REASONING: u32 = 16;
// @ts-ignore: decorator
@inline
const SHAPE_CONTINUED: u32 = 32;

let blob: usize = 0;
/** The program in use. */
export let program: usize = 0;
let flags: u32 = 0;
let previous: u32 = 0;
/** Where the tools' array stands, 0 without tools. */
let tools: usize = 0;
/** A text was not whole: nothing may follow it. */
let broken: bool = false;

/** Whether a template has a program for requests without tools, or with them. */
export function turnsKnown(template: usize, withTools: bool): bool {
  return load<u32>(template + TEMPLATE_TURNS + (withTools ? 4 : 0)) != 0;
}

/** Writes what stands between what was printed last and something of `kind`. */
export function turnJoint(kind: u32): void {
  const j = program + TURNS_JOINTS + <usize>((previous * TURN_KINDS + kind) << 3);
  const length = load<u32>(j, 4);
  if (length == JOINT_UNKNOWN) inexact(INEXACT_JOINT);
  else literal(blob + load<u32>(j), length);
  previous = kind;
}

export function editOf(kind: u32): u32 {
  return load<u8>(program + TURNS_EDITS + kind);
}

/** Marks the prompt when a shape did not prove exact. */
export function needShape(bit: u32): void {
  if (!(load<u16>(program, TURNS_SHAPES) & bit)) inexact(INEXACT_FIELD);
}

/** Whether printing can go on. */
export function goesOn(): bool {
  return !broken && !outFull;
}

/** Nothing more is printed. */
export function breakOff(): void {
  broken = true;
}

/**
 * Renders the messages at `list` again, by a template's turn program; `toolList`: the tools' array, 0 without. Returns
 * whether the whole prompt is there. `whole`: so is the body.
 */
export function renderTurns(
  template: usize,
  list: usize,
  toolList: usize,
  generation: bool,
  continued: bool,
  whole: bool,
): bool {
  renderAgain();
  blob = template;
  const offset = load<u32>(template + TEMPLATE_TURNS + (toolList ? 4 : 0));
  if (!offset) {
    inexact(INEXACT_NO_TEMPLATE);
    return false;
  }
  program = template + offset;
  flags = load<u16>(program, TURNS_FLAGS);
  tools = toolList;
  previous = 0;
  broken = false;
  if (!messagesFind(list)) return false;
  if (continued) checkContinued(generation);
  if (flags & TURNS_REPEATED_UNKNOWN) checkRepeated();
  const place = load<u8>(program, TURNS_TOOLS_AT);
  if (place == TOOLS_START) printToolList();
  let others = false;
  for (let i: u32 = 0; i < messages && goesOn(); i++) {
    const kind = roleOf(i);
    if (isNamed(i) && !(flags & TURNS_NAME_INERT)) inexact(INEXACT_MESSAGE_FIELD);
    if (kind == KIND_SYSTEM) {
      printSystem(i);
      continue;
    }
    others = true;
    if (i == 0 && place == TOOLS_AFTER_SYSTEM) printToolList();
    if (kind == KIND_USER) printUser(i);
    else if (kind == KIND_ASSISTANT) printAssistant(i);
    else printResult(i);
  }
  // Without a user turn no assistant's turn is before or behind the last one.
  if (lastUser < 0 && (others || (tools && place == TOOLS_LAST_USER) || hoisted())) inexact(INEXACT_ROLE);
  if (messagesCut || !goesOn() || !whole) return false;
  if (!continued) turnJoint(generation ? GENERATE : END);
  return true;
}

/** A leading system text is printed elsewhere. */
function hoisted(): bool {
  return load<u8>(program, TURNS_SYSTEM_AT) != SYSTEM_OWN && messages > 0 && roleOf(0) == KIND_SYSTEM;
}

function printToolList(): void {
  if (tools && goesOn() && !printTools(tools)) broken = true;
}

function printSystem(i: u32): void {
  if (load<u8>(program, TURNS_SYSTEM_AT) != SYSTEM_OWN) {
    if (i) inexact(INEXACT_ROLE);
    return;
  }
  printContent(SYSTEM, i, 0);
  if (i == 0 && load<u8>(program, TURNS_TOOLS_AT) == TOOLS_AFTER_SYSTEM) printToolList();
}

function printUser(i: u32): void {
  if (<i32>i == lastUser) {
    const place = load<u8>(program, TURNS_SYSTEM_AT);
    const withTools = tools != 0 && load<u8>(program, TURNS_TOOLS_AT) == TOOLS_LAST_USER;
    const system =
      hoisted() && (place == SYSTEM_LAST_USER || (place == SYSTEM_FINAL_USER && i == messages - 1));
    if (messagesCut && (withTools || hoisted())) {
      // Which user turn is the last is not known.
      broken = true;
      return;
    }
    if (withTools && flags & TURNS_TOOLS_FIRST) printToolList();
    if (system && goesOn()) printContent(SYSTEM, 0, 0);
    if (withTools && !(flags & TURNS_TOOLS_FIRST)) printToolList();
    if (!goesOn()) return;
  }
  printContent(USER, i, 1);
}

function printAssistant(i: u32): void {
  const late = <i32>i > lastUser;
  if (late && messagesCut) {
    broken = true;
    return;
  }
  const last = late && i == messages - 1;
  const calls = callCount(callsOf(i));
  if (calls && last) inexact(INEXACT_ROLE);
  let own = false;
  const reasoning = reasoningOf(i);
  if (reasoning) {
    needShape(SHAPE_REASONING);
    if (load<u8>(reasoning) != 0x22) inexact(INEXACT_MESSAGE_FIELD);
    const kind = last ? REASONING_LAST : late ? REASONING_LATE : REASONING;
    const dropped = editOf(kind) == EDIT_DROP;
    const mark = outAt();
    const full = outFull;
    if (!dropped) turnJoint(kind);
    const start = outAt();
    const whole = textAt(reasoning);
    if (stripLeft(start, outAt()) == outAt()) inexact(INEXACT_TEXT);
    if (dropped) outRewind(mark, full);
    else {
      closeText(start, kind, whole);
      own = true;
    }
    if (!goesOn()) return;
  }
  if (!calls) {
    printContent(own ? TEXT_AFTER : last ? ASSISTANT_LAST : late ? ASSISTANT_LATE : ASSISTANT, i, 2);
    return;
  }
  needShape(SHAPE_CALLS);
  if (calls > 1) needShape(SHAPE_PARALLEL);
  const kind = late ? CALL_TEXT_LATE : CALL_TEXT;
  if (hasText(contentOf(i))) {
    // A text that is not shown still counts for what is known of its kind.
    const dropped = editOf(kind) == EDIT_DROP;
    const mark = outAt();
    const full = outFull;
    if (dropped) contentText(i, kind, 2);
    else printContent(own ? TEXT_AFTER : kind, i, 2);
    if (dropped) {
      broken = false;
      outRewind(mark, full);
    } else own = true;
  }
  if (goesOn() && !printCalls(callsOf(i), own ? CALL_AFTER : late ? CALL_LATE : CALL)) broken = true;
}

/** Elements of the list at `p`: 0, 1, or 2 for more. */
function callCount(p: usize): u32 {
  if (!p) return 0;
  if (load<u8>(p) != 0x5b) {
    inexact(INEXACT_MESSAGE_FIELD);
    return 0;
  }
  return listCount(p);
}

function printResult(i: u32): void {
  needShape(SHAPE_RESULTS);
  const id = callIdOf(i);
  for (let f: u32 = 0; f < 2 && goesOn(); f++) {
    const field = load<u8>(program + TURNS_RESULT_FIELDS + f);
    const kind = f ? RESULT_SECOND : RESULT;
    if (field == 1) {
      turnJoint(kind);
      contentText(i, RESULT, 3);
    } else if (field == 2) {
      turnJoint(kind);
      printName(id);
    }
  }
}

/** Prints a name or an id: a string that JSON does not escape, or the prompt is unknown. */
export function printName(p: usize): void {
  if (!p || load<u8>(p) != 0x22) {
    inexact(INEXACT_MESSAGE_FIELD);
    return;
  }
  const start = outAt();
  if (!textAt(p)) broken = true;
  for (let q = start; q < outAt(); q++) {
    const c = <u32>load<u8>(q);
    const l = c | 0x20;
    if (!((l >= 97 && l <= 122) || (c >= 48 && c <= 58) || c == 0x2e || c == 0x5f || c == 0x2d)) {
      inexact(INEXACT_TEXT);
      return;
    }
  }
}

/** Prints a message's content as something of `kind`; `role`: 0 system, 1 user, 2 assistant, 3 result. */
function printContent(kind: u32, i: u32, role: u32): void {
  turnJoint(kind);
  contentText(i, kind, role);
}

function contentText(i: u32, kind: u32, role: u32): void {
  const start = outAt();
  const whole = textAt(contentOf(i));
  if (role == 0) systemText(start);
  if (role == 2 && flags & TURNS_THINK_UNKNOWN) thinkText(start);
  if (role == 3 && flags & TURNS_PARTS_CONCATENATED && contentOf(i) && load<u8>(contentOf(i)) == 0x5b) {
    inexact(INEXACT_PART);
  }
  if ((load<u8>(program, TURNS_EMPTY) >> <u8>role) & 1 && stripLeft(start, outAt()) == outAt()) inexact(INEXACT_TEXT);
  closeText(start, kind, whole);
}

/** Writes the text of the content at `p` (0 = none); whether all of it is there. */
function textAt(p: usize): bool {
  if (!p) return true;
  const back = at;
  const why = stopped;
  seek(p);
  const c = load<u8>(p);
  let whole = true;
  if (c == 0x22) whole = renderText();
  else if (c == 0x5b) {
    needShape(SHAPE_PARTS);
    whole = renderParts(flags & TURNS_PARTS_CONCATENATED ? 0 : 1);
  } else inexact(INEXACT_PART);
  resume(back, why);
  return whole;
}

function hasText(p: usize): bool {
  if (!p) return false;
  if (load<u8>(p) == 0x22) return load<u8>(p, 1) != 0x22;
  const mark = outAt();
  const full = outFull;
  textAt(p);
  const some = outAt() > mark || outFull;
  outRewind(mark, full);
  return some;
}

/** Ends a text that began at `start`: edits it as its kind is. */
function closeText(start: usize, kind: u32, whole: bool): void {
  if (!whole) broken = true;
  const edit = editOf(kind);
  if (edit == 0 || edit == EDIT_DROP) return;
  if (edit == EDIT_JSON) {
    escapeText(start);
    return;
  }
  const cut = !goesOn();
  let stop = cut ? wholeCharacters(start, outAt()) : outAt();
  const lines = edit >= 4;
  let from = start;
  if (edit == 1 || edit == 2) from = stripLeft(start, stop);
  else if (edit == 4 || edit == 6) while (from < stop && load<u8>(from) == 10) from++;
  // Where the text goes on beyond what is known its end is not stripped, but may not be shown either.
  if (edit == 1 || edit == 3) stop = stripRight(from, stop);
  else if (lines && edit != 4) while (stop > from && load<u8>(stop - 1) == 10) stop--;
  if (from > start) {
    memory.copy(start, from, stop - from);
    stop -= from - start;
  }
  outEnd(stop, false);
}

/** Turns what was written since `start` into the inside of a JSON string. */
function escapeText(start: usize): void {
  const stop = outAt();
  let grown: usize = 0;
  for (let p = start; p < stop; p++) {
    const c = <u32>load<u8>(p);
    if (c == 0x22 || c == 0x5c) grown++;
    else if (c < 0x20) grown += (c >= 8 && c <= 10) || c == 12 || c == 13 ? 1 : 5;
  }
  if (!grown) return;
  if (grown > outLimit() - stop) {
    outEnd(start, true);
    return;
  }
  // From the end on, since what is written is longer than what is read.
  let to = stop + grown;
  for (let p = stop; p > start && to > p; ) {
    const c = <u32>load<u8>(--p);
    const n: u32 = c == 0x22 || c == 0x5c ? 2 : c >= 0x20 ? 1 : (c >= 8 && c <= 10) || c == 12 || c == 13 ? 2 : 6;
    to -= n;
    escapeByte(c, to);
  }
  outEnd(stop + grown, false);
}

/** A prompt that ends in a message's text: only where nothing could have been trimmed there. */
function checkContinued(generation: bool): void {
  needShape(SHAPE_CONTINUED);
  if (generation || messages == 0) {
    inexact(INEXACT_FIELD);
    return;
  }
  const i = messages - 1;
  const start = outAt();
  const full = outFull;
  textAt(contentOf(i));
  const stop = outAt();
  if (stop == start || stripRight(start, stop) != stop || roleOf(i) == 7 || callsOf(i)) inexact(INEXACT_TEXT);
  outRewind(start, full);
}

/** Marks chats in which a user says what the last one says. */
function checkRepeated(): void {
  if (lastUser < 0) return;
  const start = outAt();
  const full = outFull;
  textAt(contentOf(lastUser));
  const n = outAt() - start;
  const end = outAt();
  for (let i: i32 = 0; i < lastUser; i++) {
    if (roleOf(i) != KIND_USER) continue;
    textAt(contentOf(i));
    if (outFull || (outAt() - end == n && memory.compare(start, end, n) == 0)) inexact(INEXACT_TEXT);
    outRewind(end, outFull);
  }
  outRewind(start, full);
}
