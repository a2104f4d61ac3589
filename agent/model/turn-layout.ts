// Template programs as the bytes that wasm/shared/models-layout.ts and turns-layout.ts lay down.
import type { Strip, TemplateProgram } from "../wire.js";
import {
  CALL_FIELDS,
  EDITS,
  RESULT_FIELDS,
  SYSTEM_PLACES,
  TOOLS_PLACES,
  type TurnProgram,
} from "./turn-program.js";

/** Length of a literal that is not known. */
const JOINT_UNKNOWN = 0xffffffff;
const HEAD_BYTES = 40;
const STRICT = ["printed", "dropped", null] as const;

const bits = (flags: boolean[]): number => flags.reduce((all, flag, i) => all | (flag ? 1 << i : 0), 0);

/** TEMPLATE_FLAGS of a template. */
function plainFlags(t: TemplateProgram): number {
  const { system, user, assistant } = t.emptyUnknown;
  return bits([t.partsUnknown, t.joinParts === "", system, user, assistant, t.thinkUnknown]);
}

/** What stands before the joints of a turn program. */
function turnsHead(p: TurnProgram): Uint8Array {
  const head = new DataView(new ArrayBuffer(HEAD_BYTES));
  const put = (at: number, values: number[]) => {
    for (const [i, value] of values.entries()) head.setUint8(at + i, value);
  };
  const flags = [
    p.toolsFirst,
    p.bareTool,
    p.joinParts === "",
    p.thinkUnknown,
    p.nameInert,
    p.escapedTool,
    p.repeatedUnknown,
  ];
  put(0, [SYSTEM_PLACES.indexOf(p.systemAt), TOOLS_PLACES.indexOf(p.toolsAt)]);
  head.setUint16(2, bits(flags), true);
  const { system, user, assistant, tool } = p.emptyUnknown;
  put(4, [p.toolIndent, p.toolLevel, p.argumentsIndent, bits([system, user, assistant, tool])]);
  put(
    8,
    p.callFields.map((field) => CALL_FIELDS.indexOf(field)),
  );
  put(
    11,
    p.resultFields.map((field) => RESULT_FIELDS.indexOf(field)),
  );
  put(13, [STRICT.indexOf(p.strictTool)]);
  head.setUint16(14, p.shapes, true);
  put(
    16,
    p.edits.map((edit) => EDITS.indexOf(edit)),
  );
  return new Uint8Array(head.buffer);
}

const STRIPS: Record<Strip, number> = { raw: 0, both: 1, left: 2, right: 3 };

/**
 * Writes a template into the models section under construction; its index there.
 * @param x exports of a module with wasm/shared/sections.ts in it.
 * @param put copies bytes into its memory and says where; they are read before the next call.
 */
export function writeTemplate(
  x: { [name: string]: ((...values: number[]) => number) | undefined },
  put: (bytes: Uint8Array) => number,
  t: TemplateProgram,
): number {
  const { system, user, assistant } = t.strip;
  x["templateBegin"]!(
    plainFlags(t),
    STRIPS[system],
    STRIPS[user],
    STRIPS[assistant],
    t.bos ? put(t.bos) : 0,
    t.bos ? t.bos.length : JOINT_UNKNOWN,
  );
  const joints = (name: string, table: (Uint8Array | null)[][]) => {
    for (const [previous, row] of table.entries())
      for (const [next, literal] of row.entries())
        if (literal) x[name]!(previous, next, put(literal), literal.length);
  };
  joints("templateJoint", t.joints);
  for (const [which, turns] of [t.turns.plain, t.turns.tools].entries()) {
    if (!turns) continue;
    x["templateTurns"]!(which, put(turnsHead(turns)));
    joints("turnsJoint", turns.joints);
  }
  if (t.thinkingOff) x["templateThinking"]!(put(t.thinkingOff), t.thinkingOff.length);
  return x["templateEnd"]!();
}
