// Tool calls of an assistant's turn: name, arguments and id in the order in which a template prints them. Engines parse
// the arguments, and templates print them again.
import { TURNS_ARGUMENTS_INDENT, TURNS_CALL_FIELDS } from "../shared/turns-layout";
import { at, cursorStart, cut, end, peek, resume, seek, skipValue, STOP_DEEP, stopped } from "./json-cursor";
import { NO_FIELD, nameLen, namePtr, readField, readName } from "./json-key";
import { COPY_SLACK, copied, copyFull, copyString } from "./json-text";
import { printStart, printValue } from "./python-json";
import { INEXACT_JSON, INEXACT_MESSAGE_FIELD, inexact, literal } from "./render";
import { F_ARGUMENTS, F_FUNCTION, F_ID, F_INDEX, F_NAME, F_TYPE } from "./request-fields";
import { isNull } from "./turn-messages";
import { breakOff, goesOn, program, turnJoint } from "./turn-program";
import { printName } from "./turn-text";

/** Bytes of one call's arguments; of longer ones only what stands before them is printed. */
// @ts-ignore: decorator
@inline
const ARGUMENTS_MAX: usize = 131072;
const scratch: usize = heap.alloc(ARGUMENTS_MAX + COPY_SLACK);

// @ts-ignore: decorator
@inline
const CALL_NEXT: u32 = 16;
const EMPTY: usize = memory.data<u8>([123, 125]); // {}

// Values of the call just read, 0 = absent.
let id: usize = 0;
let name: usize = 0;
let args: usize = 0;

/** Elements of the list at `p`, which may be cut: 0, 1, or 2 for more. */
export function listCount(p: usize): u32 {
  const back = at;
  const why = stopped;
  seek(p + 1);
  let n: u32 = 0;
  if (peek() != 0x5d) {
    n = 1;
    if (skipValue(4) && peek() == 0x2c) n = 2;
  }
  resume(back, why);
  return n;
}

/** Prints the calls of the list at `p`, the first as `kind`; false when not all is there. */
export function printCalls(p: usize, kind: u32): bool {
  const back = at;
  const why = stopped;
  seek(p + 1);
  let ok = true;
  for (let k = kind; ok && goesOn(); k = CALL_NEXT) {
    ok = readCall();
    if (!ok) break;
    const next = at;
    printCall(k);
    seek(next);
    if (peek() != 0x2c) break;
    seek(at + 1);
  }
  resume(back, why);
  return ok;
}

/** Reads the call under the cursor. */
function readCall(): bool {
  id = 0;
  name = 0;
  args = 0;
  if (peek() != 0x7b) {
    inexact(INEXACT_MESSAGE_FIELD);
    return skipValue(4);
  }
  return readObject(false);
}

function readObject(inner: bool): bool {
  seek(at + 1);
  if (peek() == 0x7d) {
    seek(at + 1);
    return true;
  }
  for (;;) {
    const field = readField();
    if (field == NO_FIELD) return false;
    const value = at;
    let ok: bool;
    if (!inner && field == F_FUNCTION && load<u8>(value) == 0x7b) {
      ok = readObject(true);
    } else {
      if (field == F_TYPE && !inner && load<u8>(value) == 0x22) {
        ok = readName();
        if (nameLen != 8 || load<u64>(namePtr) != 0x6e6f6974636e7566) inexact(INEXACT_MESSAGE_FIELD);
      } else ok = skipValue(6);
      if (inner && field == F_NAME) name = value;
      else if (inner && field == F_ARGUMENTS) args = value;
      else if (!inner && field == F_ID) id = value;
      else if (!isNull(value) && (inner || (field != F_INDEX && field != F_TYPE))) inexact(INEXACT_MESSAGE_FIELD);
    }
    if (!ok) return false;
    if (peek() != 0x2c) {
      if (at >= end) return false;
      seek(at + 1);
      return true;
    }
    seek(at + 1);
  }
  return false;
}

function printCall(kind: u32): void {
  for (let f: u32 = 0; f < 3 && goesOn(); f++) {
    const field = load<u8>(program + TURNS_CALL_FIELDS + f);
    if (!field) return;
    turnJoint(f ? CALL_NEXT + f : kind);
    if (field == 1) printName(name);
    else if (field == 2) printArguments();
    else printName(id);
  }
}

/** Prints the object that the text of the arguments is: an empty one where it is none, as vLLM has it. */
function printArguments(): void {
  const p = args;
  if (!p || isNull(p)) {
    literal(EMPTY, 2);
    return;
  }
  if (load<u8>(p) != 0x22) {
    inexact(INEXACT_MESSAGE_FIELD);
    return;
  }
  seek(p);
  copyString(scratch, scratch + ARGUMENTS_MAX);
  if (copyFull) {
    breakOff();
    return;
  }
  const n = <u32>(copied - scratch);
  const back = at;
  const stop = end;
  const wasCut = cut;
  const why = stopped;
  cursorStart(scratch, n, false);
  const object = peek() == 0x7b;
  const ok = skipValue(0) && peek() == 0;
  if (stopped == STOP_DEEP) inexact(INEXACT_JSON);
  if (ok && object) {
    cursorStart(scratch, n, false);
    printStart();
    printValue(<u32>load<u8>(program, TURNS_ARGUMENTS_INDENT), 0);
  } else literal(EMPTY, 2);
  cursorStart(back, <u32>(stop - back), wasCut);
  resume(back, why);
}
