// The index: KV events in, published prefix entries out. A text block is on a pod while an engine block that
// completes it is there; membership is counted where two engine blocks of one pod complete the same text.
import {
  blockAdd,
  blockDrop,
  blockFind,
  blocksCapacity,
  blocksInit,
  blocksLoad,
  blocksSave,
  blocksSaveBytes,
  blockSlot,
} from "./kv-blocks";
import { MAX_PODS } from "./layout";
import { growMask, logClear, logPut, logRemove, logSet, maskWords } from "./delta-writer";
import {
  newSet,
  setHas,
  setRelease,
  setsClear,
  setsInit,
  setsLoad,
  setsSave,
  setsSaveBytes,
  setWith,
  setWithout,
} from "./pod-sets";
import { BUCKET_ENTRIES, MAX_BUCKETS, prefixBytes, prefixFind, prefixHashAt, prefixMetaAt, prefixPut, prefixRemove } from "./prefix-table";
import {
  extraAdd,
  extraHash,
  extraNext,
  feed,
  N_EXTRA,
  N_SIZE,
  N_START,
  N_TOKENS,
  N_USERS,
  node,
  nodeAdd,
  nodeDrop,
  nodeFind,
  nodesInit,
  nodesLoad,
  nodesReset,
  nodesSave,
  nodesSaveBytes,
  sChain,
  sSize,
  stateFrom,
  stateStart,
} from "./text-nodes";

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

/** Membership of (text hash, pod) beyond the first is counted in the block map under this flag. */
// @ts-ignore: decorator
@inline
const EXTRA_MEMBER: u32 = 0x8000;
/**
 * Blocks that an engine holds outside of GPU memory are blocks of their own under this flag: a text is on a pod as long
 * as any tier has it.
 */
// @ts-ignore: decorator
@inline
const OTHER_TIER: u32 = 0x4000;
/** Pod slot in the owner of a block. */
// @ts-ignore: decorator
@inline
const OWNER_POD: u32 = 0x03ff;
// @ts-ignore: decorator
@inline
const MAX_COMPLETED: u32 = 4096;

let key: usize = 0;
let blockBytes: u32 = 128;
let maxEntries: u32 = 0;

/** Published table, kept as the very image that readers hold. */
export let table: usize = 0;
export let tableBuckets: u32 = 0;
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
  nodesInit();
  blocksInit(65536);
  newTable(1024);
}

function newTable(buckets: u32): void {
  table = heap.alloc(prefixBytes(buckets));
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
  const old = table;
  const buckets = tableBuckets;
  const kept = entries;
  newTable(max(buckets + 1, min(buckets << 1, mostBuckets())));
  for (let b: u32 = 0; b < buckets; b++) {
    for (let i: u32 = 0; i < BUCKET_ENTRIES; i++) {
      const hash = prefixHashAt(old, b, i);
      if (hash) prefixPut(table, tableBuckets, hash, prefixMetaAt(old, b, i));
    }
  }
  entries = kept;
  heap.free(old);
  logClear();
}

function join(hash: u64, pod: u32, tokens: u32): void {
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
    if (entries > tableBuckets << 2 && tableBuckets < mostBuckets()) growTable();
    return;
  }
  const meta = load<u32>(at);
  if (setHas(meta & 0xffff, pod)) {
    const slot = blockFind(hash, pod | EXTRA_MEMBER);
    if (slot) addCopy(slot);
    else blockAdd(hash, pod | EXTRA_MEMBER, 0, 1);
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

function leave(hash: u64, pod: u32): void {
  const at = prefixFind(table, tableBuckets, hash);
  if (!at) return;
  const meta = load<u32>(at);
  if (!setHas(meta & 0xffff, pod)) return;
  const extra = blockFind(hash, pod | EXTRA_MEMBER);
  if (extra) {
    const n = load<u16>(extra, 14);
    if (n > 1) store<u16>(extra, n - 1, 14);
    else blockDrop(extra);
    return;
  }
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

/** A pod's block in this tier, else in another one: its text is the same. 0 when no tier has it. */
function findInAnyTier(hash: u64, owner: u32): usize {
  const slot = blockFind(hash, owner);
  return slot ? slot : blockFind(hash, owner ^ OTHER_TIER);
}

/**
 * Stores consecutive KV blocks of one pod in a tier (0 = GPU memory). `hashes` are `count` engine hashes, `tokens` are count × blockSize token
 * ids; the byte table maps id i to bytes [offsets[i], offsets[i+1]) and `known` tells which ids have bytes.
 * Blocks before an unknown token are kept. Status: STORE_*.
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
    const slot = findInAnyTier(parent, owner);
    if (!slot) return STORE_ORPHAN;
    stateFrom(load<u32>(slot, 8));
    done = load<u32>(node(load<u32>(slot, 8)), N_TOKENS);
  } else stateStart(root);
  for (let b: u32 = 0; b < count; b++) {
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
    const slot = blockFind(hash, owner);
    if (slot) {
      addCopy(slot);
      continue;
    }
    let i = nodeFind(start);
    if (i < 0) {
      i = nodeAdd(start, done);
      for (let e: u32 = 0; e + 1 < n; e++) extraAdd(i, load<u64>(completed + (<usize>e << 4)));
    }
    const at = node(i);
    store<u32>(at, load<u32>(at, N_USERS) + 1, N_USERS);
    blockAdd(hash, owner, i, 1);
    countBlock(owner, 1);
    for (let e: u32 = 0; e < n; e++) {
      const c = completed + (<usize>e << 4);
      join(load<u64>(c), pod, load<u32>(c, 8));
    }
  }
  return STORE_OK;
}

/** Counts a further copy; where the count is full it stays so, and a removal too few leaves a block behind. */
function addCopy(slot: usize): void {
  const copies = load<u16>(slot, 14);
  if (copies < 0xffff) store<u16>(slot, copies + 1, 14);
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
    const slot = own ? own : blockFind(hash, owner ^ OTHER_TIER);
    if (!slot) continue;
    knownBlocks++;
    if (own) {
      addCopy(own);
      continue;
    }
    const i = load<u32>(slot, 8);
    const at = node(i);
    store<u32>(at, load<u32>(at, N_USERS) + 1, N_USERS);
    blockAdd(hash, owner, i, 1);
    countBlock(owner, 1);
    if (load<u32>(at, N_SIZE) / blockBytes == load<u32>(at, N_START) / blockBytes) continue;
    // The tokens count only where the entry is new, and then the fewest that it can have.
    join(load<u64>(at), pod, 0);
    for (let e = load<u32>(at, N_EXTRA); e; e = extraNext(e)) join(extraHash(e), pod, 0);
  }
  return knownBlocks;
}

function forget(slot: usize): void {
  const i = load<u32>(slot, 8);
  const owner = <u32>load<u16>(slot, 12);
  const pod = owner & OWNER_POD;
  blockDrop(slot);
  countBlock(owner, -1);
  const at = node(i);
  const size = load<u32>(at, N_SIZE);
  if (size / blockBytes > load<u32>(at, N_START) / blockBytes) {
    leave(load<u64>(at), pod);
    for (let e = load<u32>(at, N_EXTRA); e; e = extraNext(e)) leave(extraHash(e), pod);
  }
  const users = load<u32>(at, N_USERS) - 1;
  store<u32>(at, users, N_USERS);
  if (users == 0) nodeDrop(i);
}

/** Removes one physical copy of each block; returns how many blocks were known. */
export function indexRemove(pod: u32, tier: u32, hashes: usize, count: u32): u32 {
  const owner = ownerOf(pod, tier);
  let knownBlocks: u32 = 0;
  for (let b: u32 = 0; b < count; b++) {
    const slot = blockFind(load<u64>(hashes + (<usize>b << 3)), owner);
    if (!slot) continue;
    knownBlocks++;
    const copies = load<u16>(slot, 14);
    if (copies > 1) store<u16>(slot, copies - 1, 14);
    else forget(slot);
  }
  return knownBlocks;
}

/** Wipes a pod; returns how many blocks it had. */
export function indexClearPod(pod: u32): u32 {
  let wiped: u32 = 0;
  // A removal shifts slots back over the freed one, also past the point of the walk: it is repeated until it finds none.
  for (let found = true; found; ) {
    found = false;
    for (let i: u32 = 0; i < blocksCapacity(); ) {
      const slot = blockSlot(i);
      const owner = <u32>load<u16>(slot, 12);
      if (load<u16>(slot, 14) && !(owner & EXTRA_MEMBER) && (owner & OWNER_POD) == pod) {
        forget(slot);
        wiped++;
        found = true;
      } else i++;
    }
  }
  return wiped;
}

/** Forgets everything. */
export function indexReset(): void {
  heap.free(table);
  newTable(1024);
  setsClear();
  nodesReset();
  blocksInit(65536);
  blocksHeld = 0;
  memory.fill(podBlocks, 0, MAX_PODS << 2);
  logClear();
}

// A checkpoint is the memory of the parts, one after another, behind a head of 56 bytes: magic u64, block bytes u32,
// mask words u32, buckets u32, entries u32, bytes seen u64, tokens seen u64, key check u64, blocks u32, zero u32.
// @ts-ignore: decorator
@inline
const CHECKPOINT_MAGIC: u64 = 0x3230545043544757; // "WGTCPT02"
// @ts-ignore: decorator
@inline
const CHECKPOINT_HEAD: usize = 56;

export function indexSaveBytes(): usize {
  return CHECKPOINT_HEAD + prefixBytes(tableBuckets) + nodesSaveBytes() + blocksSaveBytes() + setsSaveBytes();
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
  nodesSave(p);
  p += nodesSaveBytes();
  blocksSave(p);
  p += blocksSaveBytes();
  setsSave(p);
}

function recount(): void {
  memory.fill(podBlocks, 0, MAX_PODS << 2);
  blocksHeld = 0;
  for (let i: u32 = 0; i < blocksCapacity(); i++) {
    const slot = blockSlot(i);
    const owner = <u32>load<u16>(slot, 12);
    if (load<u16>(slot, 14) && !(owner & EXTRA_MEMBER)) countBlock(owner & (OWNER_POD | OTHER_TIER), 1);
  }
}

/** How many of `count` engine hashes, from the first on, pod `pod` holds without a hole. */
export function indexHeldRun(pod: u32, hashes: usize, count: u32): u32 {
  let n: u32 = 0;
  while (n < count && findInAnyTier(load<u64>(hashes + (<usize>n << 3)), pod)) n++;
  return n;
}

/** Takes a checkpoint of `n` bytes whose checksum the caller verified; false when it is of another key or format. */
export function indexLoad(p: usize, n: usize): bool {
  if (n < CHECKPOINT_HEAD || load<u64>(p) != CHECKPOINT_MAGIC || load<u32>(p, 8) != blockBytes) return false;
  if (load<u64>(p, 40) != load<u64>(key)) return false;
  const buckets = load<u32>(p, 16);
  if (buckets == 0 || buckets > MAX_BUCKETS || n < CHECKPOINT_HEAD + prefixBytes(buckets)) return false;
  growMask((load<u32>(p, 12) << 6) - 1);
  heap.free(table);
  newTable(buckets);
  entries = load<u32>(p, 20);
  bytesSeen = load<u64>(p, 24);
  tokensSeen = load<u64>(p, 32);
  blocksHeld = load<u32>(p, 48);
  p += CHECKPOINT_HEAD;
  memory.copy(table, p, prefixBytes(buckets));
  p += prefixBytes(buckets);
  p += nodesLoad(p);
  p += blocksLoad(p);
  recount();
  setsLoad(p);
  logClear();
  return true;
}
