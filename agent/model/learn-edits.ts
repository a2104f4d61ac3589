// What a template does to the white space around texts.
import type { Lesson } from "./lesson.js";
import { sentinel } from "./probe-conversations.js";
import { EDITS, printed, renderTurns, TURN } from "./turn-program.js";

/** What is done to the white space around each kind of text; null, or why there is no program. */
export async function edits(lesson: Lesson): Promise<string | null> {
  const { program: p } = lesson;
  const carriers: [number, string, number, "content" | "reasoning"][] = [
    [TURN.system, "su", 0, "content"],
    [TURN.system, "us", 1, "content"],
    [TURN.user, "u", 0, "content"],
    [TURN.assistant, "uau", 1, "content"],
    [TURN.assistantLate, "uaa", 1, "content"],
    [TURN.assistantLast, "ua", 1, "content"],
    [TURN.callText, "uCtau", 1, "content"],
    [TURN.callTextLate, "uCt", 1, "content"],
    [TURN.reasoning, "uru", 1, "reasoning"],
    [TURN.reasoningLate, "uqt", 1, "reasoning"],
    [TURN.reasoningLast, "ur", 1, "reasoning"],
    [TURN.textAfter, "uru", 1, "content"],
    [TURN.textAfter, "ur", 1, "content"],
    [TURN.textAfter, "uQt", 1, "content"],
    [TURN.result, "uct", 2, "content"],
  ];
  const judged = new Set<number>();
  for (const generationPrompt of [true, false])
    for (const [kind, letters, at, field] of carriers) {
      if (p.edits[kind] === "drop" || judged.has(kind)) continue;
      const conversation = lesson.pattern(letters, generationPrompt);
      const message = conversation.messages[at]!;
      message[field] = `\n\u3000 \t${message[field]} "\\q\n${sentinel(33)} \u00a0\x1c\n`;
      const place = kind === TURN.result && p.resultFields[0] !== "content" ? TURN.resultSecond : kind;
      if (!printed(p, conversation)?.some((text) => text.kind === place) || !renderTurns(p, conversation))
        continue;
      const real = await lesson.renderer.chat(conversation);
      if (!real) continue;
      const edit = EDITS.filter((e) => e !== "drop").find((candidate) => {
        const edits = p.edits.with(kind, candidate);
        const ours = renderTurns({ ...p, edits }, conversation);
        return ours !== null && Buffer.compare(ours, real) === 0;
      });
      if (edit) {
        judged.add(kind);
        p.edits[kind] = edit;
      } else if (kind <= TURN.assistant)
        return `the white space around ${message.role} text is treated in an unknown way`;
    }
  // A kind of text that was not seen with white space is not known.
  for (const [kind] of carriers) if (!judged.has(kind)) forget(lesson, kind);
  return null;
}

/** Makes every conversation with a text of this kind unknown. */
function forget(lesson: Lesson, kind: number): void {
  const { edits, joints } = lesson.program;
  if (edits[kind] !== "drop") for (const row of joints) row[kind] = null;
}
