// What may stand at a plugin's parameter, and how it is read: with its default, or as a mistake or note about it.
import { DURATION_PATTERN, durationMs } from "../config/duration.js";
import { type Mistake, nearest, type Path } from "../config/validate.js";

export type ParameterRule =
  | { is: "number"; default: number; from: number; to: number; whole?: boolean }
  | { is: "flag"; default: boolean }
  /** `default: null` = it must be given. */
  | { is: "text"; default: string | null }
  | { is: "choice"; of: readonly string[]; default: string }
  /** Read as ms. */
  | { is: "duration"; default: string; from: number; to: number }
  /** A shape that the plugin checks by itself. */
  | { is: "value" }
  /** This value alone: it is what runs. */
  | { only: number | string | boolean; because?: string }
  /** Anything, or a whole number within bounds; it is not used, and the text says why. */
  | { unused: string; bounds?: [from: number, to: number] }
  /** Known and not run. */
  | { refused: string };

/** Values by name: defaults for what is not given, durations in ms. */
export class Parameters {
  readonly #values: Record<string, unknown>;
  readonly #given: ReadonlySet<string>;

  constructor(values: Record<string, unknown>, given: ReadonlySet<string>) {
    this.#values = values;
    this.#given = given;
  }

  /** Whether somebody wrote it. */
  has(name: string): boolean {
    return this.#given.has(name);
  }

  number(name: string): number {
    return this.#values[name] as number;
  }

  flag(name: string): boolean {
    return this.#values[name] as boolean;
  }

  text(name: string): string {
    return this.#values[name] as string;
  }

  value(name: string): unknown {
    return this.#values[name];
  }
}

/** Reads the parameters of a plugin; null when they are wrong. */
export function readParameters(
  plugin: string,
  rules: Readonly<Record<string, ParameterRule>>,
  given: Record<string, unknown>,
  path: Path,
  mistakes: Mistake[],
  notes: Mistake[],
): Parameters | null {
  const before = mistakes.length;
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    const at = [...path, name];
    if (!rule) mistakes.push({ path: at, message: unknownParameter(plugin, name, Object.keys(rules)) });
    else if ("refused" in rule)
      mistakes.push({ path: at, message: `is known but not run: ${rule.refused}; remove it` });
    else if ("unused" in rule && withinBounds(rule.bounds, value))
      notes.push({ path: at, message: `is not used: ${rule.unused}` });
    else {
      const wrong = problemOf(rule, value);
      if (wrong) mistakes.push({ path: at, message: `${wrong}, not ${shown(value)}` });
      else values[name] = "is" in rule && rule.is === "duration" ? durationMs(String(value)) : value;
    }
  }
  for (const [name, rule] of Object.entries(rules)) {
    if (!("is" in rule) || rule.is === "value" || Object.hasOwn(given, name)) continue;
    if (rule.default === null)
      mistakes.push({ path, message: `parameter ${JSON.stringify(name)} of ${plugin} is missing` });
    else values[name] = rule.is === "duration" ? durationMs(rule.default) : rule.default;
  }
  return mistakes.length > before ? null : new Parameters(values, new Set(Object.keys(given)));
}

function unknownParameter(plugin: string, name: string, known: string[]): string {
  const near = nearest(name, known);
  return `unknown parameter ${JSON.stringify(name)} of ${plugin}; ${
    near !== null
      ? `did you mean ${JSON.stringify(near)}?`
      : known.length > 0
        ? `known ones: ${known.join(", ")}`
        : "it has none"
  }`;
}

function withinBounds(bounds: [number, number] | undefined, value: unknown): boolean {
  return !bounds || (Number.isInteger(value) && Number(value) >= bounds[0] && Number(value) <= bounds[1]);
}

/** What is wrong with a value, null when nothing is. */
function problemOf(rule: Exclude<ParameterRule, { refused: string }>, value: unknown): string | null {
  if ("unused" in rule) return `must be a whole number from ${rule.bounds![0]} to ${rule.bounds![1]}`;
  if ("only" in rule)
    return value === rule.only
      ? null
      : `must be ${rule.only}, which is ${rule.because ?? "what gateways run"}`;
  switch (rule.is) {
    case "number":
      return typeof value === "number" &&
        value >= rule.from &&
        value <= rule.to &&
        (!rule.whole || Number.isInteger(value))
        ? null
        : `must be a ${rule.whole ? "whole " : ""}number from ${rule.from} to ${rule.to}`;
    case "flag":
      return typeof value === "boolean" ? null : "must be true or false";
    case "text":
      return typeof value === "string" && value.length > 0 && value.length <= 1000
        ? null
        : "must be a text of 1 to 1000 characters";
    case "choice":
      return rule.of.includes(String(value)) ? null : `must be one of ${rule.of.join(", ")}`;
    case "duration": {
      const ms = new RegExp(DURATION_PATTERN).test(String(value)) ? durationMs(String(value)) : -1;
      return ms >= rule.from && ms <= rule.to
        ? null
        : `must be a duration from ${rule.from} ms to ${rule.to / 1000} s such as 5s or 500ms`;
    }
    default:
      return null;
  }
}

/** A value as a message shows it. */
export function shown(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
