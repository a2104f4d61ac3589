// FNV-1a (RFC draft-eastlake-fnv): names of profiles, addresses and labels; nothing that a client could gain from
// colliding.

/** 64-bit FNV-1a of `n` bytes. */
export function fnv64(p: usize, n: u32): u64 {
  let h: u64 = 0xcbf29ce484222325;
  for (let i: u32 = 0; i < n; i++) h = (h ^ <u64>load<u8>(p + i)) * 0x100000001b3;
  return h;
}

/** The 64-bit hash folded to 32 bits, never 0, which stands for an absent value. */
export function fnv32(p: usize, n: u32): u32 {
  const h = fnv64(p, n);
  const folded = <u32>(h ^ (h >> 32));
  return folded ? folded : 1;
}
