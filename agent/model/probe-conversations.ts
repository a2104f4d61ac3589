// Conversations to ask an engine for: texts are sentinels, so that what it prints shows where each of them goes.
import type { ChatMessage, Conversation, Tool } from "./conversation.js";

/** Every sentinel begins with it; no template has it. */
export const MARK = "Qz";

/** Plain words that no template holds and no rule about white space touches. */
export function sentinel(k: number): string {
  return `${MARK}${k.toString(36).padStart(2, "0")}WarmgatevX`;
}

/** Of nine letters and digits, which is what Mistral's templates insist on. */
export function sentinelId(k: number): string {
  return `${MARK}${k.toString(36).padStart(2, "0")}idIdI`;
}

export const TOOLS = [0, 1, 2].map(
  (k): Tool => ({
    name: `${MARK}Tool${k}`,
    description: `${MARK}Says${k}`,
    parameters: {
      type: "object",
      properties: {
        [`${MARK}Key${k}`]: { type: "string", description: `${MARK}Of${k}` },
        count: { type: "integer" },
      },
      required: [`${MARK}Key${k}`],
    },
  }),
);

/** The conversation of a pattern, with so many tools. */
export function sentinels(pattern: string, tools: number, generationPrompt = true): Conversation {
  let k = 0;
  const text = () => sentinel(k++);
  let calls: string[] = [];
  const messages = [...pattern].map((letter): ChatMessage => {
    const call = () => {
      const id = sentinelId(k++);
      calls.push(id);
      return { id, name: `${MARK}Call${k++}`, arguments: { [`${MARK}a${k++}`]: sentinel(k++), n: 1 } };
    };
    switch (letter) {
      case "s":
        return { role: "system", content: text() };
      case "u":
        calls = [];
        return { role: "user", content: text() };
      case "a":
        return { role: "assistant", content: text() };
      case "r":
        return { role: "assistant", reasoning: text(), content: text() };
      case "c":
        return { role: "assistant", content: null, calls: [call()] };
      case "C":
        return { role: "assistant", content: text(), calls: [call()] };
      case "2":
        return { role: "assistant", content: null, calls: [call(), call()] };
      case "q":
        return { role: "assistant", reasoning: text(), content: null, calls: [call()] };
      case "Q":
        return { role: "assistant", reasoning: text(), content: text(), calls: [call()] };
      default:
        return { role: "tool", content: text(), callId: calls.shift() ?? sentinelId(k++) };
    }
  });
  return { messages, generationPrompt, ...(tools ? { tools: TOOLS.slice(0, tools) } : {}) };
}

/** Which turns a conversation has, and what it stands for. */
export interface Pattern {
  letters: string;
  generationPrompt: boolean;
  /** What chats look like: where patterns disagree these are right, and the others inexact. */
  usual: boolean;
  tools: number;
}

const USUAL = ["u", "su", "uau", "suau", "uauau", "suauau"];

/** Patterns to learn from: enough for each pair of neighbours in chats that clients have, and in short odd ones. */
export function patterns(calls: boolean, reasoning: boolean, withTools: boolean): Pattern[] {
  const odd: string[] = [];
  let row = [""];
  for (let length = 1; length <= 3; length++) {
    row = row.flatMap((letters) => ["s", "u", "a"].map((letter) => letters + letter));
    odd.push(...row.filter((letters) => !USUAL.includes(letters)));
  }
  const loops = calls ? ["ct", "Ct", "ctct", "2tt", "2ttct", "ct2tt", "CtCt", "ctCt"] : [];
  if (calls && reasoning) loops.push("qt", "Qt", "qtqt", "qtct", "ctqt");
  const turns: string[] = [];
  for (const first of ["u", "su"])
    for (const loop of loops)
      for (const rest of ["", "a", "au", "u", ...(reasoning ? ["r", "ru"] : [])])
        turns.push(first + loop + rest);
  for (const loop of loops) turns.push(`u${loop}au${loop}`, `u${loop}u${loop}au`);
  if (reasoning) turns.push("ur", "uru", "suru", "ururu", "urau", "uaru", "ura", "uar");
  const tools = withTools ? 2 : 0;
  const make = (letters: string[], generationPrompt: boolean, usual: boolean, count = tools): Pattern[] =>
    letters.map((l) => ({ letters: l, generationPrompt, usual, tools: count }));
  return [
    ...make(USUAL, true, true),
    ...make(USUAL, false, true),
    ...(withTools ? [1, 3].flatMap((count) => make(USUAL, true, true, count)) : []),
    ...make(turns, true, false),
    ...make(
      [...turns, ...odd].filter((letters) => letters.length < 3),
      false,
      false,
    ),
    ...make(odd, true, false),
  ];
}
