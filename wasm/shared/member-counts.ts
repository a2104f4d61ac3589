// How many blocks of a pod complete the same text, where it is more than one: the text leaves the pod with the last of
// them.
//
// Slot: text hash u64, pod u32, blocks beyond the first u32. 0 blocks means empty.
import { PRIME1 } from "./hash";

// @ts-ignore: decorator
@inline
const SLOT: u32 = 16;

let slots: usize = 0;
let mask: u32 = 0;
let count: u32 = 0;

// @ts-ignore: decorator
@inline
function homeOf(hash: u64, pod: u32): u32 {
  const h = (hash ^ ((<u64>pod + 1) * PRIME1)) * PRIME1;
  return <u32>(h >> 32) & mask;
}

export function membersInit(): void {
  mask = 1023;
  const bytes = <usize>(mask + 1) * SLOT;
  slots = slots ? heap.realloc(slots, bytes) : heap.alloc(bytes);
  memory.fill(slots, 0, bytes);
  count = 0;
}

/** Bytes of memory. */
export function membersBytes(): usize {
  return <usize>(mask + 1) * SLOT;
}

function find(hash: u64, pod: u32): usize {
  let i = homeOf(hash, pod);
  for (;;) {
    const s = slots + <usize>i * SLOT;
    if (load<u32>(s, 12) == 0) return 0;
    if (load<u64>(s) == hash && load<u32>(s, 8) == pod) return s;
    i = (i + 1) & mask;
  }
  return 0;
}

/** Counts a further block. */
export function memberAdd(hash: u64, pod: u32): void {
  const slot = find(hash, pod);
  if (slot) {
    store<u32>(slot, load<u32>(slot, 12) + 1, 12);
    return;
  }
  if (count + (count >> 2) + 16 > mask) grow();
  place(hash, pod, 1);
  count++;
}

function place(hash: u64, pod: u32, blocks: u32): void {
  let i = homeOf(hash, pod);
  while (load<u32>(slots + <usize>i * SLOT, 12) != 0) i = (i + 1) & mask;
  const s = slots + <usize>i * SLOT;
  store<u64>(s, hash);
  store<u32>(s, pod, 8);
  store<u32>(s, blocks, 12);
}

function grow(): void {
  const old = slots;
  const n = mask + 1;
  mask = (n << 1) - 1;
  slots = heap.alloc(<usize>(n << 1) * SLOT);
  memory.fill(slots, 0, <usize>(n << 1) * SLOT);
  for (let i: u32 = 0; i < n; i++) {
    const s = old + <usize>i * SLOT;
    if (load<u32>(s, 12)) place(load<u64>(s), load<u32>(s, 8), load<u32>(s, 12));
  }
  heap.free(old);
}

/** Takes one of the further blocks back; false when the block is the only one. */
export function memberTake(hash: u64, pod: u32): bool {
  const slot = find(hash, pod);
  if (!slot) return false;
  const blocks = load<u32>(slot, 12);
  if (blocks > 1) store<u32>(slot, blocks - 1, 12);
  else drop(slot);
  return true;
}

function drop(slot: usize): void {
  // Backward-shift deletion keeps probe chains unbroken without tombstones.
  let i = <u32>((slot - slots) / SLOT);
  let j = i;
  for (;;) {
    j = (j + 1) & mask;
    const s = slots + <usize>j * SLOT;
    if (load<u32>(s, 12) == 0) break;
    const h = homeOf(load<u64>(s), load<u32>(s, 8));
    if (((j - h) & mask) >= ((j - i) & mask)) {
      memory.copy(slots + <usize>i * SLOT, s, SLOT);
      i = j;
    }
  }
  memory.fill(slots + <usize>i * SLOT, 0, SLOT);
  count--;
}

/** Bytes that `membersSave` writes. */
export function membersSaveBytes(): usize {
  return 8 + <usize>(mask + 1) * SLOT;
}

export function membersSave(p: usize): void {
  store<u32>(p, mask);
  store<u32>(p, count, 4);
  memory.copy(p + 8, slots, <usize>(mask + 1) * SLOT);
}

/** Takes what `membersSave` wrote; returns the bytes read. */
export function membersLoad(p: usize): usize {
  mask = load<u32>(p);
  count = load<u32>(p, 4);
  slots = heap.realloc(slots, <usize>(mask + 1) * SLOT);
  memory.copy(slots, p + 8, <usize>(mask + 1) * SLOT);
  return membersSaveBytes();
}
