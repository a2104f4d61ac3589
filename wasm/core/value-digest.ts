// What stands for a value that is not rendered, in text that is only matched approximately.
import { hashBlocks } from "../shared/hash";
import { siphash64 } from "../shared/siphash";
import { blockKey, saltKey0, saltKey1 } from "./policy";

// @ts-ignore: decorator
@inline
const BLOCK: u32 = 256;
const link: usize = memory.data(8, 8);

/** Keyed hash of `n` bytes: nobody can make two values that look the same. */
export function valueDigest(p: usize, n: u32): u64 {
  let h: u64 = <u64>n;
  for (; n >= BLOCK; n -= BLOCK, p += BLOCK) h = hashBlocks(blockKey, h, p, 1, BLOCK, link);
  return siphash64(saltKey0 ^ h, saltKey1, p, n);
}
