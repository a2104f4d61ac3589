// Turn programs of random content: any template that the agent's renderer can print by, likely or not.
import {
  type CallField,
  EDITS,
  type ResultField,
  SYSTEM_PLACES,
  TOOLS_PLACES,
  TURN,
  TURN_KINDS,
  type TurnProgram,
} from "../../agent/model/turn-program.js";
import type { Random } from "./random.js";

const CALL_ORDERS: CallField[][] = [["name", "arguments"], ["arguments", "name", "id"], ["id", "name"], []];
const RESULT_ORDERS: ResultField[][] = [["content"], ["id", "content"], ["content", "id"], []];

/** Kinds whose texts are a client's, and those that a template may leave out. */
const DROPPED: number[] = [
  TURN.callText,
  TURN.callTextLate,
  TURN.reasoning,
  TURN.reasoningLate,
  TURN.reasoningLast,
];
const TEXTS: number[] = [
  ...[
    TURN.system,
    TURN.user,
    TURN.assistant,
    TURN.assistantLate,
    TURN.assistantLast,
    TURN.result,
    TURN.textAfter,
  ],
  ...DROPPED,
];

/** A program by the numbers of `r`. */
export function randomProgram(r: Random): TurnProgram {
  const flag = () => r.oneIn(2);
  const few = r.pick([1000, 60, 8]);
  return {
    systemAt: r.oneIn(2) ? "own" : r.pick(SYSTEM_PLACES),
    toolsAt: r.pick(TOOLS_PLACES),
    toolsFirst: flag(),
    bareTool: flag(),
    toolIndent: r.pick([0, 2, 4] as const),
    toolLevel: r.below(2),
    argumentsIndent: r.pick([0, 0, 2, 4] as const),
    callFields: r.pick(CALL_ORDERS),
    resultFields: r.pick(RESULT_ORDERS),
    edits: Array.from({ length: TURN_KINDS }, (_, kind) => {
      if (!TEXTS.includes(kind) || r.oneIn(2)) return "raw";
      const edit = r.pick(EDITS);
      return edit === "drop" && !DROPPED.includes(kind) ? "raw" : edit;
    }),
    shapes: r.oneIn(3) ? r.below(64) : 63,
    joinParts: r.oneIn(3) ? "" : "\n",
    emptyUnknown: { system: r.oneIn(4), user: r.oneIn(4), assistant: r.oneIn(4), tool: r.oneIn(4) },
    thinkUnknown: flag(),
    nameInert: flag(),
    strictTool: r.pick(["printed", "dropped", null] as const),
    escapedTool: !r.oneIn(4),
    repeatedUnknown: r.oneIn(4),
    joints: Array.from({ length: TURN_KINDS }, (_, previous) =>
      Array.from({ length: TURN_KINDS }, (_, next) =>
        r.oneIn(few) ? null : Buffer.from(r.oneIn(8) ? "" : `<${previous}>${next}|`),
      ),
    ),
  };
}
