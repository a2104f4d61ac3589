// A prompt's chain of blocks in the table: how far each pod holds it.
import { MAX_PODS } from "../shared/pods-layout";
import { prefixFetch, prefixFind } from "../shared/prefix-table";
import { liveBuckets, liveSets, liveTable, liveWords } from "../shared/table-reader";
import { matchSet } from "./matched-pods";
import { podHigh } from "./pods";

/** Blocks that are walked at once; a power of four. */
// @ts-ignore: decorator
@inline
const GROUP: u32 = 256;
/** Up to so many blocks are looked up at once where any two differ: one wait for memory. */
// @ts-ignore: decorator
@inline
const SHORT: u32 = 16;

const alive: usize = heap.alloc(MAX_PODS >> 3);
const metas: usize = heap.alloc(GROUP << 2); // of a group's blocks
const due: usize = heap.alloc(GROUP << 1); // blocks of a group to look up, u16
/** All that was read only to have it come into the cache: of a value that is not kept, a compiler may drop the reading. */
let fetched: u64 = 0;

/** Where the walk is: the set and the meta of the last block that all of `alive` hold; no set before the first block. */
let lastSet: u32 = 0;
let lastMeta: u32 = 0;

/**
 * Matches `count` blocks by the table. Sets along a chain only shrink, so where two blocks have the same, all between
 * have it, too, and are not looked up.
 */
export function walk(hashes: usize, count: u32): void {
  memory.fill(alive, 0xff, liveWords << 3);
  lastSet = 0xffffffff;
  lastMeta = 0;
  if (!count) return;
  // Where the walk will look in nearly any case; these reads wait for memory together.
  for (let block: u32 = 0; block < count; block += block < GROUP ? SHORT : GROUP) fetch(hashes, block);
  fetch(hashes, count - 1);
  // The first block by itself, so that there is a set to compare with.
  let n: u32 = 1;
  for (let from: u32 = 0; from < count; from += n) {
    if (from) n = min(GROUP, count - from);
    if (!walkGroup(hashes + (<usize>from << 3), from, n)) return;
  }
  // Who is left has everything.
  narrow(0, count);
}

/** Walks the `n` blocks from number `base` on; false when no pod holds more. */
function walkGroup(hashes: usize, base: u32, n: u32): bool {
  lookUp(hashes, n - 1);
  if (setAt(n - 1) == lastSet) {
    lastMeta = metaAt(n - 1);
    return true;
  }
  // Each part that changes is divided by four, all of one size before the smaller ones. What is to be looked up of one size
  // is fetched first: a look-up's outcome cannot be guessed, and after a wrong guess nothing that follows would be read ahead.
  let part = n <= SHORT ? SHORT : GROUP;
  let size: u32 = n <= SHORT ? 1 : GROUP >> 2;
  for (;;) {
    let dueEnd = due;
    for (let from: u32 = 0; from < n; from += part) {
      const end = min(from + part, n) - 1;
      const same = setAt(end) == (from ? setAt(from - 1) : lastSet);
      for (let block = from + size - 1; block < end; block += size) {
        if (same) store<u32>(metas + (block << 2), metaAt(end));
        else {
          fetch(hashes, block);
          store<u16>(dueEnd, <u16>block);
          dueEnd += 2;
        }
      }
    }
    for (let at = due; at < dueEnd; at += 2) lookUp(hashes, load<u16>(at));
    if (size == 1) break;
    part = size;
    size >>= 2;
  }
  for (let block: u32 = 0; block < n; block++) {
    const set = setAt(block);
    if (set != lastSet) {
      if (!narrow(set, base + block)) return false;
      lastSet = set;
    }
    lastMeta = metaAt(block);
  }
  return true;
}

// @ts-ignore: decorator
@inline
function fetch(hashes: usize, block: u32): void {
  fetched ^= prefixFetch(liveTable, liveBuckets, load<u64>(hashes + (<usize>block << 3)));
}

// @ts-ignore: decorator
@inline
function lookUp(hashes: usize, block: u32): void {
  const at = prefixFind(liveTable, liveBuckets, load<u64>(hashes + (<usize>block << 3)));
  const meta = at ? load<u32>(at) : 0;
  store<u32>(metas + (block << 2), meta);
  // `narrow` will read it.
  fetched ^= load<u64>(wordsOf(meta & 0xffff));
}

// @ts-ignore: decorator
@inline
function metaAt(block: u32): u32 {
  return load<u32>(metas + (block << 2));
}

// @ts-ignore: decorator
@inline
function setAt(block: u32): u32 {
  return metaAt(block) & 0xffff;
}

/** Narrows `alive` to a set; pods that drop out have matched `matched` blocks, the last with `lastMeta`. */
function narrow(set: u32, matched: u32): bool {
  const tokens = matched ? (lastMeta >> 16) << 4 : 0;
  let left: u64 = 0;
  for (let w: u32 = 0; w < liveWords; w++) {
    const before = load<u64>(alive + (w << 3));
    const after = set ? before & load<u64>(wordsOf(set) + (w << 3)) : 0;
    let gone = before & ~after;
    while (gone) {
      const pod = (w << 6) + <u32>ctz(gone);
      gone &= gone - 1;
      if (pod < podHigh) matchSet(pod, matched, tokens);
    }
    store<u64>(alive + (w << 3), after);
    left |= after;
  }
  return left != 0;
}

/** Where a set's pods are, one bit each. */
// @ts-ignore: decorator
@inline
function wordsOf(set: u32): usize {
  return liveSets + ((<usize>set * liveWords) << 3);
}

/** Whether the table says that a pod holds a block. */
export function tableHolds(hash: u64, pod: u32): bool {
  if (!liveTable) return false;
  const meta = prefixFind(liveTable, liveBuckets, hash);
  if (!meta || pod >= liveWords << 6) return false;
  return ((load<u64>(wordsOf(load<u16>(meta)) + ((pod >> 6) << 3)) >> (<u64>pod & 63)) & 1) != 0;
}
