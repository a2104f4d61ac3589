// Checks a YAML document against a schema and says where each mistake stands.
import { closest, distance } from "fastest-levenshtein";
import { type Document, isAlias, isMap, isScalar, isSeq, type LineCounter, type Node } from "yaml";

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

export interface Problem {
  /** 1-based. */
  line: number;
  /** 1-based. */
  column: number;
  /** Such as `pools[0].pods[1].address`; empty for the document. */
  path: string;
  message: string;
}

/** All problems of the document, in the order they stand in it. */
export function problemsOf(doc: Document, lines: LineCounter, schema: unknown): Problem[] {
  const problems: Problem[] = [];
  const report = (node: Node | null | undefined, path: string, message: string) => {
    const { line, col } = lines.linePos(node?.range?.[0] ?? 0);
    problems.push({ line: Math.max(1, line), column: Math.max(1, col), path, message });
  };

  const check = (given: Node | null | undefined, at: Schema, path: string, owner: Node | null): void => {
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

  const checkList = (node: unknown, at: Schema, path: string, where: Node | null): void => {
    if (!isSeq(node)) {
      report(where, path, `must be a list${found(node)}`);
      return;
    }
    if (node.items.length < (at.minItems ?? 0)) report(where, path, `needs at least ${at.minItems} entry`);
    if (node.items.length > (at.maxItems ?? Infinity))
      report(where, path, `has ${node.items.length} entries, at most ${at.maxItems} are possible`);
    node.items.forEach((item, i) => {
      check(item as Node, at.items!, `${path}[${i}]`, node);
    });
  };

  const checkMap = (node: unknown, at: Schema, path: string, where: Node | null): void => {
    if (!isMap(node)) {
      report(where, path, `must be a mapping${found(node)}`);
      return;
    }
    const known = at.properties;
    const seen = new Set<string>();
    for (const { key, value } of node.items) {
      const name = String(isScalar(key) ? key.value : key);
      seen.add(name);
      const below = path === "" ? name : `${path}.${name}`;
      const next = known ? known[name] : Object.values(at.patternProperties ?? {})[0];
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

  check(doc.contents as Node | null, schema as Schema, "", null);
  return problems.sort((a, b) => a.line - b.line || a.column - b.column);
}

function suggestion(name: string, known: string[]): string {
  const near = closest(name, known);
  if (near !== undefined && distance(name.toLowerCase(), near.toLowerCase()) <= Math.max(2, name.length / 3))
    return `did you mean ${JSON.stringify(near)}?`;
  return `known keys here: ${known.join(", ")}`;
}

function scalarProblem(value: unknown, at: Schema): string | null {
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
