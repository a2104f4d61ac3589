// Texts of messages as a turn program prints them: read, edited as their kind is, and judged for what is known of them.
import { TURNS_EMPTY, TURNS_PARTS_CONCATENATED, TURNS_THINK_UNKNOWN } from "../shared/turns-layout";
import { at, resume, seek, stopped } from "./json-cursor";
import { stripLeft, stripRight, wholeCharacters } from "./json-text";
import { escapeByte } from "./python-json";
import {
  INEXACT_MESSAGE_FIELD,
  INEXACT_PART,
  INEXACT_TEXT,
  inexact,
  outAt,
  outEnd,
  outFull,
  outLimit,
  outRewind,
  renderText,
  systemText,
  thinkText,
} from "./render";
import { renderParts } from "./render-messages";
import { contentOf } from "./turn-messages";
import {
  breakOff,
  EDIT_DROP,
  EDIT_JSON,
  editOf,
  goesOn,
  needShape,
  program,
  SHAPE_PARTS,
  turnFlags,
  turnJoint,
} from "./turn-program";

/** Prints a name or an id: a string that JSON does not escape, or the prompt is unknown. */
export function printName(p: usize): void {
  if (!p || load<u8>(p) != 0x22) {
    inexact(INEXACT_MESSAGE_FIELD);
    return;
  }
  const start = outAt();
  if (!textAt(p)) breakOff();
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
export function printContent(kind: u32, i: u32, role: u32): void {
  turnJoint(kind);
  contentText(i, kind, role);
}

/** The same without the joint before it. */
export function contentText(i: u32, kind: u32, role: u32): void {
  const start = outAt();
  const whole = textAt(contentOf(i));
  if (role == 0) systemText(start);
  if (role == 2 && turnFlags & TURNS_THINK_UNKNOWN) thinkText(start);
  if (role == 3 && turnFlags & TURNS_PARTS_CONCATENATED && contentOf(i) && load<u8>(contentOf(i)) == 0x5b) {
    inexact(INEXACT_PART);
  }
  if ((load<u8>(program, TURNS_EMPTY) >> <u8>role) & 1 && stripLeft(start, outAt()) == outAt()) inexact(INEXACT_TEXT);
  closeText(start, kind, whole);
}

/** Writes the text of the content at `p` (0 = none); whether all of it is there. */
export function textAt(p: usize): bool {
  if (!p) return true;
  const back = at;
  const why = stopped;
  seek(p);
  const c = load<u8>(p);
  let whole = true;
  if (c == 0x22) whole = renderText();
  else if (c == 0x5b) {
    needShape(SHAPE_PARTS);
    whole = renderParts(turnFlags & TURNS_PARTS_CONCATENATED ? 0 : 1);
  } else inexact(INEXACT_PART);
  resume(back, why);
  return whole;
}

/** Whether the content at `p` (0 = none) has any text. */
export function hasText(p: usize): bool {
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
export function closeText(start: usize, kind: u32, whole: bool): void {
  if (!whole) breakOff();
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
