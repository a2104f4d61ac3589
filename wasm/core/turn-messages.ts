// Where the parts of each message stand, so that a turn program can look ahead: what is printed for a turn depends on
// where the last user turn is.
import { at, end, peek, resume, seek, skipValue, stopped } from "./json-cursor";
import { NO_FIELD, nameLen, namePtr, readField } from "./json-key";
import { isMessage, readRole, role } from "./render-messages";
import {
  INEXACT_LENGTH,
  INEXACT_MESSAGE_FIELD,
  INEXACT_PROMPT_TYPE,
  INEXACT_ROLE,
  inexact,
  KIND_ASSISTANT,
  KIND_OTHER,
  KIND_USER,
} from "./render";
import {
  F_CALL_ID,
  F_CONTENT,
  F_DROPPED,
  F_NAME,
  F_REASONING,
  F_REASONING_CONTENT,
  F_ROLE,
  F_TOOL_CALLS,
  F_TYPE,
} from "./request-fields";

/** A tool's result, beside the kinds of plain messages. */
// @ts-ignore: decorator
@inline
export const KIND_TOOL: u32 = 7;

// @ts-ignore: decorator
@inline
const MAX_MESSAGES: u32 = 2048;
// Addresses of values, 0 = absent or null, all u32: role, content, calls, reasoning, call id, name.
// @ts-ignore: decorator
@inline
const RECORD: u32 = 24;
const records: usize = heap.alloc(MAX_MESSAGES * RECORD);

export let messages: u32 = 0;
/** Index of the last user turn, -1 without one. */
export let lastUser: i32 = -1;
/** The input ends before the messages do. */
export let messagesCut: bool = false;

export function roleOf(i: u32): u32 {
  return load<u32>(records + i * RECORD);
}
export function contentOf(i: u32): usize {
  return load<u32>(records + i * RECORD, 4);
}
export function callsOf(i: u32): usize {
  return load<u32>(records + i * RECORD, 8);
}
export function reasoningOf(i: u32): usize {
  return load<u32>(records + i * RECORD, 12);
}
export function callIdOf(i: u32): usize {
  return load<u32>(records + i * RECORD, 16);
}
export function isNamed(i: u32): bool {
  return load<u32>(records + i * RECORD, 20) != 0;
}

/** Whether the value at `p` is null; what stands behind a cut input is not believed, nor used. */
// @ts-ignore: decorator
@inline
export function isNull(p: usize): bool {
  return load<u32>(p) == 0x6c6c756e;
}

/** Notes where everything is in the array at `p`, which was read once without a fault. False: not all is usable. */
export function messagesFind(p: usize): bool {
  messages = 0;
  lastUser = -1;
  messagesCut = false;
  const back = at;
  const why = stopped;
  seek(p + 1);
  const ok = walk();
  resume(back, why);
  return ok;
}

function walk(): bool {
  if (peek() == 0x5d) return true;
  for (;;) {
    const c = peek();
    if (c == 0) {
      messagesCut = true;
      return true;
    }
    if (c != 0x7b) {
      inexact(INEXACT_PROMPT_TYPE);
      return false;
    }
    if (messages == MAX_MESSAGES) {
      inexact(INEXACT_LENGTH);
      return false;
    }
    if (!note()) return false;
    if (messagesCut || peek() == 0x5d) return true;
    if (peek() == 0) {
      messagesCut = true;
      return true;
    }
    seek(at + 1);
  }
  return false;
}

/** Notes one message; of a cut one only what is surely in the prompt. */
function note(): bool {
  const r = records + messages * RECORD;
  memory.fill(r, 0, RECORD);
  let reasoning: usize = 0;
  let deprecated: usize = 0;
  let kind: u32 = 0;
  let whole = true;
  seek(at + 1);
  if (peek() == 0x7d) seek(at + 1);
  else {
    for (;;) {
      const field = readField();
      if (field == NO_FIELD) {
        whole = false;
        break;
      }
      const value = at;
      const there = isNull(value) ? 0 : <u32>value;
      if (field == F_ROLE) {
        whole = readRole();
        kind = role;
        if (kind == KIND_OTHER && load<u8>(value) == 0x22 && nameLen == 4 && load<u32>(namePtr) == 0x6c6f6f74) {
          kind = KIND_TOOL;
        }
        if (!whole) kind = 0;
      } else {
        whole = skipValue(3);
        if (field == F_CONTENT) store<u32>(r, there, 4);
        else if (field == F_TOOL_CALLS) store<u32>(r, there, 8);
        else if (field == F_REASONING) reasoning = there;
        else if (field == F_REASONING_CONTENT) deprecated = there;
        else if (field == F_CALL_ID) store<u32>(r, there, 16);
        else if (field == F_NAME) store<u32>(r, there, 20);
        else if (there && field != F_DROPPED && !(field == F_TYPE && isMessage(value))) inexact(INEXACT_MESSAGE_FIELD);
      }
      if (!whole) break;
      if (peek() != 0x2c) {
        whole = at < end;
        seek(at + 1);
        break;
      }
      seek(at + 1);
    }
  }
  store<u32>(r, <u32>(reasoning ? reasoning : deprecated), 12);
  store<u32>(r, kind);
  if (!whole) {
    messagesCut = true;
    // What an assistant's turn prints may depend on what is missing.
    if (kind == 0 || kind == KIND_ASSISTANT || !load<u32>(r, 4)) return true;
  }
  if (kind == 0 || kind == KIND_OTHER) {
    inexact(INEXACT_ROLE);
    return false;
  }
  // Only results have an id, only assistants call and reason.
  if (kind != KIND_ASSISTANT && (load<u32>(r, 8) || load<u32>(r, 12))) inexact(INEXACT_MESSAGE_FIELD);
  if (kind != KIND_TOOL && load<u32>(r, 16)) inexact(INEXACT_MESSAGE_FIELD);
  if (kind == KIND_USER) lastUser = <i32>messages;
  messages++;
  return true;
}
