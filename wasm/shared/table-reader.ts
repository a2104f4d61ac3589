// Reader side of the stream: takes frames, keeps the last table it trusts. A snapshot is built beside the live table and
// takes its place when all of it has come; where both do not fit the limit, the live one is cleared first.
import { MAX_SETS, PUT_BYTES, RUN_PUTS, RUN_REMOVES, RUN_SETS } from "./delta-layout";
import { frameDigest, frameValid } from "./frame";
import {
  HEAD_BYTES,
  HEAD_KIND,
  HEAD_LEADER,
  HEAD_SEQUENCE,
  HEAD_START,
  KIND_DELTA,
  KIND_FOREIGN,
  KIND_INSIDE,
  KIND_SNAPSHOT_BEGIN,
  KIND_SNAPSHOT_END,
  KIND_SNAPSHOT_PIECE,
} from "./frame-layout";
import { MAX_BUCKETS, prefixBytes, prefixPut, prefixRemove } from "./prefix-table";
import { regionGive, regionsLimit, regionTake } from "./regions";

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
/** A snapshot begins that does not fit the limit even alone: it is followed without a table. */
// @ts-ignore: decorator
@inline
export const FRAME_TOO_LARGE: i32 = 5;
/** A snapshot begins that does not fit beside the live table: there is none until its end. */
// @ts-ignore: decorator
@inline
export const FRAME_CLEARED: i32 = 6;

/** Live table: address (0 = none), buckets, words of a pod mask, set masks. */
export let liveTable: usize = 0;
export let liveBuckets: u32 = 0;
export let liveWords: u32 = 1;
export let liveSets: usize = 0;
export let liveEntries: u32 = 0;
/** Sequence of the last applied frame; part of a decision's record. */
export let liveSequence: u64 = 0;
let leader: u64 = 0;
let startMs: u64 = 0;

// The snapshot that is being read. A region holds the masks of all set ids, then the table; 0 when there is no room.
let building: bool = false;
let nextRegion: usize = 0;
let nextBuckets: u32 = 0;
let nextWords: u32 = 1;
let nextEntries: u32 = 0;
let nextSequence: u64 = 0;
let nextLeader: u64 = 0;
let nextStart: u64 = 0;
/** Bytes of its image that have come, and the digest of its frames. */
let pieces: u64 = 0;
let digest: u64 = 0;

/** Sets the most bytes that tables may take: live, building, and what is kept for reuse. */
export function readerInit(limit: usize): void {
  regionsLimit(limit);
}

// @ts-ignore: decorator
@inline
function setsBytes(words: u32): usize {
  return (<usize>MAX_SETS * words) << 3;
}

/**
 * Applies one frame of `n` bytes at `p`. Sequence numbers of broadcast frames follow one another; frames inside a
 * snapshot carry the snapshot's own number. A snapshot that misses a frame or has a bad one is dropped as a whole.
 */
export function readFrame(p: usize, n: u32): i32 {
  if (!frameValid(p, n)) return readerSpoiled();
  const kind = load<u16>(p, HEAD_KIND);
  if (kind == KIND_SNAPSHOT_BEGIN) return begin(p, n - HEAD_BYTES);
  if (kind == KIND_SNAPSHOT_PIECE || kind == KIND_SNAPSHOT_END || (kind & KIND_INSIDE) != 0) {
    if (!building) return FRAME_REFUSED;
    const status = inside(p, n - HEAD_BYTES, kind);
    return status == FRAME_REFUSED ? readerSpoiled() : status;
  }
  // What other gateways have under way is each reader's own: it has no place in the sequence, nor in a snapshot.
  if (kind == KIND_FOREIGN) {
    const ours = load<u64>(p, HEAD_LEADER) == leader && load<u64>(p, HEAD_START) == startMs;
    return ours ? FRAME_SECTION : FRAME_REFUSED;
  }
  readerAbandon();
  if (load<u64>(p, HEAD_LEADER) != leader || load<u64>(p, HEAD_START) != startMs) return FRAME_GAP;
  const sequence = load<u64>(p, HEAD_SEQUENCE);
  if (sequence <= liveSequence) return FRAME_REFUSED;
  if (sequence != liveSequence + 1) return FRAME_GAP;
  if (kind == KIND_DELTA) {
    // Without a table the sequence is followed, so that sections still count.
    const status = liveTable ? delta(p + HEAD_BYTES, n - HEAD_BYTES) : FRAME_APPLIED;
    if (status == FRAME_APPLIED) liveSequence = sequence;
    return status;
  }
  liveSequence = sequence;
  return FRAME_SECTION;
}

/** A frame was lost or damaged. FRAME_GAP when a snapshot is dropped for it, else the next frame shows the gap. */
export function readerSpoiled(): i32 {
  if (!building) return FRAME_REFUSED;
  readerAbandon();
  return FRAME_GAP;
}

/** Drops an unfinished snapshot, when the stream closed in its middle. */
export function readerAbandon(): void {
  if (building && nextRegion) regionGive(nextRegion);
  building = false;
}

function begin(p: usize, n: u32): i32 {
  readerAbandon();
  if (n < 16) return FRAME_REFUSED;
  const buckets = load<u32>(p, HEAD_BYTES);
  const words = load<u32>(p, HEAD_BYTES + 4);
  if (buckets == 0 || buckets > MAX_BUCKETS || words == 0 || words > 16) return FRAME_REFUSED;
  building = true;
  nextBuckets = buckets;
  nextWords = words;
  nextEntries = load<u32>(p, HEAD_BYTES + 8);
  nextSequence = load<u64>(p, HEAD_SEQUENCE);
  nextLeader = load<u64>(p, HEAD_LEADER);
  nextStart = load<u64>(p, HEAD_START);
  pieces = 0;
  digest = frameDigest(0, p);
  let status = FRAME_APPLIED;
  const bytes = setsBytes(words) + prefixBytes(buckets);
  nextRegion = regionTake(bytes);
  if (!nextRegion && liveTable) {
    drop();
    status = FRAME_CLEARED;
    nextRegion = regionTake(bytes);
  }
  if (!nextRegion) return FRAME_TOO_LARGE;
  // The rest needs no clearing: pieces cover the table, and an entry's set is defined before it counts.
  memory.fill(nextRegion, 0, words << 3);
  return status;
}

/** Frees the live table; nothing follows on it any more. */
function drop(): void {
  if (liveTable) regionGive(liveSets);
  liveTable = 0;
  liveSets = 0;
  liveBuckets = 0;
  liveEntries = 0;
  leader = 0;
  startMs = 0;
  liveSequence = 0;
}

/** A frame of the snapshot; FRAME_REFUSED spoils it. */
function inside(p: usize, n: u32, kind: u16): i32 {
  if (
    load<u64>(p, HEAD_SEQUENCE) != nextSequence ||
    load<u64>(p, HEAD_LEADER) != nextLeader ||
    load<u64>(p, HEAD_START) != nextStart
  ) {
    return FRAME_REFUSED;
  }
  const payload = p + HEAD_BYTES;
  if (kind == KIND_SNAPSHOT_END) return finish(payload, n);
  digest = frameDigest(digest, p);
  if (kind == KIND_SNAPSHOT_PIECE) return piece(payload, n);
  if (kind == (KIND_DELTA | KIND_INSIDE)) return definitions(payload, n);
  return FRAME_SECTION;
}

function piece(p: usize, n: u32): i32 {
  if (n <= 8 || load<u64>(p) != pieces) return FRAME_REFUSED;
  const bytes = n - 8;
  if (pieces + bytes > <u64>prefixBytes(nextBuckets)) return FRAME_REFUSED;
  if (nextRegion) memory.copy(nextRegion + setsBytes(nextWords) + <usize>pieces, p + 8, bytes);
  pieces += bytes;
  return FRAME_APPLIED;
}

/** Set definitions of the snapshot; entries come with its pieces alone. */
function definitions(p: usize, n: u32): i32 {
  const end = p + n;
  while (p + 4 <= end && load<u16>(p) == RUN_SETS) {
    const count = <u32>load<u16>(p, 2);
    const width = 8 + (nextWords << 3);
    p += 4;
    if (p + count * width > end) return FRAME_REFUSED;
    if (nextRegion) define(nextRegion, nextWords, p, count);
    p += count * width;
  }
  return p == end ? FRAME_APPLIED : FRAME_REFUSED;
}

/** Writes the masks of `count` rows at `p`. */
function define(sets: usize, words: u32, p: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++, p += 8 + (words << 3)) {
    memory.copy(sets + (<usize>load<u16>(p) * words << 3), p + 8, words << 3);
  }
}

/** Makes the snapshot the live table, when all that its begin and end promise has come. */
function finish(p: usize, n: u32): i32 {
  if (n < 16 || pieces != <u64>prefixBytes(nextBuckets)) return FRAME_REFUSED;
  if (load<u64>(p) != <u64>nextEntries || load<u64>(p, 8) != digest) return FRAME_REFUSED;
  drop();
  building = false;
  liveSequence = nextSequence;
  leader = nextLeader;
  startMs = nextStart;
  if (!nextRegion) return FRAME_SNAPSHOT;
  liveSets = nextRegion;
  liveTable = nextRegion + setsBytes(nextWords);
  liveWords = nextWords;
  liveBuckets = nextBuckets;
  liveEntries = nextEntries;
  return FRAME_SNAPSHOT;
}

/** Changes of the live table. FRAME_GAP when one cannot be: the sequence stays, so that every later frame shows it. */
function delta(p: usize, n: u32): i32 {
  const end = p + n;
  while (p + 4 <= end) {
    const run = load<u16>(p);
    const count = <u32>load<u16>(p, 2);
    p += 4;
    if (run == RUN_PUTS) {
      if (p + count * PUT_BYTES > end) return FRAME_GAP;
      for (let i: u32 = 0; i < count; i++, p += PUT_BYTES) {
        const added = prefixPut(liveTable, liveBuckets, load<u64>(p), load<u32>(p, 8));
        if (added > 0) liveEntries++;
        else if (added < 0) return FRAME_GAP;
      }
    } else if (run == RUN_REMOVES) {
      if (p + (count << 3) > end) return FRAME_GAP;
      for (let i: u32 = 0; i < count; i++, p += 8) {
        if (prefixRemove(liveTable, liveBuckets, load<u64>(p))) liveEntries--;
      }
    } else if (run == RUN_SETS) {
      const width = 8 + (liveWords << 3);
      if (p + count * width > end) return FRAME_GAP;
      define(liveSets, liveWords, p, count);
      p += count * width;
    } else return FRAME_GAP;
  }
  return p == end ? FRAME_APPLIED : FRAME_GAP;
}
