// A cursor over raw JSON: it checks and skips values and finds strings without building anything. What it accepts is
// what Python's json accepts. Strings are searched 16, then 64 bytes at a time; nesting is a bit stack, so depth costs
// no call stack. Up to 64 bytes behind the end are read, and never believed.

/** Levels of nesting of a whole body, its outermost object included. */
// @ts-ignore: decorator
@inline
const MAX_DEPTH: u32 = 1000;

/** Where the cursor stands and where the input ends. */
export let at: usize = 0;
export let end: usize = 0;
/** The input is a prefix: reaching its end is no fault. */
export let cut: bool = false;

// Why the last function of the cursor that returned false did so.
/** The end of a cut input. */
// @ts-ignore: decorator
@inline
export const STOP_CUT: u32 = 1;
/** A syntax fault. */
// @ts-ignore: decorator
@inline
export const STOP_FAULT: u32 = 2;
/** Nesting beyond MAX_DEPTH. */
// @ts-ignore: decorator
@inline
export const STOP_DEEP: u32 = 3;
export let stopped: u32 = 0;

/** Last string: its raw bytes between the quotes and whether they hold an escape. */
export let stringAt: usize = 0;
export let stringEnd: usize = 0;
export let stringEscaped: bool = false;

const nesting: usize = heap.alloc(128); // one bit a level: 1 = object

export function cursorStart(p: usize, n: u32, isCut: bool): void {
  at = p;
  end = p + n;
  cut = isCut;
  stopped = 0;
}

// @ts-ignore: decorator
@inline
export function seek(p: usize): void {
  at = p;
}

/** Goes back to `p` after something else was read; `why` is what `stopped` was. */
export function resume(p: usize, why: u32): void {
  at = p;
  stopped = why;
}

/** The end was reached: a fault, unless the input is cut. Always false, for `return runOut()`. */
export function runOut(): bool {
  stopped = cut ? STOP_CUT : STOP_FAULT;
  return false;
}

/** Always false, for `return fault()`. */
export function fault(): bool {
  stopped = STOP_FAULT;
  return false;
}

/** Another byte than the grammar wants, or none. Always false, for `return miss()`. */
export function miss(): bool {
  return at < end ? fault() : runOut();
}

/** Skips white space; the next byte, or 0 at the end. A NUL byte shows as 1, which no grammar wants either. */
export function peek(): u32 {
  while (at < end) {
    const c = <u32>load<u8>(at);
    if (c > 32) return c;
    if (c != 32 && c != 10 && c != 13 && c != 9) return c == 0 ? 1 : c;
    at++;
  }
  return 0;
}

/** First byte at or after `p` that is no white space, within the body or right behind it. */
export function afterSpace(p: usize): usize {
  const back = at;
  seek(p);
  peek();
  const found = at;
  seek(back);
  return found;
}

/** Bytes of a vector that end a plain run in a string: a quote, a backslash or a control character. */
// @ts-ignore: decorator
@inline
export function special(v: v128): v128 {
  return v128.or(
    v128.or(i8x16.eq(v, i8x16.splat(0x22)), i8x16.eq(v, i8x16.splat(0x5c))),
    i8x16.eq(i8x16.min_u(v, i8x16.splat(0x1f)), v),
  );
}

/** Position of the first special byte at or after `p`, or `stop`. */
function findSpecial(p: usize, stop: usize): usize {
  const m = i8x16.bitmask(special(v128.load(p)));
  if (m) return min(p + ctz(m), stop);
  p += 16;
  while (p < stop) {
    const a = special(v128.load(p));
    const b = special(v128.load(p, 16));
    const c = special(v128.load(p, 32));
    const d = special(v128.load(p, 48));
    if (v128.any_true(v128.or(v128.or(a, b), v128.or(c, d)))) {
      const low = <u64>(<u32>i8x16.bitmask(a) | (<u32>i8x16.bitmask(b) << 16));
      const high = <u64>(<u32>i8x16.bitmask(c) | (<u32>i8x16.bitmask(d) << 16));
      return min(p + <usize>ctz(low | (high << 32)), stop);
    }
    p += 64;
  }
  return stop;
}

// One-letter escapes by letter; 0 = not one.
export const letters: usize = heap.alloc(256);
memory.fill(letters, 0, 256);
store<u8>(letters + 0x22, 0x22);
store<u8>(letters + 0x5c, 0x5c);
store<u8>(letters + 0x2f, 0x2f);
store<u8>(letters + 0x62, 8);
store<u8>(letters + 0x66, 12);
store<u8>(letters + 0x6e, 10);
store<u8>(letters + 0x72, 13);
store<u8>(letters + 0x74, 9);

function hexDigit(c: u32): i32 {
  if (c - 48 < 10) return c - 48;
  const l = c | 0x20;
  return l >= 97 && l <= 102 ? l - 87 : -1;
}

/** Value of four hexadecimal digits, -1 when they are none. */
export function hex4(p: usize): i32 {
  const a = hexDigit(load<u8>(p));
  const b = hexDigit(load<u8>(p, 1));
  const c = hexDigit(load<u8>(p, 2));
  const d = hexDigit(load<u8>(p, 3));
  return (a | b | c | d) < 0 ? -1 : (a << 12) | (b << 8) | (c << 4) | d;
}

/** With the cursor on an opening quote, goes past the closing one. */
export function skipString(): bool {
  stringAt = at + 1;
  return skipStringFrom(at + 1);
}

/** The same from inside a string. */
export function skipStringFrom(p: usize): bool {
  const stop = end;
  stringEscaped = false;
  for (;;) {
    p = findSpecial(p, stop);
    if (p >= stop) break;
    const c = load<u8>(p);
    if (c == 0x22) {
      stringEnd = p;
      at = p + 1;
      return true;
    }
    if (c != 0x5c) return fault();
    stringEscaped = true;
    if (p + 1 >= stop) break;
    const letter = <usize>load<u8>(p, 1);
    if (load<u8>(letters + letter)) p += 2;
    else if (letter != 0x75) return fault();
    else {
      if (p + 6 > stop) break;
      if (hex4(p + 2) < 0) return fault();
      p += 6;
    }
  }
  stringEnd = stop;
  at = stop;
  return runOut();
}

function infinity(p: usize, n: usize): bool {
  if (load<u8>(p) == 0x2d) {
    p++;
    n--;
  }
  return n == 8 && load<u64>(p) == 0x7974696e69666e49; // Infinity
}

// @ts-ignore: decorator
@inline
function digitsFrom(p: usize, stop: usize): usize {
  while (p < stop && <u32>load<u8>(p) - 48 < 10) p++;
  return p;
}

function number(p: usize, stop: usize): bool {
  if (load<u8>(p) == 0x2d) p++;
  let q = digitsFrom(p, stop);
  if (q == p || (q - p > 1 && load<u8>(p) == 48)) return false;
  if (q < stop && load<u8>(q) == 0x2e) {
    p = q + 1;
    q = digitsFrom(p, stop);
    if (q == p) return false;
  }
  if (q < stop && (load<u8>(q) | 0x20) == 0x65) {
    p = q + 1;
    if (p < stop && (load<u8>(p) == 0x2b || load<u8>(p) == 0x2d)) p++;
    q = digitsFrom(p, stop);
    if (q == p) return false;
  }
  return q == stop;
}

function isScalar(p: usize, n: usize): bool {
  const c = load<u8>(p);
  if (c == 0x74) return n == 4 && load<u32>(p) == 0x65757274; // true
  if (c == 0x66) return n == 5 && load<u32>(p, 1) == 0x65736c61; // false
  if (c == 0x6e) return n == 4 && load<u32>(p) == 0x6c6c756e; // null
  if (c == 0x4e) return n == 3 && load<u16>(p, 1) == 0x4e61; // NaN
  return infinity(p, n) || number(p, p + n);
}

/** Skips a number or a word as Python's parser takes them, NaN and Infinity included. */
export function skipScalar(): bool {
  const start = at;
  const stop = end;
  let p = start;
  for (; p < stop; p++) {
    const c = load<u8>(p);
    if (c <= 32 || c == 0x2c || c == 0x7d || c == 0x5d || c == 0x3a || c == 0x22 || c == 0x7b || c == 0x5b) break;
  }
  at = p;
  // What reaches the end of a cut input may go on.
  if (p == stop && cut) return runOut();
  return (p > start && isScalar(start, p - start)) || fault();
}

// @ts-ignore: decorator
@inline
function isObject(depth: u32): bool {
  const d = depth - 1;
  return ((load<u8>(nesting + (d >> 3)) >> <u8>(d & 7)) & 1) != 0;
}

/** Skips the value under the cursor, which stands `base` levels deep. */
export function skipValue(base: u32): bool {
  const room = MAX_DEPTH - base;
  let depth: u32 = 0;
  for (;;) {
    let c = peek();
    // A value, or the end of a container that is still empty.
    if (c == 0x22) {
      if (!skipString()) return false;
    } else if (c == 0x7b || c == 0x5b) {
      if (depth == room) {
        stopped = STOP_DEEP;
        return false;
      }
      const cell = nesting + (depth >> 3);
      const bit = <u8>1 << <u8>(depth & 7);
      store<u8>(cell, c == 0x7b ? load<u8>(cell) | bit : load<u8>(cell) & ~bit);
      depth++;
      at++;
      if (peek() == c + 2) {
        at++;
        depth--;
      } else {
        if (c == 0x7b && !skipKey()) return false;
        continue;
      }
    } else if (c == 0) {
      return runOut();
    } else if (!skipScalar()) return false;
    // After a value: the next one of the same container, or the container's end.
    while (depth) {
      c = peek();
      const object = isObject(depth);
      if (c == 0x2c) {
        at++;
        if (object && !skipKey()) return false;
        break;
      }
      if (c != <u32>(object ? 0x7d : 0x5d)) return miss();
      at++;
      depth--;
    }
    if (depth == 0) return true;
  }
  return false;
}

/** Goes past a key and its colon. The key is the last string then. */
function skipKey(): bool {
  if (peek() != 0x22) return miss();
  if (!skipString()) return false;
  if (peek() != 0x3a) return miss();
  at++;
  return true;
}
