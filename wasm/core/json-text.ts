// Text out of JSON strings: unescaping fused with the copy, and the white space that templates strip.
import { at, end, fault, hex4, letters, runOut, seek, skipStringFrom, special } from "./json-cursor";

/** Bytes behind its limit that `copyString` may write to. */
// @ts-ignore: decorator
@inline
export const COPY_SLACK: usize = 128;

/** Where the last `copyString` stopped writing, and whether the room ended before the string did. */
export let copied: usize = 0;
export let copyFull: bool = false;

/**
 * With the cursor on an opening quote, goes past the closing one and writes the string's text to `out`, never more
 * than up to `limit` (the next COPY_SLACK bytes are scratch). Where a cut input ends within an escape or a pair of
 * surrogates, the text ends before it.
 */
export function copyString(out: usize, limit: usize): bool {
  const stop = end;
  let p = at + 1;
  copyFull = false;
  while (out <= limit) {
    const a = v128.load(p);
    const b = v128.load(p, 16);
    const c = v128.load(p, 32);
    const d = v128.load(p, 48);
    v128.store(out, a);
    v128.store(out, b, 16);
    v128.store(out, c, 32);
    v128.store(out, d, 48);
    const low = <u64>(<u32>i8x16.bitmask(special(a)) | (<u32>i8x16.bitmask(special(b)) << 16));
    const high = <u64>(<u32>i8x16.bitmask(special(c)) | (<u32>i8x16.bitmask(special(d)) << 16));
    let m = low | (high << 32);
    const rest = stop - p;
    if (rest < 64) m |= <u64>1 << <u64>rest;
    const run = <usize>ctz(m); // 64 when there is nothing special
    p += run;
    out += run;
    if (!m) continue;
    if (p == stop) {
      finish(out, limit);
      seek(stop);
      return runOut();
    }
    const found = load<u8>(p);
    if (found == 0x5c) {
      const letter = <usize>load<u8>(p, 1);
      const plain = load<u8>(letters + letter);
      if (plain && p + 1 < stop) {
        store<u8>(out, plain);
        out++;
        p += 2;
        continue;
      }
      const next = unescapeAt(p, out);
      if (!next) {
        finish(out, limit);
        return false;
      }
      p = next;
      out = unescaped;
      continue;
    }
    if (found != 0x22) return fault();
    finish(out, limit);
    seek(p + 1);
    return true;
  }
  finish(out, limit);
  return skipStringFrom(p);
}

// @ts-ignore: decorator
@inline
function finish(out: usize, limit: usize): void {
  copyFull = out > limit;
  copied = min(out, limit);
}

/** Where the last `unescapeAt` stopped writing. */
export let unescaped: usize = 0;

/** Writes what the `\u` escape at `p` stands for; the byte behind it, or 0 at a fault or the end of the input. */
export function unescapeAt(p: usize, out: usize): usize {
  const stop = end;
  if (p + 1 >= stop) return cutAt(stop);
  if (load<u8>(p, 1) != 0x75) return faultAt();
  if (p + 6 > stop) return cutAt(stop);
  let c = hex4(p + 2);
  if (c < 0) return faultAt();
  p += 6;
  if (c >= 0xd800 && c < 0xdc00) {
    // The other half may stand behind the end of the input.
    if (p >= stop || (load<u8>(p) == 0x5c && (p + 1 >= stop || (load<u8>(p, 1) == 0x75 && p + 6 > stop)))) {
      return cutAt(stop);
    }
    if (load<u16>(p) == 0x755c) {
      const low = hex4(p + 2);
      if (low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
      }
    }
  }
  if (c < 0x80) {
    store<u8>(out, <u8>c);
    unescaped = out + 1;
  } else if (c < 0x800) {
    store<u8>(out, <u8>(0xc0 | (c >> 6)));
    store<u8>(out, <u8>(0x80 | (c & 63)), 1);
    unescaped = out + 2;
  } else if (c < 0x10000) {
    store<u8>(out, <u8>(0xe0 | (c >> 12)));
    store<u8>(out, <u8>(0x80 | ((c >> 6) & 63)), 1);
    store<u8>(out, <u8>(0x80 | (c & 63)), 2);
    unescaped = out + 3;
  } else {
    store<u8>(out, <u8>(0xf0 | (c >> 18)));
    store<u8>(out, <u8>(0x80 | ((c >> 12) & 63)), 1);
    store<u8>(out, <u8>(0x80 | ((c >> 6) & 63)), 2);
    store<u8>(out, <u8>(0x80 | (c & 63)), 3);
    unescaped = out + 4;
  }
  return p;
}

function cutAt(stop: usize): usize {
  seek(stop);
  runOut();
  return 0;
}

function faultAt(): usize {
  fault();
  return 0;
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

/** End of [p, stop) without a last character that is not whole: what it would have been is not known. */
export function wholeCharacters(p: usize, stop: usize): usize {
  let lead = stop;
  while (lead > p && stop - lead < 3) {
    lead--;
    const c = load<u8>(lead);
    if (c < 0x80) return stop;
    if (c >= 0xc0) {
      const length: usize = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
      return stop - lead < length ? lead : stop;
    }
  }
  return stop;
}
