// The rows of a decision record: all that a scheduler knows of a pod, as bytes and back again.
import {
  DECISION_COLUMNS_FRESH,
  DECISION_MAX_ROWS,
  DECISION_ROW_BYTES,
  ROW_ADAPTER_ACTIVE,
  ROW_ADAPTER_ROOM,
  ROW_ADAPTER_WAITING,
  ROW_DECODES,
  ROW_FRESH,
  ROW_OUT,
  ROW_PREFILLS,
  ROW_SESSION,
} from "../shared/decision-layout";
import { AGE_NEVER, MAX_PODS, POD_ROW_BYTES, ROLE_DECODE, ROLE_PREFILL } from "../shared/pods-layout";
import { COLUMN_ROW_BYTES, MAX_COLUMNS } from "../shared/program-layout";
import { fresh } from "./load-scores";
import { matchClear, matchPut, matchTokens } from "./matched-pods";
import { adapterActive, adapterRoom, adapterWaiting, columnsAt, columnsRead, podLabels } from "./pod-columns";
import {
  podHeadStart,
  podPending,
  podPendingRequests,
  podPendingTokens,
  podRequests,
  podSetCounts,
  podSetHeadStart,
  podSetTokens,
} from "./pod-counts";
import {
  podAddress,
  podAddressHash,
  podAddressSize,
  podCapacity,
  podOut,
  podRate,
  podRole,
  podRunning,
  podsClear,
  podSetOut,
  podsRead,
  podUsage,
  podWaiting,
} from "./pods";
import { ALL, COLD, END, newer, oldest, recencyClear, remembered, touch } from "./recency";
import { adapter } from "./request-facts";
import { sessionPut, sessionsClear } from "./session-table";

/** Most bytes of a row: an address of 64 bytes and all columns. */
// @ts-ignore: decorator
@inline
export const ROW_MAX: u32 = DECISION_ROW_BYTES + (MAX_COLUMNS << 2) + 64;

// Places in the orders of last choices, from 1 on: of all, and of those that hit no cache; u16 each by pod.
const turns: usize = heap.alloc(MAX_PODS << 2);

/** Looks up the places in the orders of last choices, for `rowWrite`. */
export function turnsTake(): void {
  memory.fill(turns, 0, MAX_PODS << 2);
  for (let list: u32 = 0; list < 2; list++) {
    let turn: u16 = 1;
    for (let pod = oldest(list); pod != END; pod = newer(list, pod)) {
      if (remembered(list, pod, podAddressHash(pod))) store<u16>(turns + (<usize>pod << 2) + (list << 1), turn++);
    }
  }
}

/**
 * Writes pod `pod` at `r`: its place among the candidates, its cost, `sessionAt`: the pod that has the session, -1 for
 * none. Returns its bytes.
 */
export function rowWrite(
  r: usize,
  pod: u32,
  rank: u32,
  cost: f64,
  sessionAt: i32,
  withColumns: bool,
  nowNs: u64,
): u32 {
  const size = podAddressSize(pod);
  const columns: u32 = withColumns ? MAX_COLUMNS << 2 : 0;
  const bytes = DECISION_ROW_BYTES + columns + ((size + 7) & ~7);
  memory.fill(r, 0, bytes);
  store<u16>(r, <u16>size);
  store<u8>(r, <u8>rank, 2);
  store<u8>(
    r,
    (fresh(pod) ? ROW_FRESH : 0) |
      (podOut(pod, nowNs) ? ROW_OUT : 0) |
      (<i32>pod == sessionAt ? ROW_SESSION : 0) |
      (adapterActive(pod, adapter) ? ROW_ADAPTER_ACTIVE : 0) |
      (adapterWaiting(pod, adapter) ? ROW_ADAPTER_WAITING : 0) |
      (adapterRoom(pod) ? ROW_ADAPTER_ROOM : 0) |
      (podRole(pod) == ROLE_DECODE ? ROW_DECODES : podRole(pod) == ROLE_PREFILL ? ROW_PREFILLS : 0),
    3,
  );
  store<u32>(r, matchTokens(pod), 4);
  store<f64>(r, cost, 8);
  store<u32>(r, podRequests(pod), 16);
  store<u32>(r, podPendingRequests(pod), 20);
  store<u16>(r, <u16>pod, 24);
  store<u16>(r, load<u16>(turns + (<usize>pod << 2), ALL << 1), 26);
  store<u16>(r, load<u16>(turns + (<usize>pod << 2), COLD << 1), 28);
  store<f64>(r, podPending(pod), 32);
  store<f64>(r, podPendingTokens(pod), 40);
  store<u64>(r, podHeadStart(pod), 48);
  store<u32>(r, podWaiting(pod), 56);
  store<u32>(r, podRunning(pod), 60);
  store<u32>(r, <u32>nearest(podUsage(pod) * 1000), 64);
  store<u32>(r, podCapacity(pod), 68);
  store<f64>(r, podRate(pod), 72);
  store<u64>(r, podLabels(pod), 80);
  if (columns) memory.copy(r + DECISION_ROW_BYTES, columnsAt(pod), columns);
  memory.copy(r + DECISION_ROW_BYTES + columns, podAddress(pod), size);
  return bytes;
}

/** Sections of pods and of their columns, as the table brings them. */
const sections: usize = heap.alloc(
  16 + DECISION_MAX_ROWS * (POD_ROW_BYTES + 64 + COLUMN_ROW_BYTES + 16),
);
/** Any root but 0: which adapter it was does not matter, the rows say what pods have of it. */
// @ts-ignore: decorator
@inline
export const ANY_ADAPTER: u64 = 1;

/** Bytes of the row at `r`. */
// @ts-ignore: decorator
@inline
export function rowBytes(r: usize, columns: u32): u32 {
  return DECISION_ROW_BYTES + (columns << 2) + ((<u32>load<u16>(r) + 7) & ~7);
}

/** Where `rows` rows end that begin `first` bytes behind `p`, when they are whole within `n` bytes; else 0. */
export function rowsEnd(p: usize, n: u32, first: u32, rows: u32, columns: u32): u32 {
  let at = first;
  for (let i: u32 = 0; i < rows; i++) {
    if (at > n || n - at < DECISION_ROW_BYTES) return 0;
    const r = p + at;
    if (<u32>load<u16>(r) > 64 || <u32>load<u16>(r, 24) >= MAX_PODS) return 0;
    at += rowBytes(r, columns);
  }
  return at <= n ? at : 0;
}

/**
 * Makes the pods be what their rows (whole ones, at `p` + `first`) say: all that was known of pods is forgotten. `owner`:
 * the session's hash; `flags` and `time` are the record's. False when they cannot be what a gateway recorded.
 */
export function rowsRead(p: usize, first: u32, rows: u32, columns: u32, flags: u8, owner: u64, time: u64): bool {
  podsClear();
  recencyClear();
  sessionsClear();
  if (!readPods(p, first, rows, columns, time) || !readColumns(p, first, rows, columns, flags, time)) return false;
  matchClear();
  let r = p + first;
  for (let i: u32 = 0; i < rows; i++, r += rowBytes(r, columns)) {
    const pod = <u32>load<u16>(r, 24);
    podSetCounts(pod, load<u32>(r, 16), load<u32>(r, 20), load<f64>(r, 32));
    podSetTokens(pod, load<f64>(r, 40));
    podSetHeadStart(pod, load<u64>(r, 48));
    podSetOut(pod, load<u8>(r, 3) & ROW_OUT ? time + 1 : 0);
    matchPut(pod, load<u32>(r, 4));
    if (load<u8>(r, 3) & ROW_SESSION) sessionPut(owner, pod, 1000, time);
  }
  putTurns(p + first, rows, columns, ALL, 26);
  putTurns(p + first, rows, columns, COLD, 28);
  return true;
}

function readPods(p: usize, first: u32, rows: u32, columns: u32, time: u64): bool {
  store<u64>(sections, rows);
  let to = sections + 8;
  let r = p + first;
  for (let i: u32 = 0; i < rows; i++, r += rowBytes(r, columns)) {
    const size = <u32>load<u16>(r);
    const bytes = POD_ROW_BYTES + ((size + 7) & ~7);
    memory.fill(to, 0, bytes);
    store<u16>(to, load<u16>(r, 24));
    store<u8>(to, 1, 2);
    const bits = load<u8>(r, 3);
    const role = bits & ROW_DECODES ? ROLE_DECODE : bits & ROW_PREFILLS ? ROLE_PREFILL : ROLE_DECODE | ROLE_PREFILL;
    store<u8>(to, <u8>role, 3);
    store<u8>(to, <u8>size, 7);
    store<u32>(to, load<u32>(r, 68), 12);
    store<u32>(to, load<u32>(r, 56), 16);
    store<u32>(to, load<u32>(r, 60), 20);
    store<u32>(to, load<u32>(r, 64), 24);
    store<u32>(to, load<u8>(r, 3) & ROW_FRESH ? 0 : AGE_NEVER, 28);
    store<f64>(to, load<f64>(r, 72), 32);
    memory.copy(to + POD_ROW_BYTES, r + DECISION_ROW_BYTES + (columns << 2), size);
    to += bytes;
  }
  return podsRead(sections, <u32>(to - sections), time);
}

function readColumns(p: usize, first: u32, rows: u32, columns: u32, flags: u8, time: u64): bool {
  store<u64>(sections, rows);
  let to = sections + 8;
  let r = p + first;
  for (let i: u32 = 0; i < rows; i++, r += rowBytes(r, columns)) {
    const bits = load<u8>(r, 3);
    const active: u32 = bits & ROW_ADAPTER_ACTIVE ? 1 : 0;
    const waiting: u32 = bits & ROW_ADAPTER_WAITING ? 1 : 0;
    const bytes = COLUMN_ROW_BYTES + ((active + waiting) << 3);
    memory.fill(to, 0, bytes);
    store<u16>(to, load<u16>(r, 24));
    store<u8>(to, <u8>active, 2);
    store<u8>(to, <u8>waiting, 3);
    store<u16>(to, <u16>(bits & ROW_ADAPTER_ROOM ? active + waiting + 1 : 0), 4);
    store<u64>(to, load<u64>(r, 80), 8);
    if (columns) memory.copy(to + 16, r + DECISION_ROW_BYTES, columns << 2);
    for (let k: u32 = 0; k < active + waiting; k++) store<u64>(to + COLUMN_ROW_BYTES + (k << 3), ANY_ADAPTER);
    to += bytes;
  }
  return columnsRead(sections, <u32>(to - sections), flags & DECISION_COLUMNS_FRESH ? time : 0);
}

function putTurns(first: usize, rows: u32, columns: u32, list: u32, at: usize): void {
  for (let turn: u32 = 1; turn <= MAX_PODS; turn++) {
    let r = first;
    for (let i: u32 = 0; i < rows; i++, r += rowBytes(r, columns)) {
      const pod = <u32>load<u16>(r, 24);
      if (<u32>load<u16>(r + at) == turn) touch(list, pod, podAddressHash(pod), MAX_PODS);
    }
  }
}
