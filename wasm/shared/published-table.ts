// The published prefix table, kept as the very image that readers hold, and the log of what changes in it.
import { logClear, logPut, logRemove, logSet } from "./delta-writer";
import { memberAdd, memberTake } from "./member-counts";
import { newSet, setHas, setRelease, setWith, setWithout } from "./pod-sets";
import { prefixBytes, prefixFind, prefixGrow, prefixPut, prefixRemove } from "./prefix-table";

let maxEntries: u32 = 0;
/** Address of the table. */
export let table: usize = 0;
export let tableBuckets: u32 = 0;
/** Buckets that there is room for. It is taken at once, and costs memory as far as it is used. */
let tableRoom: u32 = 0;
export let entries: u32 = 0;
/** Entries not published because the table or the set ids were full. */
export let refused: u64 = 0;
/** Readers need a snapshot, a delta would not do: the table was rebuilt, or masks grew wider. */
let snapshotDue: bool = true;

/** Begins an empty table for at most so many entries. */
export function tableInit(limit: u32): void {
  maxEntries = limit;
  tableClear(1024);
}

/** Begins an empty table of so many buckets. */
function tableClear(buckets: u32): void {
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

/** Takes a table from its image. */
export function tableTake(image: usize, buckets: u32, count: u32): void {
  tableClear(buckets);
  memory.copy(table, image, prefixBytes(buckets));
  entries = count;
}

/** A change that a delta cannot tell. */
export function requireSnapshot(): void {
  snapshotDue = true;
}

/** Whether the next frames must be a snapshot. */
export function needsSnapshot(): bool {
  return snapshotDue;
}

/** The snapshot about to be broadcast holds all that was logged: deltas go on from it. */
export function snapshotMark(): void {
  snapshotDue = false;
}

/** Counts what was not published, or not even kept, for want of room. */
export function refuse(): void {
  refused++;
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
