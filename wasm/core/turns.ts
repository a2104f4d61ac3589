// Conversations that the plain table does not cover: tools, calls, results, reasoning that is sent back, and turns that
// are printed by where they stand. turn-program.ts has the program that says how.
import {
  TURNS_NAME_INERT,
  TURNS_REPEATED_UNKNOWN,
  TURNS_RESULT_FIELDS,
  TURNS_SYSTEM_AT,
  TURNS_TOOLS_AT,
  TURNS_TOOLS_FIRST,
} from "../shared/turns-layout";
import { stripLeft, stripRight } from "./json-text";
import {
  INEXACT_FIELD,
  INEXACT_MESSAGE_FIELD,
  INEXACT_NO_TEMPLATE,
  INEXACT_ROLE,
  INEXACT_TEXT,
  inexact,
  KIND_ASSISTANT,
  KIND_SYSTEM,
  KIND_USER,
  outAt,
  outFull,
  outRewind,
  renderAgain,
} from "./render";
import { listCount, printCalls } from "./turn-calls";
import {
  callIdOf,
  callsOf,
  contentOf,
  isNamed,
  KIND_TOOL,
  lastUser,
  messages,
  messagesCut,
  messagesFind,
  reasoningOf,
  roleOf,
} from "./turn-messages";
import {
  breakOff,
  EDIT_DROP,
  editOf,
  goesOn,
  goOn,
  needShape,
  program,
  SHAPE_CALLS,
  SHAPE_CONTINUED,
  SHAPE_PARALLEL,
  SHAPE_REASONING,
  SHAPE_RESULTS,
  turnFlags,
  turnJoint,
  turnsBegin,
} from "./turn-program";
import { closeText, contentText, hasText, printContent, printName, textAt } from "./turn-text";
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

/** Where the tools' array stands, 0 without tools. */
let tools: usize = 0;

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
  if (!turnsBegin(template, toolList != 0)) {
    inexact(INEXACT_NO_TEMPLATE);
    return false;
  }
  tools = toolList;
  if (!messagesFind(list)) return false;
  if (continued) checkContinued(generation);
  if (turnFlags & TURNS_REPEATED_UNKNOWN) checkRepeated();
  const place = load<u8>(program, TURNS_TOOLS_AT);
  if (place == TOOLS_START) printToolList();
  let others = false;
  for (let i: u32 = 0; i < messages && goesOn(); i++) {
    const kind = roleOf(i);
    if (isNamed(i) && !(turnFlags & TURNS_NAME_INERT)) inexact(INEXACT_MESSAGE_FIELD);
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
  if (tools && goesOn() && !printTools(tools)) breakOff();
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
      breakOff();
      return;
    }
    if (withTools && turnFlags & TURNS_TOOLS_FIRST) printToolList();
    if (system && goesOn()) printContent(SYSTEM, 0, 0);
    if (withTools && !(turnFlags & TURNS_TOOLS_FIRST)) printToolList();
    if (!goesOn()) return;
  }
  printContent(USER, i, 1);
}

function printAssistant(i: u32): void {
  const late = <i32>i > lastUser;
  if (late && messagesCut) {
    breakOff();
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
      goOn();
      outRewind(mark, full);
    } else own = true;
  }
  if (goesOn() && !printCalls(callsOf(i), own ? CALL_AFTER : late ? CALL_LATE : CALL)) breakOff();
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
  if (stop == start || stripRight(start, stop) != stop || roleOf(i) == KIND_TOOL || callsOf(i)) inexact(INEXACT_TEXT);
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
