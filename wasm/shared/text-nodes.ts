// Text nodes: what a chain of KV blocks says, as a hash state and never as text. Two pods that hold the same text in
// blocks of the same size share one node.
//
// Node (56 bytes): chain u64 (hash at the last text-block boundary), acc0 u64, acc1 u64, partial u64 (the unfinished
// word, masked by its key word), bytes u32, tokens u32, users u32, start bytes u32 (where this KV block begins),
// extra u32 (index + 1 of further text hashes), next u32 (hash chain or free list).
import { ACC0, ACC1, chain, mul32 } from "./hash";

// @ts-ignore: decorator
@inline
export const NODE_BYTES: u32 = 56;
// @ts-ignore: decorator
@inline
export const N_ACC0: u32 = 8;
// @ts-ignore: decorator
@inline
export const N_ACC1: u32 = 16;
// @ts-ignore: decorator
@inline
export const N_PARTIAL: u32 = 24;
// @ts-ignore: decorator
@inline
export const N_SIZE: u32 = 32;
// @ts-ignore: decorator
@inline
export const N_TOKENS: u32 = 36;
// @ts-ignore: decorator
@inline
export const N_USERS: u32 = 40;
// @ts-ignore: decorator
@inline
export const N_START: u32 = 44;
// @ts-ignore: decorator
@inline
export const N_EXTRA: u32 = 48;
// @ts-ignore: decorator
@inline
export const N_NEXT: u32 = 52;

let nodes: usize = 0;
let capacity: u32 = 0;
let high: u32 = 0;
let freeList: u32 = 0; // node + 1
let live: u32 = 0;
let heads: usize = 0;
let headMask: u32 = 0;

/** Texts completed inside one KV block beyond the last one: u64 hashes in cells of EXTRA_CELL, linked by index + 1. */
let extras: usize = 0;
let extraCapacity: u32 = 0;
let extraHigh: u32 = 0;
let extraFree: u32 = 0;

/** State that `feed` advances: where a chain stands. */
export let sChain: u64 = 0;
export let sAcc0: u64 = 0;
export let sAcc1: u64 = 0;
export let sPartial: u64 = 0;
export let sSize: u32 = 0;

export function nodesInit(): void {
  capacity = 4096;
  nodes = heap.alloc(<usize>capacity * NODE_BYTES);
  headMask = 8191;
  heads = heap.alloc(<usize>(headMask + 1) << 2);
  memory.fill(heads, 0, <usize>(headMask + 1) << 2);
  extraCapacity = 1024;
  extras = heap.alloc(<usize>extraCapacity << 4);
}

/** Address of node `i`. Not valid after `nodeIntern`. */
// @ts-ignore: decorator
@inline
export function node(i: u32): usize {
  return nodes + <usize>i * NODE_BYTES;
}

export function nodesLive(): u32 {
  return live;
}

/** Bytes of memory of nodes and their index. */
export function nodesBytes(): usize {
  return <usize>capacity * NODE_BYTES + (<usize>(headMask + 1) << 2) + (<usize>extraCapacity << 4);
}

export function stateStart(root: u64): void {
  sChain = root;
  sAcc0 = ACC0;
  sAcc1 = ACC1;
  sPartial = 0;
  sSize = 0;
}

export function stateFrom(i: u32): void {
  const n = node(i);
  sChain = load<u64>(n);
  sAcc0 = load<u64>(n, N_ACC0);
  sAcc1 = load<u64>(n, N_ACC1);
  sPartial = load<u64>(n, N_PARTIAL);
  sSize = load<u32>(n, N_SIZE);
}

/**
 * Feeds bytes up to the next text-block boundary or the end of the span, whichever is first, and returns how many
 * it took. `sChain` has moved on when the size is at a boundary.
 */
export function feed(key: usize, blockBytes: u32, p: usize, n: u32): u32 {
  let at = sSize & (blockBytes - 1);
  const take = min(n, blockBytes - at);
  const end = p + take;
  while (p < end) {
    const word = at >> 3;
    const k = load<u64>(key + (<usize>word << 3));
    let d: u64;
    if ((at & 7) == 0 && end - p >= 8) {
      d = load<u64>(p);
      p += 8;
      at += 8;
    } else {
      // The partial word is kept masked so that no plain text stays in memory.
      let w = (at & 7) == 0 ? 0 : sPartial ^ k;
      while (p < end) {
        w |= (<u64>load<u8>(p)) << (<u64>(at & 7) << 3);
        p++;
        at++;
        if ((at & 7) == 0) break;
      }
      if ((at & 7) != 0) {
        sPartial = w ^ k;
        break;
      }
      d = w;
      sPartial = 0;
    }
    if (word & 1) {
      sAcc1 += mul32(d ^ k);
      sAcc0 += d;
    } else {
      sAcc0 += mul32(d ^ k);
      sAcc1 += d;
    }
  }
  sSize += take;
  if (at == blockBytes) {
    sChain = chain(sChain, sAcc0, sAcc1);
    sAcc0 = ACC0;
    sAcc1 = ACC1;
    sPartial = 0;
  }
  return take;
}

// @ts-ignore: decorator
@inline
function headOf(c: u64, a0: u64, a1: u64, size: u32, start: u32): u32 {
  const h = chain(c ^ ((<u64>size) << 32) ^ <u64>start, a0, a1);
  return <u32>h & headMask;
}

/** Node with the state that `feed` reached and this start, or -1. */
export function nodeFind(start: u32): i32 {
  let i = load<u32>(heads + (<usize>headOf(sChain, sAcc0, sAcc1, sSize, start) << 2));
  while (i) {
    const n = node(i - 1);
    if (
      load<u64>(n) == sChain &&
      load<u64>(n, N_ACC0) == sAcc0 &&
      load<u64>(n, N_ACC1) == sAcc1 &&
      load<u64>(n, N_PARTIAL) == sPartial &&
      load<u32>(n, N_SIZE) == sSize &&
      load<u32>(n, N_START) == start
    )
      return i - 1;
    i = load<u32>(n, N_NEXT);
  }
  return -1;
}

/** A new node with the state that `feed` reached. */
export function nodeAdd(start: u32, tokens: u32): u32 {
  let i: u32;
  if (freeList) {
    i = freeList - 1;
    freeList = load<u32>(node(i), N_NEXT);
  } else {
    if (high == capacity) {
      capacity <<= 1;
      nodes = heap.realloc(nodes, <usize>capacity * NODE_BYTES);
    }
    i = high++;
  }
  live++;
  if (live > headMask) growHeads();
  const n = node(i);
  store<u64>(n, sChain);
  store<u64>(n, sAcc0, N_ACC0);
  store<u64>(n, sAcc1, N_ACC1);
  store<u64>(n, sPartial, N_PARTIAL);
  store<u32>(n, sSize, N_SIZE);
  store<u32>(n, tokens, N_TOKENS);
  store<u32>(n, 0, N_USERS);
  store<u32>(n, start, N_START);
  store<u32>(n, 0, N_EXTRA);
  link(i);
  return i;
}

function link(i: u32): void {
  const n = node(i);
  const h =
    heads +
    (<usize>(
      headOf(load<u64>(n), load<u64>(n, N_ACC0), load<u64>(n, N_ACC1), load<u32>(n, N_SIZE), load<u32>(n, N_START))
    ) <<
      2);
  store<u32>(n, load<u32>(h), N_NEXT);
  store<u32>(h, i + 1);
}

function growHeads(): void {
  const old = heads;
  const count = headMask + 1;
  headMask = (count << 1) - 1;
  heads = heap.alloc(<usize>(headMask + 1) << 2);
  memory.fill(heads, 0, <usize>(headMask + 1) << 2);
  for (let b: u32 = 0; b < count; b++) {
    let i = load<u32>(old + (<usize>b << 2));
    while (i) {
      const next = load<u32>(node(i - 1), N_NEXT);
      link(i - 1);
      i = next;
    }
  }
  heap.free(old);
}

/** Frees a node that no pod uses any more. */
export function nodeDrop(i: u32): void {
  const n = node(i);
  let at =
    heads +
    (<usize>(
      headOf(load<u64>(n), load<u64>(n, N_ACC0), load<u64>(n, N_ACC1), load<u32>(n, N_SIZE), load<u32>(n, N_START))
    ) <<
      2);
  while (load<u32>(at) != i + 1) at = node(load<u32>(at) - 1) + N_NEXT;
  store<u32>(at, load<u32>(n, N_NEXT));
  let e = load<u32>(n, N_EXTRA);
  while (e) {
    const cell = extras + (<usize>(e - 1) << 4);
    const next = load<u32>(cell, 8);
    store<u32>(cell, extraFree, 8);
    extraFree = e;
    e = next;
  }
  store<u32>(n, freeList, N_NEXT);
  freeList = i + 1;
  live--;
}

/** Remembers a text hash that node `i` completes besides its last one. */
export function extraAdd(i: u32, hash: u64): void {
  let e: u32;
  if (extraFree) {
    e = extraFree;
    extraFree = load<u32>(extras + (<usize>(e - 1) << 4), 8);
  } else {
    if (extraHigh == extraCapacity) {
      extraCapacity <<= 1;
      extras = heap.realloc(extras, <usize>extraCapacity << 4);
    }
    e = ++extraHigh;
  }
  const cell = extras + (<usize>(e - 1) << 4);
  store<u64>(cell, hash);
  store<u32>(cell, load<u32>(node(i), N_EXTRA), 8);
  store<u32>(node(i), e, N_EXTRA);
}

/** Hash of cell `e` (index + 1). */
export function extraHash(e: u32): u64 {
  return load<u64>(extras + (<usize>(e - 1) << 4));
}

/** Next cell of the same node, 0 at the end. */
export function extraNext(e: u32): u32 {
  return load<u32>(extras + (<usize>(e - 1) << 4), 8);
}

export function nodesReset(): void {
  high = 0;
  freeList = 0;
  live = 0;
  extraHigh = 0;
  extraFree = 0;
  memory.fill(heads, 0, <usize>(headMask + 1) << 2);
}

/** Nodes numbered below this one have been used; for checkpoints. */
export function nodesHigh(): u32 {
  return high;
}

/** Bytes that `nodesSave` writes. */
export function nodesSaveBytes(): usize {
  return 24 + <usize>high * NODE_BYTES + (<usize>extraHigh << 4);
}

export function nodesSave(p: usize): void {
  store<u32>(p, high);
  store<u32>(p, freeList, 4);
  store<u32>(p, live, 8);
  store<u32>(p, extraHigh, 12);
  store<u32>(p, extraFree, 16);
  memory.copy(p + 24, nodes, <usize>high * NODE_BYTES);
  memory.copy(p + 24 + <usize>high * NODE_BYTES, extras, <usize>extraHigh << 4);
}

/** Takes what `nodesSave` wrote; returns the bytes read. */
export function nodesLoad(p: usize): usize {
  high = load<u32>(p);
  freeList = load<u32>(p, 4);
  live = load<u32>(p, 8);
  extraHigh = load<u32>(p, 12);
  extraFree = load<u32>(p, 16);
  while (capacity < high) capacity <<= 1;
  nodes = heap.realloc(nodes, <usize>capacity * NODE_BYTES);
  while (extraCapacity < extraHigh) extraCapacity <<= 1;
  extras = heap.realloc(extras, <usize>extraCapacity << 4);
  memory.copy(nodes, p + 24, <usize>high * NODE_BYTES);
  memory.copy(extras, p + 24 + <usize>high * NODE_BYTES, <usize>extraHigh << 4);
  while (headMask < live) headMask = (headMask << 1) | 1;
  heads = heap.realloc(heads, <usize>(headMask + 1) << 2);
  memory.fill(heads, 0, <usize>(headMask + 1) << 2);
  for (let i: u32 = 0; i < high; i++) {
    if (load<u32>(node(i), N_USERS)) link(i);
  }
  return nodesSaveBytes();
}
