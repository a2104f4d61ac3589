// Conversations to prompt bytes, in the pass that checks their syntax. A content is rendered where it stands when its
// role came before it; in any other order, or with a key twice, it is skipped and rendered when its message ends. The
// last one of several equal keys counts, as in Python's json.
import {
  at,
  end,
  miss,
  peek,
  resume,
  runOut,
  seek,
  skipValue,
  STOP_CUT,
  stopped,
} from "./json-cursor";
import { NO_FIELD, nameLen, namePtr, readField, readName } from "./json-key";
import {
  closeContent,
  INEXACT_MESSAGE_FIELD,
  INEXACT_PART,
  INEXACT_PROMPT_TYPE,
  INEXACT_ROLE,
  inexact,
  joint,
  KIND_ASSISTANT,
  KIND_OTHER,
  KIND_SYSTEM,
  KIND_USER,
  literal,
  markMessage,
  outAt,
  outFull,
  outRewind,
  plainParts,
  plainPartsJoin,
  renderText,
  takeBack,
} from "./render";
import { valueDigest } from "./value-digest";
import { F_CONTENT, F_DROPPED, F_ROLE, F_TEXT, F_TYPE } from "./request-fields";

// Levels of nesting of what stands in a message, in its list of parts, and in a part; the body's object is level 1.
// @ts-ignore: decorator
@inline
const IN_MESSAGES: u32 = 2;
// @ts-ignore: decorator
@inline
const IN_MESSAGE: u32 = 3;
// @ts-ignore: decorator
@inline
const IN_PARTS: u32 = 4;
// @ts-ignore: decorator
@inline
const IN_PART: u32 = 5;

/** Renders the array of messages under the cursor. False at a fault or the end of a cut input. */
export function renderMessages(): bool {
  seek(at + 1);
  if (peek() == 0x5d) {
    seek(at + 1);
    return true;
  }
  for (;;) {
    let c = peek();
    if (c == 0x7b) {
      if (!renderMessage()) return false;
    } else if (c == 0) {
      return runOut();
    } else {
      inexact(INEXACT_PROMPT_TYPE);
      if (!skipValue(IN_MESSAGES)) return false;
    }
    c = peek();
    if (c == 0x2c) {
      seek(at + 1);
      continue;
    }
    if (c != 0x5d) return miss();
    seek(at + 1);
    return true;
  }
  return false;
}

function renderMessage(): bool {
  markMessage();
  let kind: u32 = 0;
  let content: usize = 0;
  let contentWhole = true;
  let start: usize = 0;
  let placed: u32 = 0; // the kind under which `content` was rendered where it stands
  let tried = false;
  let reason: u32 = 0;
  let ok = true;
  seek(at + 1);
  if (peek() == 0x7d) seek(at + 1);
  else {
    for (;;) {
      const field = readField();
      if (field == NO_FIELD) {
        ok = false;
        break;
      }
      const value = at;
      if (field == F_CONTENT) {
        content = value;
        if (kind && kind != KIND_OTHER && !tried) {
          tried = true;
          placed = kind;
          joint(kind);
          start = outAt();
          ok = renderContent();
          contentWhole = ok;
        } else {
          placed = 0;
          ok = skipValue(IN_MESSAGE);
        }
      } else if (field == F_ROLE) {
        ok = readRole();
        if (ok) kind = role;
      } else {
        if (load<u32>(value) != 0x6c6c756e && field != F_DROPPED && !(field == F_TYPE && isMessage(value))) {
          reason |= INEXACT_MESSAGE_FIELD;
        }
        ok = skipValue(IN_MESSAGE);
      }
      if (!ok) break;
      const c = peek();
      if (c == 0x2c) {
        seek(at + 1);
        continue;
      }
      if (c == 0x7d) seek(at + 1);
      else ok = miss();
      break;
    }
  }
  if (!ok && stopped != STOP_CUT) return false;
  if (kind == 0 && !ok) {
    // Cut off before its role a message says nothing.
    takeBack();
    return false;
  }
  if (kind == 0 || kind == KIND_OTHER) {
    takeBack();
    kind = KIND_OTHER;
    reason |= INEXACT_ROLE;
    start = outAt();
    contentWhole = renderLater(content);
  } else if (placed != kind) {
    takeBack();
    joint(kind);
    start = outAt();
    contentWhole = renderLater(content);
  }
  inexact(reason);
  closeContent(start, kind, contentWhole);
  return ok;
}

/** Renders a content that the cursor is past; false when the input's end cuts it. */
function renderLater(content: usize): bool {
  if (!content) return true;
  const back = at;
  const why = stopped;
  seek(content);
  const whole = renderContent();
  resume(back, why);
  return whole;
}

/** KIND_* of the last role read. */
export let role: u32 = 0;

/** Reads the value of a role. */
export function readRole(): bool {
  const p = at;
  if (load<u8>(p) != 0x22) {
    role = KIND_OTHER;
    return skipValue(IN_MESSAGE);
  }
  if (load<u32>(p, 1) == 0x72657375 && load<u8>(p, 5) == 0x22 && p + 6 <= end) {
    role = KIND_USER;
    seek(p + 6);
    return true;
  }
  if (load<u64>(p, 1) == 0x6e61747369737361 && load<u16>(p, 9) == 0x2274 && p + 11 <= end) {
    role = KIND_ASSISTANT;
    seek(p + 11);
    return true;
  }
  const ok = readName();
  role = KIND_OTHER;
  if (nameLen == 6 && load<u32>(namePtr) == 0x74737973 && load<u16>(namePtr, 4) == 0x6d65) role = KIND_SYSTEM;
  else if (nameLen == 4 && load<u32>(namePtr) == 0x72657375) role = KIND_USER;
  else if (nameLen == 9 && load<u64>(namePtr) == 0x6e61747369737361 && load<u8>(namePtr, 8) == 0x74) {
    role = KIND_ASSISTANT;
  }
  return ok;
}

/** The type that items of a response's input may have without being anything but messages. */
export function isMessage(p: usize): bool {
  return load<u64>(p) == 0x6567617373656d22 && load<u8>(p, 8) == 0x22;
}

/** A string, null, or a list of text parts joined by a line feed, empty ones left out (vLLM's "string" format). */
function renderContent(): bool {
  const c = load<u8>(at);
  if (c == 0x22) return renderText();
  if (c == 0x5b) {
    plainParts();
    return renderParts(plainPartsJoin());
  }
  if (c != 0x6e) inexact(INEXACT_PART);
  return skipValue(IN_MESSAGE);
}

const LINE_FEED: usize = memory.data<u8>([10]);

/** The list under the cursor, its texts joined by a line feed (1) or by nothing (0). */
export function renderParts(join: u32): bool {
  seek(at + 1);
  if (peek() == 0x5d) {
    seek(at + 1);
    return true;
  }
  let parts = false;
  for (;;) {
    let c = peek();
    if (c == 0x7b) {
      const mark = outAt();
      if (parts) literal(LINE_FEED, join);
      const start = outAt();
      const ok = renderPart();
      if (outAt() == start) outRewind(mark, outFull);
      else parts = true;
      if (!ok) return false;
    } else if (c == 0) {
      return runOut();
    } else {
      inexact(INEXACT_PART);
      if (!skipValue(IN_PARTS)) return false;
    }
    c = peek();
    if (c == 0x2c) {
      seek(at + 1);
      continue;
    }
    if (c != 0x5d) return miss();
    seek(at + 1);
    return true;
  }
  return false;
}

// @ts-ignore: decorator
@inline
const TYPE_TEXT: u32 = 1;
// @ts-ignore: decorator
@inline
const TYPE_OTHER: u32 = 2;

const digest: usize = memory.data(8, 8);

/** One part of a content list: its type and text in any order, the last of each. */
function renderPart(): bool {
  const from = at;
  const start = outAt();
  const full = outFull;
  let type: u32 = 0;
  let text: usize = 0;
  let placed = false;
  let tried = false;
  let ok = true;
  seek(at + 1);
  if (peek() == 0x7d) seek(at + 1);
  else {
    for (;;) {
      const field = readField();
      if (field == NO_FIELD) {
        ok = false;
        break;
      }
      const value = at;
      if (field == F_TEXT) {
        text = value;
        placed = type == TYPE_TEXT && !tried && load<u8>(value) == 0x22;
        if (placed) {
          tried = true;
          ok = renderText();
        } else ok = skipValue(IN_PART);
      } else if (field == F_TYPE && load<u8>(value) == 0x22) {
        ok = readName();
        if (ok) type = isText() ? TYPE_TEXT : TYPE_OTHER;
      } else {
        if (field == F_TYPE) type = TYPE_OTHER;
        else if (load<u32>(value) != 0x6c6c756e) inexact(INEXACT_PART);
        ok = skipValue(IN_PART);
      }
      if (!ok) break;
      const c = peek();
      if (c == 0x2c) {
        seek(at + 1);
        continue;
      }
      if (c == 0x7d) seek(at + 1);
      else ok = miss();
      break;
    }
  }
  if (!ok && stopped != STOP_CUT) return false;
  if (type == TYPE_TEXT && text && load<u8>(text) == 0x22) {
    if (!placed) {
      outRewind(start, full);
      const back = at;
      const why = stopped;
      seek(text);
      renderText();
      resume(back, why);
    }
    return ok;
  }
  outRewind(start, full);
  // What it is does not show in the text; where prompts are matched approximately, another one makes them differ.
  store<u64>(digest, valueDigest(from, <u32>(at - from)));
  if (type == TYPE_OTHER) literal(digest, 8);
  // A part that is cut off may still become one of text.
  if (ok || type == TYPE_OTHER) inexact(INEXACT_PART);
  return ok;
}

/** Whether the name just read is "text", "input_text" or "output_text". */
function isText(): bool {
  const p = namePtr;
  if (nameLen == 4) return load<u32>(p) == 0x74786574;
  if (nameLen == 10) return load<u64>(p) == 0x65745f7475706e69 && load<u16>(p, 8) == 0x7478;
  return nameLen == 11 && load<u64>(p) == 0x745f74757074756f && load<u32>(p, 7) == 0x74786574;
}
