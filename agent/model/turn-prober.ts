// Learns how an engine prints conversations, without tools or with them: probes whose texts are sentinels show what is
// printed where, and the literals are what stands between.
import { edits } from "./learn-edits.js";
import { joints } from "./learn-joints.js";
import { fields, layout } from "./learn-layout.js";
import { rules } from "./learn-rules.js";
import { Lesson } from "./lesson.js";
import type { Wanted } from "./random-conversation.js";
import type { PromptRenderer } from "./template-prober.js";
import { SHAPE, type Shape, type TurnProgram } from "./turn-program.js";
import { verifyTurns } from "./verify-turns.js";

export type TurnProbe =
  | { program: TurnProgram; verified: number; inexact: Partial<Record<Shape, string>> }
  | { program: null; reason: string };

/** Random conversations that must come out byte for byte, without and with each shape that is not plain text. */
const VERIFY_PLAIN = 40;
const VERIFY_SHAPE = 16;
/** Share of them that the engine must accept. */
const ACCEPTED = 0.6;

/**
 * Learns and verifies one program.
 * @param tools the requests have tools.
 * @throws what the renderer throws when the engine does not answer.
 */
export async function probeTurns(
  renderer: PromptRenderer,
  tools: boolean,
  random: () => number,
): Promise<TurnProbe> {
  const lesson = new Lesson(renderer, tools, random);
  for (const step of [layout, fields, joints, edits, rules, verify]) {
    const reason = await step(lesson);
    if (reason) return { program: null, reason };
  }
  return { program: lesson.program, verified: lesson.verified, inexact: lesson.inexact };
}

/** Plain text, then each other shape on top of it, on random conversations; what fails is left out. */
async function verify(lesson: Lesson): Promise<string | null> {
  const wrong = await judge(lesson, { tools: lesson.tools }, VERIFY_PLAIN);
  if (wrong) return wrong;
  const shapes: [Shape, Wanted][] = [
    ["parts", { parts: true }],
    ["calls", { calls: true }],
    ["results", { calls: true }],
    ["parallel", { calls: true, parallel: true }],
    ["reasoning", { reasoning: true }],
    ["reasoning", { reasoning: true, calls: true }],
    ["continued", { continued: true }],
  ];
  for (const [shape, wanted] of shapes) {
    if (!(lesson.program.shapes & SHAPE[shape])) continue;
    if (wanted.calls && !(lesson.program.shapes & SHAPE.calls)) {
      if (shape !== "reasoning") lesson.bar(shape, lesson.inexact.calls ?? "tool calls are not exact");
      continue;
    }
    const reason = await judge(lesson, { ...wanted, tools: lesson.tools }, VERIFY_SHAPE);
    if (!reason) continue;
    if (shape === "calls") lesson.bar("results", reason);
    lesson.bar(shape, reason);
  }
  return null;
}

async function judge(lesson: Lesson, wanted: Wanted, count: number): Promise<string | null> {
  const { program, renderer, random } = lesson;
  const result = await verifyTurns(renderer, program, wanted, count, random);
  if (result.mismatch) return result.mismatch;
  if (result.made === 0) return "no such conversation came out as expected while learning";
  if (result.accepted < count * ACCEPTED)
    return `the engine accepted only ${result.accepted} of the verification's conversations`;
  lesson.verified += result.accepted;
  return null;
}
