// Where sessions were last served by this worker: four-way sets in one array, each entry with seconds of life; a full
// set loses what ends first. 32,768 sessions in 768 KiB.
import { podAddressHash, podHigh, podKnown } from "./pods";

// @ts-ignore: decorator
@inline
const SETS: u32 = 8192;
// @ts-ignore: decorator
@inline
const WAYS: u32 = 4;
// Entry: session hash u64, pod's address hash u48 and its slot u16, end of life ms u64.
// @ts-ignore: decorator
@inline
const ENTRY: u32 = 24;
// @ts-ignore: decorator
@inline
const ADDRESS_BITS: u64 = 0xffffffffffff0000;

const entries: usize = heap.alloc(SETS * WAYS * ENTRY);

/**
 * Requests under a policy with session affinity: those that went to their session's pod, all others, and of these the
 * ones whose session had a pod.
 */
export let sessionHits: u64 = 0;
export let sessionMisses: u64 = 0;
export let sessionMoves: u64 = 0;

export function sessionsClear(): void {
  memory.fill(entries, 0, SETS * WAYS * ENTRY);
  sessionHits = 0;
  sessionMisses = 0;
  sessionMoves = 0;
}

// @ts-ignore: decorator
@inline
function setOf(session: u64): usize {
  return entries + <usize>((<u32>(session >> 40) & (SETS - 1)) * WAYS * ENTRY);
}

/** Slot of the pod that served the session last, -1 when that is unknown, too long ago, or the pod is gone. */
export function sessionPod(session: u64, nowNs: u64): i32 {
  if (!session) return -1;
  const set = setOf(session);
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + i * ENTRY;
    if (load<u64>(e) != session) continue;
    if (load<u64>(e, 16) <= nowNs / 1000000) return -1;
    const pod = <u32>load<u16>(e, 8);
    const same = pod < podHigh && podKnown(pod) && ((podAddressHash(pod) ^ load<u64>(e, 8)) & ADDRESS_BITS) == 0;
    return same ? pod : -1;
  }
  return -1;
}

/** The session was sent to a pod. */
export function sessionPut(session: u64, pod: u32, ttlMs: u64, nowNs: u64): void {
  if (!session) return;
  const before = sessionPod(session, nowNs);
  if (before == <i32>pod) sessionHits++;
  else {
    sessionMisses++;
    if (before >= 0) sessionMoves++;
  }
  const set = setOf(session);
  let victim = set;
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + i * ENTRY;
    if (load<u64>(e) == session) {
      victim = e;
      break;
    }
    if (load<u64>(e, 16) < load<u64>(victim, 16)) victim = e;
  }
  store<u64>(victim, session);
  store<u64>(victim, (podAddressHash(pod) & ADDRESS_BITS) | <u64>pod, 8);
  store<u64>(victim, nowNs / 1000000 + ttlMs, 16);
}

sessionsClear();
