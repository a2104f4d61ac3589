// Text out of JSON strings: unescaping into a buffer while it is copied, and the white space that templates strip.

// @ts-ignore: decorator
@inline
function hexDigit(c: u32): i32 {
  if (c - 48 < 10) return c - 48;
  const l = c | 0x20;
  return l >= 97 && l <= 102 ? l - 87 : -1;
}

/** Value of the four hex digits at `p`, -1 when they are none. */
export function hex4(p: usize): i32 {
  const a = hexDigit(load<u8>(p));
  const b = hexDigit(load<u8>(p, 1));
  const c = hexDigit(load<u8>(p, 2));
  const d = hexDigit(load<u8>(p, 3));
  return (a | b | c | d) < 0 ? -1 : (a << 12) | (b << 8) | (c << 4) | d;
}

/** Writes a code point as UTF-8 (a lone surrogate as three bytes); returns the bytes written. */
export function putCodePoint(out: usize, c: u32): usize {
  if (c < 0x80) {
    store<u8>(out, <u8>c);
    return 1;
  }
  if (c < 0x800) {
    store<u8>(out, <u8>(0xc0 | (c >> 6)));
    store<u8>(out, <u8>(0x80 | (c & 63)), 1);
    return 2;
  }
  if (c < 0x10000) {
    store<u8>(out, <u8>(0xe0 | (c >> 12)));
    store<u8>(out, <u8>(0x80 | ((c >> 6) & 63)), 1);
    store<u8>(out, <u8>(0x80 | (c & 63)), 2);
    return 3;
  }
  store<u8>(out, <u8>(0xf0 | (c >> 18)));
  store<u8>(out, <u8>(0x80 | ((c >> 12) & 63)), 1);
  store<u8>(out, <u8>(0x80 | ((c >> 6) & 63)), 2);
  store<u8>(out, <u8>(0x80 | (c & 63)), 3);
  return 4;
}

/** One-letter escapes by letter; 0 = not one. */
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

/** Where the last `unescape` stopped writing; an escape that is no escape sets `unescapeFault`. */
export let unescapeFault: bool = false;
/** The output was full before the input ended. */
export let unescapeFull: bool = false;

/**
 * Copies raw string bytes [p, stop) to `out` unescaped, never past `limit`; returns the bytes written. Up to 16 bytes
 * past `limit` are scratch and must be writable; 16 bytes past `stop` must be readable. An escape that `stop` cuts
 * off is dropped.
 */
export function unescape(p: usize, stop: usize, out: usize, limit: usize): usize {
  const start = out;
  const escape = i8x16.splat(0x5c);
  unescapeFault = false;
  unescapeFull = false;
  while (p < stop) {
    const v = v128.load(p);
    v128.store(out, v);
    let m = <u32>i8x16.bitmask(i8x16.eq(v, escape));
    let run: usize = m ? <usize>ctz(m) : 16;
    if (p + run > stop) {
      run = stop - p;
      m = 0;
    } else if (p + run == stop) m = 0;
    if (out + run > limit) {
      unescapeFull = true;
      return limit - start;
    }
    p += run;
    out += run;
    if (!m) continue;
    // Runs between escapes are short in real text, so one escape is handled and the loop goes on.
    if (p + 1 >= stop) break;
    const letter = load<u8>(p, 1);
    const plain = load<u8>(letters + letter);
    if (out + 4 > limit) {
      unescapeFull = true;
      break;
    }
    if (plain) {
      store<u8>(out, plain);
      out++;
      p += 2;
      continue;
    }
    if (letter != 0x75) {
      unescapeFault = true;
      break;
    }
    if (p + 6 > stop) break;
    let c = hex4(p + 2);
    if (c < 0) {
      unescapeFault = true;
      break;
    }
    p += 6;
    if (c >= 0xd800 && c < 0xdc00) {
      if (p + 6 <= stop && load<u16>(p) == 0x755c) {
        const low = hex4(p + 2);
        if (low >= 0xdc00 && low < 0xe000) {
          c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
          p += 6;
        }
      }
    }
    out += putCodePoint(out, c);
  }
  return out - start;
}

/** Bytes of the white-space character at `p` (Python's str.isspace set of str.strip), 0 when it is none. */
function spaceAt(p: usize, stop: usize): usize {
  const c = <u32>load<u8>(p);
  if (c == 32 || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f)) return 1;
  if (c < 0xc2 || p + 1 >= stop) return 0;
  const d = <u32>load<u8>(p, 1);
  if (c == 0xc2) return d == 0x85 || d == 0xa0 ? 2 : 0;
  if (p + 2 >= stop) return 0;
  const e = <u32>load<u8>(p, 2);
  if (c == 0xe1) return d == 0x9a && e == 0x80 ? 3 : 0; // U+1680
  if (c == 0xe3) return d == 0x80 && e == 0x80 ? 3 : 0; // U+3000
  if (c != 0xe2) return 0;
  if (d == 0x80) return (e >= 0x80 && e <= 0x8a) || e == 0xa8 || e == 0xa9 || e == 0xaf ? 3 : 0;
  return d == 0x81 && e == 0x9f ? 3 : 0; // U+205F
}

/** First byte at or after `p` that is not stripped. */
export function stripLeft(p: usize, stop: usize): usize {
  while (p < stop) {
    const n = spaceAt(p, stop);
    if (!n) break;
    p += n;
  }
  return p;
}

/** End of [p, stop) without trailing white space. */
export function stripRight(p: usize, stop: usize): usize {
  while (stop > p) {
    if (spaceAt(stop - 1, stop) == 1) stop -= 1;
    else if (stop - p >= 2 && spaceAt(stop - 2, stop) == 2) stop -= 2;
    else if (stop - p >= 3 && spaceAt(stop - 3, stop) == 3) stop -= 3;
    else break;
  }
  return stop;
}
