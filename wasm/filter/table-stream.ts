// The stream from the agent: opened from the tick, reopened with jitter after a close, one frame a message. The last
// trusted table stays in use whatever happens to the stream.
import { disaggregationRead } from "../core/disaggregation";
import { modelsRead } from "../core/models";
import { columnsRead } from "../core/pod-columns";
import { loadsRead, podsRead } from "../core/pods";
import { policyRead, staleMs } from "../core/policy";
import { rulesRead } from "../core/request-rules";
import { frameSeal } from "../shared/frame";
import {
  FORMAT,
  HEAD_BYTES,
  HEAD_KIND,
  KIND_COLUMNS,
  KIND_DISAGGREGATION,
  KIND_FOREIGN,
  KIND_HELLO,
  KIND_INSIDE,
  KIND_LOADS,
  KIND_MODELS,
  KIND_PODS,
  KIND_POLICY,
  KIND_RESYNC,
  KIND_RULES,
} from "../shared/frame-layout";
import { HELLO_BYTES } from "../shared/report-layout";
import {
  FRAME_CLEARED,
  FRAME_GAP,
  FRAME_REFUSED,
  FRAME_SECTION,
  FRAME_TOO_LARGE,
  liveSequence,
  readerAbandon,
  readerSpoiled,
  readFrame,
} from "../shared/table-reader";
import { text } from "./abi/memory";
import { BUFFER_GRPC, LOG_ERROR, LOG_WARN, OK } from "./abi/types";
import { agentCluster, authorization } from "./configuration";
import { buffer, grpcOpen, grpcSend, log, random, resultAt, resultSize } from "./host";
import { inflightBind } from "./inflight";
import { C_FRAMES, C_GAPS, C_OVER_LIMIT, count } from "./metrics";
import { foreignRead } from "./sharing";
import { paceRest } from "./tick-pace";

const SERVICE = text("warmgate.v1.Table");
const METHOD = text("Subscribe");
const AUTHORIZATION = text("authorization");
const TOO_LARGE = text(
  "warmgate: the table does not fit tableMiB: requests are routed by load and session alone; raise tableMiB or lower the agent's maxEntries",
);
const CLEARED = text(
  "warmgate: two tables do not fit tableMiB: the old one is cleared before a new one is read; raise tableMiB to keep it until then",
);
/** A snapshot that was asked for begins within this, else it is asked for again. */
// @ts-ignore: decorator
@inline
const RESYNC_NS: u64 = 2000000000;

let token: u32 = 0;
let open: bool = false;
let retryAt: u64 = 0;
let backoffMs: u64 = 100;
let heardAt: u64 = 0;
/** Whether the hello went out; nothing else goes before it. */
let greeted: bool = false;
let resyncWanted: bool = false;
let resyncAt: u64 = 0;
let bindWanted: bool = false;
let warnedCleared: bool = false;
let warnedLarge: bool = false;

/** This VM, and the process it belongs to. */
export let vmId: u64 = 0;
export let processId: u64 = 0;

// @ts-ignore: decorator
@inline
const OUT_BYTES: u32 = 131072;
const out: usize = heap.alloc(OUT_BYTES);

/** Names this VM; the process id is agreed through shared data by the caller. */
export function streamIdentify(vm: u64, process: u64): void {
  vmId = vm;
  processId = process;
}

/** Whether the table may be used: one has arrived, and the agent was heard within the stale limit. */
export function tableUsable(nowNs: u64): bool {
  return heardAt != 0 && nowNs - heardAt <= <u64>staleMs * 1000000;
}

/** Whether the stream is up and greeted. */
export function streamOpen(): bool {
  return open && greeted;
}

/** Where a payload for `streamSend` goes; `streamRoom` is how long it may be. */
export function streamPayload(): usize {
  return out + 16 + HEAD_BYTES;
}
export function streamRoom(): u32 {
  return OUT_BYTES - 16 - HEAD_BYTES;
}

/** Sends the payload at `streamPayload` as a frame; false when there is no stream. */
export function streamSend(kind: u16, payload: u32): bool {
  if (!token) return false;
  const frame = out + 16;
  const n = frameSeal(frame, kind, processId, vmId, liveSequence, 0, payload);
  // message Frame { bytes data = 1; }: tag 0x0a, the length as a varint, the bytes.
  let at = frame;
  const digits: u32 = n < 128 ? 1 : n < 16384 ? 2 : 3;
  at -= digits + 1;
  store<u8>(at, 0x0a);
  let rest = n;
  for (let i: u32 = 0; i < digits; i++) {
    store<u8>(at + 1 + i, <u8>((rest & 127) | (i + 1 < digits ? 128 : 0)));
    rest >>= 7;
  }
  return grpcSend(token, at, n + digits + 1) == OK;
}

/** Opens the stream when it is closed and its time has come, and does again what the host refused; from the tick. */
export function streamTick(nowNs: u64): void {
  if (bindWanted) bindWanted = !inflightBind();
  if (open) {
    if (token && !greeted) greet();
    askAgain(nowNs);
    return;
  }
  if (nowNs < retryAt) return;
  // The next attempt is set first: a failed open calls back before it returns.
  retryAt = nowNs + (backoffMs + (random() % (backoffMs + 1))) * 1000000;
  backoffMs = min(backoffMs * 2, 2000);
  open = true;
  let metadata: usize = 0;
  let metadataSize: usize = 0;
  if (authorization.size) {
    metadata = out;
    store<u32>(out, 1);
    store<u32>(out, <u32>AUTHORIZATION.size, 4);
    store<u32>(out, <u32>authorization.size, 8);
    memory.copy(out + 12, AUTHORIZATION.at, AUTHORIZATION.size);
    store<u8>(out + 12 + AUTHORIZATION.size, 0);
    memory.copy(out + 13 + AUTHORIZATION.size, authorization.at, authorization.size);
    store<u8>(out + 13 + AUTHORIZATION.size + authorization.size, 0);
    metadataSize = 14 + AUTHORIZATION.size + authorization.size;
  }
  const t = grpcOpen(agentCluster, SERVICE, METHOD, metadata, metadataSize);
  if (t == 0) {
    open = false;
    token = 0;
    return;
  }
  if (!open) return; // closed while it opened
  token = t;
  greet();
}

function greet(): void {
  const p = streamPayload();
  memory.fill(p, 0, HELLO_BYTES);
  store<u16>(p, FORMAT);
  store<u16>(p, FORMAT, 2);
  store<u64>(p, processId, 8);
  store<u64>(p, vmId, 16);
  store<u64>(p, 1, 24);
  greeted = streamSend(KIND_HELLO, HELLO_BYTES);
}

/** The reader lost its place. */
function wantSnapshot(nowNs: u64): void {
  count(C_GAPS);
  if (!resyncWanted) resyncAt = nowNs;
  resyncWanted = true;
  askAgain(nowNs);
}

/** Asks for the snapshot that is wanted, when its time has come and the host lets it. */
function askAgain(nowNs: u64): void {
  if (!resyncWanted || nowNs < resyncAt || !greeted) return;
  if (streamSend(KIND_RESYNC, 0)) resyncAt = nowNs + RESYNC_NS;
}

export function streamClosed(closed: u32): void {
  if (closed != token && token != 0) return;
  open = false;
  token = 0;
  greeted = false;
  resyncWanted = false;
  readerAbandon();
}

/** Takes one message of `size` bytes. */
export function streamReceive(from: u32, size: u32, nowNs: u64): void {
  if (from != token && token != 0) return;
  const n = frameIn(size);
  const status = n ? readFrame(frameAt, n) : readerSpoiled();
  if (n) count(C_FRAMES);
  if (status == FRAME_REFUSED) return;
  if (status == FRAME_GAP) {
    wantSnapshot(nowNs);
    return;
  }
  heardAt = nowNs;
  paceRest(nowNs);
  backoffMs = 100;
  resyncWanted = false;
  if (status == FRAME_SECTION) {
    section(load<u16>(frameAt, HEAD_KIND) & ~KIND_INSIDE, frameAt + HEAD_BYTES, n - HEAD_BYTES, nowNs);
  } else if (status == FRAME_TOO_LARGE) {
    count(C_OVER_LIMIT);
    if (!warnedLarge) log(LOG_ERROR, TOO_LARGE);
    warnedLarge = true;
  } else if (status == FRAME_CLEARED) {
    count(C_OVER_LIMIT);
    if (!warnedCleared) log(LOG_WARN, CLEARED);
    warnedCleared = true;
  }
}

let frameAt: usize = 0;

/** Bytes of the frame in the message of `size` bytes, which then stands at `frameAt`; 0 when it cannot be had. */
function frameIn(size: u32): u32 {
  if (size < 2 || buffer(BUFFER_GRPC, 0, size) != OK || resultSize < 2 || load<u8>(resultAt) != 0x0a) return 0;
  let n: u32 = 0;
  frameAt = resultAt + 1;
  const end = resultAt + resultSize;
  for (let shift: u32 = 0; shift < 28 && frameAt < end; shift += 7) {
    const b = <u32>load<u8>(frameAt++);
    n |= (b & 127) << shift;
    if (b < 128) break;
  }
  return frameAt + n == end ? n : 0;
}

function section(kind: u16, p: usize, n: u32, nowNs: u64): void {
  switch (<u32>kind) {
    case <u32>KIND_PODS:
      if (podsRead(p, n, nowNs)) bindWanted = !inflightBind();
      break;
    case <u32>KIND_LOADS:
      loadsRead(p, n, nowNs);
      break;
    case <u32>KIND_COLUMNS:
      columnsRead(p, n, nowNs);
      break;
    case <u32>KIND_MODELS:
      modelsRead(p, n);
      break;
    case <u32>KIND_POLICY:
      policyRead(p, n);
      break;
    case <u32>KIND_FOREIGN:
      foreignRead(p, n, nowNs);
      break;
    case <u32>KIND_RULES:
      rulesRead(p, n);
      break;
    case <u32>KIND_DISAGGREGATION:
      disaggregationRead(p, n);
      break;
    default:
      break;
  }
}
