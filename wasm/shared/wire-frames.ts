// Frames that the agent sends, sealed with epoch and sequence number: sections, deltas, and snapshots in pieces.
import { RUN_SETS } from "./delta-layout";
import { logBytes, logClear, logPiece, logSize, maskWords } from "./delta-writer";
import { frameChecksum, frameDigest, frameSeal, frameValid } from "./frame";
import {
  HEAD_BYTES,
  HEAD_CHECKSUM,
  HEAD_KIND,
  HEAD_LENGTH,
  KIND_DELTA,
  KIND_INSIDE,
  KIND_SNAPSHOT_BEGIN,
  KIND_SNAPSHOT_END,
  KIND_SNAPSHOT_PIECE,
  MAX_PAYLOAD,
} from "./frame-layout";
import { input } from "./input-buffer";
import { setMask, setsHigh, setUsed } from "./pod-sets";
import { prefixBytes } from "./prefix-table";
import { entries, table, tableBuckets } from "./published-table";
import { sectionBytes } from "./sections";

let out: usize = 0;
let leader: u64 = 0;
let startMs: u64 = 0;
let sequence: u64 = 0;
let policyVersion: u32 = 0;
/** KIND_INSIDE between the begin and the end of a snapshot. */
let inside: u16 = 0;
/** Of the snapshot's frames so far. */
let digest: u64 = 0;
/** Address of the frame that the last frame call made. */
export let frameAt: usize = 0;
/** Where the next piece of what is sent in pieces begins. */
export let deltaNext: u32 = 0;

/** Begins an epoch: the leader's id, and when it started, in ms. */
export function framesInit(leaderId: u64, start: u64): void {
  leader = leaderId;
  startMs = start;
  out = heap.alloc(MAX_PAYLOAD + HEAD_BYTES);
}

/** Frames from now on carry this version of the policy. */
export function framesPolicy(version: u32): void {
  policyVersion = version;
}

/** Moves on to the next sequence number, for frames that are broadcast. */
export function nextSequence(): void {
  inside = 0;
  sequence++;
}

/** Seals the frame at `p` as the next one; returns its length. */
function seal(p: usize, kind: u16, payload: u32): u32 {
  frameAt = p;
  const n = frameSeal(p, kind, leader, startMs, sequence, policyVersion, payload);
  digest = frameDigest(digest, p);
  return n;
}

/** Seals the section that was written last as a frame of `kind`; returns its length. */
export function sectionFrame(kind: u32, payload: u32): u32 {
  return seal(sectionBytes(), <u16>kind | inside, payload);
}

/** Length of the next delta frame from offset `from` of the log, 0 at the end; `deltaNext` is where to go on. */
export function deltaFrame(from: u32): u32 {
  const n = <u32>logPiece(from, MAX_PAYLOAD);
  if (n == 0) return 0;
  deltaNext = from + n;
  memory.copy(out + HEAD_BYTES, logBytes() + from, n);
  sequence++;
  return seal(out, KIND_DELTA, n);
}

export function deltaClear(): void {
  logClear();
}

export function deltaBytes(): u32 {
  return <u32>logSize();
}

// A snapshot in frames: begin, sections, set definitions, pieces of the table's image, end.
export function snapshotBegin(): u32 {
  inside = KIND_INSIDE;
  digest = 0;
  const p = out + HEAD_BYTES;
  store<u32>(p, tableBuckets);
  store<u32>(p, maskWords, 4);
  store<u32>(p, entries, 8);
  store<u32>(p, setsHigh(), 12);
  return seal(out, KIND_SNAPSHOT_BEGIN, 16);
}

/** Set definitions from id `from`; `deltaNext` is where to go on. 0 when there are none left. */
export function snapshotSets(from: u32): u32 {
  const width = 8 + (maskWords << 3);
  let p = out + HEAD_BYTES + 4;
  let n: u32 = 0;
  let id = from;
  for (; id < setsHigh() && n < 1024; id++) {
    if (id == 0 || !setUsed(id)) continue;
    store<u64>(p, 0);
    store<u16>(p, <u16>id);
    memory.copy(p + 8, setMask(id), maskWords << 3);
    p += width;
    n++;
  }
  if (n == 0) return 0;
  deltaNext = id;
  store<u16>(out + HEAD_BYTES, RUN_SETS);
  store<u16>(out + HEAD_BYTES, <u16>n, 2);
  return seal(out, KIND_DELTA | inside, 4 + n * width);
}

/** The table's image from byte `from`; 0 at its end. */
export function snapshotPiece(from: u32): u32 {
  const total = <u32>prefixBytes(tableBuckets);
  if (from >= total) return 0;
  const n = min(total - from, (MAX_PAYLOAD - 8) & ~63);
  store<u64>(out + HEAD_BYTES, <u64>from);
  memory.copy(out + HEAD_BYTES + 8, table + from, n);
  deltaNext = from + n;
  return seal(out, KIND_SNAPSHOT_PIECE, n + 8);
}

export function snapshotEnd(): u32 {
  inside = 0;
  store<u64>(out + HEAD_BYTES, <u64>entries);
  store<u64>(out + HEAD_BYTES + 8, digest);
  return seal(out, KIND_SNAPSHOT_END, 16);
}

/** Kind of the frame of `n` bytes at the input buffer, 0 when it is not a whole frame of this format. */
export function frameKind(n: u32): u32 {
  return frameValid(input, n) ? <u32>load<u16>(input, HEAD_KIND) : 0;
}

/** Writes the length and the checksum of the frame of `n` bytes at the input buffer into its head. */
export function reseal(n: u32): void {
  store<u32>(input, n - HEAD_BYTES, HEAD_LENGTH);
  store<u64>(input, frameChecksum(input, n - HEAD_BYTES), HEAD_CHECKSUM);
}
