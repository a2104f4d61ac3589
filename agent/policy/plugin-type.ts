// What a row of the plugin catalogue says of a type.
import type { Path } from "../config/validate.js";
import type { Build } from "./build.js";
import type { ParameterRule, Parameters } from "./parameters.js";
import type { OpName, ProgramNumber } from "./program.js";

export type PluginKind =
  | "scorer"
  | "filter"
  | "picker"
  | "handler"
  | "decider"
  | "scraper"
  | "producer"
  | "source"
  | "extractor"
  | "parser"
  | "detector"
  | "admitter"
  | "flow policy";

/** What an operation of the program is made of. */
export interface OpParts {
  op: OpName;
  a?: ProgramNumber;
  /** p0 to p3; what is left out is 0. */
  p?: number[];
  flags?: number;
}

export type Runs =
  /** An operation of the profile's program. `path` leads to the plugin's parameters. */
  | { as: "operation"; of: (parameters: Parameters, build: Build, path: Path) => OpParts }
  /** The pods of this role are what the profile begins with. */
  | { as: "role"; role: "decode" | "prefill" }
  /** Chooses profiles, or whether a request is split. */
  | { as: "handler" }
  | { as: "decider" }
  /** Reads metrics of pods in the agent. */
  | { as: "scraper" }
  /** Gateway or agent do so whether it is listed or not; the text says what. */
  | { as: "built-in"; does: string };

export interface PluginType {
  kind: PluginKind;
  /** null = known by name, refused. */
  runs: Runs | null;
  parameters?: Readonly<Record<string, ParameterRule>>;
}

export type PluginRow = [type: string, PluginType];

/** A row of a type that becomes an operation. */
export function operation(
  kind: "scorer" | "filter" | "picker",
  type: string,
  parameters: Readonly<Record<string, ParameterRule>>,
  of: (parameters: Parameters, build: Build, path: Path) => OpParts,
): PluginRow {
  return [type, { kind, runs: { as: "operation", of }, parameters }];
}

/** Rows of types that are known by name and not run. */
export function known(kind: PluginKind, types: string[]): PluginRow[] {
  return types.map((type) => [type, { kind, runs: null }]);
}

/** Rows of types that are done anyway; their parameters are not used. */
export function builtIn(kind: PluginKind, does: string, types: string[], parameters: string[]): PluginRow[] {
  return types.map((type) => [
    type,
    {
      kind,
      runs: { as: "built-in", does },
      parameters: Object.fromEntries(parameters.map((name) => [name, { unused: does }])),
    },
  ]);
}
