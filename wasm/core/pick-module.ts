// Entry of pick.wasm: the scheduler as a module of its own, so that Node decides by the very code that routes in the
// gateway. Times are seconds of the caller's clock, above 0; blocks, sessions and seeds are whole numbers below 2^53.
import { DECISION_HEAD_BYTES, DECISION_ROW_BYTES, PAIR_HEAD_BYTES } from "../shared/decision-layout";
import { HEAD_BYTES, HEAD_KIND, KIND_PODS, KIND_POLICY, MAX_PAYLOAD } from "../shared/frame-layout";
import { matchClear, matchPut } from "./matched-pods";
import { pairAgain, splitsAgain } from "./pair-record";
import { pick, pickCommit, pickPassed, pickSharing } from "./pick";
import { aloneCost, pairCost, pairDecode, pairPodCost, prefillPicked, prefillsPicked } from "./pick-pair";
import { pickAgain, REPLAY_DAMAGED } from "./pick-record";
import { pickCost, pickCount, picked } from "./pickers";
import {
  podMoveCounts,
  podPending,
  podPendingRequests,
  podPendingTokens,
  podRequests,
  podSetTokens,
} from "./pod-counts";
import { ANY_MODEL, podHigh, podObserveRate, podSetLoad, podsRead } from "./pods";
import { policyRead } from "./policy";
import { programTake, programValid } from "./program";
import { factsSet, nowNs, promptTokens } from "./request-facts";
import { NO_TAIL, speculativeAdd, speculativeBegin, speculativeFind } from "./speculative";
import { prefillWork } from "./warm-until-busy";

export {
  matchClear,
  pickCost as cost,
  picked,
  pickSharing as sharing,
  podPendingRequests as pendingPrefills,
  prefillPicked,
  prefillWork,
};

/** What became of a frame. */
export const FRAME_REFUSED: i32 = 0;
export const FRAME_TAKEN: i32 = 1;
/** A frame that a pick does not need: another section, a part of the table. */
export const FRAME_PASSED: i32 = 2;

const input: usize = heap.alloc(HEAD_BYTES + MAX_PAYLOAD);

export function abort(message: usize, file: usize, line: u32, column: u32): void {
  unreachable();
}

/** Where a frame of at most 1 MiB goes. */
export function inputBuffer(): usize {
  return input;
}

// @ts-ignore: decorator
@inline
function ns(seconds: f64): u64 {
  return <u64>(seconds * 1e9);
}

/** A 64-bit hash of a number, never 0 (splitmix64's finalizer). */
function hashOf(n: f64): u64 {
  let z = (<u64>n + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (z ^ (z >> 31)) | 1;
}

/** Takes the frame of `n` bytes at the input buffer: policy and pods count. */
export function takeFrame(n: u32, now: f64): i32 {
  if (n < HEAD_BYTES || n > HEAD_BYTES + MAX_PAYLOAD) return FRAME_REFUSED;
  const kind = load<u16>(input, HEAD_KIND);
  const p = input + HEAD_BYTES;
  if (kind == KIND_POLICY) return policyRead(p, n - HEAD_BYTES) ? FRAME_TAKEN : FRAME_REFUSED;
  if (kind == KIND_PODS) return podsRead(p, n - HEAD_BYTES, ns(now)) ? FRAME_TAKEN : FRAME_REFUSED;
  return FRAME_PASSED;
}

/** Scraped load of a pod, read at `now`; `usage` 0–1. */
export function setLoad(pod: u32, waiting: u32, running: u32, usage: f64, now: f64): void {
  if (pod < podHigh) podSetLoad(pod, waiting, running, <u32>nearest(usage * 1000), 0, ns(now));
}

/** Counts requests and prefills in (above 0) or out (below 0); work and uncached tokens are those of the prefills. */
export function count(pod: u32, requests: i32, prefills: i32, work: f64, tokens: f64, now: f64): void {
  if (pod >= podHigh) return;
  const inFlight = <u32>max<i64>(<i64>podRequests(pod) + requests, 0);
  const pending = <u32>max<i64>(<i64>podPendingRequests(pod) + prefills, 0);
  const sign = <f64>prefills;
  podSetTokens(pod, pending ? max<f64>(podPendingTokens(pod) + sign * tokens, 0) : 0);
  podMoveCounts(pod, inFlight, pending, pending ? max<f64>(podPending(pod) + sign * work, 0) : 0, ns(now));
}

/** Says how many tokens of the prompt a pod has cached, until `matchClear`. */
export function matched(pod: u32, tokens: u32): void {
  if (pod < podHigh) matchPut(pod, tokens);
}

// Blocks remembered for one pod at one time are of one request.
let ticket: u32 = 0;
let ticketPod: u32 = 0;
let ticketTime: f64 = -1;

/** Remembers for seconds that a pod will soon have a block; and whether that is remembered. */
export function speculate(block: f64, pod: u32, now: f64): void {
  if (pod != ticketPod || now != ticketTime) ticket = speculativeBegin(<u64>(now * 1000), 0, 0, 0, 0, NO_TAIL);
  ticketPod = pod;
  ticketTime = now;
  speculativeAdd(hashOf(block), pod, ticket);
}
export function speculated(block: f64, pod: u32, now: f64): bool {
  return speculativeFind(hashOf(block), pod, <u64>(now * 1000), 0) != 0;
}

/**
 * Picks for a prompt; returns how many candidates `picked` has. `spread`: the first block that no pod has; `session` 0
 * for none; `seed`: where all chance in the pick comes from.
 */
export function choose(promptTokens: f64, spread: f64, session: f64, seed: f64, perPodRate: f64, now: f64): u32 {
  factsSet(session == 0 ? 0 : hashOf(session), 0, hashOf(seed));
  return pick(ANY_MODEL, promptTokens, hashOf(spread), perPodRate, ns(now));
}

/** The request goes to `pod`, by the last pick. */
export function commit(pod: u32, now: f64): void {
  pickCommit(pod, ns(now));
}

/** A prefill that ran alone on the pod took its work at this rate, per second. */
export function observeRate(pod: u32, rate: f64): void {
  if (pod < podHigh) podObserveRate(pod, rate);
}

// Numbers that Node needs are exported, never repeated there.
export const decisionHeadBytes: u32 = DECISION_HEAD_BYTES;
export const decisionRowBytes: u32 = DECISION_ROW_BYTES;
export const decisionPairBytes: u32 = PAIR_HEAD_BYTES;

/** Takes the program of `n` bytes at the input buffer, as a policy section has it behind its fixed fields. */
export function takeProgram(n: u32): bool {
  if (n > MAX_PAYLOAD || !programValid(input, n)) return false;
  programTake(input);
  return true;
}

/** Picks again from the decision payload of `n` bytes at the input buffer; 0 or one of the codes above. */
export function replay(n: u32): i32 {
  return n > MAX_PAYLOAD ? REPLAY_DAMAGED : pickAgain(input, n);
}

/** How many candidates the last pick found, and how many pods passed its filters. */
export function found(): u32 {
  return pickCount;
}
export function passed(): u32 {
  return pickPassed;
}

/** Chooses the pair again from the same payload; 0 or one of the codes above. */
export function replayPair(n: u32): i32 {
  return n > MAX_PAYLOAD ? REPLAY_DAMAGED : pairAgain(input, n);
}

/** What came of it: whether the request is split, how many prefill pods there are, its decode pod, the costs. */
export function pairSplits(): bool {
  return splitsAgain;
}
export function prefillsFound(): u32 {
  return prefillsPicked;
}
export function pairDecodePod(): u32 {
  return pairDecode;
}
export function pairSeconds(): f64 {
  return pairCost;
}
export function aloneSeconds(): f64 {
  return aloneCost;
}
export function prefillCost(pod: u32): f64 {
  return pairPodCost(pod, promptTokens, nowNs);
}
