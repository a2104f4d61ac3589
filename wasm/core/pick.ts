// The decision: which pod gets a request, and which ones come next. Columns, the request's facts and a program in, an
// ordered list out; the same code serves the filter, replays and the bench. Nothing is remembered until `pickCommit`.
import { MAX_PODS, ROLE_PREFILL } from "../shared/pods-layout";
import { Handler, NO_PROFILE, Op } from "../shared/program-layout";
import { coldRequest } from "./affinity-scores";
import { candidateAdd, candidateCount, candidatesClear } from "./candidates";
import { runFilter } from "./filters";
import { opBegins, opDone } from "./op-times";
import {
  leastCost,
  leastLoad,
  mostScore,
  orderClear,
  pickCount,
  randomOrder,
  weightedRandom,
} from "./pickers";
import { podAddressHash, podHigh, podKnown, podOut, podReady, podServes } from "./pods";
import {
  handler,
  mainProfile,
  opA,
  opKind,
  opP,
  prefillProfile,
  profileByName,
  profileHeader,
  profileOp,
  profileOps,
  profileRoles,
} from "./program";
import { ALL, COLD, touch } from "./recency";
import { factsBegin, headerHash, perPodRate, session, spread } from "./request-facts";
import { sessionPut } from "./session-table";
import { keepWarm } from "./token-aware";

/** Pods that were considered and that passed the filters. */
export let pickCandidates: u32 = 0;
export let pickPassed: u32 = 0;
/** Whether none of the pods that passed had a part of the prompt. */
export let pickCold: bool = false;
/** The profile that the last pick ran. */
export let pickProfile: u32 = 0;
/** Whether the last pick was token-aware's, because warm-until-busy would have had to rely on counts that come late. */
export let pickStoodIn: bool = false;

/** Whether counts of other gateways come too late to rely on. */
export let sharingSlow: bool = false;

/** Says whether counts of other gateways come too late to rely on; until it is said anew. */
export function pickSharing(slow: bool): void {
  sharingSlow = slow;
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
  orderClear();
  pickPassed = 0;
  pickProfile = profile;
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
  else if (kind == Op.MaxScore) mostScore(profile, last, opA(picker), pickCold);
  else if (kind == Op.WeightedRandom) weightedRandom(profile, last, pickCold);
  else randomOrder();
  return pickCount;
}

/** The pods that could serve the request at all. */
function gather(roles: u32, model: u32, nowNs: u64): void {
  candidatesClear();
  pickCandidates = 0;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (!podKnown(i) || !podServes(i, roles, model)) continue;
    pickCandidates++;
    if (podReady(i) && !podOut(i, nowNs)) candidateAdd(i);
  }
  if (candidateCount) return;
  // When every pod was left out, the fault is not theirs: then all count again.
  for (let i: u32 = 0; i < podHigh; i++) {
    if (podReady(i) && podServes(i, roles, model)) candidateAdd(i);
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

