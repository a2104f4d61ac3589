// Some decisions, as the policy's rate says, go to the agent with what they were made from; and, where it asks for
// that, into filter state, from where an access log has them.
import { matchTokens } from "../core/match";
import { pickCandidates, pickCost, pickCount, picked, pickPassed } from "../core/pick";
import { podAddress, podAddressSize, podHigh, podName, podNameSize, podPendingRequests, podRequests } from "../core/pods";
import { policyVersion } from "../core/policy";
import { ruleFlags, sample } from "../core/request-rules";
import {
  DECISION_HEAD_BYTES,
  DECISION_MAX_ROWS,
  DECISION_ROUTED,
  DECISION_ROW_BYTES,
  KIND_DECISION,
  RULES_FILTER_STATE,
} from "../shared/layout";
import { liveSequence } from "../shared/table-reader";
import { Text, text } from "./abi/memory";
import { DIGITS_MAX, digits } from "./decimal";
import { random, scratch, setProperty } from "./host";
import { REQUEST_ID_MAX, requestIdAt, Stream } from "./streams";
import { streamPayload, streamSend } from "./table-stream";

/** Most records a second and worker, whatever the rate. */
// @ts-ignore: decorator
@inline
const BUDGET: u32 = 100;
let left: u32 = BUDGET;
let seed: u32 = 0;

/**
 * Records wait here for the tick: the stream belongs to the root context, and no request's context can send on it.
 * Each is its size u32, 4 bytes of padding and its payload, padded to 8; what does not fit is left out.
 */
// @ts-ignore: decorator
@inline
const WAITING_BYTES: u32 = 65536;
/** No record is longer: head, request id, and rows with addresses of 64 bytes at most. */
// @ts-ignore: decorator
@inline
const RECORD_MAX: u32 = DECISION_HEAD_BYTES + REQUEST_ID_MAX + DECISION_MAX_ROWS * (DECISION_ROW_BYTES + 64);
const waiting: usize = heap.alloc(WAITING_BYTES);
let waitingBytes: u32 = 0;

const POD = text("warmgate_pod");
const REASON = text("warmgate_reason");
const PREDICTED = text("warmgate_predicted_tokens");
const REASONS: StaticArray<Text> = [
  text("routed"),
  text("no_table"),
  text("no_pods"),
  text("filtered_out"),
  text("saturated"),
  text("not_cached"),
];

/** A new second began. */
export function decisionBudget(): void {
  left = BUDGET;
}

/** Whether anything is to be done about decisions at all. */
// @ts-ignore: decorator
@inline
export function decisionsWatched(): bool {
  return sample != 0 || (ruleFlags & RULES_FILTER_STATE) != 0;
}

/** Records a decision, the last pick's where there was one; `picks`: whether its candidates belong to it. */
export function decisionRecord(s: Stream, reason: u32, model: u32, picks: bool): void {
  if (ruleFlags & RULES_FILTER_STATE) writeState(s, reason);
  if (!sample || !left || waitingBytes + 8 + RECORD_MAX > WAITING_BYTES) return;
  if (!seed) seed = <u32>random() | 1;
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  if (seed > sample) return;
  left--;
  const p = waiting + waitingBytes + 8;
  memory.fill(p, 0, DECISION_HEAD_BYTES);
  store<u64>(p, liveSequence);
  store<u32>(p, policyVersion, 8);
  store<u8>(p, <u8>reason, 12);
  store<u8>(p, s.controls, 13);
  store<u16>(p, <u16>model, 14);
  store<u32>(p, s.promptTokens, 16);
  store<u32>(p, s.predicted, 20);
  store<i32>(p, s.priority, 24);
  store<u32>(p, s.schedulingUs, 28);
  store<u16>(p, s.requestIdSize, 32);
  const padded = (<u32>s.requestIdSize + 7) & ~7;
  memory.fill(p + DECISION_HEAD_BYTES, 0, padded);
  memory.copy(p + DECISION_HEAD_BYTES, requestIdAt(s), s.requestIdSize);
  let at = DECISION_HEAD_BYTES + padded;
  let rows: u32 = 0;
  if (picks) {
    store<u16>(p, <u16>pickPassed, 36);
    store<u16>(p, <u16>pickCandidates, 38);
    for (; rows < pickCount; rows++) at = row(p, at, picked(rows), rows + 1);
    for (let pod: u32 = 0; pod < podHigh && rows < DECISION_MAX_ROWS; pod++) {
      if (pickCost(pod) == f64.MAX_VALUE || chosen(pod)) continue;
      at = row(p, at, pod, 0);
      rows++;
    }
  }
  store<u16>(p, <u16>rows, 34);
  store<u32>(waiting + waitingBytes, at);
  waitingBytes += 8 + ((at + 7) & ~7);
}

/** Sends what was recorded since the last tick. */
export function decisionsSend(): void {
  for (let at: u32 = 0; at < waitingBytes; ) {
    const n = load<u32>(waiting + at);
    memory.copy(streamPayload(), waiting + at + 8, n);
    streamSend(KIND_DECISION, n);
    at += 8 + ((n + 7) & ~7);
  }
  waitingBytes = 0;
}

function chosen(pod: u32): bool {
  for (let i: u32 = 0; i < pickCount; i++) if (picked(i) == pod) return true;
  return false;
}

function row(p: usize, at: u32, pod: u32, rank: u32): u32 {
  const r = p + at;
  const size = podAddressSize(pod);
  const bytes = DECISION_ROW_BYTES + ((size + 7) & ~7);
  memory.fill(r, 0, bytes);
  store<u16>(r, <u16>size);
  store<u8>(r, <u8>rank, 2);
  store<u32>(r, matchTokens(pod), 4);
  store<f64>(r, pickCost(pod), 8);
  store<u32>(r, podRequests(pod), 16);
  store<u32>(r, podPendingRequests(pod), 20);
  memory.copy(r + DECISION_ROW_BYTES, podAddress(pod), size);
  return at + bytes;
}

function writeState(s: Stream, reason: u32): void {
  const name = unchecked(REASONS[reason]);
  setProperty(REASON, name.at, name.size);
  if (reason != DECISION_ROUTED || s.pod < 0) return;
  setProperty(POD, podName(s.pod), podNameSize(s.pod));
  const p = scratch(DIGITS_MAX);
  if (p) setProperty(PREDICTED, p, digits(p, s.predicted));
}
