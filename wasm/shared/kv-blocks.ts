// The engines' KV blocks: which there are, on which pod and tier, in how many physical copies, and where each stands in
// its text, so that a child can go on from it. vLLM announces a block again when it computes a second copy and removes
// each copy by itself, so copies are counted.
//
// Memory is what bounds an index of many millions of blocks, so a record has 45 bytes and lies in chunks that are never
// moved: 44 bytes (engine hash u64, chain u64, acc0 u64, acc1 u64, unfinished word u56 with the copies in its top byte,
// then tokens from the root u20 and owner u12) and one byte, the position in its text block. 0 copies means free; a free
// record's hash is the next free one. An open-addressed index of u32 (six bits of the hash, 26 of the record + 1) finds
// them at 5 to 6 bytes a block.
import { PRIME1, PRIME2 } from "./hash";
import { PARTIAL_MASK, sAcc0, sAcc1, sChain, sPartial, stateSet } from "./text-state";

// @ts-ignore: decorator
@inline
const RECORD: usize = 44;
// @ts-ignore: decorator
@inline
const CHAIN: u32 = 8;
// @ts-ignore: decorator
@inline
const ACC0: u32 = 16;
// @ts-ignore: decorator
@inline
const ACC1: u32 = 24;
// @ts-ignore: decorator
@inline
const PARTIAL: u32 = 32;
// @ts-ignore: decorator
@inline
const COPIES: u32 = 39;
// @ts-ignore: decorator
@inline
const WORD: u32 = 40;

// @ts-ignore: decorator
@inline
const CHUNK_SHIFT: u32 = 14;
// @ts-ignore: decorator
@inline
const CHUNK_RECORDS: u32 = 1 << CHUNK_SHIFT;
// @ts-ignore: decorator
@inline
const CHUNK_BYTES: usize = <usize>CHUNK_RECORDS * (RECORD + 1);
// @ts-ignore: decorator
@inline
const MAX_CHUNKS: u32 = 4096;
/** Most blocks: what 26 bits and the chunk directory can name. */
// @ts-ignore: decorator
@inline
const MAX_RECORDS: u32 = MAX_CHUNKS * CHUNK_RECORDS - 2;

/** Most tokens from the root to a block's end. */
// @ts-ignore: decorator
@inline
export const MAX_TOKENS: u32 = 0xfffff;

// Owner: pod slot in the low ten bits, then these.
/** Held outside of GPU memory. */
// @ts-ignore: decorator
@inline
export const OTHER_TIER: u32 = 0x400;
/** The block completes a text block (or several). */
// @ts-ignore: decorator
@inline
const COMPLETES: u32 = 0x800;
// @ts-ignore: decorator
@inline
const OWNER: u32 = 0x7ff;
// @ts-ignore: decorator
@inline
const POD: u32 = 0x3ff;

const chunks: usize = heap.alloc(MAX_CHUNKS << 2);
let chunkCount: u32 = 0;
let high: u32 = 0;
let free: u32 = 0; // record + 1
let live: u32 = 0;

// The index is in parts that grow one at a time: no growth takes long, and what it gives back is small enough to serve
// the next one.
// @ts-ignore: decorator
@inline
const PARTS: u32 = 256;
// @ts-ignore: decorator
@inline
const FIRST_CAPACITY: u32 = 32;
/** Address u32, capacity u32, entries u32 of each part. */
const parts: usize = heap.alloc(PARTS * 12);
memory.fill(parts, 0, PARTS * 12);

// @ts-ignore: decorator
@inline
function record(i: u32): usize {
  return <usize>load<u32>(chunks + (<usize>(i >> CHUNK_SHIFT) << 2)) + <usize>(i & (CHUNK_RECORDS - 1)) * RECORD;
}

// @ts-ignore: decorator
@inline
function positionAt(i: u32): usize {
  const chunk = <usize>load<u32>(chunks + (<usize>(i >> CHUNK_SHIFT) << 2));
  return chunk + <usize>CHUNK_RECORDS * RECORD + <usize>(i & (CHUNK_RECORDS - 1));
}

// @ts-ignore: decorator
@inline
function mix(hash: u64, owner: u32): u64 {
  const h = (hash ^ ((<u64>owner + 1) * PRIME1)) * PRIME2;
  return h ^ (h >> 29);
}

// @ts-ignore: decorator
@inline
function partOf(mixed: u64): usize {
  return parts + (<u32>(mixed >> 6) & (PARTS - 1)) * 12;
}

// @ts-ignore: decorator
@inline
function homeOf(mixed: u64, capacity: u32): u32 {
  return <u32>(((mixed >> 32) * <u64>capacity) >> 32);
}

// @ts-ignore: decorator
@inline
function tagOf(mixed: u64): u32 {
  return (<u32>mixed & 63) << 26;
}

// @ts-ignore: decorator
@inline
function mixedOf(i: u32): u64 {
  const r = record(i);
  return mix(load<u64>(r), load<u32>(r, WORD) & OWNER);
}

export function blocksInit(): void {
  chunkCount = 0;
  high = 0;
  free = 0;
  live = 0;
  for (let i: u32 = 0; i < PARTS; i++) newPart(parts + i * 12, FIRST_CAPACITY);
}

/** Gives back all records. */
function blocksReset(): void {
  for (let c: u32 = 0; c < chunkCount; c++) heap.free(load<u32>(chunks + (<usize>c << 2)));
  blocksInit();
}

/** Makes a part anew and empty. */
function newPart(part: usize, n: u32): void {
  if (load<u32>(part)) heap.free(load<u32>(part));
  const at = heap.alloc(<usize>n << 2);
  memory.fill(at, 0, <usize>n << 2);
  store<u32>(part, <u32>at);
  store<u32>(part, n, 4);
  store<u32>(part, 0, 8);
}

/** Bytes of memory. */
export function blocksBytes(): usize {
  let bytes = <usize>chunkCount * CHUNK_BYTES;
  for (let i: u32 = 0; i < PARTS; i++) bytes += <usize>load<u32>(parts + i * 12, 4) << 2;
  return bytes;
}

/** Records below this number have been used. */
export function blocksHigh(): u32 {
  return high;
}

/** Record of a block, -1 when it is not known. */
export function blockFind(hash: u64, owner: u32): i32 {
  const mixed = mix(hash, owner);
  const tag = tagOf(mixed);
  const part = partOf(mixed);
  const index = <usize>load<u32>(part);
  const capacity = load<u32>(part, 4);
  let i = homeOf(mixed, capacity);
  for (;;) {
    const e = load<u32>(index + (<usize>i << 2));
    if (!e) return -1;
    if ((e & 0xfc000000) == tag) {
      const n = (e & 0x3ffffff) - 1;
      const r = record(n);
      if (load<u64>(r) == hash && (load<u32>(r, WORD) & OWNER) == owner) return n;
    }
    if (++i == capacity) i = 0;
  }
  return -1;
}

/** Puts a record into the index. */
function place(i: u32): void {
  const mixed = mixedOf(i);
  const part = partOf(mixed);
  const count = load<u32>(part, 8) + 1;
  if (count + (count >> 2) > load<u32>(part, 4)) grow(part);
  store<u32>(part, count, 8);
  put(part, mixed, tagOf(mixed) | (i + 1));
}

function put(part: usize, mixed: u64, entry: u32): void {
  const index = <usize>load<u32>(part);
  const capacity = load<u32>(part, 4);
  let s = homeOf(mixed, capacity);
  while (load<u32>(index + (<usize>s << 2))) if (++s == capacity) s = 0;
  store<u32>(index + (<usize>s << 2), entry);
}

function grow(part: usize): void {
  const old = <usize>load<u32>(part);
  const n = load<u32>(part, 4);
  const count = load<u32>(part, 8);
  store<u32>(part, 0);
  newPart(part, n + (n >> 2));
  store<u32>(part, count, 8);
  for (let s: u32 = 0; s < n; s++) {
    const e = load<u32>(old + (<usize>s << 2));
    if (e) put(part, mixedOf((e & 0x3ffffff) - 1), e);
  }
  heap.free(old);
}

/** A record for a block that `blockFind` did not find, at the state that `feed` reached; -1 when there is no room. */
export function blockAdd(hash: u64, owner: u32, tokens: u32, position: u32, completes: bool): i32 {
  let i: u32;
  if (free) {
    i = free - 1;
    free = <u32>load<u64>(record(i));
  } else {
    if (high == MAX_RECORDS) return -1;
    if (high == chunkCount << CHUNK_SHIFT) addChunk();
    i = high++;
  }
  const r = record(i);
  store<u64>(r, hash);
  store<u64>(r, sChain, CHAIN);
  store<u64>(r, sAcc0, ACC0);
  store<u64>(r, sAcc1, ACC1);
  store<u64>(r, sPartial & PARTIAL_MASK, PARTIAL);
  store<u8>(r, 1, COPIES);
  store<u32>(r, (tokens << 12) | owner | (completes ? COMPLETES : 0), WORD);
  store<u8>(positionAt(i), <u8>position);
  live++;
  place(i);
  return i;
}

function addChunk(): void {
  const at = heap.alloc(CHUNK_BYTES);
  memory.fill(at, 0, CHUNK_BYTES);
  store<u32>(chunks + (<usize>chunkCount << 2), <u32>at);
  chunkCount++;
}

/** Frees a record. */
export function blockDrop(i: u32): void {
  const mixed = mixedOf(i);
  const part = partOf(mixed);
  const index = <usize>load<u32>(part);
  const capacity = load<u32>(part, 4);
  let s = homeOf(mixed, capacity);
  while ((load<u32>(index + (<usize>s << 2)) & 0x3ffffff) != i + 1) if (++s == capacity) s = 0;
  // Backward-shift deletion keeps probe chains unbroken without tombstones.
  let j = s;
  for (;;) {
    if (++j == capacity) j = 0;
    const e = load<u32>(index + (<usize>j << 2));
    if (!e) break;
    const h = homeOf(mixedOf((e & 0x3ffffff) - 1), capacity);
    if (distance(h, j, capacity) >= distance(s, j, capacity)) {
      store<u32>(index + (<usize>s << 2), e);
      s = j;
    }
  }
  store<u32>(index + (<usize>s << 2), 0);
  store<u32>(part, load<u32>(part, 8) - 1, 8);
  const r = record(i);
  memory.fill(r, 0, RECORD);
  store<u64>(r, free);
  free = i + 1;
  live--;
}

// @ts-ignore: decorator
@inline
function distance(a: u32, b: u32, capacity: u32): u32 {
  return b >= a ? b - a : b + capacity - a;
}

/** Physical copies; 0 = the record is free. */
// @ts-ignore: decorator
@inline
export function blockCopies(i: u32): u32 {
  return load<u8>(record(i), COPIES);
}

/** Sets the copies. More than 255 count as so many: the block is then taken for gone too early, never too late. */
export function blockSetCopies(i: u32, copies: u32): void {
  store<u8>(record(i), <u8>min(copies, 255), COPIES);
}

/** Pod slot, and OTHER_TIER. */
// @ts-ignore: decorator
@inline
export function blockOwner(i: u32): u32 {
  return load<u32>(record(i), WORD) & OWNER;
}

// @ts-ignore: decorator
@inline
export function blockPod(i: u32): u32 {
  return load<u32>(record(i), WORD) & POD;
}

/** Tokens from the root to the block's end. */
// @ts-ignore: decorator
@inline
export function blockTokens(i: u32): u32 {
  return load<u32>(record(i), WORD) >> 12;
}

/** Whether the block completes a text; the last one it completes is then its chain hash. */
// @ts-ignore: decorator
@inline
export function blockCompletes(i: u32): bool {
  return (load<u32>(record(i), WORD) & COMPLETES) != 0;
}

// @ts-ignore: decorator
@inline
export function blockChain(i: u32): u64 {
  return load<u64>(record(i), CHAIN);
}

// @ts-ignore: decorator
@inline
export function blockPosition(i: u32): u32 {
  return load<u8>(positionAt(i));
}

/** Goes on from a block's text. */
export function blockState(i: u32): void {
  const r = record(i);
  stateSet(load<u64>(r, CHAIN), load<u64>(r, ACC0), load<u64>(r, ACC1), load<u64>(r, PARTIAL), blockPosition(i));
}

/** Bytes that `blocksSave` writes. */
export function blocksSaveBytes(): usize {
  return 16 + <usize>chunkCount * CHUNK_BYTES;
}

export function blocksSave(p: usize): void {
  store<u32>(p, chunkCount);
  store<u32>(p, high, 4);
  store<u32>(p, free, 8);
  store<u32>(p, live, 12);
  p += 16;
  for (let c: u32 = 0; c < chunkCount; c++, p += CHUNK_BYTES) {
    memory.copy(p, load<u32>(chunks + (<usize>c << 2)), CHUNK_BYTES);
  }
}

/** Takes what `blocksSave` wrote; returns the bytes read. */
export function blocksLoad(p: usize): usize {
  blocksReset();
  const count = load<u32>(p);
  for (let c: u32 = 0; c < count; c++) {
    addChunk();
    memory.copy(load<u32>(chunks + (<usize>c << 2)), p + 16 + <usize>c * CHUNK_BYTES, CHUNK_BYTES);
  }
  high = load<u32>(p, 4);
  free = load<u32>(p, 8);
  live = load<u32>(p, 12);
  for (let i: u32 = 0; i < high; i++) if (blockCopies(i)) place(i);
  return blocksSaveBytes();
}
