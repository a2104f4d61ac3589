// SipHash-2-4 (Aumasson, Bernstein 2012), the keyed hash for short, secret-bearing input: session ids, model and
// salt roots. Results land in module globals so that nothing is allocated.

/** Low and high word of the last 128-bit result; `sipLo` alone is the 64-bit result. */
export let sipLo: u64 = 0;
export let sipHi: u64 = 0;

let v0: u64 = 0;
let v1: u64 = 0;
let v2: u64 = 0;
let v3: u64 = 0;

// @ts-ignore: decorator
@inline
function round(): void {
  v0 += v1;
  v1 = rotl(v1, 13) ^ v0;
  v0 = rotl(v0, 32);
  v2 += v3;
  v3 = rotl(v3, 16) ^ v2;
  v0 += v3;
  v3 = rotl(v3, 21) ^ v0;
  v2 += v1;
  v1 = rotl(v1, 17) ^ v2;
  v2 = rotl(v2, 32);
}

function start(k0: u64, k1: u64): void {
  v0 = k0 ^ 0x736f6d6570736575;
  v1 = k1 ^ 0x646f72616e646f6d;
  v2 = k0 ^ 0x6c7967656e657261;
  v3 = k1 ^ 0x7465646279746573;
}

function compress(p: usize, n: usize): void {
  const end = p + (n & ~7);
  for (; p < end; p += 8) {
    const m = load<u64>(p);
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  }
  let last: u64 = (<u64>n) << 56;
  for (let i: usize = 0; i < (n & 7); i++) last |= (<u64>load<u8>(p + i)) << (<u64>i << 3);
  v3 ^= last;
  round();
  round();
  v0 ^= last;
}

/** 64-bit SipHash-2-4 of `n` bytes at `p`. */
export function siphash64(k0: u64, k1: u64, p: usize, n: usize): u64 {
  start(k0, k1);
  compress(p, n);
  v2 ^= 0xff;
  round();
  round();
  round();
  round();
  sipLo = v0 ^ v1 ^ v2 ^ v3;
  return sipLo;
}

/** 128-bit SipHash-2-4 of `n` bytes at `p`; the result is in `sipLo` and `sipHi`. */
export function siphash128(k0: u64, k1: u64, p: usize, n: usize): void {
  start(k0, k1);
  v1 ^= 0xee;
  compress(p, n);
  v2 ^= 0xee;
  round();
  round();
  round();
  round();
  sipLo = v0 ^ v1 ^ v2 ^ v3;
  v1 ^= 0xdd;
  round();
  round();
  round();
  round();
  sipHi = v0 ^ v1 ^ v2 ^ v3;
}
