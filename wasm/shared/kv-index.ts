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
  blocksLoad,
  blocksReset,
  blocksSave,
  blocksSaveBytes,
  blockState,
  blockTokens,
  MAX_TOKENS,
  OTHER_TIER,
} from "./kv-blocks";
import {
  textAdd,
  textFirst,
  textHash,
  textNext,
  textsBytes,
  textsDrop,
  textsInit,
  textsLoad,
  textsSave,
  textsSaveBytes,
} from "./block-texts";
import { growMask, logClear, logPut, logRemove, logSet, maskWords } from "./delta-writer";
import {
  memberAdd,
  membersBytes,
  membersInit,
  membersLoad,
  membersSave,
  membersSaveBytes,
  memberTake,
} from "./member-counts";
import {
  newSet,
  setHas,
  setRelease,
  setsClear,
  setsInit,
  setSize,
  setsLoad,
  setsSave,
  setsSaveBytes,
  setWith,
  setWithout,
} from "./pod-sets";
import { MAX_PODS } from "./pods-layout";
import { MAX_BUCKETS, prefixBytes, prefixFind, prefixGrow, prefixPut, prefixRemove } from "./prefix-table";
import { feed, sChain, sSize, stateStart } from "./text-state";

// @ts-ignore: decorator
@inline
export const STORE_OK: i32 = 0;
// @ts-ignore: decorator
@inline
export const STORE_ORPHAN: i32 = 1;
// @ts-ignore: decorator
@inline
export const STORE_UNKNOWN_TOKEN: i32 = 2;
// @ts-ignore: decorator
@inline
export const STORE_BAD_SHAPE: i32 = 3;

// @ts-ignore: decorator
@inline
const MAX_COMPLETED: u32 = 4096;

let key: usize = 0;
let blockBytes: u32 = 128;
let maxEntries: u32 = 0;

/** Published table, kept as the very image that readers hold. */
export let table: usize = 0;
export let tableBuckets: u32 = 0;
/** Buckets that there is room for. It is taken at once, and costs memory as far as it is used. */
let tableRoom: u32 = 0;
export let entries: u32 = 0;
/** Entries not published because the table or the set ids were full. */
export let refused: u64 = 0;
/** The table was rebuilt: readers need a snapshot, a delta would not do. */
export let snapshotDue: bool = true;
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

export function indexInit(blockKey: usize, bytes: u32, limit: u32): void {
  key = blockKey;
  blockBytes = bytes;
  maxEntries = limit;
  completed = heap.alloc(<usize>MAX_COMPLETED * 16);
  setsInit();
  blocksInit();
  textsInit();
  membersInit();
  newTable(1024);
}

function newTable(buckets: u32): void {
  const most = max(buckets, mostBuckets());
  if (most > tableRoom) {
    if (table) heap.free(table);
    table = heap.alloc(prefixBytes(most));
    tableRoom = most;
  }
  memory.fill(table, 0, prefixBytes(buckets));
  tableBuckets = buckets;
  entries = 0;
  snapshotDue = true;
}

/** A snapshot was taken: deltas go on from it. */
export function snapshotTaken(): void {
  snapshotDue = false;
}

/** Buckets that `maxEntries` fill to 0.85: what a table grows to at last, so that a full one costs 15 bytes an entry. */
function mostBuckets(): u32 {
  return <u32>((<u64>maxEntries * 4 + 16) / 17) + 1;
}

function growTable(): void {
  const buckets = max(tableBuckets + 1, min(tableBuckets + (tableBuckets >> 2) + 512, mostBuckets()));
  prefixGrow(table, tableBuckets, buckets);
  tableBuckets = buckets;
  snapshotDue = true;
  logClear();
}

/** Most prefix entries. */
export function tableLimit(): u32 {
  return maxEntries;
}

/** Publishes that a pod holds a text block, which ends after `tokens` tokens. */
export function join(hash: u64, pod: u32, tokens: u32): void {
  const at = prefixFind(table, tableBuckets, hash);
  const units = min(tokens >> 4, 0xffff);
  if (!at) {
    if (entries >= maxEntries) {
      refused++;
      return;
    }
    const set = setWith(0, pod);
    if (set < 0) {
      refused++;
      return;
    }
    if (newSet) logSet(newSet);
    const meta = <u32>set | (units << 16);
    prefixPut(table, tableBuckets, hash, meta);
    logPut(hash, meta);
    entries++;
    if (<u64>entries * 4 > <u64>tableBuckets * 17 && tableBuckets < mostBuckets()) growTable();
    return;
  }
  const meta = load<u32>(at);
  if (setHas(meta & 0xffff, pod)) {
    memberAdd(hash, pod);
    return;
  }
  const set = setWith(meta & 0xffff, pod);
  if (set < 0) {
    refused++;
    return;
  }
  if (newSet) logSet(newSet);
  setRelease(meta & 0xffff);
  const next = <u32>set | (min(units, meta >> 16) << 16);
  store<u32>(at, next);
  logPut(hash, next);
}

/** Takes that back. */
export function leave(hash: u64, pod: u32): void {
  const at = prefixFind(table, tableBuckets, hash);
  if (!at) return;
  const meta = load<u32>(at);
  if (!setHas(meta & 0xffff, pod)) return;
  if (memberTake(hash, pod)) return;
  const set = setWithout(meta & 0xffff, pod);
  if (newSet) logSet(newSet);
  setRelease(meta & 0xffff);
  // With no set id left the entry goes altogether: a subset of the truth, never a superset.
  if (set <= 0) {
    prefixRemove(table, tableBuckets, hash);
    entries--;
    logRemove(hash);
    return;
  }
  const next = <u32>set | (meta & 0xffff0000);
  store<u32>(at, next);
  logPut(hash, next);
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
  if (growMask(pod)) snapshotDue = true;
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
        const took = feed(key, blockBytes, p, left);
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
      refused++;
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
      refused++;
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

/** Forgets everything. */
export function indexReset(): void {
  newTable(1024);
  setsClear();
  blocksReset();
  textsInit();
  membersInit();
  blocksHeld = 0;
  memory.fill(podBlocks, 0, MAX_PODS << 2);
  logClear();
}

// A checkpoint is the memory of the parts, one after another, behind a head of 56 bytes: magic u64, block bytes u32,
// mask words u32, buckets u32, entries u32, bytes seen u64, tokens seen u64, key check u64, blocks u32, zero u32.
// @ts-ignore: decorator
@inline
const CHECKPOINT_MAGIC: u64 = 0x3430545043544757; // "WGTCPT04"
// @ts-ignore: decorator
@inline
const CHECKPOINT_HEAD: usize = 56;

export function indexSaveBytes(): usize {
  return CHECKPOINT_HEAD + prefixBytes(tableBuckets) + blocksSaveBytes() + textsSaveBytes() + membersSaveBytes() + setsSaveBytes();
}

export function indexSave(p: usize): void {
  store<u64>(p, CHECKPOINT_MAGIC);
  store<u32>(p, blockBytes, 8);
  store<u32>(p, maskWords, 12);
  store<u32>(p, tableBuckets, 16);
  store<u32>(p, entries, 20);
  store<u64>(p, bytesSeen, 24);
  store<u64>(p, tokensSeen, 32);
  store<u64>(p, load<u64>(key), 40);
  store<u32>(p, blocksHeld, 48);
  store<u32>(p, 0, 52);
  p += CHECKPOINT_HEAD;
  memory.copy(p, table, prefixBytes(tableBuckets));
  p += prefixBytes(tableBuckets);
  blocksSave(p);
  p += blocksSaveBytes();
  textsSave(p);
  p += textsSaveBytes();
  membersSave(p);
  p += membersSaveBytes();
  setsSave(p);
}

function recount(): void {
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

/** Takes a checkpoint of `n` bytes whose checksum the caller verified; false when it is of another key or format. */
export function indexLoad(p: usize, n: usize): bool {
  if (n < CHECKPOINT_HEAD || load<u64>(p) != CHECKPOINT_MAGIC || load<u32>(p, 8) != blockBytes) return false;
  if (load<u64>(p, 40) != load<u64>(key)) return false;
  const buckets = load<u32>(p, 16);
  if (buckets == 0 || buckets > MAX_BUCKETS || n < CHECKPOINT_HEAD + prefixBytes(buckets)) return false;
  growMask((load<u32>(p, 12) << 6) - 1);
  newTable(buckets);
  entries = load<u32>(p, 20);
  bytesSeen = load<u64>(p, 24);
  tokensSeen = load<u64>(p, 32);
  blocksHeld = load<u32>(p, 48);
  p += CHECKPOINT_HEAD;
  memory.copy(table, p, prefixBytes(buckets));
  p += prefixBytes(buckets);
  p += blocksLoad(p);
  p += textsLoad(p);
  p += membersLoad(p);
  recount();
  setsLoad(p);
  logClear();
  return true;
}
