// What the scheduler's tests need of wasm/core and wasm/filter's reading of sections, as a module of its own.
import { matchClear, matchPut } from "../../wasm/core/match";
import {
  ANY_MODEL,
  pick,
  pickCold,
  pickCommit,
  pickCost,
  picked,
  pickPassed,
  pickPrefill,
  pickScore,
  splitWanted,
} from "../../wasm/core/pick";
import { columnsRead } from "../../wasm/core/pod-columns";
import { podSetCounts, podSetTokens, podsRead } from "../../wasm/core/pods";
import { policyRead } from "../../wasm/core/policy";
import { recencyClear } from "../../wasm/core/recency";
import { factsHeader, factsSet } from "../../wasm/core/request-facts";
import { sessionHits, sessionMoves, sessionsClear } from "../../wasm/core/session-table";
import { fnv64 } from "../../wasm/shared/fnv";
import { HEAD_BYTES, HEAD_KIND, KIND_COLUMNS, KIND_PODS, KIND_POLICY } from "../../wasm/shared/layout";

export {
  factsSet,
  matchClear,
  matchPut,
  pick,
  pickCommit,
  pickCost,
  picked,
  pickPrefill,
  pickScore,
  podSetCounts,
  podSetTokens,
  splitWanted,
};

export const anyModel: u32 = ANY_MODEL;

export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

const input: usize = heap.alloc(1048576);
export function inputAt(): usize {
  return input;
}

/** Takes a section from a frame of `n` bytes at the input; true when it was read. */
export function section(n: u32, nowNs: u64): bool {
  const kind = load<u16>(input, HEAD_KIND);
  const p = input + HEAD_BYTES;
  const length = n - HEAD_BYTES;
  if (kind == KIND_POLICY) return policyRead(p, length);
  if (kind == KIND_PODS) return podsRead(p, length, nowNs);
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
export function cold(): bool {
  return pickCold;
}
export function hits(): u64 {
  return sessionHits;
}
export function moves(): u64 {
  return sessionMoves;
}
