// The index: KV events in, published prefix entries out. A text block is on a pod while an engine block that
// completes it is there; membership is counted where two engine blocks of one pod complete the same text.
import {
  blockAdd,
  blockChain,
  blockCompletes,
  blockCopies,
  blockDrop,
  blockFind,
  blockOwner,
  blockPod,
  blockPosition,
  blocksBytes,
  blockSetCopies,
  blocksHigh,
  blocksInit,
  blockState,
  blockTokens,
  MAX_TOKENS,
  OTHER_TIER,
} from "./kv-blocks";
import { textAdd, textFirst, textHash, textNext, textsBytes, textsDrop, textsInit } from "./block-texts";
import { growMask } from "./delta-writer";
import { blockBytes, blockKey } from "./keys";
import { membersBytes, membersInit } from "./member-counts";
import { setsInit, setSize } from "./pod-sets";
import { MAX_PODS } from "./pods-layout";
import { prefixBytes, prefixFind } from "./prefix-table";
import { join, leave, refuse, requireSnapshot, table, tableBuckets, tableInit } from "./published-table";
import { feed, sChain, sSize, stateStart } from "./text-state";

// @ts-ignore: decorator
@inline
const STORE_OK: i32 = 0;
// @ts-ignore: decorator
@inline
const STORE_ORPHAN: i32 = 1;
// @ts-ignore: decorator
@inline
const STORE_UNKNOWN_TOKEN: i32 = 2;
// @ts-ignore: decorator
@inline
const STORE_BAD_SHAPE: i32 = 3;

// @ts-ignore: decorator
@inline
const MAX_COMPLETED: u32 = 4096;

/** Texts and tokens seen, for the mean bytes per token. */
export let bytesSeen: u64 = 0;
export let tokensSeen: u64 = 0;
/** KV blocks held, without the extra membership counts. */
export let blocksHeld: u32 = 0;
/** Of these, in GPU memory by pod slot: u32 each. */
const podBlocks: usize = heap.alloc(MAX_PODS << 2);
memory.fill(podBlocks, 0, MAX_PODS << 2);

/** KV blocks that pod slot `pod` holds in GPU memory. */
export function blocksOf(pod: u32): u32 {
  return pod < MAX_PODS ? load<u32>(podBlocks + (<usize>pod << 2)) : 0;
}

function countBlock(owner: u32, by: i32): void {
  blocksHeld += by;
  if (owner & OTHER_TIER) return;
  const at = podBlocks + (<usize>owner << 2);
  store<u32>(at, load<u32>(at) + by);
}

let completed: usize = 0;

/** Begins an empty index, once there are keys, whose table holds at most so many entries. */
export function indexInit(limit: u32): void {
  completed = heap.alloc(<usize>MAX_COMPLETED * 16);
  setsInit();
  blocksInit();
  textsInit();
  membersInit();
  tableInit(limit);
}

// @ts-ignore: decorator
@inline
function ownerOf(pod: u32, tier: u32): u32 {
  return tier ? pod | OTHER_TIER : pod;
}

/** A pod's block in this tier, else in another one: its text is the same. -1 when no tier has it. */
function findInAnyTier(hash: u64, owner: u32): i32 {
  const i = blockFind(hash, owner);
  return i >= 0 ? i : blockFind(hash, owner ^ OTHER_TIER);
}

/**
 * Stores consecutive KV blocks of one pod in a tier (0 = GPU memory). `hashes` are `count` engine hashes, `tokens` are
 * count × blockSize token ids; the byte table maps id i to bytes [offsets[i], offsets[i+1]) and `known` tells which ids
 * have bytes. Blocks before an unknown token are kept. Status: STORE_*.
 */
export function indexStore(
  pod: u32,
  tier: u32,
  hashes: usize,
  count: u32,
  hasParent: bool,
  parent: u64,
  root: u64,
  tokens: usize,
  blockSize: u32,
  offsets: usize,
  bytes: usize,
  known: usize,
  vocabulary: u32,
): i32 {
  if (growMask(pod)) requireSnapshot();
  const owner = ownerOf(pod, tier);
  let done: u32 = 0;
  if (hasParent) {
    const from = findInAnyTier(parent, owner);
    if (from < 0) return STORE_ORPHAN;
    blockState(from);
    done = blockTokens(from);
  } else stateStart(root);
  for (let b: u32 = 0; b < count; b++) {
    if (done + blockSize > MAX_TOKENS) return STORE_BAD_SHAPE;
    const start = sSize;
    let n: u32 = 0;
    for (let t: u32 = 0; t < blockSize; t++) {
      const id = load<u32>(tokens + (<usize>(b * blockSize + t) << 2));
      if (id >= vocabulary || load<u8>(known + id) == 0) return STORE_UNKNOWN_TOKEN;
      let p = bytes + load<u32>(offsets + (<usize>id << 2));
      let left = load<u32>(offsets + (<usize>id << 2), 4) - load<u32>(offsets + (<usize>id << 2));
      while (left) {
        const took = feed(blockKey, blockBytes, p, left);
        p += took;
        left -= took;
        if ((sSize & (blockBytes - 1)) == 0) {
          if (n == MAX_COMPLETED) return STORE_BAD_SHAPE;
          const c = completed + (<usize>n << 4);
          store<u64>(c, sChain);
          store<u32>(c, done + t + (left == 0 ? 1 : 0), 8);
          n++;
        }
      }
    }
    done += blockSize;
    bytesSeen += sSize - start;
    tokensSeen += blockSize;
    const hash = load<u64>(hashes + (<usize>b << 3));
    const old = blockFind(hash, owner);
    if (old >= 0) {
      blockSetCopies(old, blockCopies(old) + 1);
      continue;
    }
    const i = blockAdd(hash, owner, done, sSize & (blockBytes - 1), n > 0);
    if (i < 0) {
      refuse();
      return STORE_OK;
    }
    countBlock(owner, 1);
    for (let e: u32 = 0; e < n; e++) {
      const c = completed + (<usize>e << 4);
      if (e + 1 < n) textAdd(i, load<u64>(c));
      join(load<u64>(c), pod, load<u32>(c, 8));
    }
  }
  return STORE_OK;
}

/**
 * Stores blocks of a tier whose event holds no tokens: what they say is known where another tier of the pod has them.
 * Returns how many of them are.
 */
export function indexStoreKnown(pod: u32, tier: u32, hashes: usize, count: u32): u32 {
  const owner = ownerOf(pod, tier);
  let knownBlocks: u32 = 0;
  for (let b: u32 = 0; b < count; b++) {
    const hash = load<u64>(hashes + (<usize>b << 3));
    const own = blockFind(hash, owner);
    if (own >= 0) {
      blockSetCopies(own, blockCopies(own) + 1);
      knownBlocks++;
      continue;
    }
    const other = blockFind(hash, owner ^ OTHER_TIER);
    if (other < 0) continue;
    blockState(other);
    const i = blockAdd(hash, owner, blockTokens(other), blockPosition(other), blockCompletes(other));
    if (i < 0) {
      refuse();
      continue;
    }
    knownBlocks++;
    countBlock(owner, 1);
    if (!blockCompletes(i)) continue;
    // The tokens count only where the entry is new, and then as the fewest that it can have.
    join(blockChain(i), pod, 0);
    for (let e = textFirst(other); e; e = textNext(e)) {
      join(textHash(e), pod, 0);
      textAdd(i, textHash(e));
    }
  }
  return knownBlocks;
}

function forget(i: u32): void {
  const pod = blockPod(i);
  countBlock(blockOwner(i), -1);
  if (blockCompletes(i)) {
    leave(blockChain(i), pod);
    for (let e = textFirst(i); e; e = textNext(e)) leave(textHash(e), pod);
    textsDrop(i);
  }
  blockDrop(i);
}

/** Removes one physical copy of each block; returns how many blocks were known. */
export function indexRemove(pod: u32, tier: u32, hashes: usize, count: u32): u32 {
  const owner = ownerOf(pod, tier);
  let knownBlocks: u32 = 0;
  for (let b: u32 = 0; b < count; b++) {
    const i = blockFind(load<u64>(hashes + (<usize>b << 3)), owner);
    if (i < 0) continue;
    knownBlocks++;
    const copies = blockCopies(i);
    if (copies > 1) blockSetCopies(i, copies - 1);
    else forget(i);
  }
  return knownBlocks;
}

/** Wipes a pod; returns how many blocks it had. */
export function indexClearPod(pod: u32): u32 {
  let wiped: u32 = 0;
  for (let i: u32 = 0; i < blocksHigh(); i++) {
    if (!blockCopies(i) || blockPod(i) != pod) continue;
    forget(i);
    wiped++;
  }
  return wiped;
}

/** Blocks that `indexUnique` looks at. */
// @ts-ignore: decorator
@inline
const SAMPLES: u32 = 4096;

/**
 * How many of the blocks differ by text, from a sample where there are many: a block whose text is on n pods counts as
 * one of n.
 */
export function indexUnique(): f64 {
  let seen: u32 = 0;
  let share: f64 = 0;
  const step = max(1, blocksHigh() / SAMPLES);
  for (let i: u32 = 0; i < blocksHigh(); i += step) {
    if (!blockCopies(i) || !blockCompletes(i)) continue;
    const at = prefixFind(table, tableBuckets, blockChain(i));
    const pods = at ? setSize(load<u16>(at)) : 1;
    seen++;
    share += 1 / <f64>max(pods, 1);
  }
  return seen ? Math.round((<f64>blocksHeld * share) / <f64>seen) : <f64>blocksHeld;
}

/** Bytes of memory of the index and the table. */
export function indexBytes(): f64 {
  return <f64>blocksBytes() + <f64>textsBytes() + <f64>membersBytes() + <f64>prefixBytes(tableBuckets);
}

/** Takes what a checkpoint says was seen, and counts the blocks that it brought. */
export function indexTake(bytes: u64, tokens: u64): void {
  bytesSeen = bytes;
  tokensSeen = tokens;
  memory.fill(podBlocks, 0, MAX_PODS << 2);
  blocksHeld = 0;
  for (let i: u32 = 0; i < blocksHigh(); i++) if (blockCopies(i)) countBlock(blockOwner(i), 1);
}

/** How many of `count` engine hashes, from the first on, pod `pod` holds without a hole. */
export function indexHeldRun(pod: u32, hashes: usize, count: u32): u32 {
  let n: u32 = 0;
  while (n < count && findInAnyTier(load<u64>(hashes + (<usize>n << 3)), pod) >= 0) n++;
  return n;
}

