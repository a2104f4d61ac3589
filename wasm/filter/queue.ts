// The queue in the gateway: whether a request is let through, waits, or is refused, and who is let through when there
// is room again. One queue per worker; what pods have in flight is known right across workers.
import { podsReady } from "../core/pods";
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
  lineModel,
  lineNext,
  lineRemove,
  lineServed,
  lineStream,
  lineVictim,
} from "../core/waiting-line";
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

const blocked: usize = heap.alloc(MAX_MODELS + 1);

/**
 * What happens to a request of `size` body bytes for `model`. Sheddable traffic is refused while the pool is
 * saturated or others wait. With the queue on, a request waits while every pod is full or somebody of its priority waits already;
 * one whose body is not whole, or is beyond the cap, never waits: it could not be held.
 */
export function admit(s: Stream, model: u32, size: u32, whole: bool, nowNs: u64): u32 {
  if (s.controls & CONTROL_ADMITTED || podsReady == 0) return ADMIT;
  const saturated = saturation(model, nowNs) >= 1;
  const queues = (ruleFlags & RULES_QUEUE_ON) != 0;
  // While somebody waits there is no room for what may be dropped.
  if (s.priority < 0 && (saturated || (lineLength && lineAhead(s.priority, model)))) {
    count(C_SHED);
    return SHED;
  }
  if (!queues) return ADMIT;
  if (!everyPodFull && !(lineLength && lineAhead(s.priority, model))) return ADMIT;
  if (!whole || size > queueBody) return ADMIT;
  return enter(s, model, size, nowNs) ? WAIT : SHED;
}

function enter(s: Stream, model: u32, size: u32, nowNs: u64): bool {
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
  if (!lineAdd(s.id, s.priority, s.tenant, size, model, nowNs + <u64>queueTtlMs * 1000000)) return false;
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
  memory.fill(blocked, 0, MAX_MODELS + 1);
  for (let n: u32 = 0; n < RELEASES && lineLength; ) {
    const i = lineNext(blocked, MAX_MODELS);
    if (i < 0) return;
    const model = lineModel(i);
    saturation(model, nowNs);
    if (everyPodFull && ruleFlags & RULES_QUEUE_ON) {
      store<u8>(blocked + min(model, MAX_MODELS), 1);
      continue;
    }
    lineServed(i);
    release(lineStream(i), i);
    n++;
  }
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
