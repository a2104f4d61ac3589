// One row per pod: what a pick reads of it lies in two cache lines, one that the table fills and one of what is under way.
// A pick reads most of every row; a column for each field would be a page and a stream of cache lines for each.
import { MAX_PODS } from "../shared/pods-layout";

/** Where a field lies in its row, bytes. The first cache line is written by pods.ts, the second by pod-counts.ts. */
export const enum Row {
  /** Bit 0 known, bit 1 ready, bit 2 hidden; u8. */
  Flags = 0,
  /** 1: what the pod announces is not known or not believed; u8. */
  Approximate = 1,
  /** Bits, u8. */
  Roles = 2,
  /** Id, u16. */
  Model = 4,
  /** ns until when the pod is left out, u64. */
  OutUntil = 8,
  /** Tokens per second, f64. */
  Rate = 16,
  /** When the load arrived, ns of the own clock, u64; and how old it was then, ms, u32. */
  LoadRead = 24,
  LoadAge = 32,
  /** Requests, u32. */
  Running = 36,
  /** Share of the KV cache, f64. */
  Usage = 40,
  /** Tokens, u32. */
  Capacity = 48,
  /** Requests, u32. */
  Waiting = 52,
  /** u64. */
  AddressHash = 56,
  /** In flight by the process's own counts; u32. */
  Requests = 64,
  /** Prefills without a first token, u32. */
  PendingRequests = 68,
  /** Their work (prefillWork), f64. */
  Pending = 72,
  /** Their uncached tokens, f64. */
  PendingTokens = 80,
  /** When the pod's prefill queue began or moved on, ns, u64. */
  HeadStart = 88,
  /** The same of other gateways, from the agent. */
  ForeignRequests = 96,
  ForeignPendingRequests = 100,
  ForeignPending = 104,
  ForeignPendingTokens = 112,
}

// @ts-ignore: decorator
@inline
const ROW_SHIFT: u32 = 7;
/** Zeroed; where it lies the compiler knows. */
const rows: usize = memory.data(MAX_PODS << ROW_SHIFT, 64);

export function podRowsClear(): void {
  memory.fill(rows, 0, MAX_PODS << ROW_SHIFT);
}

/** Address of the row of pod `i`. */
// @ts-ignore: decorator
@inline
export function podRow(i: u32): usize {
  return rows + (<usize>i << ROW_SHIFT);
}
