// Pods that a list of addresses leaves for a request.
import { podAddress, podAddressSize, podHidden, podHide, podHigh, podKnown, podReady } from "./pods";

/** Longest list of pods that is read, bytes. */
// @ts-ignore: decorator
@inline
const LISTED_BYTES: u32 = 16384;

/**
 * Hides the pods that a list of `n` bytes at `p` does not name: `ip:port`, or an IP for all its ports, apart by commas,
 * spaces or zeros. False when no ready pod is left; `podsShow` undoes it.
 */
export function podsKeep(p: usize, n: u32): bool {
  const end = p + min(n, LISTED_BYTES);
  let left = false;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (!podKnown(i) || podHidden(i)) continue;
    if (!listNames(p, end, podAddress(i), podAddressSize(i))) podHide(i);
    else if (podReady(i)) left = true;
  }
  return left;
}

function listNames(p: usize, end: usize, address: usize, size: u32): bool {
  while (p < end) {
    while (p < end && separates(load<u8>(p))) p++;
    const from = p;
    while (p < end && !separates(load<u8>(p))) p++;
    const n = <u32>(p - from);
    if (n == 0 || n > size || memory.compare(from, address, n) != 0) continue;
    // An address without its port ends where the port begins.
    if (n == size || load<u8>(address + n) == 0x3a) return true;
  }
  return false;
}

// @ts-ignore: decorator
@inline
function separates(c: u8): bool {
  return c == 0x2c || c == 0x20 || c == 0x09 || c == 0;
}
