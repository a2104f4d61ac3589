// Numbers as the host and clients read them.
import { Text } from "./abi/memory";
import { scratch, setHeader } from "./host";

/** Most digits of a number. */
// @ts-ignore: decorator
@inline
export const DIGITS_MAX: u32 = 20;

/** Writes `v` in decimal at `p`, which has room for DIGITS_MAX bytes; returns the number of digits. */
export function digits(p: usize, v: u64): u32 {
  let n: u32 = 1;
  for (let x = v; x >= 10; x /= 10) n++;
  for (let i = n; i > 0; i--) {
    store<u8>(p + i - 1, <u8>(48 + (v % 10)));
    v /= 10;
  }
  return n;
}

/** Sets a header to `v`; without room in the arena it stays as it is. */
export function setNumber(map: u32, name: Text, v: u64): void {
  const p = scratch(DIGITS_MAX);
  if (p) setHeader(map, name, p, digits(p, v));
}
