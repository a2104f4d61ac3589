// Where a template prints system texts and tools, and what it prints of calls and results.
import type { Lesson } from "./lesson.js";
import { sentinel, sentinelId, TOOLS } from "./probe-conversations.js";
import { type Indent, pythonJson } from "./python-json.js";
import { type CallField, type ResultField, TURN, toolText } from "./turn-program.js";

/** Whether each place of `before` is there and precedes the one after it. */
const ordered = (...places: number[]) => places.every((at, i) => at >= 0 && (i === 0 || places[i - 1]! < at));

/** Where the system text and the tools go; null, or why there is no program. */
export async function layout(lesson: Lesson): Promise<string | null> {
  const { program: p } = lesson;
  const four = lesson.pattern("suau");
  let text = await lesson.text(four);
  let places = four.messages.map((m) => (text ?? "").indexOf(m.content as string));
  if (!text) {
    // Some templates refuse a system text.
    const three = lesson.pattern("uau");
    text = (await lesson.text(three)) ?? (await lesson.text(lesson.pattern("u")));
    if (!text) return "the engine accepted no conversation";
    places = [-1, ...three.messages.map((m) => text!.indexOf(m.content as string))];
  } else {
    const [s, u1, a, u2] = places as [number, number, number, number];
    if (!ordered(u1, a, u2)) return "the engine's prompt does not contain the texts as given, in order";
    if (s < 0) p.systemAt = "dropped";
    else if (s > a && s < u2) {
      const ended = await lesson.text(lesson.pattern("sua"));
      p.systemAt = ended?.includes(sentinel(0)) ? "last-user" : "final-user";
    } else if (s > u1) return "the system text is printed in a place of its own";
  }
  if (!lesson.tools) return null;
  const found = findTool(lesson, text);
  if (found === null) {
    if (text.includes(TOOLS[0]!.name)) return "tools are printed field by field";
    p.toolsAt = "dropped";
    return null;
  }
  const [s, u1, a, u2] = places as [number, number, number, number];
  if (found < u1 || u1 < 0)
    p.toolsAt = p.systemAt === "own" && s >= 0 && found > s ? "after-system" : "start";
  else if (found > a && found < u2) {
    p.toolsAt = "last-user";
    p.toolsFirst = found < s;
  } else return "tools are printed in a place of their own";
  return null;
}

function findTool(lesson: Lesson, text: string): number | null {
  const { program: p } = lesson;
  for (const bareTool of [false, true])
    for (const toolIndent of [0, 2, 4] as Indent[])
      for (const toolLevel of [0, 1]) {
        const at = text.indexOf(
          toolText(TOOLS[0]!, { bareTool, toolIndent, toolLevel, strictTool: "printed" }),
        );
        if (at < 0) continue;
        Object.assign(p, { bareTool, toolIndent, toolLevel });
        return at;
      }
  return null;
}

/** Which fields of calls and results are printed, in which order; which texts are dropped. */
export async function fields(lesson: Lesson): Promise<null> {
  const { program: p } = lesson;
  const loop = lesson.pattern("uct");
  const [, asks, answers] = loop.messages;
  const call = asks!.calls![0]!;
  answers!.callId = sentinelId(30);
  const text = await lesson.text(loop);
  if (text === null) {
    for (const shape of ["calls", "parallel", "results"] as const)
      lesson.bar(shape, "the engine refuses tool calls");
  } else {
    const places: [CallField, number][] = [
      ["name", text.indexOf(call.name)],
      ["id", text.indexOf(call.id)],
      ["arguments", -1],
    ];
    for (const indent of [0, 2, 4] as Indent[]) {
      const at = text.indexOf(pythonJson(call.arguments, indent));
      if (at < 0) continue;
      places[2]![1] = at;
      p.argumentsIndent = indent;
      break;
    }
    p.callFields = places
      .filter(([, at]) => at >= 0)
      .sort((a, b) => a[1] - b[1])
      .map(([field]) => field);
    const results: [ResultField, number][] = [
      ["content", text.indexOf(answers!.content as string)],
      ["id", text.indexOf(answers!.callId)],
    ];
    p.resultFields = results
      .filter(([, at]) => at >= 0)
      .sort((a, b) => a[1] - b[1])
      .map(([field]) => field);
  }
  const shown = async (letters: string, at: number, field: "content" | "reasoning", kind: number) => {
    const probe = lesson.pattern(letters);
    const out = await lesson.text(probe);
    if (out !== null && !out.includes(probe.messages[at]![field] as string)) p.edits[kind] = "drop";
  };
  await shown("uru", 1, "reasoning", TURN.reasoning);
  await shown("uqt", 1, "reasoning", TURN.reasoningLate);
  await shown("ur", 1, "reasoning", TURN.reasoningLast);
  await shown("uCtau", 1, "content", TURN.callText);
  await shown("uCt", 1, "content", TURN.callTextLate);
  return null;
}
