// The literals of a template: what an engine prints between the texts of conversations.
import type { Conversation } from "./conversation.js";
import { inParallel } from "./in-parallel.js";
import type { Lesson } from "./lesson.js";
import { MARK, patterns, sentinels } from "./probe-conversations.js";
import { printed, SHAPE, TURN, TURN_KINDS, type TurnProgram } from "./turn-program.js";
import { roles } from "./verify-turns.js";

/** Bytes of all literals of a program; those of real templates have some tens of thousand. */
const MAX_LITERALS = 128 * 1024;

const utf8 = new TextEncoder();

/** What stands between two texts: literals by their kinds. Null, or why there is no program. */
export async function joints(lesson: Lesson): Promise<string | null> {
  const { program: p } = lesson;
  const calls = (p.shapes & SHAPE.calls) !== 0;
  const reasoning = (await lesson.renderer.chat(lesson.pattern("uru"))) !== null;
  if (!reasoning) lesson.bar("reasoning", "the engine refuses reasoning that is sent back");
  const all = patterns(calls, reasoning, lesson.tools);
  const conversations = all.map(({ letters, tools, generationPrompt }) =>
    sentinels(letters, tools, generationPrompt),
  );
  const rendered: (Uint8Array | null)[] = new Array(all.length).fill(null);
  await inParallel(conversations, async (conversation, i) => {
    rendered[i] = await lesson.renderer.chat(conversation);
  });
  const known = new Map<number, { literal: Uint8Array; usual: boolean }>();
  const barred = new Set<number>();
  for (const [i, pattern] of all.entries()) {
    const bytes = rendered[i];
    if (!bytes) continue;
    const conversation = conversations[i]!;
    const found = split(p, conversation, bytes);
    if (!found) {
      if (i === 0) return "the engine's prompt does not contain the user's text as given";
      continue;
    }
    const differs = ({ at, literal }: Found) =>
      [...found.filter((other) => other.at === at), known.get(at)].some(
        (other) => other && Buffer.compare(other.literal, literal) !== 0,
      );
    const wrong = found.filter(differs);
    if (wrong.length === 0) {
      for (const { at, literal } of found)
        if (!known.has(at)) known.set(at, { literal, usual: pattern.usual });
      continue;
    }
    // What usual chats do not need tells this one apart: without it the pattern counts as inexact.
    const odd = (joints: Found[]) => joints.filter(({ at }) => !known.get(at)?.usual);
    const out = odd(wrong).length > 0 ? odd(wrong) : odd(found);
    if (pattern.usual && odd(wrong).length === 0)
      return `the text before a message depends on more than the two roles (${roles(conversation)})`;
    for (const { at } of out) barred.add(at);
  }
  if (known.size === 0) return "the engine accepted no conversation";
  let literals = 0;
  for (const { literal } of known.values()) literals += literal.length;
  if (literals > MAX_LITERALS) return `the template's own text takes ${literals} bytes`;
  // Where texts are left out, or moved, the pairs that only odd patterns have are not to be trusted.
  for (const [i, conversation] of conversations.entries()) {
    const bytes = rendered[i];
    if (!bytes || split(p, conversation, bytes)) continue;
    for (const at of pairs(p, conversation)) if (!known.get(at)?.usual) barred.add(at);
  }
  p.joints = Array.from({ length: TURN_KINDS }, (_, previous) =>
    Array.from({ length: TURN_KINDS }, (_, next) => {
      const at = previous * TURN_KINDS + next;
      return barred.has(at) ? null : (known.get(at)?.literal ?? null);
    }),
  );
  return null;
}

interface Found {
  /** previous * TURN_KINDS + next. */
  at: number;
  literal: Uint8Array;
}

/** Literals between the sentinels; null when these are not all there, in order, or others are. */
function split(program: TurnProgram, conversation: Conversation, bytes: Uint8Array): Found[] | null {
  const texts = printed(program, conversation);
  if (!texts) return null;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: Found[] = [];
  let previous: number = TURN.start;
  let from = 0;
  for (const { kind, text } of texts) {
    const ends = kind === TURN.end || kind === TURN.generate;
    const at = ends ? buffer.length : buffer.indexOf(utf8.encode(text), from);
    if (at < 0) return null;
    const literal = bytes.slice(from, at);
    if (Buffer.from(literal).includes(MARK)) return null;
    found.push({ at: previous * TURN_KINDS + kind, literal });
    from = at + Buffer.byteLength(text);
    previous = kind;
  }
  return found;
}

/** The joints that a conversation needs. */
function pairs(program: TurnProgram, conversation: Conversation): number[] {
  let previous: number = TURN.start;
  return (printed(program, conversation) ?? []).map(({ kind }) => {
    const at = previous * TURN_KINDS + kind;
    previous = kind;
    return at;
  });
}
