// Edits of a JSON object as bytes: only the named members change, every other byte stays as it came.

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** One member of a JSON object, as byte offsets into the text that was scanned. */
export interface JsonMember {
  /** The key, unescaped. */
  name: string;
  /** Its place among all members of the object, from 0. */
  index: number;
  /** The key's opening quote. */
  keyStart: number;
  valueStart: number;
  /** One past the value. */
  valueEnd: number;
  /** One past the value of the member before, or of the opening brace. */
  previousEnd: number;
  /** Where the next key starts; -1 for the last member. */
  nextKeyStart: number;
}

/** An object's members of interest. A key that stands twice is two members, in the order of the text. */
export interface JsonObjectScan {
  /** The opening brace. */
  open: number;
  /** Number of members, of interest or not. */
  count: number;
  members: JsonMember[];
}

/** A text that is not the JSON object it should be; `offset` in bytes is where that shows. */
export class JsonSyntaxError extends Error {
  override readonly name = "JsonSyntaxError";
  constructor(
    message: string,
    readonly offset: number,
  ) {
    super(`${message} at byte ${offset}`);
  }
}

/** New raw JSON text of a member by name; null removes the member. */
export type JsonChanges = ReadonlyMap<string, string | Buffer | null>;

/** Bytes `start` to `end` (exclusive) are replaced by `text`. */
export interface JsonEdit {
  start: number;
  end: number;
  text: string | Buffer;
}

/**
 * Finds the members called `names` in the object that is `json[from, to)`, under whatever escapes their keys are written.
 * Values are skipped, not validated: a text that JSON parsers accept is always cut right, one that they refuse may pass.
 * @throws JsonSyntaxError when the range is not one object, with nothing but white space around it.
 */
export function scanObject(
  json: Buffer,
  names: ReadonlySet<string>,
  from = 0,
  to = json.length,
): JsonObjectScan {
  const members: JsonMember[] = [];
  const open = skipSpace(json, from, to);
  if (json[open] !== OPEN_BRACE || open >= to) throw new JsonSyntaxError("expected an object", open);
  let at = skipSpace(json, open + 1, to);
  let index = 0;
  let previousEnd = open + 1;
  let last: JsonMember | null = null;
  if (at < to && json[at] === CLOSE_BRACE) {
    expectEnd(json, at + 1, to);
    return { open, count: 0, members };
  }
  for (;;) {
    if (at >= to || json[at] !== QUOTE) throw new JsonSyntaxError("expected a key", at);
    const keyStart = at;
    if (last) last.nextKeyStart = keyStart;
    last = null;
    const keyEnd = stringEnd(json, at + 1, to);
    at = skipSpace(json, keyEnd + 1, to);
    if (at >= to || json[at] !== COLON) throw new JsonSyntaxError("expected a colon", at);
    const valueStart = skipSpace(json, at + 1, to);
    const valueEnd = skipValue(json, valueStart, to);
    const name = keyName(json, keyStart, keyEnd);
    if (name !== null && names.has(name)) {
      last = { name, index, keyStart, valueStart, valueEnd, previousEnd, nextKeyStart: -1 };
      members.push(last);
    }
    index++;
    previousEnd = valueEnd;
    at = skipSpace(json, valueEnd, to);
    const next = at < to ? json[at] : -1;
    if (next === CLOSE_BRACE) break;
    if (next !== COMMA) throw new JsonSyntaxError("expected a comma or a closing brace", at);
    at = skipSpace(json, at + 1, to);
  }
  expectEnd(json, at + 1, to);
  return { open, count: index, members };
}

/** Whether a member's value is itself an object, so that `scanObject` can look into it. */
export function isObject(json: Buffer, member: JsonMember): boolean {
  return json[member.valueStart] === OPEN_BRACE;
}

/** The member that parsers see under this name: the last one, as Python's json and JSON.parse do. */
export function lastMember(scan: JsonObjectScan, name: string): JsonMember | null {
  for (let i = scan.members.length - 1; i >= 0; i--) {
    const member = scan.members[i]!;
    if (member.name === name) return member;
  }
  return null;
}

/**
 * The edits that make `changes` true in a scanned object (its scan must have watched every name in `changes`). Every
 * member of a name is replaced or removed, so that first-wins and last-wins parsers agree; absent ones come first.
 */
export function editsOf(scan: JsonObjectScan, changes: JsonChanges): JsonEdit[] {
  const edits: JsonEdit[] = [];
  const missing = new Set(changes.keys());
  let removed = 0;
  for (const member of scan.members) {
    const text = changes.get(member.name);
    if (text === undefined) continue;
    missing.delete(member.name);
    if (text !== null) {
      edits.push({ start: member.valueStart, end: member.valueEnd, text });
    } else if (member.index > removed++) {
      // A member that stays stands before it: the comma between goes with it.
      edits.push({ start: member.previousEnd, end: member.valueEnd, text: "" });
    } else {
      const end = member.nextKeyStart < 0 ? member.valueEnd : member.nextKeyStart;
      edits.push({ start: member.keyStart, end, text: "" });
    }
  }
  const added: JsonEdit[] = [];
  let separator = scan.count > removed ? "," : "";
  for (const name of missing) {
    const text = changes.get(name);
    if (text === null || text === undefined) continue;
    const at = scan.open + 1;
    added.unshift(
      { start: at, end: at, text: `${JSON.stringify(name)}:` },
      { start: at, end: at, text },
      { start: at, end: at, text: separator },
    );
    separator = ",";
  }
  return added.concat(edits);
}

/** The text with edits done. Edits must not overlap; those of one place keep their order. */
export function applyEdits(json: Buffer, edits: readonly JsonEdit[]): Buffer {
  if (edits.length === 0) return json;
  const sorted = [...edits].sort((a, b) => a.start - b.start);
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end, text } of sorted) {
    if (start > at) parts.push(json.subarray(at, start));
    if (text.length > 0) parts.push(typeof text === "string" ? Buffer.from(text) : text);
    at = end;
  }
  parts.push(json.subarray(at));
  return Buffer.concat(parts);
}

function skipSpace(json: Buffer, from: number, to: number): number {
  let at = from;
  while (at < to) {
    const c = json[at];
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) break;
    at++;
  }
  return at;
}

function expectEnd(json: Buffer, from: number, to: number): void {
  const at = skipSpace(json, from, to);
  if (at < to) throw new JsonSyntaxError("expected the end after the object", at);
}

// The closing quote of a string whose text starts at `from`. Short strings are walked, the rest of long ones is left
// to the native search: messages are the bulk of a body.
function stringEnd(json: Buffer, from: number, to: number): number {
  let at = from;
  for (;;) {
    const near = Math.min(to, at + 48);
    while (at < near) {
      const c = json[at];
      if (c === QUOTE) return at;
      at += c === BACKSLASH ? 2 : 1;
    }
    const quote = json.indexOf(QUOTE, at);
    if (quote < 0 || quote >= to) throw new JsonSyntaxError("a string does not end", from - 1);
    let run = quote;
    while (run > at && json[run - 1] === BACKSLASH) run--;
    if (((quote - run) & 1) === 0) return quote;
    at = quote + 1;
  }
}

function skipValue(json: Buffer, from: number, to: number): number {
  const first = from < to ? json[from] : -1;
  if (first === QUOTE) return stringEnd(json, from + 1, to) + 1;
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return nestedEnd(json, from, to);
  let at = from;
  while (at < to && isWord(json[at]!)) at++;
  if (at === from) throw new JsonSyntaxError("expected a value", from);
  return at;
}

function nestedEnd(json: Buffer, from: number, to: number): number {
  let depth = 0;
  for (let at = from; at < to; at++) {
    const c = json[at];
    if (c === QUOTE) at = stringEnd(json, at + 1, to);
    else if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++;
    else if ((c === CLOSE_BRACE || c === CLOSE_BRACKET) && --depth === 0) return at + 1;
  }
  throw new JsonSyntaxError("an object or array does not end", from);
}

// Letters, digits, "+", "-" and ".": numbers and true, false, null, NaN, Infinity.
function isWord(c: number): boolean {
  return (
    (c >= 0x30 && c <= 0x39) ||
    ((c | 0x20) >= 0x61 && (c | 0x20) <= 0x7a) ||
    c === 0x2d ||
    c === 0x2b ||
    c === 0x2e
  );
}

// Keys longer than any name of interest, and written without escapes, are not worth a string.
const LONGEST_NAME = 64;

function keyName(json: Buffer, keyStart: number, keyEnd: number): string | null {
  const from = keyStart + 1;
  for (let at = from; at < keyEnd; at++) {
    if (json[at] === BACKSLASH) {
      try {
        return JSON.parse(json.toString("utf8", keyStart, keyEnd + 1)) as string;
      } catch {
        throw new JsonSyntaxError("a key is not a JSON string", keyStart);
      }
    }
  }
  return keyEnd - from > LONGEST_NAME ? null : json.toString("latin1", from, keyEnd);
}
