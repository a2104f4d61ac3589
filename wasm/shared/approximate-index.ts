// Blocks that pods hold as far as anybody can tell from what gateways sent them: per pod the most recently used ones, as
// many as its cache has room for, published like announced blocks. Their chains have a root of their own (the filter's
// prompt-match.ts), so that they never meet announced ones.
//
// Entry: hash u64, newer u32, older u32 (entry + 1 each, 0 = none), pod u32 (FREE = unused, then older is the next free
// one), used s u32.
import { PRIME1, PRIME2 } from "./hash";
import { MAX_PODS } from "./pods-layout";
import { join, leave, tableLimit } from "./published-table";

// @ts-ignore: decorator
@inline
const ENTRY: usize = 24;
// @ts-ignore: decorator
@inline
const FREE: u32 = 0xffffffff;

let cells: usize = 0;
let capacity: u32 = 0;
let high: u32 = 0;
let free: u32 = 0; // entry + 1
let live: u32 = 0;
/** Open addressing: entry + 1. */
let index: usize = 0;
let mask: u32 = 0;
// Per pod: newest u32, oldest u32, entries u32.
const lists: usize = heap.alloc(MAX_PODS * 12);

// @ts-ignore: decorator
@inline
function cell(e: u32): usize {
  return cells + <usize>(e - 1) * ENTRY;
}

// @ts-ignore: decorator
@inline
function homeOf(hash: u64, pod: u32): u32 {
  const h = (hash ^ ((<u64>pod + 1) * PRIME1)) * PRIME2;
  return <u32>(h >> 32) & mask;
}

export function approximateInit(): void {
  capacity = 1024;
  const bytes = <usize>capacity * ENTRY;
  cells = cells ? heap.realloc(cells, bytes) : heap.alloc(bytes);
  high = 0;
  free = 0;
  live = 0;
  newIndex(2047);
  memory.fill(lists, 0, MAX_PODS * 12);
}

function newIndex(m: u32): void {
  mask = m;
  const bytes = <usize>(mask + 1) << 2;
  index = index ? heap.realloc(index, bytes) : heap.alloc(bytes);
  memory.fill(index, 0, bytes);
}

/** Bytes of memory. */
export function approximateBytes(): usize {
  return <usize>capacity * ENTRY + (<usize>(mask + 1) << 2);
}

/** Blocks that pod slot `pod` is taken to hold. */
export function approximateOf(pod: u32): u32 {
  return pod < MAX_PODS ? load<u32>(lists + pod * 12, 8) : 0;
}

function find(hash: u64, pod: u32): u32 {
  let i = homeOf(hash, pod);
  for (;;) {
    const e = load<u32>(index + (<usize>i << 2));
    if (!e || (load<u64>(cell(e)) == hash && load<u32>(cell(e), 16) == pod)) return e;
    i = (i + 1) & mask;
  }
  return 0;
}

function place(e: u32): void {
  let i = homeOf(load<u64>(cell(e)), load<u32>(cell(e), 16));
  while (load<u32>(index + (<usize>i << 2))) i = (i + 1) & mask;
  store<u32>(index + (<usize>i << 2), e);
}

function unplace(e: u32): void {
  let i = homeOf(load<u64>(cell(e)), load<u32>(cell(e), 16));
  while (load<u32>(index + (<usize>i << 2)) != e) i = (i + 1) & mask;
  // Backward-shift deletion keeps probe chains unbroken without tombstones.
  for (let j = i; ; ) {
    j = (j + 1) & mask;
    const other = load<u32>(index + (<usize>j << 2));
    if (!other) break;
    const h = homeOf(load<u64>(cell(other)), load<u32>(cell(other), 16));
    if (((j - h) & mask) >= ((j - i) & mask)) {
      store<u32>(index + (<usize>i << 2), other);
      i = j;
    }
  }
  store<u32>(index + (<usize>i << 2), 0);
}

/** Takes an entry out of its pod's list. */
function unlink(e: u32): void {
  const c = cell(e);
  const list = lists + load<u32>(c, 16) * 12;
  const newer = load<u32>(c, 8);
  const older = load<u32>(c, 12);
  if (newer) store<u32>(cell(newer), older, 12);
  else store<u32>(list, older);
  if (older) store<u32>(cell(older), newer, 8);
  else store<u32>(list, newer, 4);
}

/** Makes an entry its pod's newest. */
function link(e: u32, seconds: u32): void {
  const c = cell(e);
  const list = lists + load<u32>(c, 16) * 12;
  const newest = load<u32>(list);
  store<u32>(c, 0, 8);
  store<u32>(c, newest, 12);
  store<u32>(c, seconds, 20);
  if (newest) store<u32>(cell(newest), e, 8);
  else store<u32>(list, e, 4);
  store<u32>(list, e);
}

function add(hash: u64, pod: u32): u32 {
  let e = free;
  if (e) free = load<u32>(cell(e), 12);
  else {
    if (high == capacity) {
      capacity += capacity >> 1;
      cells = heap.realloc(cells, <usize>capacity * ENTRY);
    }
    e = ++high;
  }
  store<u64>(cell(e), hash);
  store<u32>(cell(e), pod, 16);
  live++;
  store<u32>(lists + pod * 12, load<u32>(lists + pod * 12, 8) + 1, 8);
  if (live << 1 > mask) {
    newIndex((mask << 1) | 1);
    for (let other: u32 = 1; other <= high; other++) {
      if (other != e && load<u32>(cell(other), 16) != FREE) place(other);
    }
  }
  place(e);
  return e;
}

/** Forgets the entry that a pod has not used for longest; false when it has none. */
function dropOldest(pod: u32): bool {
  const list = lists + pod * 12;
  const e = load<u32>(list, 4);
  if (!e) return false;
  leave(load<u64>(cell(e)), pod);
  unlink(e);
  unplace(e);
  store<u32>(list, load<u32>(list, 8) - 1, 8);
  store<u32>(cell(e), FREE, 16);
  store<u32>(cell(e), free, 12);
  free = e;
  live--;
  return true;
}

/**
 * A prompt of `count` block hashes went to pod slot `pod`, which has room for `limit` blocks; each block has
 * `tokensPerBlock` tokens, as far as the sender can tell. The deepest blocks are the first to go.
 */
export function approximateUse(
  pod: u32,
  hashes: usize,
  count: u32,
  tokensPerBlock: f64,
  limit: u32,
  seconds: u32,
): void {
  if (pod >= MAX_PODS) return;
  for (let j = min(count, limit); j > 0; j--) {
    const hash = load<u64>(hashes + (<usize>(j - 1) << 3));
    let e = find(hash, pod);
    if (e) unlink(e);
    else {
      // All pods together have at most the table's entries.
      if (live >= tableLimit() && !dropOldest(pod)) continue;
      e = add(hash, pod);
      join(hash, pod, <u32>min(<f64>j * tokensPerBlock, 1e9));
    }
    link(e, seconds);
  }
  while (approximateOf(pod) > limit) dropOldest(pod);
}

/** Forgets what a pod has not used since `seconds`. */
export function approximateExpire(pod: u32, seconds: u32): void {
  if (pod >= MAX_PODS) return;
  for (;;) {
    const oldest = load<u32>(lists + pod * 12, 4);
    if (!oldest || load<u32>(cell(oldest), 20) >= seconds) return;
    dropOldest(pod);
  }
}

/** Forgets all of a pod. */
export function approximateClear(pod: u32): void {
  while (pod < MAX_PODS && dropOldest(pod)) {}
}

/** Bytes that `approximateSave` writes. */
export function approximateSaveBytes(): usize {
  return 16 + MAX_PODS * 12 + <usize>high * ENTRY;
}

export function approximateSave(p: usize): void {
  store<u32>(p, high);
  store<u32>(p, free, 4);
  store<u32>(p, live, 8);
  store<u32>(p, 0, 12);
  memory.copy(p + 16, lists, MAX_PODS * 12);
  memory.copy(p + 16 + MAX_PODS * 12, cells, <usize>high * ENTRY);
}

/** Bytes of what `approximateSave` wrote at `p`, if it did. */
export function approximateBytesAt(p: usize): usize {
  return 16 + MAX_PODS * 12 + <usize>min(load<u32>(p), 0x4000000) * ENTRY;
}

/** Takes what `approximateSave` wrote. */
export function approximateLoad(p: usize): void {
  approximateInit();
  high = load<u32>(p);
  free = load<u32>(p, 4);
  live = load<u32>(p, 8);
  memory.copy(lists, p + 16, MAX_PODS * 12);
  capacity = max(capacity, high);
  cells = heap.realloc(cells, <usize>capacity * ENTRY);
  memory.copy(cells, p + 16 + MAX_PODS * 12, <usize>high * ENTRY);
  let m = mask;
  while (live << 1 > m) m = (m << 1) | 1;
  newIndex(m);
  for (let e: u32 = 1; e <= high; e++) if (load<u32>(cell(e), 16) != FREE) place(e);
}
