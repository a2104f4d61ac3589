// The queue in the gateway: whether a request is let through, waits, or is refused, and who is let through when there
// is room again. One queue per worker; what pods have in flight is known right across workers.
import { podsReady, podsShow } from "../core/pods";
import { queueBody, queueBytes, queueRequests, queueTtlMs, ruleFlags } from "../core/request-rules";
import { everyPodFull, saturation } from "../core/saturation";
import {
  LINE_MAX,
  lineAdd,
  lineAhead,
  lineBytes,
  lineExpired,
  lineFind,
  lineLength,
  lineMark,
  lineModel,
  lineNext,
  lineRemove,
  lineServed,
  lineStream,
  lineSubset,
  lineVictim,
} from "../core/waiting-line";
import { SUBSETS, subsetFind, subsetHide, subsetSee, subsetTake } from "../core/waiting-subsets";
import { MAX_MODELS } from "../shared/models-layout";
import { RULES_QUEUE_ON } from "../shared/rules-layout";
import { arenaMark, arenaReturn } from "./abi/memory";
import { CONTINUE, OK } from "./abi/types";
import { effectiveContext, now } from "./host";
import { C_QUEUE_EVICTED, C_QUEUE_EXPIRED, C_QUEUED, C_SHED, count, queueGauge } from "./metrics";
import { resume } from "./owed";
import { answer, EVICTED, NO_ENDPOINTS, Reply, TTL_EXPIRED } from "./replies";
import { decideAgain, decideOnHeaders } from "./request";
import { CONTROL_ADMITTED } from "./request-controls";
import { QUEUED, REPLIED, Stream, streamFind, WAITING, waitingAdd } from "./streams";
import { hideOutside, SUBSET_EMPTY, SUBSET_NONE, subsetAsked, subsetKey } from "./subset";

// @ts-ignore: decorator
@inline
export const ADMIT: u32 = 0;
// @ts-ignore: decorator
@inline
export const SHED: u32 = 1;
// @ts-ignore: decorator
@inline
export const WAIT: u32 = 2;

/** Most requests let through at a time: each is read and matched anew. */
// @ts-ignore: decorator
@inline
const RELEASES: u32 = 64;

/** A byte for each model, for each subset: those that wait for these find no room. */
// @ts-ignore: decorator
@inline
const BLOCKED_BYTES: usize = (SUBSETS + 1) * (MAX_MODELS + 1);
const blocked: usize = heap.alloc(BLOCKED_BYTES);

/**
 * What happens to a request of `size` body bytes for `model`, by the pods that it may go to. Sheddable traffic is refused
 * while these are saturated or others wait. With the queue on, a request waits while each of them is full or somebody of
 * its priority waits already; one whose body is not whole, or is beyond the cap, never waits: it could not be held. One
 * whose subset has no ready pod goes on, and is refused by the pick.
 */
export function admit(s: Stream, model: u32, size: u32, whole: bool, nowNs: u64): u32 {
  if (s.controls & CONTROL_ADMITTED || podsReady == 0) return ADMIT;
  const limited = subsetAsked(s) ? hideOutside(s) : SUBSET_NONE;
  if (limited == SUBSET_EMPTY) return ADMIT;
  const saturated = saturation(model, nowNs) >= 1;
  const behind =
    lineLength != 0 && lineAhead(s.priority, model, limited == SUBSET_NONE ? 0 : subsetFind(subsetKey));
  const waits = (ruleFlags & RULES_QUEUE_ON) != 0 && (everyPodFull || behind) && whole && size <= queueBody;
  let subset: u32 = 0;
  if (limited != SUBSET_NONE) {
    if (waits) subset = subsetTake(subsetKey);
    podsShow();
  }
  // While somebody waits there is no room for what may be dropped.
  if (s.priority < 0 && (saturated || behind)) {
    count(C_SHED);
    return SHED;
  }
  if (!waits || (limited != SUBSET_NONE && subset == 0)) return ADMIT;
  return enter(s, model, subset, size, nowNs) ? WAIT : SHED;
}

function enter(s: Stream, model: u32, subset: u32, size: u32, nowNs: u64): bool {
  const limit = min(queueRequests, LINE_MAX);
  while (lineLength && (lineLength >= limit || lineBytes + size > queueBytes)) {
    const victim = lineVictim(s.priority, s.tenant);
    if (victim < 0) break;
    const id = lineStream(victim);
    leave(victim);
    count(C_QUEUE_EVICTED);
    refuseWaiting(id, EVICTED);
    if (effectiveContext(s.id) != OK) return false;
  }
  if (lineLength >= limit || lineBytes + size > queueBytes) {
    count(C_SHED);
    return false;
  }
  if (!lineAdd(s.id, s.priority, s.tenant, size, model, subset, nowNs + <u64>queueTtlMs * 1000000)) return false;
  queueGauge(1);
  count(C_QUEUED);
  return true;
}

function leave(i: u32): void {
  lineRemove(i);
  queueGauge(-1);
}

function refuseWaiting(id: u32, r: Reply): void {
  const s = streamFind(id);
  if (!s || s.state != QUEUED || effectiveContext(id) != OK) return;
  s.state = REPLIED;
  if (answer(r) == OK) return;
  // Where the host will not answer, a pod does.
  decideOnHeaders(s);
  resume(s);
}

/** A stream ended while it waited. */
export function queueForget(s: Stream): void {
  const i = lineFind(s.id);
  if (i >= 0) leave(i);
}

/** Refuses those whose time is up, and lets through whom there is room for: what other workers gave back, too. */
export function queueTick(nowNs: u64): void {
  if (!lineLength) return;
  for (let i = lineExpired(nowNs); i >= 0; i = lineExpired(nowNs)) {
    const id = lineStream(i);
    leave(i);
    count(C_QUEUE_EXPIRED);
    refuseWaiting(id, podsReady ? TTL_EXPIRED : NO_ENDPOINTS);
  }
  letThrough(nowNs);
}

/**
 * Lets through whom a request of this worker has made room for, by its first token or its whole answer: Envoy resumes a
 * stream also from another one's callback, when that is over. Last in a callback: the contexts of others are in effect then.
 */
export function queueRelease(): void {
  if (lineLength) letThrough(now());
}

function letThrough(nowNs: u64): void {
  // Without a pod there is nowhere to go; those whose time is up are told so.
  if (!podsReady) return;
  memory.fill(blocked, 0, BLOCKED_BYTES);
  for (let n: u32 = 0; n < RELEASES && lineLength; ) {
    const i = lineNext(blocked, MAX_MODELS);
    if (i < 0) return;
    if (ruleFlags & RULES_QUEUE_ON && full(i, nowNs)) {
      store<u8>(lineMark(blocked, MAX_MODELS, i), 1);
      continue;
    }
    lineServed(i);
    release(lineStream(i), i);
    n++;
  }
}

/** Whether every pod that entry `i` may go to is full. Pods that came or went make its subset be read anew. */
function full(i: u32, nowNs: u64): bool {
  const subset = lineSubset(i);
  if (subset && !subsetHide(subset)) {
    const s = streamFind(lineStream(i));
    if (!s || effectiveContext(s.id) != OK || hideOutside(s) == SUBSET_EMPTY) return false;
    subsetSee(subset);
  }
  saturation(lineModel(i), nowNs);
  if (subset) podsShow();
  return everyPodFull;
}

function release(id: u32, i: u32): void {
  leave(i);
  const s = streamFind(id);
  if (!s || s.state != QUEUED || effectiveContext(id) != OK) return;
  s.state = WAITING;
  waitingAdd(1);
  s.controls |= CONTROL_ADMITTED;
  const mark = arenaMark();
  const action = decideAgain(s);
  arenaReturn(mark);
  if (action == CONTINUE) resume(s);
}
