// The table of plain chats that the filter uses first, made from the program of conversations without tools.
import type { Strip, TemplateProgram } from "../wire.js";
import { type Edit, SHAPE, TURN, type TurnProgram } from "./turn-program.js";

type Joints = (Uint8Array | null)[][];

const STRIPS: Partial<Record<Edit, Strip>> = { raw: "raw", both: "both", left: "left", right: "right" };
const { start, system, user, assistant, end, generate, assistantLate, assistantLast } = TURN;
const LATE = [assistantLate, assistantLast];

function same(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return !a || !b || Buffer.compare(a, b) === 0;
}

/** Whether an assistant's text is printed alike wherever it stands, as far as was seen. */
function placeless({ edits, joints }: TurnProgram): boolean {
  return LATE.every(
    (kind) =>
      edits[kind] === edits[assistant] &&
      [start, system, user].every((previous) =>
        same(joints[previous]![kind]!, joints[previous]![assistant]!),
      ) &&
      [user, system, end, generate].every((next) => same(joints[kind]![next]!, joints[assistant]![next]!)),
  );
}

/** Literals by previous and next of start, system, user, assistant, end, end with a generation prompt. */
function plainJoints(p: TurnProgram): Joints {
  const joints = Array.from({ length: 6 }, (_, previous) => p.joints[previous]!.slice(0, 6));
  if (p.systemAt !== "own") for (let k = 0; k < 6; k++) joints[system]![k] = joints[k]![system] = null;
  const row = joints[assistant]!;
  if (placeless(p)) {
    const last = p.joints[assistantLast]!;
    row[end] = last[end]!;
    row[generate] = last[generate]!;
    const two = [p.joints[assistant]![assistant]!, p.joints[assistantLate]![assistantLast]!];
    row[assistant] = same(two[0]!, two[1]!) ? (two[0] ?? two[1]!) : null;
    joints[user]![assistant] ??= p.joints[user]![assistantLast] ?? p.joints[user]![assistantLate]!;
  } else row[end] = row[generate] = row[assistant] = row[system] = null;
  // A chat that an assistant begins may have no user turn; only a turn program looks for it.
  joints[start]![assistant] = joints[system]![assistant] = null;
  return joints;
}

/** What the filter gets: the plain table, and the programs for what the table does not cover. */
export function templateProgram(
  plain: TurnProgram | null,
  tools: TurnProgram | null,
  bos: Uint8Array | null,
): TemplateProgram {
  const strips = [system, user, assistant].map((kind) => plain && STRIPS[plain.edits[kind]!]);
  const usable = plain !== null && strips.every((strip) => strip);
  return {
    joints: usable ? plainJoints(plain) : Array.from({ length: 6 }, () => new Array<null>(6).fill(null)),
    strip: usable
      ? { system: strips[0]!, user: strips[1]!, assistant: strips[2]! }
      : { system: "raw", user: "raw", assistant: "raw" },
    bos,
    partsUnknown: plain !== null && !(plain.shapes & SHAPE.parts),
    joinParts: plain?.joinParts ?? "\n",
    emptyUnknown: plain?.emptyUnknown ?? { system: false, user: false, assistant: false },
    thinkUnknown: plain?.thinkUnknown ?? false,
    turns: { plain, tools },
  };
}

const DATES =
  /\b(?:\d{1,2} [A-Z][a-z]{2,8}\.?,? 20\d\d|[A-Z][a-z]{2,8}\.? \d{1,2},? 20\d\d|20\d\d-\d\d-\d\d|20\d\d\/\d\d\/\d\d)\b/g;
const DAY_MS = 86_400_000;

/** Whether a literal holds today's date, or a neighbour's in another time zone: it is another text tomorrow. */
export function holdsToday(program: TemplateProgram, now: number): boolean {
  const literals = [program.turns.plain, program.turns.tools].flatMap((p) => p?.joints.flat() ?? []);
  return literals.some((literal) =>
    (literal ? (Buffer.from(literal).toString().match(DATES) ?? []) : []).some(
      (date) => Math.abs(Date.parse(`${date.replace(".", "")} UTC`) - now) < 2 * DAY_MS,
    ),
  );
}
