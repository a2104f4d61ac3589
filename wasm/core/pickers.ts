// Pickers: the candidates in order, best first, by cost, by weighted scores or by chance. Where they are as good as tied,
// workers and gateways choose alike without a word.
import { MAX_PODS } from "../shared/pods-layout";
import { Op, Tie } from "../shared/program-layout";
import { candidate, candidateCount, value } from "./candidates";
import { opBegins, opDone } from "./op-times";
import { podAddressHash, podHigh } from "./pods";
import { opKind, opWeight, profileOp } from "./program";
import { chance, chanceUnit, session, spread } from "./request-facts";
import { runScorer } from "./scorers";
import { scoreLoad } from "./token-aware";
import { warmCosts } from "./warm-until-busy";

/** Longest list of candidates: each host choice of Envoy's override_host policy consumes one. */
// @ts-ignore: decorator
@inline
export const CANDIDATES: u32 = 3;
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
const costs: usize = memory.data(MAX_PODS << 3, 64); // by pod
const keys: usize = memory.data(MAX_PODS << 3, 64); // by place, higher is better

/** How many candidates the last pick found. */
export let pickCount: u32 = 0;

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

/** Forgets the last order. */
export function orderClear(): void {
  pickCount = 0;
  for (let i: u32 = 0; i < podHigh; i++) store<f64>(costs + (<usize>i << 3), f64.MAX_VALUE);
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
function weigh(profile: u32, last: u32, cold: bool): f64 {
  let weights: f64 = 0;
  for (let i: u32 = 0; i < candidateCount; i++) setKey(i, 0);
  for (let k: u32 = 0; k < last; k++) {
    const op = profileOp(profile, k);
    if (opKind(op) < <u32>Op.Queue) continue;
    const since = opBegins();
    runScorer(op, cold);
    opDone(opKind(op), since);
    const weight = opWeight(op);
    weights += weight;
    for (let i: u32 = 0; i < candidateCount; i++) setKey(i, key(i) + weight * max(0, min(1, value(i))));
  }
  return weights;
}

/** By warm-until-busy's costs, where it is the only scorer. */
export function leastCost(): void {
  const since = opBegins();
  const lowest = warmCosts();
  opDone(Op.WarmUntilBusy, since);
  for (let i: u32 = 0; i < candidateCount; i++) setKey(i, -value(i));
  finish(rendezvous(-tieCost(lowest), spread));
}

/**
 * As max-score does with this scorer alone, but for ties: gateways that hear of each other late must not need to, to
 * choose the same pod for the same cold prefix.
 */
export function leastLoad(): void {
  const since = opBegins();
  scoreLoad();
  opDone(Op.TokenLoad, since);
  for (let i: u32 = 0; i < candidateCount; i++) setKey(i, value(i));
  finish(rendezvous(key(highestKey()) - TIE_NEAR, spread));
}

/** The operations before `last` of a profile, weighed. `cold`: no pod that passed the filters has a part of the prompt. */
export function mostScore(profile: u32, last: u32, tie: u32, cold: bool): void {
  const weights = weigh(profile, last, cold);
  const highest = key(highestKey());
  if (tie == <u32>Tie.Random) finish(anyOf(highest - weights * TIE_EXACT));
  else finish(rendezvous(highest - weights * TIE_NEAR, tie == <u32>Tie.Session ? session : spread));
}

/** A-Res (Efraimidis, Spirakis 2006): the highest U^(1/weight), here as ln(U) / weight; uniform when no score is above 0. */
export function weightedRandom(profile: u32, last: u32, cold: bool): void {
  weigh(profile, last, cold);
  const any = key(highestKey()) > 0;
  for (let i: u32 = 0; i < candidateCount; i++) {
    const u = chanceUnit();
    setKey(i, !any ? u : key(i) > 0 ? Math.log(u) / key(i) : -f64.MAX_VALUE);
  }
  finish(highestKey());
}

/** Any order, all alike. */
export function randomOrder(): void {
  for (let i: u32 = 0; i < candidateCount; i++) setKey(i, chanceUnit());
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
