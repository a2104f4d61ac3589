// All that the last pick was made from, as bytes, and the same pick again from these bytes: the filter writes them into
// decision records, `warmgate replay` reads them. decision-layout.ts has the offsets of a decision's payload.
import {
  DECISION_COLUMNS,
  DECISION_COLUMNS_FRESH,
  DECISION_CONSIDERED,
  DECISION_CUT,
  DECISION_FLAGS,
  DECISION_HEAD_BYTES,
  DECISION_HEADERS,
  DECISION_ID_SIZE,
  DECISION_MAX_ROWS,
  DECISION_PASSED,
  DECISION_PROFILE,
  DECISION_RATE,
  DECISION_ROW_BYTES,
  DECISION_ROWS,
  DECISION_SEED,
  DECISION_SESSION,
  DECISION_SHARING_SLOW,
  DECISION_SPREAD,
  DECISION_STOOD_IN,
  DECISION_TIME,
  DECISION_TOKENS,
  ROW_ADAPTER_ACTIVE,
  ROW_ADAPTER_ROOM,
  ROW_ADAPTER_WAITING,
  ROW_FRESH,
  ROW_OUT,
  ROW_SESSION,
} from "../shared/decision-layout";
import { AGE_NEVER, MAX_PODS, POD_ROW_BYTES } from "../shared/pods-layout";
import { COLUMN_ROW_BYTES, MAX_COLUMNS, MAX_HEADERS } from "../shared/program-layout";
import { fresh } from "./load-scores";
import { matchClear, matchPut, matchTokens } from "./match";
import {
  ANY_MODEL,
  pick,
  pickCandidates,
  pickCost,
  pickCount,
  picked,
  pickPassed,
  pickProfile,
  pickSharing,
  pickStoodIn,
  sharingSlow,
} from "./pick";
import {
  adapterActive,
  adapterRoom,
  adapterWaiting,
  columnsAt,
  columnsEver,
  columnsFresh,
  columnsRead,
  podLabels,
} from "./pod-columns";
import {
  podHeadStart,
  podPending,
  podPendingRequests,
  podPendingTokens,
  podRequests,
  podsClearForeign,
  podSetCounts,
  podSetHeadStart,
  podSetTokens,
} from "./pod-counts";
import {
  podAddress,
  podAddressHash,
  podAddressSize,
  podCapacity,
  podHigh,
  podModel,
  podOut,
  podRate,
  podReady,
  podRole,
  podRunning,
  podsClear,
  podSetOut,
  podsRead,
  podUsage,
  podWaiting,
} from "./pods";
import { loadTtlMs } from "./policy";
import { profileRoles } from "./program";
import { ALL, COLD, END, newer, oldest, recencyClear, remembered, touch } from "./recency";
import {
  adapter,
  factsHeader,
  factsSet,
  headerHash,
  nowNs,
  perPodRate,
  promptTokens,
  seed,
  session,
  spread,
} from "./request-facts";
import { sessionPod, sessionPut, sessionsClear } from "./session-table";

/** No record is longer than this beside its request id: rows with addresses of 64 bytes and all columns. */
// @ts-ignore: decorator
@inline
export const PICK_RECORD_MAX: u32 =
  DECISION_HEAD_BYTES + DECISION_MAX_ROWS * (DECISION_ROW_BYTES + (MAX_COLUMNS << 2) + 64);

// Places in the orders of last choices, from 1 on: of all, and of those that hit no cache; u16 each by pod.
const turns: usize = heap.alloc(MAX_PODS << 2);

/**
 * Writes what the last pick (of `model`) was made from and what came of it into the payload at `p`, whose rows begin
 * `at` bytes on; returns where they end. Before anything is counted for the request. Beyond DECISION_MAX_ROWS pods the
 * best are written and the record says that it is cut.
 */
export function pickRecord(p: usize, at: u32, model: u32): u32 {
  const withColumns = columnsEver();
  const usable = columnsFresh(nowNs, loadTtlMs);
  store<f64>(p, promptTokens, DECISION_TOKENS);
  store<u64>(p, spread, DECISION_SPREAD);
  store<u64>(p, session, DECISION_SESSION);
  store<u64>(p, seed, DECISION_SEED);
  store<f64>(p, perPodRate, DECISION_RATE);
  store<u64>(p, nowNs, DECISION_TIME);
  for (let i: u32 = 0; i < MAX_HEADERS; i++) store<u64>(p + (i << 3), headerHash(i), DECISION_HEADERS);
  store<u8>(p, <u8>pickProfile, DECISION_PROFILE);
  store<u8>(p, <u8>(withColumns ? MAX_COLUMNS : 0), DECISION_COLUMNS);
  store<u16>(p, <u16>pickPassed, DECISION_PASSED);
  store<u16>(p, <u16>pickCandidates, DECISION_CONSIDERED);
  takeTurns();
  const roles = profileRoles(pickProfile);
  const session_ = sessionPod(session, nowNs);
  let rows: u32 = 0;
  for (; rows < pickCount; rows++) at = row(p, at, picked(rows), rows + 1, session_, withColumns);
  let cut = false;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (!podReady(pod) || (podRole(pod) & roles) == 0 || (model != ANY_MODEL && podModel(pod) != model)) continue;
    if (isPicked(pod)) continue;
    if (rows == DECISION_MAX_ROWS) {
      cut = true;
      break;
    }
    at = row(p, at, pod, 0, session_, withColumns);
    rows++;
  }
  store<u16>(p, <u16>rows, DECISION_ROWS);
  store<u8>(
    p,
    (sharingSlow ? DECISION_SHARING_SLOW : 0) |
      (pickStoodIn ? DECISION_STOOD_IN : 0) |
      (cut ? DECISION_CUT : 0) |
      (usable ? DECISION_COLUMNS_FRESH : 0),
    DECISION_FLAGS,
  );
  return at;
}

function isPicked(pod: u32): bool {
  for (let i: u32 = 0; i < pickCount; i++) if (picked(i) == pod) return true;
  return false;
}

function takeTurns(): void {
  memory.fill(turns, 0, MAX_PODS << 2);
  for (let list: u32 = 0; list < 2; list++) {
    let turn: u16 = 1;
    for (let pod = oldest(list); pod != END; pod = newer(list, pod)) {
      if (remembered(list, pod, podAddressHash(pod))) store<u16>(turns + (<usize>pod << 2) + (list << 1), turn++);
    }
  }
}

function row(p: usize, at: u32, pod: u32, rank: u32, sessionAt: i32, withColumns: bool): u32 {
  const r = p + at;
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
      (adapterRoom(pod) ? ROW_ADAPTER_ROOM : 0),
    3,
  );
  store<u32>(r, matchTokens(pod), 4);
  store<f64>(r, pickCost(pod), 8);
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
  return at + bytes;
}

/** What became of a replay. */
export const REPLAYED: i32 = 0;
export const REPLAY_CUT: i32 = 1;
export const REPLAY_DAMAGED: i32 = 2;

/** Sections of pods and of their columns, as the table brings them. */
const sections: usize = heap.alloc(
  16 + DECISION_MAX_ROWS * (POD_ROW_BYTES + 64 + COLUMN_ROW_BYTES + 16),
);
/** Any root but 0: which adapter it was does not matter, the rows say what pods have of it. */
// @ts-ignore: decorator
@inline
const ADAPTER: u64 = 1;

/**
 * Picks again from the payload of `n` bytes at `p`, under the program in force; then `picked`, `pickCost` and
 * `pickPassed` say what came of it. All that this module knew of pods is forgotten.
 */
export function pickAgain(p: usize, n: u32): i32 {
  if (n < DECISION_HEAD_BYTES) return REPLAY_DAMAGED;
  const flags = load<u8>(p, DECISION_FLAGS);
  if (flags & DECISION_CUT) return REPLAY_CUT;
  const columns = <u32>load<u8>(p, DECISION_COLUMNS);
  const rows = <u32>load<u16>(p, DECISION_ROWS);
  const first = DECISION_HEAD_BYTES + ((<u32>load<u16>(p, DECISION_ID_SIZE) + 7) & ~7);
  if (columns > MAX_COLUMNS || rows > DECISION_MAX_ROWS || !rowsWhole(p, n, first, rows, columns)) return REPLAY_DAMAGED;
  const time = load<u64>(p, DECISION_TIME);
  podsClear();
  podsClearForeign();
  recencyClear();
  sessionsClear();
  if (!readPods(p, first, rows, columns, time) || !readColumns(p, first, rows, columns, flags, time)) {
    return REPLAY_DAMAGED;
  }
  matchClear();
  const owner = load<u64>(p, DECISION_SESSION);
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
  factsSet(owner, ADAPTER, load<u64>(p, DECISION_SEED));
  for (let i: u32 = 0; i < MAX_HEADERS; i++) factsHeader(i, load<u64>(p + (i << 3), DECISION_HEADERS));
  pickSharing((flags & DECISION_SHARING_SLOW) != 0);
  pick(
    ANY_MODEL,
    load<f64>(p, DECISION_TOKENS),
    load<u64>(p, DECISION_SPREAD),
    load<f64>(p, DECISION_RATE),
    time,
  );
  return REPLAYED;
}

// @ts-ignore: decorator
@inline
function rowBytes(r: usize, columns: u32): u32 {
  return DECISION_ROW_BYTES + (columns << 2) + ((<u32>load<u16>(r) + 7) & ~7);
}

function rowsWhole(p: usize, n: u32, first: u32, rows: u32, columns: u32): bool {
  let at = first;
  for (let i: u32 = 0; i < rows; i++) {
    if (at > n || n - at < DECISION_ROW_BYTES) return false;
    const r = p + at;
    if (<u32>load<u16>(r) > 64 || <u32>load<u16>(r, 24) >= MAX_PODS) return false;
    at += rowBytes(r, columns);
  }
  return at <= n;
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
    store<u8>(to, 3, 3); // all roles: pods of another role are not in the record
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
    for (let k: u32 = 0; k < active + waiting; k++) store<u64>(to + COLUMN_ROW_BYTES + (k << 3), ADAPTER);
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
