// Some decisions, as the policy's rate says, go to the agent with all that they were made from; and, where it asks for
// that, into filter state, from where an access log has them.
import { PAIR_RECORD_MAX, pairRecord } from "../core/pair-record";
import { pickRecord, PICK_RECORD_MAX } from "../core/pick-record";
import { podName, podNameSize } from "../core/pods";
import { policyVersion } from "../core/policy";
import { ruleFlags, sample } from "../core/request-rules";
import { DECISION_HEAD_BYTES, DECISION_ID_SIZE, DECISION_ROUTED } from "../shared/decision-layout";
import { KIND_DECISION } from "../shared/frame-layout";
import { RULES_FILTER_STATE } from "../shared/rules-layout";
import { liveSequence } from "../shared/table-reader";
import { Text, text } from "./abi/memory";
import { DIGITS_MAX, digits } from "./decimal";
import { random, scratch, setProperty } from "./host";
import { REQUEST_ID_MAX, requestIdAt, Stream } from "./streams";
import { streamPayload, streamSend } from "./table-stream";

/** Most records, and bytes of records, a second and worker, whatever the rate. */
// @ts-ignore: decorator
@inline
const BUDGET: u32 = 100;
// @ts-ignore: decorator
@inline
const BUDGET_BYTES: i32 = 524288;
let left: u32 = BUDGET;
let bytesLeft: i32 = BUDGET_BYTES;
let seed: u32 = 0;

/**
 * Records wait here for the tick: the stream belongs to the root context, and no request's context can send on it.
 * Each is its size u32, 4 bytes of padding and its payload, padded to 8; what does not fit is left out.
 */
// @ts-ignore: decorator
@inline
const RECORD_MAX: u32 = PICK_RECORD_MAX + PAIR_RECORD_MAX + REQUEST_ID_MAX + 8;
// @ts-ignore: decorator
@inline
const WAITING_BYTES: u32 = RECORD_MAX + 65536;
const waiting: usize = heap.alloc(WAITING_BYTES);
let waitingBytes: u32 = 0;
/** Bytes of the record that was begun after a pick, 0 for none. */
let begun: u32 = 0;
/** Where the record of the last decision is, + 1; 0 when it was not drawn, and so is not to be added to. */
let last: u32 = 0;

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
  text("subset_empty"),
];

/** A new second began. */
export function decisionBudget(): void {
  left = BUDGET;
  bytesLeft = BUDGET_BYTES;
}

/** Whether anything is to be done about decisions at all. */
// @ts-ignore: decorator
@inline
export function decisionsWatched(): bool {
  return sample != 0 || (ruleFlags & RULES_FILTER_STATE) != 0;
}

/** Whether this one is to be recorded. */
function drawn(): bool {
  if (!sample || !left || bytesLeft <= 0 || waitingBytes + 8 + RECORD_MAX > WAITING_BYTES) return false;
  if (!seed) seed = <u32>random() | 1;
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed <= sample;
}

/** Begins a record with the request's id; returns where its rows go. */
function begin(s: Stream): u32 {
  const p = waiting + waitingBytes + 8;
  const padded = (<u32>s.requestIdSize + 7) & ~7;
  memory.fill(p, 0, DECISION_HEAD_BYTES + padded);
  store<u16>(p, s.requestIdSize, DECISION_ID_SIZE);
  memory.copy(p + DECISION_HEAD_BYTES, requestIdAt(s), s.requestIdSize);
  return DECISION_HEAD_BYTES + padded;
}

/** Keeps what the last pick was made from, if this decision is drawn: before the request counts anywhere. */
export function decisionPicked(s: Stream, model: u32): void {
  begun = drawn() ? pickRecord(waiting + waitingBytes + 8, begin(s), model) : 0;
}

/** Records a decision; `picks`: whether there was a pick, whose record `decisionPicked` began. */
export function decisionRecord(s: Stream, reason: u32, model: u32, picks: bool): void {
  if (ruleFlags & RULES_FILTER_STATE) writeState(s, reason);
  const bytes = picks ? begun : drawn() ? begin(s) : 0;
  begun = 0;
  last = bytes ? waitingBytes + 1 : 0;
  if (!bytes) return;
  const p = waiting + waitingBytes + 8;
  store<u64>(p, liveSequence);
  store<u32>(p, policyVersion, 8);
  store<u8>(p, <u8>reason, 12);
  store<u8>(p, s.controls, 13);
  store<u16>(p, <u16>model, 14);
  store<u32>(p, s.promptTokens, 16);
  store<u32>(p, s.predicted, 20);
  store<i32>(p, s.priority, 24);
  store<u32>(p, s.schedulingUs, 28);
  store<u32>(waiting + waitingBytes, bytes);
  waitingBytes += 8 + ((bytes + 7) & ~7);
  left--;
  bytesLeft -= <i32>bytes;
}

/**
 * Adds to the record of the decision just made, if there is one, what the choice of a pair by `pickPair` was made from and
 * whether it splits: before anything of that is counted.
 */
export function decisionPair(
  model: u32,
  promptTokens: f64,
  work: f64,
  decodes: usize,
  count: u32,
  splits: bool,
  nowNs: u64,
): void {
  if (!last) return;
  const p = waiting + last - 1;
  last = 0;
  // Heads, ids and rows are padded, and so nothing is between them.
  const before = load<u32>(p);
  const bytes = pairRecord(p + 8, before, model, promptTokens, work, decodes, count, splits, nowNs);
  store<u32>(p, bytes);
  waitingBytes += bytes - before;
  bytesLeft -= <i32>(bytes - before);
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
  last = 0;
}

function writeState(s: Stream, reason: u32): void {
  const name = unchecked(REASONS[reason]);
  setProperty(REASON, name.at, name.size);
  if (reason != DECISION_ROUTED || s.pod < 0) return;
  setProperty(POD, podName(s.pod), podNameSize(s.pod));
  const p = scratch(DIGITS_MAX);
  if (p) setProperty(PREDICTED, p, digits(p, s.predicted));
}
