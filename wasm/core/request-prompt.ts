// The prompt where it stands in a request: a chat's messages, a raw prompt, or a response's instructions and input.
import { afterSpace, at, end, miss, peek, resume, seek, skipValue, stopped } from "./json-cursor";
import {
  bos,
  closeContent,
  INEXACT_FIELD,
  INEXACT_PROMPT_TYPE,
  inexact,
  joint,
  KIND_SYSTEM,
  KIND_USER,
  literal,
  outAt,
  renderReset,
  renderText,
  renderWantsTurns,
} from "./render";
import { renderMessages } from "./render-messages";
import { turnsKnown } from "./turn-program";
import { renderTurns } from "./turns";

/** The prompt's value was there, and its end. */
export let promptSeen: bool = false;
export let promptWhole: bool = false;
/** Beginning of a raw prompt, for the session. */
export let rawSession: usize = 0;
export let rawSessionLen: u32 = 0;
let messagesAt: usize = 0;

/** Begins a request. */
export function promptStart(): void {
  promptSeen = false;
  promptWhole = false;
  rawSessionLen = 0;
  messagesAt = 0;
}

/** Renders the messages under the cursor. */
export function takeMessages(c: u32): bool {
  messagesAt = c == 0x5b ? at : 0;
  renderReset();
  promptSeen = c == 0x5b;
  promptWhole = promptSeen ? renderMessages() : skipValue(1);
  return promptWhole;
}

/** Takes a prompt that no template wraps: a string, or a list of one string. */
export function takeRaw(): bool {
  renderReset();
  promptSeen = true;
  const start = at;
  const list = load<u8>(at) == 0x5b;
  if (list) {
    seek(at + 1);
    peek();
  }
  if (at < end && load<u8>(at) == 0x22) {
    bos();
    const from = outAt();
    const ok = renderText();
    // Its session is its beginning: later calls of the same conversation only append to it.
    rawSession = from;
    rawSessionLen = <u32>min(outAt() - from, 1024);
    promptWhole = ok;
    if (!ok || !list) return ok;
    const c = peek();
    if (c == 0x5d) {
      seek(at + 1);
      return true;
    }
    if (c == 0) return miss();
  }
  inexact(INEXACT_PROMPT_TYPE);
  seek(start);
  promptWhole = skipValue(1);
  // Token ids, or several prompts: their JSON stands for them where prompts are matched approximately.
  literal(start, <u32>(at - start));
  return promptWhole;
}

/** Renders what the plain table does not cover of a chat by the template's turn program. `whole`: so is the body. */
export function takeTurns(template: usize, toolsAt: usize, generation: bool, continued: bool, whole: bool): void {
  if (!messagesAt) return;
  if (toolsAt && (load<u8>(toolsAt) != 0x5b || load<u8>(afterSpace(toolsAt + 1)) == 0x5d)) {
    inexact(INEXACT_FIELD);
    return;
  }
  if (!toolsAt && !continued && !renderWantsTurns()) return;
  if (template && turnsKnown(template, toolsAt != 0)) {
    promptWhole = renderTurns(template, messagesAt, toolsAt, generation, continued, whole);
  } else inexact(INEXACT_FIELD);
}

/** Renders a response's instructions and input (0 = none), in this order, whatever theirs was. */
export function takeResponse(instructionsAt: usize, inputAt: usize): void {
  const back = at;
  const why = stopped;
  renderReset();
  promptSeen = inputAt != 0;
  const first = instructionsAt ? <u32>load<u8>(instructionsAt) : 0;
  let ok = true;
  if (first == 0x22) {
    joint(KIND_SYSTEM);
    ok = renderAs(KIND_SYSTEM, instructionsAt);
  } else if (first && first != 0x6e) inexact(INEXACT_PROMPT_TYPE);
  if (ok && inputAt) {
    const c = load<u8>(inputAt);
    if (c == 0x5b) {
      seek(inputAt);
      ok = renderMessages();
    } else if (c == 0x22) {
      joint(KIND_USER);
      ok = renderAs(KIND_USER, inputAt);
    } else inexact(INEXACT_PROMPT_TYPE);
  }
  resume(back, why);
  promptWhole = ok;
}

/** Renders the string at `p` as a turn of `kind`. */
function renderAs(kind: u32, p: usize): bool {
  const start = outAt();
  seek(p);
  const whole = renderText();
  closeContent(start, kind, whole);
  return whole;
}
