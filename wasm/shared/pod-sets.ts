// Interned sets of pods, writer side. An entry carries a 16-bit id instead of a mask; ids are counted and reused.
// Id 0 is the empty set.
import { MAX_SETS } from "./delta-layout";

/** 64-bit words of a mask: 1,024 pods. */
// @ts-ignore: decorator
@inline
const SET_WORDS: u32 = 16;
// @ts-ignore: decorator
@inline
const SET_BYTES: u32 = SET_WORDS << 3;
// @ts-ignore: decorator
@inline
const INDEX_SLOTS: u32 = MAX_SETS << 1;

let masks: usize = 0;
let counts: usize = 0;
let index: usize = 0; // open addressing, u32: id + 1, 0 empty
let free: usize = 0;
let freeCount: u32 = 0;
let used: u32 = 0;
let scratch: usize = 0;

/** Called with the id of a set that became known under this id, so that the delta can carry it. */
export let newSet: u32 = 0;

export function setsInit(): void {
  masks = heap.alloc(<usize>MAX_SETS * SET_BYTES);
  counts = heap.alloc(<usize>MAX_SETS << 2);
  index = heap.alloc(<usize>INDEX_SLOTS << 2);
  free = heap.alloc(<usize>MAX_SETS << 2);
  scratch = heap.alloc(SET_BYTES);
  setsClear();
}

function setsClear(): void {
  memory.fill(masks, 0, SET_BYTES);
  memory.fill(counts, 0, <usize>MAX_SETS << 2);
  memory.fill(index, 0, <usize>INDEX_SLOTS << 2);
  used = 1;
  freeCount = 0;
}

/** Address of the mask of set `id` (SET_WORDS words). */
// @ts-ignore: decorator
@inline
export function setMask(id: u32): usize {
  return masks + <usize>id * SET_BYTES;
}

/** Whether an entry uses set `id`. */
export function setUsed(id: u32): bool {
  return id == 0 || load<u32>(counts + (<usize>id << 2)) != 0;
}

/** Ids below this one have been used. */
export function setsHigh(): u32 {
  return used;
}

export function setHas(id: u32, pod: u32): bool {
  return ((load<u64>(setMask(id) + ((pod >> 6) << 3)) >> (<u64>pod & 63)) & 1) != 0;
}

/** How many pods set `id` has. */
export function setSize(id: u32): u32 {
  let n: u64 = 0;
  for (let i: u32 = 0; i < SET_WORDS; i++) n += popcnt(load<u64>(setMask(id) + (i << 3)));
  return <u32>n;
}

function hashMask(p: usize): u32 {
  let h: u64 = 0;
  for (let i: u32 = 0; i < SET_WORDS; i++) {
    h = (rotl(h, 27) ^ load<u64>(p + (i << 3))) * 0x9e3779b185ebca87;
  }
  h ^= h >> 32;
  return <u32>(h ^ (h >> 17));
}

function same(a: usize, b: usize): bool {
  return memory.compare(a, b, SET_BYTES) == 0;
}

/** Id of the mask in `scratch`, counted once more; -1 when all ids are taken. `newSet` is the id if it is new, else 0. */
function intern(): i32 {
  newSet = 0;
  let i = hashMask(scratch) & (INDEX_SLOTS - 1);
  for (;;) {
    const v = load<u32>(index + (<usize>i << 2));
    if (v == 0) break;
    if (same(setMask(v - 1), scratch)) {
      const c = counts + (<usize>(v - 1) << 2);
      store<u32>(c, load<u32>(c) + 1);
      return v - 1;
    }
    i = (i + 1) & (INDEX_SLOTS - 1);
  }
  let id: u32;
  if (freeCount) {
    freeCount--;
    id = load<u32>(free + (<usize>freeCount << 2));
  } else if (used < MAX_SETS) id = used++;
  else return -1;
  memory.copy(setMask(id), scratch, SET_BYTES);
  store<u32>(counts + (<usize>id << 2), 1);
  store<u32>(index + (<usize>i << 2), id + 1);
  newSet = id;
  return id;
}

/** Gives back one use of set `id`; its id is free again after the last one. */
export function setRelease(id: u32): void {
  if (id == 0) return;
  const c = counts + (<usize>id << 2);
  const n = load<u32>(c) - 1;
  store<u32>(c, n);
  if (n) return;
  let i = hashMask(setMask(id)) & (INDEX_SLOTS - 1);
  while (load<u32>(index + (<usize>i << 2)) != id + 1) i = (i + 1) & (INDEX_SLOTS - 1);
  // Backward-shift deletion keeps probe chains unbroken without tombstones.
  let j = i;
  for (;;) {
    j = (j + 1) & (INDEX_SLOTS - 1);
    const v = load<u32>(index + (<usize>j << 2));
    if (v == 0) break;
    const h = hashMask(setMask(v - 1)) & (INDEX_SLOTS - 1);
    if (((j - h) & (INDEX_SLOTS - 1)) >= ((j - i) & (INDEX_SLOTS - 1))) {
      store<u32>(index + (<usize>i << 2), v);
      i = j;
    }
  }
  store<u32>(index + (<usize>i << 2), 0);
  store<u32>(free + (<usize>freeCount << 2), id);
  freeCount++;
}

/** Set `id` with `pod` added, counted once; -1 when all ids are taken. The caller releases `id`. */
export function setWith(id: u32, pod: u32): i32 {
  memory.copy(scratch, setMask(id), SET_BYTES);
  const w = scratch + ((pod >> 6) << 3);
  store<u64>(w, load<u64>(w) | ((<u64>1) << (<u64>pod & 63)));
  return intern();
}

/** Set `id` without `pod`, counted once (0, uncounted, when empty); -1 when all ids are taken. */
export function setWithout(id: u32, pod: u32): i32 {
  newSet = 0;
  memory.copy(scratch, setMask(id), SET_BYTES);
  const w = scratch + ((pod >> 6) << 3);
  store<u64>(w, load<u64>(w) & ~((<u64>1) << (<u64>pod & 63)));
  let any: u64 = 0;
  for (let i: u32 = 0; i < SET_WORDS; i++) any |= load<u64>(scratch + (i << 3));
  return any == 0 ? 0 : intern();
}

/** Bytes that `setsSave` writes. */
export function setsSaveBytes(): usize {
  return 8 + <usize>used * (SET_BYTES + 4) + (<usize>freeCount << 2);
}

export function setsSave(p: usize): void {
  store<u32>(p, used);
  store<u32>(p, freeCount, 4);
  memory.copy(p + 8, masks, <usize>used * SET_BYTES);
  memory.copy(p + 8 + <usize>used * SET_BYTES, counts, <usize>used << 2);
  memory.copy(p + 8 + <usize>used * (SET_BYTES + 4), free, <usize>freeCount << 2);
}

/** Takes what `setsSave` wrote; returns the bytes read. */
export function setsLoad(p: usize): usize {
  setsClear();
  used = load<u32>(p);
  freeCount = load<u32>(p, 4);
  memory.copy(masks, p + 8, <usize>used * SET_BYTES);
  memory.copy(counts, p + 8 + <usize>used * SET_BYTES, <usize>used << 2);
  memory.copy(free, p + 8 + <usize>used * (SET_BYTES + 4), <usize>freeCount << 2);
  for (let id: u32 = 1; id < used; id++) {
    if (load<u32>(counts + (<usize>id << 2)) == 0) continue;
    let i = hashMask(setMask(id)) & (INDEX_SLOTS - 1);
    while (load<u32>(index + (<usize>i << 2))) i = (i + 1) & (INDEX_SLOTS - 1);
    store<u32>(index + (<usize>i << 2), id + 1);
  }
  return setsSaveBytes();
}
