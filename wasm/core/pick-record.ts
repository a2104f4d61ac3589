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
  DECISION_ROWS,
  DECISION_SEED,
  DECISION_SESSION,
  DECISION_SHARING_SLOW,
  DECISION_SPREAD,
  DECISION_STOOD_IN,
  DECISION_TIME,
  DECISION_TOKENS,
} from "../shared/decision-layout";
import { MAX_COLUMNS, MAX_HEADERS } from "../shared/program-layout";
import { ANY_ADAPTER, ROW_MAX, rowsEnd, rowsRead, rowWrite, turnsTake } from "./decision-rows";
import { pick, pickCandidates, pickPassed, pickProfile, pickSharing, pickStoodIn, sharingSlow } from "./pick";
import { pickCost, pickCount, picked } from "./pickers";
import { columnsEver, columnsFresh } from "./pod-columns";
import { ANY_MODEL, podHigh, podReady, podServes } from "./pods";
import { loadTtlMs } from "./policy";
import { profileRoles } from "./program";
import {
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
import { sessionPod } from "./session-table";

/** No record is longer than this beside its request id. */
// @ts-ignore: decorator
@inline
export const PICK_RECORD_MAX: u32 = DECISION_HEAD_BYTES + DECISION_MAX_ROWS * ROW_MAX;

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
  turnsTake();
  const roles = profileRoles(pickProfile);
  const session_ = sessionPod(session, nowNs);
  let rows: u32 = 0;
  for (; rows < pickCount; rows++) {
    const pod = picked(rows);
    at += rowWrite(p + at, pod, rows + 1, pickCost(pod), session_, withColumns, nowNs);
  }
  let cut = false;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (!podReady(pod) || !podServes(pod, roles, model)) continue;
    if (isPicked(pod)) continue;
    if (rows == DECISION_MAX_ROWS) {
      cut = true;
      break;
    }
    at += rowWrite(p + at, pod, 0, pickCost(pod), session_, withColumns, nowNs);
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

/** What became of a replay. */
export const REPLAYED: i32 = 0;
export const REPLAY_CUT: i32 = 1;
export const REPLAY_DAMAGED: i32 = 2;

/** Where the rows of the payload of `n` bytes at `p` begin and end; end 0 when it is not whole. */
export let rowsFirst: u32 = 0;
export function recordEnd(p: usize, n: u32): u32 {
  if (n < DECISION_HEAD_BYTES) return 0;
  const columns = <u32>load<u8>(p, DECISION_COLUMNS);
  const rows = <u32>load<u16>(p, DECISION_ROWS);
  rowsFirst = DECISION_HEAD_BYTES + ((<u32>load<u16>(p, DECISION_ID_SIZE) + 7) & ~7);
  return columns > MAX_COLUMNS || rows > DECISION_MAX_ROWS ? 0 : rowsEnd(p, n, rowsFirst, rows, columns);
}

/** Makes the facts of the request be what the payload at `p` says, but for those that `pick` takes itself. */
export function factsRead(p: usize): void {
  factsSet(load<u64>(p, DECISION_SESSION), ANY_ADAPTER, load<u64>(p, DECISION_SEED));
  for (let i: u32 = 0; i < MAX_HEADERS; i++) factsHeader(i, load<u64>(p + (i << 3), DECISION_HEADERS));
  pickSharing((load<u8>(p, DECISION_FLAGS) & DECISION_SHARING_SLOW) != 0);
}

/**
 * Picks again from the payload of `n` bytes at `p`, under the program in force; then `picked`, `pickCost` and
 * `pickPassed` say what came of it. All that this module knew of pods is forgotten.
 */
export function pickAgain(p: usize, n: u32): i32 {
  if (!recordEnd(p, n)) return REPLAY_DAMAGED;
  const flags = load<u8>(p, DECISION_FLAGS);
  if (flags & DECISION_CUT) return REPLAY_CUT;
  const columns = <u32>load<u8>(p, DECISION_COLUMNS);
  const rows = <u32>load<u16>(p, DECISION_ROWS);
  const time = load<u64>(p, DECISION_TIME);
  if (!rowsRead(p, rowsFirst, rows, columns, flags, load<u64>(p, DECISION_SESSION), time)) return REPLAY_DAMAGED;
  factsRead(p);
  pick(
    ANY_MODEL,
    load<f64>(p, DECISION_TOKENS),
    load<u64>(p, DECISION_SPREAD),
    load<f64>(p, DECISION_RATE),
    time,
  );
  return REPLAYED;
}
