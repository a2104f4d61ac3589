// The subsets of pods that requests in the queue are limited to: which pods each one leaves out, so that whether it has
// room is seen without its list being read anew.
import { MAX_PODS } from "../shared/pods-layout";
import { podHidden, podHide, podHigh, podsVersion } from "./pods";

/** Most subsets that requests wait for at a time. */
// @ts-ignore: decorator
@inline
export const SUBSETS: u32 = 32;

// Subset: key u64, waiting requests u32, version of the pods u32, then a byte per pod, 1 = left out.
// @ts-ignore: decorator
@inline
const HEAD: usize = 16;
// @ts-ignore: decorator
@inline
const BYTES: usize = HEAD + <usize>MAX_PODS;
const subsets: usize = heap.alloc(<usize>SUBSETS * BYTES);
memory.fill(subsets, 0, <usize>SUBSETS * BYTES);

// @ts-ignore: decorator
@inline
function at(subset: u32): usize {
  return subsets + <usize>(subset - 1) * BYTES;
}

/** The subset (from 1 on) with this key that requests wait for, 0 for none. */
export function subsetFind(key: u64): u32 {
  for (let i: u32 = 1; i <= SUBSETS; i++) {
    if (load<u32>(at(i), 8) && load<u64>(at(i)) == key) return i;
  }
  return 0;
}

/** The same, or a free one that leaves out the pods that are hidden now; 0 when SUBSETS others are waited for. */
export function subsetTake(key: u64): u32 {
  const known = subsetFind(key);
  if (known) return known;
  for (let i: u32 = 1; i <= SUBSETS; i++) {
    if (load<u32>(at(i), 8)) continue;
    store<u64>(at(i), key);
    subsetSee(i);
    return i;
  }
  return 0;
}

/** Counts requests that wait for a subset: one that has none is free. 0: the request is limited to none. */
export function subsetCount(subset: u32, by: i32): void {
  if (subset) store<i32>(at(subset), load<i32>(at(subset), 8) + by, 8);
}

/** The subset leaves out the pods that are hidden now. */
export function subsetSee(subset: u32): void {
  const s = at(subset);
  store<u32>(s, podsVersion, 12);
  for (let i: u32 = 0; i < podHigh; i++) store<u8>(s + HEAD + i, podHidden(i) ? 1 : 0);
}

/** Hides the pods that a subset leaves out; false, with nothing hidden, when slots may be others' by now. */
export function subsetHide(subset: u32): bool {
  const s = at(subset);
  if (load<u32>(s, 12) != podsVersion) return false;
  for (let i: u32 = 0; i < podHigh; i++) if (load<u8>(s + HEAD + i)) podHide(i);
  return true;
}
