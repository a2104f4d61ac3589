// What filters and scorers take, over the picks for which a clock was lent; by kind of operation (program-layout.ts).
import { OP_KINDS } from "../shared/program-layout";

// Per kind: runs u64, ns u64.
const sums: usize = heap.alloc(OP_KINDS << 4);
memory.fill(sums, 0, OP_KINDS << 4);
let clock: (() => u64) | null = null;

/** Lends the picks to come a clock, in ns; null takes it back. Each operation reads it twice. */
export function timeOps(lent: (() => u64) | null): void {
  clock = lent;
}

/** When an operation begins; 0 without a clock. */
// @ts-ignore: decorator
@inline
export function opBegins(): u64 {
  const c = clock;
  return c ? c() : 0;
}

/** The operation that began at `since` is done. */
export function opDone(kind: u32, since: u64): void {
  const c = clock;
  if (!c) return;
  const at = sums + (<usize>kind << 4);
  store<u64>(at, load<u64>(at) + 1);
  store<u64>(at, load<u64>(at, 8) + c() - since, 8);
}

/** How often a kind was timed, and the ns that this took in all. */
export function opRuns(kind: u32): u64 {
  return load<u64>(sums + (<usize>kind << 4));
}
export function opTime(kind: u32): u64 {
  return load<u64>(sums + (<usize>kind << 4), 8);
}
