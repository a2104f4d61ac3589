// The decision: which pod gets a request, and which ones come next. Columns, the request's facts and a program in, an
// ordered list out; the same code serves the filter, replays and the bench. Nothing is remembered until `pickCommit`.
import { MAX_PODS, ROLE_PREFILL } from "../shared/pods-layout";
import { Handler, MAX_PROFILE_OPS, NO_PROFILE, Op, Tie } from "../shared/program-layout";
import { coldRequest } from "./affinity-scores";
import { candidate, candidateAdd, candidateCount, candidatesClear, value } from "./candidates";
import { runFilter } from "./filters";
import { opBegins, opDone } from "./op-times";
import { podAddressHash, podHigh, podKnown, podModel, podOut, podReady, podRole } from "./pods";
import {
  handler,
  mainProfile,
  opA,
  opKind,
  opP,
  opWeight,
  prefillProfile,
  profileByName,
  profileHeader,
  profileOp,
  profileOps,
  profileRoles,
} from "./program";
import { ALL, COLD, touch } from "./recency";
import { chance, chanceUnit, factsBegin, headerHash, perPodRate, session, spread } from "./request-facts";
import { runScorer } from "./scorers";
import { sessionPut } from "./session-table";
import { keepWarm, scoreLoad } from "./token-aware";
import { warmCosts } from "./warm-until-busy";

export { prefillWork } from "./warm-until-busy";

/** Longest list of candidates: each host choice of Envoy's override_host policy consumes one. */
// @ts-ignore: decorator
@inline
export const CANDIDATES: u32 = 3;
/** No model restricts the choice. */
// @ts-ignore: decorator
@inline
export const ANY_MODEL: u32 = 0xffffffff;

/** Costs this close (seconds) or closer than one part in a hundred are a tie. */
// @ts-ignore: decorator
@inline
const TIE_SECONDS: f64 = 0.0005;
// @ts-ignore: decorator
@inline
const TIE_SHARE: f64 = 1.01;
/** Scores are a tie within this share of all weights: exactly, but for rounding; or nearly, where a hash decides. */
// @ts-ignore: decorator
@inline
const TIE_EXACT: f64 = 1e-12;
// @ts-ignore: decorator
@inline
const TIE_NEAR: f64 = 1e-4;

const best: usize = heap.alloc(CANDIDATES << 2);
const costs: usize = heap.alloc(MAX_PODS << 3); // by pod
const keys: usize = heap.alloc(MAX_PODS << 3); // by place, higher is better
const scores: usize = heap.alloc(<usize>MAX_PODS * MAX_PROFILE_OPS * 4); // f32 by operation and pod

/** How many candidates the last pick found. */
export let pickCount: u32 = 0;
/** Pods that were considered and that passed the filters. */
export let pickCandidates: u32 = 0;
export let pickPassed: u32 = 0;
/** The profile that the last pick ran. */
export let pickProfile: u32 = 0;
/** Whether none of the pods that passed had a part of the prompt. */
export let pickCold: bool = false;
/** Whether the last pick was token-aware's, because warm-until-busy would have had to rely on counts that come late. */
export let pickStoodIn: bool = false;

/** Whether counts of other gateways come too late to rely on. */
export let sharingSlow: bool = false;

/** Says whether counts of other gateways come too late to rely on; until it is said anew. */
export function pickSharing(slow: bool): void {
  sharingSlow = slow;
}

/** Slot of candidate `i`, best first. */
// @ts-ignore: decorator
@inline
export function picked(i: u32): u32 {
  return load<u32>(best + (i << 2));
}

/** Cost (lower is better) of pod `i` in the last pick: seconds, or the negated weighted sum of scores. */
export function pickCost(i: u32): f64 {
  return load<f64>(costs + (<usize>i << 3));
}

/** What operation `k` of the profile gave pod `i` in the last pick, before its weight; for pods that passed the filters. */
export function pickScore(k: u32, i: u32): f32 {
  return load<f32>(scores + ((<usize>k * MAX_PODS + i) << 2));
}

/**
 * Picks among the ready pods of `model`, by the profile of decode pods, or the one that the request's header names.
 * `promptTokens`: the prompt's estimated length. `spread`: a hash of the prompt's first blocks (or of the session), by
 * which near-equal pods are ordered, so that all workers and gateways choose the same pod for the same cold prefix
 * without a word. `perPodRate`: requests per second and pod. What else is known of the request: request-facts.ts.
 */
export function pick(model: u32, promptTokens: f64, spread: u64, perPodRate: f64, nowNs: u64): u32 {
  let profile = mainProfile;
  if (handler == <u32>Handler.Header) {
    const named = profileByName(headerHash(profileHeader));
    if (named >= 0) profile = named;
  }
  return run(profile, profileRoles(profile), model, promptTokens, spread, perPodRate, nowNs);
}

/**
 * Picks pods for the prefill of the request that `pick` was called for, by the policy's prefill profile; 0 when it has
 * none. It replaces what the last pick left: read that first.
 */
export function pickPrefill(model: u32, promptTokens: f64, nowNs: u64): u32 {
  if (prefillProfile == NO_PROFILE) return 0;
  return run(prefillProfile, ROLE_PREFILL, model, promptTokens, spread, perPodRate, nowNs);
}

/** The request goes to `pod`, by the last pick: sessions and turns are remembered. */
export function pickCommit(pod: u32, nowNs: u64): void {
  const n = profileOps(pickProfile);
  for (let k: u32 = 0; k < n; k++) {
    const op = profileOp(pickProfile, k);
    const kind = <i32>opKind(op);
    if (kind == Op.Session || kind == Op.FilterSession) {
      sessionPut(session, pod, <u64>opP(op, 0), nowNs);
      break;
    }
  }
  pickTouch(pod);
}

/** Remembers for the recency of pods that the last pick's request goes to `pod`. */
export function pickTouch(pod: u32): void {
  const n = profileOps(pickProfile);
  for (let k: u32 = 0; k < n; k++) {
    const op = profileOp(pickProfile, k);
    const kind = <i32>opKind(op);
    if (kind == Op.RoundRobin) touch(ALL, pod, podAddressHash(pod), MAX_PODS);
    else if (kind == Op.NoHitLru && pickCold) touch(COLD, pod, podAddressHash(pod), <u32>opP(op, 0));
  }
}

function run(
  profile: u32,
  roles: u32,
  model: u32,
  promptTokens: f64,
  spread: u64,
  perPodRate: f64,
  nowNs: u64,
): u32 {
  factsBegin(promptTokens, spread, perPodRate, nowNs);
  pickCount = 0;
  pickPassed = 0;
  pickProfile = profile;
  for (let i: u32 = 0; i < podHigh; i++) store<f64>(costs + (<usize>i << 3), f64.MAX_VALUE);
  let since = opBegins();
  gather(roles, model, nowNs);
  opDone(Op.Ready, since);
  const last = profileOps(profile) - 1;
  for (let k: u32 = 0; k < last; k++) {
    const op = profileOp(profile, k);
    if (opKind(op) >= <u32>Op.Queue) continue;
    since = opBegins();
    runFilter(op);
    opDone(opKind(op), since);
  }
  const picker = profileOp(profile, last);
  const kind = <i32>opKind(picker);
  const alone = kind == Op.MaxScore ? onlyScorer(profile, last) : 0;
  const warm = alone != 0 && opKind(alone) == <u32>Op.WarmUntilBusy;
  pickStoodIn = warm && sharingSlow;
  if (pickStoodIn) keepWarm();
  pickPassed = candidateCount;
  if (candidateCount == 0) return 0;
  pickCold = coldRequest();
  if (pickStoodIn) leastLoad();
  else if (warm) leastCost();
  else if (kind == Op.MaxScore) mostScore(profile, last, opA(picker));
  else if (kind == Op.WeightedRandom) weightedRandom(profile, last);
  else {
    for (let i: u32 = 0; i < candidateCount; i++) setKey(i, chanceUnit());
    finish(highestKey());
  }
  return pickCount;
}

/** The pods that could serve the request at all. */
function gather(roles: u32, model: u32, nowNs: u64): void {
  candidatesClear();
  pickCandidates = 0;
  // When every pod was left out, the fault is not theirs: then all count again.
  let allOut = true;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (!podKnown(i) || (podRole(i) & roles) == 0 || (model != ANY_MODEL && podModel(i) != model)) continue;
    pickCandidates++;
    if (podReady(i) && !podOut(i, nowNs)) allOut = false;
  }
  for (let i: u32 = 0; i < podHigh; i++) {
    if (!podReady(i) || (podRole(i) & roles) == 0 || (model != ANY_MODEL && podModel(i) != model)) continue;
    if (allOut || !podOut(i, nowNs)) candidateAdd(i);
  }
}

/** The scorer of a profile that has one alone, else 0. */
function onlyScorer(profile: u32, last: u32): usize {
  let found: usize = 0;
  for (let k: u32 = 0; k < last; k++) {
    const op = profileOp(profile, k);
    if (opKind(op) < <u32>Op.Queue) continue;
    if (found) return 0;
    found = op;
  }
  return found;
}

// @ts-ignore: decorator
@inline
function key(place: u32): f64 {
  return load<f64>(keys + (<usize>place << 3));
}
// @ts-ignore: decorator
@inline
function setKey(place: u32, v: f64): void {
  store<f64>(keys + (<usize>place << 3), v);
}

/** Weighted sums into the keys; returns the sum of weights. */
function weigh(profile: u32, last: u32): f64 {
  let weights: f64 = 0;
  for (let i: u32 = 0; i < candidateCount; i++) setKey(i, 0);
  for (let k: u32 = 0; k < last; k++) {
    const op = profileOp(profile, k);
    if (opKind(op) < <u32>Op.Queue) continue;
    const since = opBegins();
    runScorer(op, pickCold);
    opDone(opKind(op), since);
    const weight = opWeight(op);
    weights += weight;
    const row = scores + <usize>k * (MAX_PODS << 2);
    for (let i: u32 = 0; i < candidateCount; i++) {
      const v = max(0, min(1, value(i)));
      store<f32>(row + (<usize>candidate(i) << 2), <f32>v);
      setKey(i, key(i) + weight * v);
    }
  }
  return weights;
}

function leastCost(): void {
  const since = opBegins();
  const lowest = warmCosts();
  opDone(Op.WarmUntilBusy, since);
  for (let i: u32 = 0; i < candidateCount; i++) {
    setKey(i, -value(i));
    store<f32>(scores + (<usize>candidate(i) << 2), <f32>value(i));
  }
  finish(rendezvous(-tieCost(lowest), spread));
}

/**
 * As max-score does with this scorer alone, but for ties: gateways that hear of each other late must not need to, to
 * choose the same pod for the same cold prefix.
 */
function leastLoad(): void {
  const since = opBegins();
  scoreLoad();
  opDone(Op.TokenLoad, since);
  for (let i: u32 = 0; i < candidateCount; i++) {
    setKey(i, value(i));
    store<f32>(scores + (<usize>candidate(i) << 2), <f32>value(i));
  }
  finish(rendezvous(key(highestKey()) - TIE_NEAR, spread));
}

function mostScore(profile: u32, last: u32, tie: u32): void {
  const weights = weigh(profile, last);
  const highest = key(highestKey());
  if (tie == <u32>Tie.Random) finish(anyOf(highest - weights * TIE_EXACT));
  else finish(rendezvous(highest - weights * TIE_NEAR, tie == <u32>Tie.Session ? session : spread));
}

/** A-Res (Efraimidis, Spirakis 2006): the highest U^(1/weight), here as ln(U) / weight; uniform when no score is above 0. */
function weightedRandom(profile: u32, last: u32): void {
  weigh(profile, last);
  const any = key(highestKey()) > 0;
  for (let i: u32 = 0; i < candidateCount; i++) {
    const u = chanceUnit();
    setKey(i, !any ? u : key(i) > 0 ? Math.log(u) / key(i) : -f64.MAX_VALUE);
  }
  finish(highestKey());
}

function highestKey(): u32 {
  let at: u32 = 0;
  for (let i: u32 = 1; i < candidateCount; i++) {
    if (key(i) > key(at)) at = i;
  }
  return at;
}

/** One of the places with at least this key, all alike. */
function anyOf(least: f64): u32 {
  let at: u32 = 0;
  let n: u64 = 0;
  for (let i: u32 = 0; i < candidateCount; i++) {
    if (key(i) < least) continue;
    n++;
    if (n == 1 || chance() % n == 0) at = i;
  }
  return at;
}

/** Costs up to this, seconds, are a tie with the lowest. */
// @ts-ignore: decorator
@inline
export function tieCost(lowest: f64): f64 {
  return max(lowest * TIE_SHARE, lowest + TIE_SECONDS);
}

/** Among tied pods the one with the highest hash is chosen, alike in all workers and gateways. */
// @ts-ignore: decorator
@inline
export function rendezvousHash(by: u64, pod: u32): u64 {
  let h = (by ^ podAddressHash(pod)) * 0x9e3779b185ebca87;
  h = (h ^ (h >> 29)) * 0xc2b2ae3d27d4eb4f;
  return h ^ (h >> 32);
}

/** Of the places with at least this key, the one whose pod hashes highest with `by`. */
function rendezvous(least: f64, by: u64): u32 {
  let at: u32 = 0;
  let any = false;
  let highest: u64 = 0;
  for (let i: u32 = 0; i < candidateCount; i++) {
    if (key(i) < least) continue;
    const h = rendezvousHash(by, candidate(i));
    if (!any || h > highest) {
      highest = h;
      at = i;
      any = true;
    }
  }
  return at;
}

/** The place chosen, then the next best. */
function finish(first: u32): void {
  for (let i: u32 = 0; i < candidateCount; i++) store<f64>(costs + (<usize>candidate(i) << 3), -key(i));
  let second: i32 = -1;
  let third: i32 = -1;
  for (let i: u32 = 0; i < candidateCount; i++) {
    if (i == first) continue;
    if (second < 0 || key(i) > key(second)) {
      third = second;
      second = i;
    } else if (third < 0 || key(i) > key(third)) third = i;
  }
  store<u32>(best, candidate(first));
  pickCount = 1;
  if (second < 0) return;
  store<u32>(best + 4, candidate(second));
  pickCount = 2;
  if (third < 0) return;
  store<u32>(best + 8, candidate(third));
  pickCount = 3;
}
