// Rules that hang on what is in a text: empty ones, reasoning marks, names, parts, odd tools.
import type { Lesson } from "./lesson.js";
import { MARK, sentinel, TOOLS } from "./probe-conversations.js";
import type { TurnProgram } from "./turn-program.js";

/** Rules about what is in a text. */
export async function rules(lesson: Lesson): Promise<null> {
  const { program: p } = lesson;
  const carriers: [keyof TurnProgram["emptyUnknown"], string, number][] = [
    ["system", "su", 0],
    ["user", "uau", 0],
    ["user", "uau", 2],
    ["assistant", "uau", 1],
    ["tool", "uctau", 2],
    ["tool", "uct", 2],
  ];
  for (const [role, letters, at] of carriers)
    for (const text of ["", " \n"]) {
      const conversation = lesson.pattern(letters);
      conversation.messages[at]!.content = text;
      // A refusal is no reason to refuse here: there is nothing to route then.
      if ((await lesson.agrees(conversation)) === false) p.emptyUnknown[role] = true;
    }
  for (const letters of ["uau", "ua", "uCt"]) {
    const conversation = lesson.pattern(letters);
    conversation.messages[1]!.content = `<think>\n${sentinel(20)}\n</think>\n\n${sentinel(21)}`;
    if ((await lesson.agrees(conversation)) === false) p.thinkUnknown = true;
  }
  const named = lesson.pattern("suau");
  for (const message of named.messages) message.name = `${MARK}name`;
  if ((await lesson.agrees(named)) === false) p.nameInert = false;
  const parts = lesson.pattern("suau");
  for (const message of parts.messages)
    message.content = [`a${message.content}`, "", "b"].map((text) => ({ type: "text", text }));
  const joined = await lesson.agrees(parts);
  if (joined === false) {
    if (await lesson.agrees(parts, { joinParts: "" })) p.joinParts = "";
    else lesson.bar("parts", "text parts are joined in an unknown way");
  }
  if (lesson.tools) await toolRules(lesson);
  return null;
}

async function toolRules(lesson: Lesson): Promise<void> {
  const { program: p } = lesson;
  const strict = lesson.pattern("u");
  strict.tools = [{ ...TOOLS[0]!, strict: true }];
  if ((await lesson.agrees(strict)) === false)
    p.strictTool = (await lesson.agrees(strict, { strictTool: "dropped" })) ? "dropped" : null;
  const quoted = lesson.pattern("u");
  quoted.tools = [{ ...TOOLS[0]!, description: `"${MARK}"\n\\` }];
  if ((await lesson.agrees(quoted)) === false) p.escapedTool = false;
  const repeated = lesson.pattern("uauau");
  for (const at of [2, 4]) repeated.messages[at]!.content = repeated.messages[0]!.content;
  if ((await lesson.agrees(repeated)) === false) p.repeatedUnknown = true;
}
