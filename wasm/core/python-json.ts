// A value of the body printed as Python's json.dumps(ensure_ascii=False) prints it after json.loads: engines parse tools
// and arguments, and templates print them again. Bounded in depth, keys and digits; what is beyond is marked inexact.
import { at, fault, miss, peek, runOut, seek, skipScalar, skipString, skipValue, stringAt, stringEnd, stringEscaped } from "./json-cursor";
import { unescaped, unescapeAt } from "./json-text";
import { INEXACT_JSON, inexact, literal, outAt, outFull } from "./render";

// @ts-ignore: decorator
@inline
const MAX_LEVELS: u32 = 64;
/** Keys of all objects that are open at once. */
// @ts-ignore: decorator
@inline
const MAX_KEYS: u32 = 1024;
const keys: usize = heap.alloc(MAX_KEYS << 2);
let keyCount: u32 = 0;

const SMALL: usize = heap.alloc(64);
const SPACES: usize = memory.data<u8>([10, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32]);
const MARKS: usize = memory.data<u8>([123, 125, 91, 93, 44, 32, 58, 32, 34]); // {}[], : "

// @ts-ignore: decorator
@inline
const COMMA: u32 = 4;
// @ts-ignore: decorator
@inline
const COLON: u32 = 6;
// @ts-ignore: decorator
@inline
const QUOTE: u32 = 8;

/** A line's end and the spaces of `level` levels. */
export function printLine(indent: u32, level: u32): void {
  let n = indent * level;
  const first = min(n, 16);
  literal(SPACES, 1 + first);
  n -= first;
  while (n) {
    const more = min(n, 16);
    literal(SPACES + 1, more);
    n -= more;
  }
}

/** What stands before an item of a container whose items are `level` levels deep. */
export function printItem(first: bool, indent: u32, level: u32): void {
  if (!first) literal(MARKS + COMMA, indent ? 1 : 2);
  if (indent) printLine(indent, level);
}

/** Begins a new print: no keys are open. */
export function printStart(): void {
  keyCount = 0;
}

/** Prints the value under the cursor, whose container is `level` levels deep, and goes past it. */
export function printValue(indent: u32, level: u32): bool {
  const c = peek();
  if (c == 0x22) return printString();
  if (c == 0x7b || c == 0x5b) return printContainer(c == 0x7b, indent, level);
  if (c == 0) return runOut();
  return printScalar();
}

function printContainer(object: bool, indent: u32, level: u32): bool {
  if (level >= MAX_LEVELS) {
    inexact(INEXACT_JSON);
    return skipValue(level + 2);
  }
  const close: u32 = object ? 0x7d : 0x5d;
  const mark = MARKS + (object ? 0 : 2);
  literal(mark, 1);
  seek(at + 1);
  if (peek() == close) {
    seek(at + 1);
    literal(mark + 1, 1);
    return true;
  }
  const opened = keyCount;
  let first = true;
  for (;;) {
    printItem(first, indent, level + 1);
    first = false;
    if (object) {
      if (peek() != 0x22) return miss();
      const from = outAt();
      if (!printString()) return false;
      noteKey(opened, from);
      if (peek() != 0x3a) return miss();
      seek(at + 1);
      literal(MARKS + COLON, 2);
    }
    if (!printValue(indent, level + 1)) return false;
    const c = peek();
    if (c == 0x2c) {
      seek(at + 1);
      continue;
    }
    if (c != close) return miss();
    seek(at + 1);
    if (indent) printLine(indent, level);
    literal(mark + 1, 1);
    keyCount = opened;
    return true;
  }
  return false;
}

/** A key that stands twice has the place of the first and the value of the last: not printed here. */
function noteKey(opened: u32, from: usize): void {
  let h: u32 = 2166136261;
  for (let p = from; p < outAt(); p++) h = (h ^ <u32>load<u8>(p)) * 16777619;
  if (outFull) return;
  for (let i = opened; i < keyCount; i++) {
    if (load<u32>(keys + (i << 2)) != h) continue;
    inexact(INEXACT_JSON);
    return;
  }
  if (keyCount == MAX_KEYS || keyCount - opened == 256) {
    inexact(INEXACT_JSON);
    return;
  }
  store<u32>(keys + (keyCount++ << 2), h);
}

/** Prints the string under the cursor, quotes included. */
export function printString(): bool {
  const start = at;
  if (!skipString()) {
    // What is there of a cut string, up to an escape.
    let p = start;
    while (p < stringEnd && load<u8>(p) != 0x5c) p++;
    literal(start, <u32>(p - start));
    return false;
  }
  if (!stringEscaped) {
    literal(start, <u32>(at - start));
    return true;
  }
  const back = at;
  const stop = stringEnd;
  let p = stringAt;
  literal(MARKS + QUOTE, 1);
  while (p < stop) {
    let q = p;
    while (q < stop && load<u8>(q) != 0x5c) q++;
    literal(p, <u32>(q - p));
    if (q == stop) break;
    const letter = load<u8>(q, 1);
    if (letter != 0x75) {
      // \/ is the one short escape that Python does not print.
      if (letter == 0x2f) literal(q + 1, 1);
      else literal(q, 2);
      p = q + 2;
      continue;
    }
    const next = unescapeAt(q, SMALL);
    if (!next) return fault();
    if (unescaped - SMALL == 1) printByte(load<u8>(SMALL));
    else literal(SMALL, <u32>(unescaped - SMALL));
    p = next;
  }
  literal(MARKS + QUOTE, 1);
  seek(back);
  return true;
}

/** Letters of short escapes by control character, from 8 on. */
const LETTERS: usize = memory.data<u8>([0x62, 0x74, 0x6e, 0, 0x66, 0x72]);

/** Bytes of an ASCII character inside a JSON string, written to `out`. */
export function escapeByte(c: u32, out: usize): u32 {
  if (c == 0x22 || c == 0x5c) {
    store<u8>(out, 0x5c);
    store<u8>(out, <u8>c, 1);
    return 2;
  }
  if (c >= 0x20) {
    store<u8>(out, <u8>c);
    return 1;
  }
  const letter: u8 = c >= 8 && c <= 13 ? load<u8>(LETTERS + c - 8) : 0;
  store<u8>(out, 0x5c);
  if (letter) {
    store<u8>(out, letter, 1);
    return 2;
  }
  store<u32>(out, 0x00303075, 1); // u00
  store<u8>(out, <u8>(0x30 + (c >> 4)), 4);
  const low = c & 15;
  store<u8>(out, <u8>(low < 10 ? 0x30 + low : 0x57 + low), 5);
  return 6;
}

function printByte(c: u32): void {
  literal(SMALL + 8, escapeByte(c, SMALL + 8));
}

function printScalar(): bool {
  const start = at;
  if (!skipScalar()) return false;
  const n = <u32>(at - start);
  const c = <u32>load<u8>(start);
  if (c != 0x2d && c - 48 > 9) {
    literal(start, n);
    return true;
  }
  let p = start;
  while (p < at && load<u8>(p) != 0x2e && (load<u8>(p) | 0x20) != 0x65 && load<u8>(p) != 0x49) p++;
  if (p < at) {
    if (load<u8>(p) == 0x49) literal(start, n); // -Infinity
    else printFloat(start, at);
    return true;
  }
  // Python has no negative zero among integers, and reads no more than 4300 digits.
  if (n == 2 && load<u16>(start) == 0x302d) literal(start + 1, 1);
  else if (n > 4300) inexact(INEXACT_JSON);
  else literal(start, n);
  return true;
}

/** Digits that any double tells apart: up to these the shortest text that reads back is the one that was written. */
// @ts-ignore: decorator
@inline
const EXACT_DIGITS: u32 = 15;

/** Prints the float in [p, stop) as Python's repr. */
function printFloat(p: usize, stop: usize): void {
  const digits = SMALL;
  const text = SMALL + 16;
  let n: u32 = 0; // significant digits, without zeros at either end
  let zeros: u32 = 0; // pending ones behind the last digit
  let point: i32 = 0; // value = 0.digits * 10^point
  let fraction = false;
  let o = text;
  if (load<u8>(p) == 0x2d) {
    store<u8>(o++, 0x2d);
    p++;
  }
  for (; p < stop; p++) {
    const c = <u32>load<u8>(p);
    if (c == 0x2e) {
      fraction = true;
      continue;
    }
    if (c - 48 > 9) break;
    if (c == 48) {
      if (n) zeros++;
      else if (fraction) point--;
      if (n && !fraction) point++;
      continue;
    }
    if (n + zeros >= EXACT_DIGITS) {
      inexact(INEXACT_JSON);
      return;
    }
    for (; zeros; zeros--) store<u8>(digits + n++, 48);
    store<u8>(digits + n++, <u8>c);
    if (!fraction) point++;
  }
  if (p < stop) {
    p++;
    const negative = load<u8>(p) == 0x2d;
    if (negative || load<u8>(p) == 0x2b) p++;
    let exponent: i32 = 0;
    for (; p < stop && exponent < 10000; p++) exponent = exponent * 10 + <i32>load<u8>(p) - 48;
    point += negative ? -exponent : exponent;
  }
  if (n == 0) {
    store<u32>(o, 0x00302e30); // 0.0
    literal(text, <u32>(o - text) + 3);
    return;
  }
  // Near the ends of the range a double has fewer digits.
  if (point > 308 || point < -300) {
    inexact(INEXACT_JSON);
    return;
  }
  if (point > 16 || point < -3) {
    store<u8>(o++, load<u8>(digits));
    if (n > 1) {
      store<u8>(o++, 0x2e);
      memory.copy(o, digits + 1, n - 1);
      o += n - 1;
    }
    let e = point - 1;
    store<u8>(o++, 0x65);
    store<u8>(o++, e < 0 ? 0x2d : 0x2b);
    if (e < 0) e = -e;
    if (e >= 100) store<u8>(o++, <u8>(48 + e / 100));
    store<u8>(o++, <u8>(48 + (e / 10) % 10));
    store<u8>(o++, <u8>(48 + (e % 10)));
  } else {
    if (point <= 0) {
      store<u16>(o, 0x2e30); // 0.
      o += 2;
      for (let i = point; i < 0; i++) store<u8>(o++, 48);
      memory.copy(o, digits, n);
      o += n;
    } else {
      for (let i: i32 = 0; i < point; i++) store<u8>(o++, <u32>i < n ? load<u8>(digits + i) : 48);
      store<u8>(o++, 0x2e);
      if (n <= <u32>point) store<u8>(o++, 48);
      else {
        memory.copy(o, digits + point, n - point);
        o += n - point;
      }
    }
  }
  literal(text, <u32>(o - text));
}
