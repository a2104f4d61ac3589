// A cursor over raw JSON: it skips values and finds strings without building anything. Strings are searched 16 bytes
// at a time; nesting is a bit stack, so depth costs no call stack.

// @ts-ignore: decorator
@inline
export const MAX_DEPTH: u32 = 1000;

/** Where the cursor stands and where the input ends. */
export let at: usize = 0;
export let end: usize = 0;
/** The input is a prefix: reaching its end is no fault. */
export let cut: bool = false;
/** The cursor reached the end of a cut input. */
export let ended: bool = false;
/** Nesting went beyond MAX_DEPTH. */
export let tooDeep: bool = false;

/** Last string: its raw bytes between the quotes and whether they hold an escape. */
export let stringAt: usize = 0;
export let stringEnd: usize = 0;
export let stringEscaped: bool = false;

const nesting: usize = heap.alloc(128); // one bit a level: 1 = object

export function cursorStart(p: usize, n: u32, isCut: bool): void {
  at = p;
  end = p + n;
  cut = isCut;
  ended = false;
  tooDeep = false;
}

export function seek(p: usize): void {
  at = p;
}

/** The end was reached: a fault, unless the input is cut. Always false, for `return fail()`. */
export function runOut(): bool {
  if (cut) ended = true;
  return false;
}

/** Skips white space; the next byte, or 0 at the end. */
export function peek(): u32 {
  while (at < end) {
    const c = <u32>load<u8>(at);
    if (c > 32) return c;
    if (c != 32 && c != 10 && c != 13 && c != 9) return c == 0 ? 1 : c;
    at++;
  }
  if (cut) ended = true;
  return 0;
}

/** Position of the first `"` or `\` at or after `p`, or `end`. */
// @ts-ignore: decorator
@inline
export function findQuote(p: usize): usize {
  const quote = i8x16.splat(0x22);
  const escape = i8x16.splat(0x5c);
  while (p < end) {
    const v = v128.load(p);
    const m = i8x16.bitmask(v128.or(i8x16.eq(v, quote), i8x16.eq(v, escape)));
    if (m) {
      p += ctz(m);
      return p < end ? p : end;
    }
    p += 16;
  }
  return end;
}

/** With the cursor on an opening quote, goes past the closing one. False when the string does not end. */
export function skipString(): bool {
  let p = at + 1;
  stringAt = p;
  stringEscaped = false;
  for (;;) {
    p = findQuote(p);
    if (p >= end) {
      stringEnd = end;
      at = end;
      return runOut();
    }
    if (load<u8>(p) == 0x22) {
      stringEnd = p;
      at = p + 1;
      return true;
    }
    stringEscaped = true;
    p += 2;
  }
  return false;
}

// @ts-ignore: decorator
@inline
function word(p: usize, n: usize): bool {
  const c = load<u8>(p);
  if (c == 0x74) return n == 4 && load<u32>(p) == 0x65757274; // true
  if (c == 0x66) return n == 5 && load<u32>(p, 1) == 0x65736c61; // false
  if (c == 0x6e) return n == 4 && load<u32>(p) == 0x6c6c756e; // null
  if (c == 0x4e) return n == 3 && load<u16>(p, 1) == 0x4e61; // NaN
  return infinity(p, n) || number(p, n);
}

function infinity(p: usize, n: usize): bool {
  if (load<u8>(p) == 0x2d) {
    p++;
    n--;
  }
  return n == 8 && load<u64>(p) == 0x7974696e69666e49; // Infinity
}

function number(p: usize, n: usize): bool {
  let i: usize = 0;
  if (load<u8>(p) == 0x2d) i++;
  let digits: usize = 0;
  const first = i;
  while (i < n && load<u8>(p + i) - 48 < 10) {
    i++;
    digits++;
  }
  if (digits == 0 || (digits > 1 && load<u8>(p + first) == 48)) return false;
  if (i < n && load<u8>(p + i) == 0x2e) {
    const dot = ++i;
    while (i < n && load<u8>(p + i) - 48 < 10) i++;
    if (i == dot) return false;
  }
  if (i < n && (load<u8>(p + i) | 0x20) == 0x65) {
    i++;
    if (i < n && (load<u8>(p + i) == 0x2b || load<u8>(p + i) == 0x2d)) i++;
    const exponent = i;
    while (i < n && load<u8>(p + i) - 48 < 10) i++;
    if (i == exponent) return false;
  }
  return i == n;
}

/** Skips a number or a word as Python's parser takes them, NaN and Infinity included. */
export function skipScalar(): bool {
  const start = at;
  while (at < end) {
    const c = load<u8>(at);
    if (c <= 32 || c == 0x2c || c == 0x7d || c == 0x5d || c == 0x3a || c == 0x22 || c == 0x7b || c == 0x5b) break;
    at++;
  }
  if (at == end && cut) return runOut();
  return at > start && word(start, at - start);
}

// @ts-ignore: decorator
@inline
function isObject(depth: u32): bool {
  const d = depth - 1;
  return ((load<u8>(nesting + (d >> 3)) >> <u8>(d & 7)) & 1) != 0;
}

/** Skips the value under the cursor. False when it is malformed, too deep or cut off. */
export function skipValue(): bool {
  let depth: u32 = 0;
  for (;;) {
    let c = peek();
    // A value, or the end of a container that is still empty.
    if (c == 0x7b || c == 0x5b) {
      if (depth == MAX_DEPTH) {
        tooDeep = true;
        return false;
      }
      const cell = nesting + (depth >> 3);
      const bit = <u8>1 << <u8>(depth & 7);
      store<u8>(cell, c == 0x7b ? load<u8>(cell) | bit : load<u8>(cell) & ~bit);
      depth++;
      at++;
      const next = peek();
      if (next == (c == 0x7b ? 0x7d : 0x5d)) {
        at++;
        depth--;
      } else {
        if (c == 0x7b && !skipKey()) return false;
        continue;
      }
    } else if (c == 0x22) {
      if (!skipString()) return false;
    } else if (c == 0) {
      return runOut();
    } else if (!skipScalar()) return false;
    // After a value: the next one of the same container, or the container's end.
    while (depth) {
      c = peek();
      if (c == 0x2c) {
        at++;
        if (isObject(depth) && !skipKey()) return false;
        break;
      }
      if (c != (isObject(depth) ? 0x7d : 0x5d)) return c == 0 ? runOut() : false;
      at++;
      depth--;
    }
    if (depth == 0) return true;
  }
  return false;
}

function skipKey(): bool {
  if (peek() != 0x22) return at < end ? false : runOut();
  if (!skipString()) return false;
  if (peek() != 0x3a) return at < end ? false : runOut();
  at++;
  return true;
}
