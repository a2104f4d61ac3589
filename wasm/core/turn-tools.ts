// Tool definitions as vLLM hands them to a template: known fields in its own order, null for those that are absent.
import {
  TURNS_BARE_TOOL,
  TURNS_ESCAPED_TOOL,
  TURNS_FLAGS,
  TURNS_STRICT,
  TURNS_TOOL_INDENT,
  TURNS_TOOL_LEVEL,
} from "../shared/turns-layout";
import { at, end, peek, resume, seek, skipValue, stopped } from "./json-cursor";
import { NO_FIELD, nameLen, namePtr, readField, readName } from "./json-key";
import { printItem, printLine, printStart, printString, printValue } from "./python-json";
import { INEXACT_FIELD, INEXACT_TEXT, inexact, literal, outAt } from "./render";
import { F_DESCRIPTION, F_FUNCTION, F_NAME, F_PARAMETERS, F_STRICT, F_TYPE } from "./request-fields";
import { isNull } from "./turn-messages";
import { goesOn, program, turnJoint } from "./turn-program";

// @ts-ignore: decorator
@inline
const TOOL: u32 = 21;
// @ts-ignore: decorator
@inline
const TOOL_NEXT: u32 = 22;

// Values of the tool just read, 0 = absent.
let name: usize = 0;
let description: usize = 0;
let parameters: usize = 0;
let strict: usize = 0;
let hasFunction: bool = false;

let indent: u32 = 0;

/** Prints the tools of the array at `p`; false when not all is there. */
export function printTools(p: usize): bool {
  const back = at;
  const why = stopped;
  indent = <u32>load<u8>(program, TURNS_TOOL_INDENT);
  seek(p + 1);
  let ok = true;
  for (let kind = TOOL; goesOn(); kind = TOOL_NEXT) {
    ok = readTool();
    if (!ok) break;
    const next = at;
    turnJoint(kind);
    printTool();
    seek(next);
    if (peek() != 0x2c) break;
    seek(at + 1);
  }
  resume(back, why);
  return ok;
}

function readTool(): bool {
  name = 0;
  description = 0;
  parameters = 0;
  strict = 0;
  hasFunction = false;
  if (peek() != 0x7b) {
    inexact(INEXACT_FIELD);
    return skipValue(2);
  }
  const ok = readObject(false);
  if (!hasFunction || !name) inexact(INEXACT_FIELD);
  return ok;
}

/** Reads the tool under the cursor, or the function in it. A field that is not known makes the prompt unknown. */
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
    const first = <u32>load<u8>(value);
    const there: usize = isNull(value) ? 0 : value;
    let ok: bool;
    if (!inner && field == F_FUNCTION && first == 0x7b) {
      hasFunction = true;
      ok = readObject(true);
    } else if (!inner && field == F_TYPE && first == 0x22) {
      ok = readName();
      if (nameLen != 8 || load<u64>(namePtr) != 0x6e6f6974636e7566) inexact(INEXACT_FIELD);
    } else {
      ok = skipValue(3);
      if (inner && field == F_NAME && first == 0x22) name = value;
      else if (inner && field == F_DESCRIPTION && (!there || first == 0x22)) description = there;
      else if (inner && field == F_PARAMETERS && (!there || first == 0x7b)) parameters = there;
      else if (inner && field == F_STRICT && (!there || first == 0x74 || first == 0x66)) strict = there;
      else inexact(INEXACT_FIELD);
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

const OPEN: usize = memory.data<u8>([123]);
const CLOSE: usize = memory.data<u8>([125]);
const NULL: usize = memory.data<u8>([110, 117, 108, 108]);
const TYPE: usize = memory.data<u8>([34, 116, 121, 112, 101, 34, 58, 32, 34, 102, 117, 110, 99, 116, 105, 111, 110, 34]); // "type": "function"
const FUNCTION: usize = memory.data<u8>([34, 102, 117, 110, 99, 116, 105, 111, 110, 34, 58, 32]); // "function":
const NAME: usize = memory.data<u8>([34, 110, 97, 109, 101, 34, 58, 32]);
const DESCRIPTION: usize = memory.data<u8>([34, 100, 101, 115, 99, 114, 105, 112, 116, 105, 111, 110, 34, 58, 32]);
const PARAMETERS: usize = memory.data<u8>([34, 112, 97, 114, 97, 109, 101, 116, 101, 114, 115, 34, 58, 32]);
const STRICT: usize = memory.data<u8>([34, 115, 116, 114, 105, 99, 116, 34, 58, 32]);

function printTool(): void {
  const start = outAt();
  const flags = load<u16>(program, TURNS_FLAGS);
  let level = <u32>load<u8>(program, TURNS_TOOL_LEVEL);
  const bare = (flags & TURNS_BARE_TOOL) != 0;
  if (!bare) {
    literal(OPEN, 1);
    printItem(true, indent, level + 1);
    literal(TYPE, 18);
    printItem(false, indent, level + 1);
    literal(FUNCTION, 12);
    level++;
  }
  literal(OPEN, 1);
  field(true, level, NAME, 8, name);
  field(false, level, DESCRIPTION, 15, description);
  field(false, level, PARAMETERS, 14, parameters);
  const printed = load<u8>(program, TURNS_STRICT);
  if (strict) {
    if (printed == 0) field(false, level, STRICT, 10, strict);
    else if (printed == 2) inexact(INEXACT_FIELD);
  }
  close(level);
  if (!bare) close(level - 1);
  if (flags & TURNS_ESCAPED_TOOL) return;
  for (let p = start; p < outAt(); p++) {
    if (load<u8>(p) != 0x5c) continue;
    inexact(INEXACT_TEXT);
    return;
  }
}

function close(level: u32): void {
  if (indent) printLine(indent, level);
  literal(CLOSE, 1);
}

/** Prints a field of the function: its name, of `n` bytes with quotes and colon, and the value at `value`. */
function field(first: bool, level: u32, label: usize, n: u32, value: usize): void {
  printItem(first, indent, level + 1);
  literal(label, n);
  if (!value) {
    literal(NULL, 4);
    return;
  }
  seek(value);
  printStart();
  if (load<u8>(value) == 0x22) printString();
  else printValue(indent, level + 1);
}
