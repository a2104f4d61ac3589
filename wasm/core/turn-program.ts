// The turn program in use: what it says of joints, texts and shapes, and whether printing by it can go on. The agent, which
// learns and judges programs, has the same in agent/model/turn-program.ts.
import { JOINT_UNKNOWN, TEMPLATE_TURNS } from "../shared/models-layout";
import { TURN_KINDS, TURNS_EDITS, TURNS_FLAGS, TURNS_JOINTS, TURNS_SHAPES } from "../shared/turns-layout";
import { INEXACT_FIELD, INEXACT_JOINT, inexact, literal, outFull } from "./render";

// Edits, as in agent/model/turn-program.ts.
// @ts-ignore: decorator
@inline
export const EDIT_JSON: u32 = 7;
// @ts-ignore: decorator
@inline
export const EDIT_DROP: u32 = 8;

// Shapes, bits.
// @ts-ignore: decorator
@inline
export const SHAPE_PARTS: u32 = 1;
// @ts-ignore: decorator
@inline
export const SHAPE_CALLS: u32 = 2;
// @ts-ignore: decorator
@inline
export const SHAPE_PARALLEL: u32 = 4;
// @ts-ignore: decorator
@inline
export const SHAPE_RESULTS: u32 = 8;
// @ts-ignore: decorator
@inline
export const SHAPE_REASONING: u32 = 16;
// @ts-ignore: decorator
@inline
export const SHAPE_CONTINUED: u32 = 32;

let blob: usize = 0;
/** The program in use. */
export let program: usize = 0;
/** Its flags. */
export let turnFlags: u32 = 0;
let previous: u32 = 0;
/** A text was not whole: nothing may follow it. */
let broken: bool = false;

/** Begins printing by a template's program for requests with tools or without; false when it has none. */
export function turnsBegin(template: usize, withTools: bool): bool {
  blob = template;
  const offset = load<u32>(template + TEMPLATE_TURNS + (withTools ? 4 : 0));
  if (!offset) return false;
  program = template + offset;
  turnFlags = load<u16>(program, TURNS_FLAGS);
  previous = 0;
  broken = false;
  return true;
}

/** Whether a template has a program for requests without tools, or with them. */
export function turnsKnown(template: usize, withTools: bool): bool {
  return load<u32>(template + TEMPLATE_TURNS + (withTools ? 4 : 0)) != 0;
}

/** Writes what stands between what was printed last and something of `kind`. */
export function turnJoint(kind: u32): void {
  const j = program + TURNS_JOINTS + <usize>((previous * TURN_KINDS + kind) << 3);
  const length = load<u32>(j, 4);
  if (length == JOINT_UNKNOWN) inexact(INEXACT_JOINT);
  else literal(blob + load<u32>(j), length);
  previous = kind;
}

/** What the program does with a text of `kind`. */
export function editOf(kind: u32): u32 {
  return load<u8>(program + TURNS_EDITS + kind);
}

/** Marks the prompt when a shape did not prove exact. */
export function needShape(bit: u32): void {
  if (!(load<u16>(program, TURNS_SHAPES) & bit)) inexact(INEXACT_FIELD);
}

/** Whether printing can go on. */
export function goesOn(): bool {
  return !broken && !outFull;
}

/** Nothing more is printed. */
export function breakOff(): void {
  broken = true;
}

/** What broke off is not shown: printing goes on. */
export function goOn(): void {
  broken = false;
}
