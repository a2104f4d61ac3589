// Checks a YAML document, or a plain value, against a schema and says where each mistake stands.
import { closest, distance } from "fastest-levenshtein";
import { Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node } from "yaml";

/** The part of JSON Schema that the configuration uses. */
interface Schema {
  type?: string;
  const?: unknown;
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  patternProperties?: Record<string, Schema>;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  examples?: string[];
}

/** Keys and indexes from the document down to a value; empty for the document. */
export type Path = readonly (string | number)[];

/** What is wrong, and at which value. */
export interface Mistake {
  path: Path;
  message: string;
}

export interface Problem extends Mistake {
  /** 1-based. */
  line: number;
  /** 1-based. */
  column: number;
}

/** A path as people write it: `pools[0].pods[1].address`. */
export function dotted(path: Path): string {
  return path.map((p, i) => (typeof p === "number" ? `[${p}]` : i ? `.${p}` : p)).join("");
}

/** A path as a JSON pointer (RFC 6901): `/pools/0/pods/1/address`. */
export function pointer(path: Path): string {
  return path.map((p) => `/${String(p).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/** All mistakes of a plain value, such as parsed JSON. */
export function mistakesOf(value: unknown, schema: unknown): Mistake[] {
  return problemsOf(new Document(value), new LineCounter(), schema);
}

/** All problems of the document, in the order they stand in it. */
export function problemsOf(doc: Document, lines: LineCounter, schema: unknown): Problem[] {
  const problems: Problem[] = [];
  const report = (node: Node | null | undefined, path: Path, message: string) => {
    const { line, col } = lines.linePos(node?.range?.[0] ?? 0);
    problems.push({ line: Math.max(1, line), column: Math.max(1, col), path, message });
  };

  const check = (given: Node | null | undefined, at: Schema, path: Path, owner: Node | null): void => {
    // A schema without a word allows anything.
    if (at.type === undefined && at.const === undefined && at.anyOf === undefined) return;
    const node = isAlias(given) ? given.resolve(doc) : given;
    const where = given ?? owner;
    if (at.anyOf) {
      const values = at.anyOf.map((option) => option.const);
      if (!isScalar(node) || !values.includes(node.value))
        report(where, path, `must be one of ${values.join(", ")}${found(node)}`);
      return;
    }
    if (at.type === "object") checkMap(node, at, path, where ?? null);
    else if (at.type === "array") checkList(node, at, path, where ?? null);
    else {
      const problem = isScalar(node) ? scalarProblem(node.value, at) : wanted(at);
      if (problem) report(where, path, `${problem}${found(node)}`);
    }
  };

  const checkList = (node: unknown, at: Schema, path: Path, where: Node | null): void => {
    if (!isSeq(node)) {
      report(where, path, `must be a list${found(node)}`);
      return;
    }
    if (node.items.length < (at.minItems ?? 0)) report(where, path, `needs at least ${at.minItems} entry`);
    if (node.items.length > (at.maxItems ?? Infinity))
      report(where, path, `has ${node.items.length} entries, at most ${at.maxItems} are possible`);
    node.items.forEach((item, i) => {
      check(item as Node, at.items!, [...path, i], node);
    });
  };

  const checkMap = (node: unknown, at: Schema, path: Path, where: Node | null): void => {
    if (!isMap(node)) {
      report(where, path, `must be a mapping${found(node)}`);
      return;
    }
    const known = at.properties;
    const seen = new Set<string>();
    for (const { key, value } of node.items) {
      const name = String(isScalar(key) ? key.value : key);
      seen.add(name);
      const below = [...path, name];
      const next = known
        ? Object.hasOwn(known, name)
          ? known[name]
          : undefined
        : Object.values(at.patternProperties ?? {})[0];
      if (next) check(value as Node | null, next, below, key as Node);
      else
        report(
          key as Node,
          below,
          `unknown key ${JSON.stringify(name)}; ${suggestion(name, Object.keys(known ?? {}))}`,
        );
    }
    for (const name of at.required ?? [])
      if (!seen.has(name)) report(where, path, `key ${JSON.stringify(name)} is missing`);
  };

  check(doc.contents as Node | null, schema as Schema, [], null);
  return problems.sort((a, b) => a.line - b.line || a.column - b.column);
}

function suggestion(name: string, known: string[]): string {
  if (known.length === 0) return "no keys are known here";
  const near = nearest(name, known);
  return near === null ? `known keys here: ${known.join(", ")}` : `did you mean ${JSON.stringify(near)}?`;
}

/** The known word that was probably meant, null when none is near. */
export function nearest(name: string, known: readonly string[]): string | null {
  if (known.length === 0) return null;
  const near = closest(name, known);
  return distance(name.toLowerCase(), near.toLowerCase()) <= Math.max(2, name.length / 3) ? near : null;
}

function scalarProblem(value: unknown, at: Schema): string | null {
  if (at.const !== undefined) return value === at.const ? null : wanted(at);
  const ok =
    at.type === "string"
      ? typeof value === "string" &&
        value.length >= (at.minLength ?? 0) &&
        value.length <= (at.maxLength ?? Infinity) &&
        (at.pattern === undefined || new RegExp(at.pattern).test(value))
      : at.type === "boolean"
        ? typeof value === "boolean"
        : typeof value === "number" &&
          (at.type !== "integer" || Number.isSafeInteger(value)) &&
          value >= (at.minimum ?? -Infinity) &&
          value <= (at.maximum ?? Infinity);
  return ok ? null : wanted(at);
}

function wanted(at: Schema): string {
  if (at.const !== undefined) return `must be ${JSON.stringify(at.const)}`;
  if (at.type === "string") {
    if (at.examples) return `must be a text like ${at.examples.join(" or ")}`;
    return at.minLength
      ? `must be a text of ${at.minLength} to ${at.maxLength} characters`
      : "must be a text";
  }
  if (at.type === "boolean") return "must be true or false";
  const kind = at.type === "integer" ? "a whole number" : "a number";
  if (at.maximum !== undefined) return `must be ${kind} from ${at.minimum} to ${at.maximum}`;
  return at.minimum !== undefined ? `must be ${kind} of at least ${at.minimum}` : `must be ${kind}`;
}

function found(node: unknown): string {
  if (node === null || node === undefined) return ", but it is empty";
  if (isScalar(node))
    return node.value === null ? ", but it is empty" : `, not ${JSON.stringify(node.value)}`;
  return isMap(node) ? ", not a mapping" : isSeq(node) ? ", not a list" : "";
}
