// The chained hash of text blocks. Each 8-byte word is mixed with a secret word before it is multiplied (the NH
// form of XXH3), so colliding prompts cannot be made without the installation's secret.

// @ts-ignore: decorator
@inline
export const PRIME1: u64 = 0x9e3779b185ebca87; // the odd constants of XXH64
// @ts-ignore: decorator
@inline
export const PRIME2: u64 = 0xc2b2ae3d27d4eb4f;
// @ts-ignore: decorator
@inline
const PRIME3: u64 = 0x165667b19e3779f9;
// @ts-ignore: decorator
@inline
export const ACC0: u64 = 0x27d4eb2f165667c5;
// @ts-ignore: decorator
@inline
export const ACC1: u64 = 0x85ebca77c2b2ae63;

/** Longest text block in bytes; the key has one word per 8 bytes of it. */
// @ts-ignore: decorator
@inline
export const MAX_BLOCK_BYTES: u32 = 256;
// @ts-ignore: decorator
@inline
export const KEY_WORDS: u32 = 32;

/** Expands a 128-bit key to the words of a block key at `out` (KEY_WORDS × 8 bytes), by splitmix64. */
export function expandKey(k0: u64, k1: u64, out: usize): void {
  let x = k0;
  for (let i: u32 = 0; i < KEY_WORDS; i++) {
    x += 0x9e3779b97f4a7c15;
    let z = x ^ rotl(k1, <u64>i);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    store<u64>(out + (i << 3), z ^ (z >> 31));
  }
}

// @ts-ignore: decorator
@inline
export function mul32(x: u64): u64 {
  return (x & 0xffffffff) * (x >> 32);
}

/** Next link of the chain from the previous one and the two accumulators of a finished block. */
// @ts-ignore: decorator
@inline
export function chain(previous: u64, acc0: u64, acc1: u64): u64 {
  let h = (previous ^ acc0) * PRIME1;
  h ^= h >> 32;
  h = (h + acc1) * PRIME2;
  h ^= h >> 29;
  h = (h ^ rotl(previous, 23)) * PRIME3;
  return h ^ (h >> 32);
}

/**
 * Hashes `count` whole blocks of `blockBytes` (a multiple of 32, at most 256) at `p` and writes one u64 per block
 * to `out`. Returns the last link, or `root` when there is no whole block.
 */
export function hashBlocks(key: usize, root: u64, p: usize, count: u32, blockBytes: u32, out: usize): u64 {
  let h = root;
  for (let b: u32 = 0; b < count; b++) {
    let a0 = ACC0;
    let a1 = ACC1;
    const end = p + blockBytes;
    for (let k = key; p < end; p += 32, k += 32) {
      const d0 = load<u64>(p);
      const d1 = load<u64>(p, 8);
      const d2 = load<u64>(p, 16);
      const d3 = load<u64>(p, 24);
      a0 += mul32(d0 ^ load<u64>(k)) + d1 + mul32(d2 ^ load<u64>(k, 16)) + d3;
      a1 += mul32(d1 ^ load<u64>(k, 8)) + d0 + mul32(d3 ^ load<u64>(k, 24)) + d2;
    }
    h = chain(h, a0, a1);
    store<u64>(out + (<usize>b << 3), h);
  }
  return h;
}

/** Checksum of bytes, of which a frame's is made (frame.ts): finds damage, not malice (the stream carries a token for that). */
export function checksum(p: usize, n: usize): u64 {
  let a = ACC0 ^ <u64>n;
  let b = ACC1;
  const end = p + (n & ~15);
  for (; p < end; p += 16) {
    a = rotl(a + load<u64>(p) * PRIME2, 31) * PRIME1;
    b = rotl(b + load<u64>(p, 8) * PRIME1, 29) * PRIME2;
  }
  for (let r = n & 15; r > 0; r--, p++) a = rotl(a ^ (<u64>load<u8>(p) * PRIME3), 11) * PRIME1;
  return chain(a, b, <u64>n);
}
