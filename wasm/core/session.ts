// Session ids: what counts as a client's own, and how one is derived where there is none. Only keyed hashes leave the
// gateway, never a cookie, a credential or text.
import { expandKey, hashBlocks, KEY_WORDS, MAX_BLOCK_BYTES } from "../shared/hash";
import { sipHi, sipLo, siphash128 } from "../shared/siphash";
import { MAX_SEGMENTS, segmentCount, segmentKind, segmentLen, segmentPtr } from "./render";
import { rawSession, rawSessionLen } from "./request-prompt";

/** Bytes of a derived session id: 128 bits in hex. */
// @ts-ignore: decorator
@inline
const SESSION_HEX: u32 = 32;
/** Longer text is digested by the block hash first, which is ten times as fast as SipHash. */
// @ts-ignore: decorator
@inline
const DIGEST_FROM: u32 = 512;
/** Blocks digested at once. */
// @ts-ignore: decorator
@inline
const DIGEST_BLOCKS: u32 = 64;
// @ts-ignore: decorator
@inline
const SCRATCH_BYTES: usize = 24 + <usize>MAX_SEGMENTS * (13 + DIGEST_FROM);

const scratch: usize = heap.alloc(SCRATCH_BYTES);
const links: usize = heap.alloc(DIGEST_BLOCKS << 3);
// The session key, expanded for the block hash.
const digestKey: usize = heap.alloc(KEY_WORDS << 3);
let digestKey0: u64 = 0;
let digestKey1: u64 = 0;
let digestReady: bool = false;

/** Whether a client's value is [A-Za-z0-9._:-]{1,128}. */
export function validSession(p: usize, n: u32): bool {
  if (n == 0 || n > 128) return false;
  for (let i: u32 = 0; i < n; i++) {
    const c = <u32>load<u8>(p + i);
    const l = c | 0x20;
    const ok = (l >= 97 && l <= 122) || (c >= 48 && c <= 58) || c == 0x2e || c == 0x5f || c == 0x2d;
    if (!ok) return false;
  }
  return true;
}

/** Value that `cookieValue` found. */
export let cookieValuePtr: usize = 0;
export let cookieValueLen: u32 = 0;

/** Looks a name up in one Cookie header; false when it is absent or empty. */
export function cookieValue(p: usize, n: u32, name: usize, nameLen: u32): bool {
  const stop = p + n;
  while (p < stop) {
    while (p < stop && (load<u8>(p) == 0x20 || load<u8>(p) == 0x3b)) p++;
    let q = p;
    while (q < stop && load<u8>(q) != 0x3b) q++;
    if (<usize>nameLen < q - p && load<u8>(p + nameLen) == 0x3d && memory.compare(p, name, nameLen) == 0) {
      cookieValuePtr = p + nameLen + 1;
      cookieValueLen = <u32>(q - cookieValuePtr);
      return cookieValueLen > 0;
    }
    p = q;
  }
  return false;
}

function hex(out: usize, v: u64): void {
  for (let i: u32 = 0; i < 16; i++) {
    const d = <u32>(v >> (60 - (<u64>i << 2))) & 15;
    store<u8>(out + i, <u8>(d < 10 ? 48 + d : 87 + d));
  }
}

/** Keyed hash of `n` bytes as 32 hex digits at `out`; returns their number. */
export function keyedSession(k0: u64, k1: u64, p: usize, n: u32, out: usize): u32 {
  siphash128(k0 ^ 0x73657373696f6e31, k1, p, n);
  hex(out, sipHi);
  hex(out + 16, sipLo);
  return SESSION_HEX;
}

/**
 * Derives a session from the credential's hash and from `value` (prompt_cache_key or user) or, without it, from the
 * conversation up to the end of its first user turn, so that it is the same in later turns and another in another
 * conversation. Returns the digits written.
 */
export function deriveSession(
  k0: u64,
  k1: u64,
  credentialLo: u64,
  credentialHi: u64,
  value: usize,
  valueLen: u32,
  out: usize,
): u32 {
  if (!digestReady || digestKey0 != k0 || digestKey1 != k1) {
    expandKey(k0 ^ 0x73657373696f6e32, k1, digestKey);
    digestKey0 = k0;
    digestKey1 = k1;
    digestReady = true;
  }
  store<u64>(scratch, credentialLo);
  store<u64>(scratch, credentialHi, 8);
  let n: u32 = 24;
  if (valueLen) {
    store<u64>(scratch, 1, 16);
    n = append(n, value, valueLen);
  } else if (segmentCount) {
    store<u64>(scratch, 2, 16);
    let total: u32 = 0;
    for (let i: u32 = 0; i < segmentCount; i++) total += segmentLen(i) + 1;
    store<u32>(scratch, total, 20);
    for (let i: u32 = 0; i < segmentCount; i++) {
      store<u8>(scratch + n, <u8>segmentKind(i));
      n = append(n + 1, segmentPtr(i), segmentLen(i));
    }
  } else {
    store<u64>(scratch, 3, 16);
    n = append(n, rawSession, rawSessionLen);
  }
  return keyedSession(k0, k1, scratch, n, out);
}

/** Appends text to the scratch, a long one as its digest, its length and the bytes behind its last whole block. */
function append(n: u32, p: usize, length: u32): u32 {
  if (length > DIGEST_FROM) {
    let link: u64 = 0;
    let count = length / MAX_BLOCK_BYTES;
    while (count) {
      const some = min(count, DIGEST_BLOCKS);
      link = hashBlocks(digestKey, link, p, some, MAX_BLOCK_BYTES, links);
      p += <usize>some * MAX_BLOCK_BYTES;
      count -= some;
    }
    store<u64>(scratch + n, link);
    store<u32>(scratch + n, length, 8);
    n += 12;
    length &= MAX_BLOCK_BYTES - 1;
  }
  memory.copy(scratch + n, p, length);
  return n + length;
}
