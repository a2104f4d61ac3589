// An independent judge of JSON text, byte by byte: what Python's json.loads accepts (NaN and Infinity included, bytes
// that are no UTF-8 left alone), at most 1,000 levels deep. Written from the grammar of RFC 8259, not from the scanner.
// It allocates nothing, so it can judge every case.

export const OK = 0;
export const MALFORMED = 1;
const NOT_OBJECT = 2;
export const TOO_DEEP = 3;
export const EMPTY = 4;

const LEVELS = 1000;
const open = new Uint8Array(LEVELS + 1);
const CUT = -1;
const BAD = -2;

let bytes: Uint8Array = new Uint8Array();
let end = 0;
let prefix = false;

const space = (c: number) => c === 0x20 || c === 0x09 || c === 0x0a || c === 0x0d;
const digit = (c: number) => c >= 0x30 && c <= 0x39;
const hex = (c: number) => digit(c) || (c >= 0x41 && c <= 0x46) || (c >= 0x61 && c <= 0x66);

function skipSpace(at: number): number {
  let i = at;
  while (i < end && space(bytes[i]!)) i++;
  return i;
}

/** From behind the opening quote to behind the closing one. */
function string(at: number): number {
  let i = at;
  while (i < end) {
    const c = bytes[i]!;
    if (c === 0x22) return i + 1;
    if (c < 0x20) return BAD;
    if (c !== 0x5c) {
      i++;
      continue;
    }
    if (i + 1 >= end) return CUT;
    const e = bytes[i + 1]!;
    if (e === 0x75) {
      if (i + 6 > end) return CUT;
      for (let k = i + 2; k < i + 6; k++) if (!hex(bytes[k]!)) return BAD;
      i += 6;
    } else if (
      e === 0x22 ||
      e === 0x5c ||
      e === 0x2f ||
      e === 0x62 ||
      e === 0x66 ||
      e === 0x6e ||
      e === 0x72 ||
      e === 0x74
    )
      i += 2;
    else return BAD;
  }
  return CUT;
}

const WORDS = ["true", "false", "null", "NaN", "Infinity", "-Infinity"].map((w) =>
  Uint8Array.from(w, (c) => c.charCodeAt(0)),
);

function isWord(from: number, to: number): boolean {
  for (let w = 0; w < WORDS.length; w++) {
    const word = WORDS[w]!;
    if (word.length !== to - from) continue;
    let same = true;
    for (let i = 0; i < word.length && same; i++) same = bytes[from + i] === word[i];
    if (same) return true;
  }
  return false;
}

function isNumber(from: number, to: number): boolean {
  let i = from;
  if (i < to && bytes[i] === 0x2d) i++;
  if (i >= to || !digit(bytes[i]!)) return false;
  if (bytes[i] === 0x30) i++;
  else while (i < to && digit(bytes[i]!)) i++;
  if (i < to && bytes[i] === 0x2e) {
    i++;
    const first = i;
    while (i < to && digit(bytes[i]!)) i++;
    if (i === first) return false;
  }
  if (i < to && (bytes[i] === 0x65 || bytes[i] === 0x45)) {
    i++;
    if (i < to && (bytes[i] === 0x2b || bytes[i] === 0x2d)) i++;
    const first = i;
    while (i < to && digit(bytes[i]!)) i++;
    if (i === first) return false;
  }
  return i === to;
}

const delimiter = (c: number) =>
  c <= 0x20 || c === 0x2c || c === 0x3a || c === 0x5b || c === 0x5d || c === 0x7b || c === 0x7d || c === 0x22;

function scalar(at: number): number {
  let i = at;
  while (i < end && !delimiter(bytes[i]!)) i++;
  // A word or number at the end of a prefix may go on.
  if (i === end && prefix) return CUT;
  if (i === at) return BAD;
  return isWord(at, i) || isNumber(at, i) ? i : BAD;
}

/** A key and its colon. */
function key(at: number): number {
  let i = skipSpace(at);
  if (i >= end) return CUT;
  if (bytes[i] !== 0x22) return BAD;
  i = string(i + 1);
  if (i < 0) return i;
  i = skipSpace(i);
  if (i >= end) return CUT;
  return bytes[i] === 0x3a ? i + 1 : BAD;
}

/**
 * Judges `n` bytes from `from` on. `isPrefix`: the text goes on beyond them, so an end in the middle is no fault.
 * Returns one of the constants above, the first fault's from the left.
 */
export function judge(text: Uint8Array, from: number, n: number, isPrefix: boolean): number {
  bytes = text;
  end = from + n;
  prefix = isPrefix;
  let at = from;
  if (n >= 3 && bytes[at] === 0xef && bytes[at + 1] === 0xbb && bytes[at + 2] === 0xbf) at += 3;
  at = skipSpace(at);
  if (at >= end) return EMPTY;
  const object = bytes[at] === 0x7b;
  const cut = prefix ? (object ? OK : NOT_OBJECT) : MALFORMED;
  let depth = 0;
  for (;;) {
    at = skipSpace(at);
    if (at >= end) return cut;
    const c = bytes[at]!;
    if (c === 0x22) {
      at = string(at + 1);
      if (at < 0) return at === CUT ? cut : MALFORMED;
    } else if (c === 0x7b || c === 0x5b) {
      if (depth === LEVELS) return TOO_DEEP;
      open[depth++] = c;
      at = skipSpace(at + 1);
      if (at < end && bytes[at] === c + 2) {
        depth--;
        at++;
      } else {
        if (c === 0x7b) {
          at = key(at);
          if (at < 0) return at === CUT ? cut : MALFORMED;
        }
        continue;
      }
    } else {
      at = scalar(at);
      if (at < 0) return at === CUT ? cut : MALFORMED;
    }
    // Behind a value: a comma, or the ends of containers.
    for (;;) {
      at = skipSpace(at);
      if (depth === 0) return at < end ? MALFORMED : object ? OK : NOT_OBJECT;
      if (at >= end) return cut;
      const kind = open[depth - 1]!;
      if (bytes[at] === 0x2c) {
        at++;
        if (kind === 0x7b) {
          at = key(at);
          if (at < 0) return at === CUT ? cut : MALFORMED;
        }
        break;
      }
      if (bytes[at] !== kind + 2) return MALFORMED;
      depth--;
      at++;
    }
  }
}
