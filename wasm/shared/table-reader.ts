// Reader side of the stream: takes frames, keeps the last table it trusts. Memory comes from `heap.alloc` and is
// kept for reuse: the filter's runtime never frees, so a region is only replaced by one twice as large.
import { frameValid } from "./frame";
import {
  HEAD_BYTES,
  HEAD_KIND,
  HEAD_LEADER,
  HEAD_SEQUENCE,
  HEAD_START,
  KIND_DELTA,
  KIND_SNAPSHOT_BEGIN,
  KIND_SNAPSHOT_END,
  KIND_SNAPSHOT_PIECE,
  MAX_SETS,
  PUT_BYTES,
  RUN_PUTS,
  RUN_REMOVES,
  RUN_SETS,
} from "./layout";
import { MAX_BUCKETS, prefixBytes, prefixPut, prefixRemove } from "./prefix-table";

// @ts-ignore: decorator
@inline
export const FRAME_APPLIED: i32 = 0;
/** A section: the caller reads its payload. */
// @ts-ignore: decorator
@inline
export const FRAME_SECTION: i32 = 1;
/** Damaged, foreign or out of place: nothing changed. */
// @ts-ignore: decorator
@inline
export const FRAME_REFUSED: i32 = 2;
/** A frame is missing or the agent is another one: ask for a snapshot, keep the table. */
// @ts-ignore: decorator
@inline
export const FRAME_GAP: i32 = 3;
/** A whole snapshot has become the live table. */
// @ts-ignore: decorator
@inline
export const FRAME_SNAPSHOT: i32 = 4;
/** The table does not fit the memory this reader may use. */
// @ts-ignore: decorator
@inline
export const FRAME_TOO_LARGE: i32 = 5;

/** Live table: address (0 = none yet), buckets, words of a pod mask, set masks. */
export let liveTable: usize = 0;
export let liveBuckets: u32 = 0;
export let liveWords: u32 = 1;
export let liveSets: usize = 0;
export let liveEntries: u32 = 0;
/** Sequence of the last applied frame; part of a decision's record. */
export let liveSequence: u64 = 0;

let limitBytes: usize = 0;
let leader: u64 = 0;
let startMs: u64 = 0;
let building: bool = false;

// Two regions of each kind: one live, one to build in.
let tableA: usize = 0;
let capacityA: usize = 0;
let tableB: usize = 0;
let capacityB: usize = 0;
let setsA: usize = 0;
let setsCapacityA: usize = 0;
let setsB: usize = 0;
let setsCapacityB: usize = 0;
let liveIsA: bool = false;

let nextBuckets: u32 = 0;
let nextWords: u32 = 1;
let nextEntries: u32 = 0;

/** Sets the most bytes that table regions may take in all. */
export function readerInit(limit: usize): void {
  limitBytes = limit;
}

/**
 * Applies one frame of `n` bytes at `p`. Sequence numbers of broadcast frames follow one another; frames inside a
 * snapshot carry the snapshot's own number.
 */
export function readFrame(p: usize, n: u32): i32 {
  if (!frameValid(p, n)) return FRAME_REFUSED;
  const kind = load<u16>(p, HEAD_KIND);
  const sequence = load<u64>(p, HEAD_SEQUENCE);
  const payload = p + HEAD_BYTES;
  const length = n - HEAD_BYTES;
  if (kind == KIND_SNAPSHOT_BEGIN) {
    const status = begin(payload, length);
    if (status == FRAME_APPLIED) {
      leader = load<u64>(p, HEAD_LEADER);
      startMs = load<u64>(p, HEAD_START);
      liveSequence = sequence;
    }
    return status;
  }
  if (load<u64>(p, HEAD_LEADER) != leader || load<u64>(p, HEAD_START) != startMs) return FRAME_GAP;
  if (kind == KIND_SNAPSHOT_PIECE) return building ? piece(payload, length) : FRAME_REFUSED;
  if (kind == KIND_SNAPSHOT_END) {
    if (!building) return FRAME_REFUSED;
    building = false;
    flip();
    liveSequence = sequence;
    return FRAME_SNAPSHOT;
  }
  if (!building) {
    if (sequence <= liveSequence) return FRAME_REFUSED;
    if (sequence != liveSequence + 1) return FRAME_GAP;
    liveSequence = sequence;
  }
  if (kind == KIND_DELTA) return delta(payload, length);
  return FRAME_SECTION;
}

/** Drops an unfinished snapshot, when the stream closed in its middle. */
export function readerAbandon(): void {
  building = false;
}

function begin(p: usize, n: u32): i32 {
  if (n < 16) return FRAME_REFUSED;
  const buckets = load<u32>(p);
  const words = load<u32>(p, 4);
  if (buckets == 0 || buckets > MAX_BUCKETS || words == 0 || words > 16) return FRAME_REFUSED;
  const bytes = prefixBytes(buckets);
  const setBytes = (<usize>MAX_SETS * words) << 3;
  const total = capacityA + capacityB + setsCapacityA + setsCapacityB;
  if (liveIsA || !liveTable) {
    if (capacityB < bytes || setsCapacityB < setBytes) {
      if (total + bytes + setBytes > limitBytes) return FRAME_TOO_LARGE;
      if (capacityB < bytes) {
        tableB = heap.alloc(bytes);
        capacityB = bytes;
      }
      if (setsCapacityB < setBytes) {
        setsB = heap.alloc(setBytes);
        setsCapacityB = setBytes;
      }
    }
    memory.fill(tableB, 0, bytes);
    memory.fill(setsB, 0, words << 3);
  } else {
    if (capacityA < bytes || setsCapacityA < setBytes) {
      if (total + bytes + setBytes > limitBytes) return FRAME_TOO_LARGE;
      if (capacityA < bytes) {
        tableA = heap.alloc(bytes);
        capacityA = bytes;
      }
      if (setsCapacityA < setBytes) {
        setsA = heap.alloc(setBytes);
        setsCapacityA = setBytes;
      }
    }
    memory.fill(tableA, 0, bytes);
    memory.fill(setsA, 0, words << 3);
  }
  nextBuckets = buckets;
  nextWords = words;
  nextEntries = load<u32>(p, 8);
  building = true;
  return FRAME_APPLIED;
}

// @ts-ignore: decorator
@inline
function buildTable(): usize {
  return liveIsA || !liveTable ? tableB : tableA;
}

// @ts-ignore: decorator
@inline
function buildSets(): usize {
  return liveIsA || !liveTable ? setsB : setsA;
}

function piece(p: usize, n: u32): i32 {
  if (n < 8) return FRAME_REFUSED;
  const offset = load<u64>(p);
  const bytes = n - 8;
  if (offset + bytes > <u64>prefixBytes(nextBuckets)) return FRAME_REFUSED;
  memory.copy(buildTable() + <usize>offset, p + 8, bytes);
  return FRAME_APPLIED;
}

function flip(): void {
  const toB = liveIsA || !liveTable;
  liveTable = toB ? tableB : tableA;
  liveSets = toB ? setsB : setsA;
  liveIsA = !toB;
  liveBuckets = nextBuckets;
  liveWords = nextWords;
  liveEntries = nextEntries;
}

function delta(p: usize, n: u32): i32 {
  const end = p + n;
  const table = building ? buildTable() : liveTable;
  const buckets = building ? nextBuckets : liveBuckets;
  const words = building ? nextWords : liveWords;
  const sets = building ? buildSets() : liveSets;
  if (!table) return FRAME_REFUSED;
  while (p + 4 <= end) {
    const run = load<u16>(p);
    const count = <u32>load<u16>(p, 2);
    p += 4;
    if (run == RUN_PUTS) {
      if (p + count * PUT_BYTES > end) return FRAME_GAP;
      for (let i: u32 = 0; i < count; i++, p += PUT_BYTES) {
        const added = prefixPut(table, buckets, load<u64>(p), load<u32>(p, 8));
        if (added > 0) liveEntries++;
        else if (added < 0) return FRAME_GAP;
      }
    } else if (run == RUN_REMOVES) {
      if (p + (count << 3) > end) return FRAME_GAP;
      for (let i: u32 = 0; i < count; i++, p += 8) {
        if (prefixRemove(table, buckets, load<u64>(p))) liveEntries--;
      }
    } else if (run == RUN_SETS) {
      const width = 8 + (words << 3);
      if (p + count * width > end) return FRAME_GAP;
      for (let i: u32 = 0; i < count; i++, p += width) {
        memory.copy(sets + (<usize>load<u16>(p) * words << 3), p + 8, words << 3);
      }
    } else return FRAME_GAP;
  }
  return p == end ? FRAME_APPLIED : FRAME_GAP;
}
