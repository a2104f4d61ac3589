// Which engine block (pod, engine hash) stands for which text node, with how many physical copies. vLLM announces a
// block again when it computes a second copy and removes each copy by itself, so copies are counted.
//
// Slot: engine hash u64, node u32, pod u16, copies u16. Copies 0 means empty.
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

export function blocksInit(capacity: u32): void {
  mask = capacity - 1;
  slots = heap.alloc(<usize>capacity * SLOT);
  memory.fill(slots, 0, <usize>capacity * SLOT);
  count = 0;
}

/** Blocks known, over all pods. */
export function blocksCount(): u32 {
  return count;
}

export function blocksCapacity(): u32 {
  return mask + 1;
}

/** Address of slot `i`. */
export function blockSlot(i: u32): usize {
  return slots + <usize>i * SLOT;
}

/** Address of the block's slot, 0 when unknown. */
export function blockFind(hash: u64, pod: u32): usize {
  let i = homeOf(hash, pod);
  let s = slots + <usize>i * SLOT;
  while (load<u16>(s, 14) != 0) {
    if (load<u64>(s) == hash && load<u16>(s, 12) == <u16>pod) return s;
    i = (i + 1) & mask;
    s = slots + <usize>i * SLOT;
  }
  return 0;
}

/** Adds a block that `blockFind` did not find. */
export function blockAdd(hash: u64, pod: u32, node: u32, copies: u32): void {
  if (count + (count >> 2) + 16 > mask) grow();
  place(hash, pod, node, copies);
  count++;
}

function place(hash: u64, pod: u32, node: u32, copies: u32): void {
  let i = homeOf(hash, pod);
  while (load<u16>(slots + <usize>i * SLOT, 14) != 0) i = (i + 1) & mask;
  const s = slots + <usize>i * SLOT;
  store<u64>(s, hash);
  store<u32>(s, node, 8);
  store<u16>(s, <u16>pod, 12);
  store<u16>(s, <u16>copies, 14);
}

function grow(): void {
  const old = slots;
  const n = mask + 1;
  mask = (n << 1) - 1;
  slots = heap.alloc(<usize>(n << 1) * SLOT);
  memory.fill(slots, 0, <usize>(n << 1) * SLOT);
  for (let i: u32 = 0; i < n; i++) {
    const s = old + <usize>i * SLOT;
    const copies = <u32>load<u16>(s, 14);
    if (copies) place(load<u64>(s), load<u16>(s, 12), load<u32>(s, 8), copies);
  }
  heap.free(old);
}

/** Removes the slot that `blockFind` returned. */
export function blockDrop(slot: usize): void {
  let i = <u32>((slot - slots) / SLOT);
  let j = i;
  for (;;) {
    j = (j + 1) & mask;
    const s = slots + <usize>j * SLOT;
    if (load<u16>(s, 14) == 0) break;
    const h = homeOf(load<u64>(s), load<u16>(s, 12));
    if (((j - h) & mask) >= ((j - i) & mask)) {
      memory.copy(slots + <usize>i * SLOT, s, SLOT);
      i = j;
    }
  }
  store<u64>(slots + <usize>i * SLOT, 0);
  store<u64>(slots + <usize>i * SLOT, 0, 8);
  count--;
}

/** Bytes that `blocksSave` writes. */
export function blocksSaveBytes(): usize {
  return 8 + <usize>(mask + 1) * SLOT;
}

export function blocksSave(p: usize): void {
  store<u32>(p, mask);
  store<u32>(p, count, 4);
  memory.copy(p + 8, slots, <usize>(mask + 1) * SLOT);
}

/** Takes what `blocksSave` wrote; returns the bytes read. */
export function blocksLoad(p: usize): usize {
  mask = load<u32>(p);
  count = load<u32>(p, 4);
  slots = heap.realloc(slots, <usize>(mask + 1) * SLOT);
  memory.copy(slots, p + 8, <usize>(mask + 1) * SLOT);
  return blocksSaveBytes();
}
