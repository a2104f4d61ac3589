// JSON as a client writes it and as Python's json.dumps prints it again, for probes whose numbers keep their spelling.

/** A number by the text that stands in a body and what Python makes of it (1e3 becomes 1000.0). */
export class Spelled {
  constructor(
    readonly text: string,
    readonly python: string,
  ) {}
}

export type Json = null | boolean | number | string | Spelled | Json[] | { [key: string]: Json };

/** Spaces per level of json.dumps(indent=...), 0 for none. */
export type Indent = 0 | 2 | 4;

/** The text that a client sends. */
export function jsonText(value: Json): string {
  if (value instanceof Spelled) return value.text;
  if (Array.isArray(value)) return `[${value.map(jsonText).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, inner]) => `${JSON.stringify(key)}:${jsonText(inner)}`)
    .join(",")}}`;
}

/** A string's inside as json.dumps(ensure_ascii=False) prints it. */
export function pythonEscaped(text: string): string {
  let out = "";
  for (const c of text) {
    const code = c.charCodeAt(0);
    const short = SHORT[c];
    out += short ?? (code < 0x20 ? `\\u${code.toString(16).padStart(4, "0")}` : c);
  }
  return out;
}

const SHORT: Record<string, string> = {
  '"': '\\"',
  "\\": "\\\\",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

/** json.dumps(value, ensure_ascii=False, indent=indent) as it stands `level` levels deep in a larger print. */
export function pythonJson(value: Json, indent: Indent = 0, level = 0): string {
  if (value instanceof Spelled) return value.python;
  if (typeof value === "string") return `"${pythonEscaped(value)}"`;
  if (typeof value !== "object" || value === null) return String(value);
  const list = Array.isArray(value);
  const items = list
    ? value.map((inner) => pythonJson(inner, indent, level + 1))
    : Object.entries(value).map(
        ([key, inner]) => `"${pythonEscaped(key)}": ${pythonJson(inner, indent, level + 1)}`,
      );
  const [open, close] = list ? "[]" : "{}";
  if (items.length === 0) return `${open}${close}`;
  if (indent === 0) return `${open}${items.join(", ")}${close}`;
  const line = (n: number) => `\n${" ".repeat(indent * n)}`;
  return `${open}${line(level + 1)}${items.join(`,${line(level + 1)}`)}${line(level)}${close}`;
}
