// What the workers of a process tell each other of the prompts they routed and the engines have not announced yet: a
// conversation's next turn comes on any connection, often before the events of its last one. A record in shared data
// holds the blocks that a request adds to what its pod had, found by the hash of the first of them: to a worker that
// knows as much of the pod it is the next block of the prompt. Each key is one of a fixed number and holds what was
// written last; a record that is lost costs a prediction its last turn and nothing else.
import { matchExtend, promptHashes, promptLimit } from "../core/match";
import { matchBlocks } from "../core/matched-pods";
import { podHigh, podKnown } from "../core/pods";
import { SETTLE_MS, SPECULATIVE_MS, ticketStart, tokensBetween } from "../core/speculative";
import { Text, text } from "./abi/memory";
import { OK } from "./abi/types";
import { gaugeSlotOf } from "./gauge-slots";
import { getShared, resultAt, resultSize, setShared } from "./host";
import { vmId } from "./table-stream";
import { workersServing } from "./worker-roster";

// Record: hash of the first block u64, expiry ms u64, VM id u64, its ticket u32, gauge slot of the pod + 1 u16, unused
// u16, blocks of the prompt before the record's u32, its blocks u32, tokens of those before u32, tokens of all u32 (0 =
// not counted), then hashes of blocks u64: of the first DENSE ones, of each STRIDE-th beyond and of the last, for a hash stands for
// all before it. What many prompts share is short.
// @ts-ignore: decorator
@inline
const HEAD: u32 = 48;
// @ts-ignore: decorator
@inline
const DENSE: u32 = 64;
// @ts-ignore: decorator
@inline
const STRIDE: u32 = 8;
// @ts-ignore: decorator
@inline
const MOST_HASHES: u32 = 512;
/** How many keys there are. */
// @ts-ignore: decorator
@inline
const KEYS: u32 = 4096;
/** Records that one prompt asks for, and how many of them in vain: each costs a call into the host and a copy. */
// @ts-ignore: decorator
@inline
const LOOKS: u32 = 6;
// @ts-ignore: decorator
@inline
const MISSES: u32 = 2;

const record: usize = heap.alloc(HEAD + (MOST_HASHES << 3));
/** "warmgate.routed." and three hexadecimal digits, which `keyOf` writes. */
const KEY: Text = text("warmgate.routed.000");

function keyOf(start: u64): Text {
  const n = <u32>(start >> 20) & (KEYS - 1);
  for (let i: u32 = 0; i < 3; i++) {
    const digit = (n >> (i << 2)) & 15;
    store<u8>(KEY.at + KEY.size - 1 - i, <u8>(digit + (digit < 10 ? 48 : 87)));
  }
  return KEY;
}

/** Tells that the prompt matched last, of `blocks` blocks, goes to `pod` by a ticket of this worker. */
export function routedTell(ticket: u32, pod: u32, first: u32, blocks: u32, tokens: u32, nowMs: u64): void {
  const slot = gaugeSlotOf(pod);
  const added = blocks - first;
  const hashes = hashesOf(added);
  if (workersServing() < 2 || !slot || added == 0 || hashes > MOST_HASHES) return;
  const start = load<u64>(promptHashes + (<usize>first << 3));
  store<u64>(record, start);
  store<u64>(record, nowMs + SPECULATIVE_MS, 8);
  store<u64>(record, vmId, 16);
  store<u32>(record, ticket, 24);
  store<u32>(record, slot, 28);
  store<u32>(record, first, 32);
  store<u32>(record, added, 36);
  store<u32>(record, tokens, 40);
  store<u32>(record, 0, 44);
  for (let i: u32 = 0; i < hashes; i++) {
    const block = first + blocksTo(i, added) - 1;
    store<u64>(record + HEAD + (<usize>i << 3), load<u64>(promptHashes + (<usize>block << 3)));
  }
  setShared(keyOf(start), record, HEAD + (hashes << 3), 0);
}

/** The answer is over: events tell the rest soon. `counted`: tokens of the ticket's blocks, 0 when nobody counted. */
export function routedAnswered(ticket: u32, counted: u32, nowMs: u64): void {
  amend(ticket, counted, nowMs + SETTLE_MS);
}

/** The request went to another pod. */
export function routedDrop(ticket: u32): void {
  amend(ticket, 0, 0);
}

function amend(ticket: u32, counted: u32, expiryMs: u64): void {
  const start = workersServing() < 2 ? 0 : ticketStart(ticket);
  if (!start || !read(start) || load<u64>(record, 16) != vmId || load<u32>(record, 24) != ticket) return;
  store<u64>(record, min(load<u64>(record, 8), expiryMs), 8);
  store<u32>(record, counted, 44);
  setShared(KEY, record, HEAD + (hashesOf(load<u32>(record, 36)) << 3), 0);
}

/** Reads the record of a first block; false when there is none or it is not whole. */
function read(start: u64): bool {
  if (getShared(keyOf(start)) != OK || resultSize < HEAD || resultSize > HEAD + (MOST_HASHES << 3)) return false;
  if (load<u64>(resultAt) != start) return false;
  memory.copy(record, resultAt, resultSize);
  return resultSize == HEAD + (hashesOf(load<u32>(record, 36)) << 3);
}

/** Hashes that a record of so many blocks has. */
function hashesOf(added: u32): u32 {
  return added <= DENSE ? added : DENSE + (added - DENSE + STRIDE - 1) / STRIDE;
}

/** Up to how many of a record's blocks its hash `i` stands for. */
function blocksTo(i: u32, added: u32): u32 {
  return i < DENSE ? i + 1 : min(added, DENSE + (i - DENSE + 1) * STRIDE);
}

/** Goes on where the match of a prompt ended, with what other workers told. */
export function routedExtend(nowMs: u64): void {
  if (workersServing() < 2) return;
  let below: u32 = 0xffffffff;
  let misses: u32 = 0;
  for (let looks: u32 = 0; looks < LOOKS; looks++) {
    const from = longestBelow(below);
    if (from < 0) return;
    if (from < <i32>promptLimit && extend(<u32>from, nowMs)) {
      // A pod that goes on may go on again, from a later block.
      below = 0xffffffff;
    } else {
      if (++misses == MISSES) return;
      below = <u32>from;
    }
  }
}

/** The greatest number of matched blocks under `below` that any pod has; -1 when there is none. */
function longestBelow(below: u32): i32 {
  let longest: i32 = -1;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    const n = matchBlocks(pod);
    if (podKnown(pod) && n < below && <i32>n > longest) longest = <i32>n;
  }
  return longest;
}

/** Extends the pod that a record names for the block at `from`; false when there is no such record, or no such pod. */
function extend(from: u32, nowMs: u64): bool {
  if (!read(load<u64>(promptHashes + (<usize>from << 3)))) return false;
  if (load<u64>(record, 8) <= nowMs || load<u64>(record, 16) == vmId || load<u32>(record, 32) != from) return false;
  const pod = podOf(load<u32>(record, 28));
  if (pod < 0 || matchBlocks(pod) != from) return false;
  const added = load<u32>(record, 36);
  const hashes = hashesOf(added);
  let to = from + 1;
  for (let i: u32 = 0; i < hashes; i++) {
    const next = from + blocksTo(i, added);
    if (next > promptLimit) break;
    if (load<u64>(promptHashes + (<usize>(next - 1) << 3)) != load<u64>(record + HEAD + (<usize>i << 3))) break;
    to = next;
  }
  const first = load<u32>(record, 32);
  const counted = tokensBetween(first, load<u32>(record, 40), first + added, load<u32>(record, 44), to, 0, 0);
  matchExtend(pod, to, counted);
  return true;
}

/** The pod slot of a gauge slot + 1; -1 when this worker knows none. */
function podOf(slot: u32): i32 {
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (slot && podKnown(pod) && gaugeSlotOf(pod) == slot) return <i32>pod;
  }
  return -1;
}
