// What the scheduler's tests need of wasm/core and wasm/filter's reading of sections, as a module of its own.
import { disaggregationRead } from "../../wasm/core/disaggregation";
import { matchPrompt } from "../../wasm/core/match";
import { bestMatch, matchBlocks, matchClear, matchPut, matchTokens } from "../../wasm/core/matched-pods";
import { pick, pickCold, pickCommit, pickPassed, pickSharing, pickStoodIn } from "../../wasm/core/pick";
import {
  pairDecode,
  pickPair,
  prefillPicked,
  prefillsPicked,
  splitConsidered,
} from "../../wasm/core/pick-pair";
import { pickCost, picked } from "../../wasm/core/pickers";
import { columnsRead } from "../../wasm/core/pod-columns";
import { podSetCounts, podSetTokens } from "../../wasm/core/pod-counts";
import { podsRead } from "../../wasm/core/pods";
import { blockBytes, blockKey, policyRead } from "../../wasm/core/policy";
import { recencyClear } from "../../wasm/core/recency";
import { factsHeader, factsSet } from "../../wasm/core/request-facts";
import { sessionHits, sessionMisses, sessionMoves, sessionsClear } from "../../wasm/core/session-table";
import { speculativeAdd, speculativeBegin } from "../../wasm/core/speculative";
import { fnv64 } from "../../wasm/shared/fnv";
import {
  HEAD_BYTES,
  HEAD_KIND,
  KIND_COLUMNS,
  KIND_DISAGGREGATION,
  KIND_INSIDE,
  KIND_PODS,
  KIND_POLICY,
} from "../../wasm/shared/frame-layout";
import { hashBlocks } from "../../wasm/shared/hash";
import {
  FRAME_GAP,
  FRAME_REFUSED,
  FRAME_SECTION,
  FRAME_TOO_LARGE,
  readerInit,
  readFrame,
} from "../../wasm/shared/table-reader";

export {
  factsSet,
  matchBlocks,
  matchClear,
  matchPut,
  pick,
  pickCommit,
  pickCost,
  picked,
  pickPair,
  pickSharing,
  podSetCounts,
  podSetTokens,
  prefillPicked,
  splitConsidered,
};

export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

const input: usize = heap.alloc(1048576);
export function inputAt(): usize {
  return input;
}

/** Takes a section from a frame of `n` bytes at the input; true when it was read. */
export function section(n: u32, nowNs: u64): bool {
  const kind = load<u16>(input, HEAD_KIND) & ~KIND_INSIDE;
  const p = input + HEAD_BYTES;
  const length = n - HEAD_BYTES;
  if (kind == KIND_POLICY) return policyRead(p, length);
  if (kind == KIND_PODS) return podsRead(p, length, nowNs);
  if (kind == KIND_DISAGGREGATION) return disaggregationRead(p, length);
  return kind == KIND_COLUMNS && columnsRead(p, length, nowNs);
}

/** Tells the value, of `n` bytes at the input, of the program's header `i`. */
export function header(i: u32, n: u32): void {
  factsHeader(i, fnv64(input, n));
}

export function forget(): void {
  recencyClear();
  sessionsClear();
}
export function passed(): u32 {
  return pickPassed;
}
export function pairPrefills(): u32 {
  return prefillsPicked;
}
export function pairDecodePod(): u32 {
  return pairDecode;
}
export function cold(): bool {
  return pickCold;
}
export function stoodIn(): bool {
  return pickStoodIn;
}
export function hits(): u64 {
  return sessionHits;
}
export function misses(): u64 {
  return sessionMisses;
}
export function moves(): u64 {
  return sessionMoves;
}

const hashes: usize = heap.alloc(131072);

/** Makes room for a table of at most so many bytes, for `frame`. */
export function table(limit: u32): void {
  readerInit(limit);
}

/** Takes any frame of `n` bytes at the input; false when it was refused. */
export function frame(n: u32, nowNs: u64): bool {
  const status = readFrame(input, n);
  if (status == FRAME_SECTION) section(n, nowNs);
  return status != FRAME_REFUSED && status != FRAME_GAP && status != FRAME_TOO_LARGE;
}

/** Hashes the prompt of `n` bytes at the input; its blocks. */
export function hashPrompt(n: u32, root: u64): u32 {
  const count = min(n / blockBytes, 16384);
  hashBlocks(blockKey, root, input, count, blockBytes, hashes);
  return count;
}

/** Looks the hashed prompt of `count` blocks up, a token being a byte. */
export function lookUp(count: u32, nowMs: u64): void {
  matchPrompt(hashes, count, blockBytes, 1, false, nowMs);
}

/** The prompt that was looked up goes to a pod, as the filter remembers it. */
export function route(pod: u32, count: u32, nowMs: u64): void {
  const first = matchBlocks(pod);
  if (first >= count) return;
  const ticket = speculativeBegin(nowMs, first, count, matchTokens(pod), load<u64>(hashes + (<usize>first << 3)), 0);
  for (let j = first; j < count; j++) speculativeAdd(load<u64>(hashes + (<usize>j << 3)), pod, ticket);
}

/** Looks a hashed prompt up and picks, as the filter does; a token is a byte. */
export function lookUpAndPick(count: u32, model: u32, nowNs: u64): u32 {
  lookUp(count, nowNs / 1000000);
  const spread = load<u64>(hashes + (<usize>min(count - 1, bestMatch()) << 3));
  return pick(model, <f64>(count * blockBytes), spread, 1, nowNs);
}
