// Expressions over a pod's columns and the request's facts → instructions of a stack machine. The text is parsed by
// jsep, which knows JavaScript's operators and nothing that runs.
import jsep from "jsep";
import { nearest } from "../config/validate.js";
import type { CodeName, ProgramCode, ProgramNumber } from "./program.js";

/** What an expression may name, beside custom columns; wasm/shared/program-layout.ts has the same. */
export const VARIABLES = [
  "waiting",
  "running",
  "kvUsage",
  "inflightRequests",
  "inflightTokens",
  "cachedTokens",
  "promptTokens",
  "uncachedTokens",
  "rate",
  "capacityTokens",
] as const;

/** Instructions of one expression, and columns on its stack at a time; the filter refuses more. */
const MAX_INSTRUCTIONS = 64;
const MAX_STACK = 12;

const UNARY: Readonly<Record<string, CodeName>> = {
  abs: "Absolute",
  floor: "Floor",
  sqrt: "SquareRoot",
  exp: "Exponential",
  log: "Logarithm",
};
const BINARY: Readonly<Record<string, CodeName>> = {
  "+": "Add",
  "-": "Subtract",
  "*": "Multiply",
  "/": "Divide",
  "<": "Less",
  "<=": "AtMost",
  "==": "Equal",
  "===": "Equal",
  "&&": "And",
  "||": "Or",
};
const FUNCTIONS = [...Object.keys(UNARY), "min", "max", "clamp"];

/**
 * Compiles an expression. `column`: number of the custom column of a name, null when there is none of that name.
 * @throws Error saying what is not understood.
 */
export function compileExpression(text: string, column: (name: string) => number | null): ProgramCode[] {
  const code: ProgramCode[] = [];
  const emit = (name: CodeName, argument: ProgramNumber = 0, constant = 0) =>
    code.push({ code: name, argument, constant });

  const walk = (node: jsep.Expression): void => {
    if (code.length > MAX_INSTRUCTIONS) return;
    switch (node.type) {
      case "Literal": {
        const { value } = node as jsep.Literal;
        if (typeof value === "boolean") emit("Constant", 0, value ? 1 : 0);
        else if (typeof value === "number" && Number.isFinite(value)) emit("Constant", 0, value);
        else throw new Error(`${JSON.stringify(value)} is not a number`);
        return;
      }
      case "Identifier":
        name((node as jsep.Identifier).name);
        return;
      case "UnaryExpression": {
        const { operator, argument } = node as jsep.UnaryExpression;
        walk(argument);
        if (operator === "-") emit("Negate");
        else if (operator === "!") emit("Not");
        else if (operator !== "+") throw new Error(`there is no operator ${operator}`);
        return;
      }
      case "BinaryExpression":
      case "LogicalExpression":
        binary(node as jsep.BinaryExpression);
        return;
      case "ConditionalExpression": {
        const { test, consequent, alternate } = node as jsep.ConditionalExpression;
        for (const part of [test, consequent, alternate]) walk(part);
        emit("Select");
        return;
      }
      case "CallExpression":
        call(node as jsep.CallExpression);
        return;
      default:
        throw new Error(
          `only numbers, names, operators, conditions and functions are understood, no ${node.type}`,
        );
    }
  };

  const name = (given: string): void => {
    const custom = column(given);
    if ((VARIABLES as readonly string[]).includes(given)) emit("Variable", `Variable.${given}`);
    else if (custom !== null) emit("Column", custom);
    else {
      const near = nearest(given, VARIABLES);
      throw new Error(
        `nothing is called ${JSON.stringify(given)}; ${
          near
            ? `did you mean ${JSON.stringify(near)}?`
            : `there are: ${VARIABLES.join(", ")}, and scraped attributes`
        }`,
      );
    }
  };

  const binary = ({ operator, left, right }: jsep.BinaryExpression): void => {
    // a > b is b < a, and a != b is not a == b.
    const swapped = operator === ">" || operator === ">=";
    for (const part of swapped ? [right, left] : [left, right]) walk(part);
    if (operator === "!=" || operator === "!==") {
      emit("Equal");
      emit("Not");
      return;
    }
    const found = BINARY[swapped ? operator.replace(">", "<") : operator];
    if (!found) throw new Error(`there is no operator ${operator}`);
    emit(found);
  };

  const call = ({ callee, arguments: given }: jsep.CallExpression): void => {
    const called = callee.type === "Identifier" ? (callee as jsep.Identifier).name : "";
    const unary = Object.hasOwn(UNARY, called) ? UNARY[called] : undefined;
    const wants = (n: number) => {
      if (given.length !== n) throw new Error(`${called} takes ${n} values, not ${given.length}`);
    };
    if (unary) {
      wants(1);
      walk(given[0]!);
      emit(unary);
    } else if (called === "min" || called === "max") {
      if (given.length < 2) throw new Error(`${called} takes two values or more`);
      given.forEach((part, i) => {
        walk(part);
        if (i > 0) emit(called === "min" ? "Minimum" : "Maximum");
      });
    } else if (called === "clamp") {
      wants(3);
      walk(given[0]!);
      walk(given[1]!);
      emit("Maximum");
      walk(given[2]!);
      emit("Minimum");
    } else
      throw new Error(`there is no function ${called || "of that form"}; there are: ${FUNCTIONS.join(", ")}`);
  };

  walk(parse(text));
  if (code.length > MAX_INSTRUCTIONS)
    throw new Error(`it is too long: more than ${MAX_INSTRUCTIONS} names, numbers and operations`);
  if (deepest(code) > MAX_STACK) throw new Error("it is too deeply nested");
  return code;
}

function parse(text: string): jsep.Expression {
  try {
    return jsep(text);
  } catch (error) {
    throw new Error(
      `${(error as Error).message}; it must be one expression such as kvUsage < 0.9 ? 1 - waiting / 10 : 0`,
    );
  }
}

function deepest(code: ProgramCode[]): number {
  let depth = 0;
  let most = 0;
  for (const { code: name } of code) {
    if (name === "Constant" || name === "Variable" || name === "Column") depth++;
    else if (name === "Select") depth -= 2;
    else if (!["Negate", "Not", ...Object.values(UNARY)].includes(name)) depth--;
    most = Math.max(most, depth);
  }
  return most;
}
