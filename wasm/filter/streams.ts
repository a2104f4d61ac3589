// The state of each request that is under way: fixed records in chunks that are kept and reused, found by Envoy's
// context id. A request that was refused before the filter has no record, so its late callbacks do nothing.
import { siphash64 } from "../shared/siphash";

// @ts-ignore: decorator
@inline
const CHUNK: u32 = 256;
// @ts-ignore: decorator
@inline
const MAX_CHUNKS: u32 = 256;
// @ts-ignore: decorator
@inline
const ID_SLOTS: u32 = 131072;

/** Holding headers, waiting for the body. */
// @ts-ignore: decorator
@inline
export const WAITING: u8 = 1;
/** Decided; the request went or goes to a pod or to the fallback. */
// @ts-ignore: decorator
@inline
export const DISPATCHED: u8 = 2;
/** Waits for room on a pod, its whole body buffered. */
// @ts-ignore: decorator
@inline
export const QUEUED: u8 = 5;
/** Answered by the filter itself. */
// @ts-ignore: decorator
@inline
export const REPLIED: u8 = 3;
/** Must be answered by the filter, and the host would not send it so far. */
// @ts-ignore: decorator
@inline
export const REFUSING: u8 = 4;

// @ts-ignore: decorator
@inline
const SESSION_MAX: u32 = 128;

@unmanaged
export class Stream {
  id: u32;
  next: u32; // free list, index + 1
  state: u8;
  api: u8;
  /** The client's own x-session-id is valid and stays as it is. */
  keepSession: bool;
  prefillCounted: bool;
  /** The host refused to resume or answer it (owed.ts), so many times. */
  owed: bool;
  tries: u8;
  firstToken: bool;
  responseDone: bool;
  streaming: bool;
  /** The response's headers wait for its body. */
  holdResponse: bool;
  /** No other prefill was pending on the pod at dispatch, so the time to the first token is this request's own. */
  alone: bool;
  /** The watchdog resumed it, and its body has not come yet. */
  blind: bool;
  pod: i32;
  gauge: u32; // gauge slot + 1, 0 = not counted
  candidates: u32;
  candidate0: u16;
  candidate1: u16;
  candidate2: u16;
  sessionSize: u16;
  promptTokens: u32;
  predicted: u32;
  uncached: u32;
  /** Prefill work of the uncached part, as the gauges count it. */
  work: u32;
  bodySize: u32;
  requestIdSize: u16;
  traceSize: u16;
  schedulingUs: u32;
  matchUs: u32;
  pickUs: u32;
  /** Ticket of what is believed of the pod because of this request, 0 = none. */
  speculation: u32;
  /** The same ticket, until the request's end. */
  ticket: u32;
  /** When it came, where the answer will tell; else when the watchdog saw it first, 0 before. */
  startNs: u64;
  dispatchNs: u64;
  credentialLo: u64;
  credentialHi: u64;
  /** Whose request it is, for fair shares; a keyed hash. */
  tenant: u64;
  /** What the tenant's cache salt is made of, 0 for callers that say nothing of themselves. */
  isolationLo: u64;
  isolationHi: u64;
  /** Below zero: sheddable. */
  priority: i32;
  /** Bits CONTROL_*. */
  controls: u8;
  /** Record of the prefill call under way + 1, 0 for none. */
  prefillCall: u16;
  /** Slot + 1 of the pod that prefilled for this request's decode pod, 0 for none. */
  prefillPod: u16;
  /** Prompt tokens that it promised. */
  promised: u32;
  prefillUs: u32;
  /** Gauge slot + 1 of that pod while its prefill, by the decode pod's sidecar, is counted there. */
  prefillGauge: u32;
  /** Tokens that the pod's announced blocks hold of the prompt, whatever was predicted from. */
  announced: u32;
  /** The answer is compared with that. */
  compared: bool;
  /** Tokens that a text block may have, as answers are compared; 0 where this one is not. */
  textBlockTokens: u16;
  /** The client asked for the usage at the end of the stream. */
  asksUsage: bool;
  /** The answer is looked through for its usage (answer-usage.ts), which has come so far. */
  readsUsage: bool;
  usageState: u8;
  /** What the answer says was cached, + 1; 0 while it says nothing. */
  cachedTokens: u32;
  usageNumber: u32;
  /** What the answer says the prompt has in all, 0 while it says nothing. */
  countedTokens: u32;
}

// Behind the fields: the session id, the request id, the trace id.
// @ts-ignore: decorator
@inline
const SESSION_AT: usize = (offsetof<Stream>() + 7) & ~7;
// @ts-ignore: decorator
@inline
const REQUEST_ID_AT: usize = SESSION_AT + SESSION_MAX;
// @ts-ignore: decorator
@inline
const TRACE_AT: usize = REQUEST_ID_AT + 64;
// @ts-ignore: decorator
@inline
const STREAM_BYTES: usize = TRACE_AT + 32;
// @ts-ignore: decorator
@inline
export const REQUEST_ID_MAX: u32 = 64;
// @ts-ignore: decorator
@inline
export const TRACE_MAX: u32 = 32;

const chunks: usize = heap.alloc(MAX_CHUNKS << 2);
let chunkCount: u32 = 0;
let freeHead: u32 = 0;

// Open addressing: id u32, index + 1 u32.
const ids: usize = heap.alloc(ID_SLOTS << 3);
memory.fill(ids, 0, ID_SLOTS << 3);

/** Requests under way in this VM. */
export let streamsLive: u32 = 0;

/** Those that hold their headers. */
export let streamsWaiting: u32 = 0;

/** Those that the host is to be asked about again. */
export let streamsOwed: u32 = 0;

export function waitingAdd(by: i32): void {
  streamsWaiting += by;
}

export function setOwed(s: Stream, owed: bool): void {
  if (s.owed == owed) return;
  s.owed = owed;
  streamsOwed += owed ? 1 : -1;
}

function at(index: u32): Stream {
  return changetype<Stream>(
    <usize>load<u32>(chunks + (<usize>(index / CHUNK) << 2)) + <usize>(index % CHUNK) * STREAM_BYTES,
  );
}

export function sessionAt(s: Stream): usize {
  return changetype<usize>(s) + SESSION_AT;
}
/** The session's hash, for choices that keep to it. */
export function sessionSpread(s: Stream): u64 {
  return siphash64(0x77617267, 0x61746521, sessionAt(s), s.sessionSize);
}
export function requestIdAt(s: Stream): usize {
  return changetype<usize>(s) + REQUEST_ID_AT;
}
export function traceAt(s: Stream): usize {
  return changetype<usize>(s) + TRACE_AT;
}

// @ts-ignore: decorator
@inline
function home(id: u32): u32 {
  return (id * 0x9e3779b1) >> 15;
}

/** A record for a new request; null when more than 65,536 are under way: it is then routed by the fallback. */
export function streamAdd(id: u32): Stream | null {
  if (!freeHead) {
    if (chunkCount == MAX_CHUNKS) return null;
    const p = heap.alloc(<usize>CHUNK * STREAM_BYTES);
    memory.fill(p, 0, <usize>CHUNK * STREAM_BYTES);
    store<u32>(chunks + (<usize>chunkCount << 2), <u32>p);
    for (let i = CHUNK; i > 0; i--) {
      const index = chunkCount * CHUNK + i - 1;
      at(index).next = freeHead;
      freeHead = index + 1;
    }
    // The chunk counts only once its records are linked: `at` above reads its address alone.
    chunkCount++;
  }
  const index = freeHead - 1;
  const s = at(index);
  freeHead = s.next;
  memory.fill(changetype<usize>(s), 0, offsetof<Stream>());
  s.id = id;
  s.pod = -1;
  let i = home(id);
  while (load<u32>(ids + (<usize>i << 3), 4)) i = (i + 1) & (ID_SLOTS - 1);
  store<u32>(ids + (<usize>i << 3), id);
  store<u32>(ids + (<usize>i << 3), index + 1, 4);
  streamsLive++;
  return s;
}

/** The record of a request, null when the filter never saw its headers or it has ended. */
export function streamFind(id: u32): Stream | null {
  let i = home(id);
  let v = load<u32>(ids + (<usize>i << 3), 4);
  while (v) {
    if (load<u32>(ids + (<usize>i << 3)) == id) return at(v - 1);
    i = (i + 1) & (ID_SLOTS - 1);
    v = load<u32>(ids + (<usize>i << 3), 4);
  }
  return null;
}

/** Whether there was ever a request. */
export function streamsEver(): bool {
  return chunkCount > 0;
}

/** Ends a record. */
export function streamDrop(s: Stream): void {
  streamsLive--;
  setOwed(s, false);
  let i = home(s.id);
  while (load<u32>(ids + (<usize>i << 3)) != s.id || !load<u32>(ids + (<usize>i << 3), 4)) {
    i = (i + 1) & (ID_SLOTS - 1);
  }
  const index = load<u32>(ids + (<usize>i << 3), 4);
  // Backward-shift deletion keeps probe chains unbroken without tombstones.
  let j = i;
  for (;;) {
    j = (j + 1) & (ID_SLOTS - 1);
    const v = load<u64>(ids + (<usize>j << 3));
    if (!(v >> 32)) break;
    if (((j - home(<u32>v)) & (ID_SLOTS - 1)) >= ((j - i) & (ID_SLOTS - 1))) {
      store<u64>(ids + (<usize>i << 3), v);
      i = j;
    }
  }
  store<u64>(ids + (<usize>i << 3), 0);
  s.next = freeHead;
  freeHead = index;
}

/** Walks all records: the live one at or after `from` (0-based); null at the end. `walkNext` is where to go on. */
export let walkNext: u32 = 0;
export function streamWalk(from: u32): Stream | null {
  for (let i = from; i < ID_SLOTS; i++) {
    const v = load<u32>(ids + (<usize>i << 3), 4);
    if (v) {
      walkNext = i + 1;
      return at(v - 1);
    }
  }
  walkNext = ID_SLOTS;
  return null;
}
