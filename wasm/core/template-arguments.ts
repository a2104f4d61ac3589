// chat_template_kwargs: what a request tells the template besides its messages.
import { afterSpace, at, skipValue } from "./json-cursor";
import { INEXACT_FIELD, inexact, thinkingKnown, thinkingOff } from "./render";

// @ts-ignore: decorator
@inline
const THINKING_UNSET: u32 = 0;
// @ts-ignore: decorator
@inline
const THINKING_ON: u32 = 1;
// @ts-ignore: decorator
@inline
const THINKING_OFF: u32 = 2;
// @ts-ignore: decorator
@inline
const THINKING_OTHER: u32 = 3;
let thinking: u32 = THINKING_UNSET;

/** Begins a request. */
export function templateArgumentsStart(): void {
  thinking = THINKING_UNSET;
}

/** Whether the arguments say anything. */
export function templateArgumentsSay(): bool {
  return thinking != THINKING_UNSET;
}

/** "enable_thinking" */
const ENABLE_THINKING: usize = memory.data<u8>([
  34, 101, 110, 97, 98, 108, 101, 95, 116, 104, 105, 110, 107, 105, 110, 103, 34,
]);

/** Arguments of the template under the cursor: none, or `enable_thinking` with true or false and nothing else. */
export function templateArguments(c: u32): bool {
  const start = at;
  if (!skipValue(1)) return false;
  const stop = at;
  thinking = THINKING_UNSET;
  if (c == 0x6e || c == 0x66) return true;
  const first = c == 0x7b ? afterSpace(start + 1) : 0;
  if (first && load<u8>(first) == 0x7d) return true;
  thinking = THINKING_OTHER;
  if (!first || first + 22 > stop || memory.compare(first, ENABLE_THINKING, 17) != 0) return true;
  const colon = afterSpace(first + 17);
  const value = afterSpace(colon + 1);
  const on = load<u8>(value) == 0x74;
  if (!on && load<u8>(value) != 0x66) return true;
  if (load<u8>(afterSpace(value + (on ? 4 : 5))) == 0x7d) thinking = on ? THINKING_ON : THINKING_OFF;
  return true;
}

/**
 * Writes what the arguments add to a prompt that is there whole, or marks it as not exact. `turn`: the prompt is a chat's
 * and ends where the next turn begins.
 */
export function printThinking(turn: bool, whole: bool): void {
  if (thinking == THINKING_UNSET) return;
  if (thinking == THINKING_OTHER || !thinkingKnown() || !turn) inexact(INEXACT_FIELD);
  else if (thinking == THINKING_OFF && whole) thinkingOff();
}
