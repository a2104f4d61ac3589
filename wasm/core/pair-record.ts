// All that the choice of a pair of pods was made from, behind the decision that it belongs to, and the same choice again
// from these bytes. decision-layout.ts has the offsets.
import {
  DECISION_COLUMNS,
  DECISION_COLUMNS_FRESH,
  DECISION_CUT,
  DECISION_FLAGS,
  DECISION_MAX_ROWS,
  DECISION_PAIRED,
  DECISION_RATE,
  DECISION_SESSION,
  DECISION_SPREAD,
  PAIR_ALONE_COST,
  PAIR_COST,
  PAIR_DECODE,
  PAIR_FLAGS,
  PAIR_HEAD_BYTES,
  PAIR_MODE,
  PAIR_ROWS,
  PAIR_SPLITS,
  PAIR_STALL_WEIGHT,
  PAIR_TIME,
  PAIR_TOKENS,
  PAIR_TOKENS_PER_SECOND,
  PAIR_WORK,
} from "../shared/decision-layout";
import { ROLE_PREFILL } from "../shared/pods-layout";
import { ROW_MAX, rowBytes, rowsEnd, rowsRead, rowWrite, turnsTake } from "./decision-rows";
import { splitFormula, splitMode, splitStallWeight, splitTokensPerSecond } from "./disaggregation";
import {
  aloneCost,
  pairCost,
  pairDecode,
  pairPodCost,
  pickPair,
  prefillPicked,
  prefillsPicked,
} from "./pick-pair";
import { factsRead, recordEnd, REPLAY_CUT, REPLAY_DAMAGED, REPLAYED } from "./pick-record";
import { CANDIDATES } from "./pickers";
import { columnsFresh } from "./pod-columns";
import { podHigh, podPrefills, podReady, podServes } from "./pods";
import { loadTtlMs } from "./policy";
import { factsBegin, session } from "./request-facts";
import { sessionPod } from "./session-table";

/** No record of a pair is longer than this. */
// @ts-ignore: decorator
@inline
export const PAIR_RECORD_MAX: u32 = PAIR_HEAD_BYTES + DECISION_MAX_ROWS * ROW_MAX;

/**
 * Writes behind the payload of `at` bytes at `p` what the last `pickPair` was called with and what came of it (`splits`);
 * returns where that ends. Before anything of the split is counted.
 */
export function pairRecord(
  p: usize,
  at: u32,
  model: u32,
  promptTokens: f64,
  work: f64,
  decodes: usize,
  count: u32,
  splits: bool,
  nowNs: u64,
): u32 {
  const head = p + at;
  memory.fill(head, 0, PAIR_HEAD_BYTES);
  store<u64>(head, nowNs, PAIR_TIME);
  store<f64>(head, promptTokens, PAIR_TOKENS);
  store<f64>(head, work, PAIR_WORK);
  store<f64>(head, splitTokensPerSecond, PAIR_TOKENS_PER_SECOND);
  store<f64>(head, splitStallWeight, PAIR_STALL_WEIGHT);
  store<f64>(head, pairCost, PAIR_COST);
  store<f64>(head, aloneCost, PAIR_ALONE_COST);
  store<u8>(head, <u8>splitMode, PAIR_MODE);
  store<u8>(head, splits ? 1 : 0, PAIR_SPLITS);
  turnsTake();
  at += PAIR_HEAD_BYTES;
  let rows: u32 = 0;
  for (; rows < count; rows++) {
    const pod = load<u32>(decodes + (rows << 2));
    if (splits && pod == pairDecode) store<u8>(head, <u8>(rows + 1), PAIR_DECODE);
    at += write(p + at, pod, rows + 1, promptTokens, nowNs, p);
  }
  let cut = false;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (!podReady(pod) || !podServes(pod, ROLE_PREFILL, model) || among(decodes, count, pod)) continue;
    if (rows == DECISION_MAX_ROWS) {
      cut = true;
      break;
    }
    at += write(p + at, pod, 0, promptTokens, nowNs, p);
    rows++;
  }
  store<u16>(head, <u16>rows, PAIR_ROWS);
  const usable = columnsFresh(nowNs, loadTtlMs);
  store<u8>(head, (cut ? DECISION_CUT : 0) | (usable ? DECISION_COLUMNS_FRESH : 0), PAIR_FLAGS);
  store<u8>(p, load<u8>(p, DECISION_FLAGS) | DECISION_PAIRED, DECISION_FLAGS);
  return at;
}

function among(decodes: usize, count: u32, pod: u32): bool {
  for (let i: u32 = 0; i < count; i++) if (load<u32>(decodes + (i << 2)) == pod) return true;
  return false;
}

/** A row of the pair of the decision at `p`: `decode` is the pod's place among the decode candidates, 0 for none. */
function write(r: usize, pod: u32, decode: u32, promptTokens: f64, nowNs: u64, p: usize): u32 {
  const withColumns = load<u8>(p, DECISION_COLUMNS) != 0;
  const cost = podPrefills(pod) ? pairPodCost(pod, promptTokens, nowNs) : 0;
  const bytes = rowWrite(r, pod, decode, cost, sessionPod(session, nowNs), withColumns, nowNs);
  for (let i: u32 = 0; i < prefillsPicked; i++) if (prefillPicked(i) == pod) store<u8>(r, <u8>(i + 1), 30);
  return bytes;
}

const decodesAgain: usize = heap.alloc(CANDIDATES << 2);
/** Whether the last `pairAgain` splits the request. */
export let splitsAgain: bool = false;

/**
 * Chooses the pair again from the payload of `n` bytes at `p`, under the program in force; then `splitsAgain` and what
 * pick-pair.ts exports say what came of it. All that this module knew of pods is forgotten.
 */
export function pairAgain(p: usize, n: u32): i32 {
  const end = recordEnd(p, n);
  if (!end || (load<u8>(p, DECISION_FLAGS) & DECISION_PAIRED) == 0 || n - end < PAIR_HEAD_BYTES) return REPLAY_DAMAGED;
  const head = p + end;
  const flags = load<u8>(head, PAIR_FLAGS);
  if (flags & DECISION_CUT) return REPLAY_CUT;
  const first = end + PAIR_HEAD_BYTES;
  const rows = <u32>load<u16>(head, PAIR_ROWS);
  const columns = <u32>load<u8>(p, DECISION_COLUMNS);
  if (rows > DECISION_MAX_ROWS || !rowsEnd(p, n, first, rows, columns)) return REPLAY_DAMAGED;
  const time = load<u64>(head, PAIR_TIME);
  const mode = <u32>load<u8>(head, PAIR_MODE);
  const rate = load<f64>(head, PAIR_TOKENS_PER_SECOND);
  if (!splitFormula(mode, rate, load<f64>(head, PAIR_STALL_WEIGHT))) return REPLAY_DAMAGED;
  if (!rowsRead(p, first, rows, columns, flags, load<u64>(p, DECISION_SESSION), time)) return REPLAY_DAMAGED;
  const count = decodesRead(p, first, rows, columns);
  if (!count) return REPLAY_DAMAGED;
  const tokens = load<f64>(head, PAIR_TOKENS);
  factsRead(p);
  factsBegin(tokens, load<u64>(p, DECISION_SPREAD), load<f64>(p, DECISION_RATE), time);
  // The rows are of one model, whose number does not matter.
  splitsAgain = pickPair(0, tokens, load<f64>(head, PAIR_WORK), decodesAgain, count, time);
  return REPLAYED;
}

/** Reads the decode candidates in their order; 0 when they are not counted from 1 on. */
function decodesRead(p: usize, first: u32, rows: u32, columns: u32): u32 {
  let r = p + first;
  let count: u32 = 0;
  for (let i: u32 = 0; i < rows; i++, r += rowBytes(r, columns)) {
    const rank = <u32>load<u8>(r, 2);
    if (rank == 0) continue;
    if (rank > CANDIDATES || rank != count + 1) return 0;
    store<u32>(decodesAgain + (count << 2), <u32>load<u16>(r, 24));
    count++;
  }
  return count;
}
