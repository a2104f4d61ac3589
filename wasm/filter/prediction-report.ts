// What goes up to the agent once a second about predictions: per pod what its announced blocks promised, and what
// answers said was cached. Told by tenant too, so that the agent can tell one caller's oddity from a pod's.
import { podAddress, podAddressSize, podHigh, podKnown } from "../core/pods";
import { KIND_PREDICTIONS } from "../shared/frame-layout";
import { MAX_PODS } from "../shared/pods-layout";
import {
  PREDICTIONS_HEAD_BYTES,
  PREDICTIONS_ROW_BYTES,
  PREDICTIONS_TENANT_BYTES,
  PREDICTIONS_TENANTS,
  TENANT_OTHERS,
} from "../shared/predictions-layout";
import { Stream } from "./streams";
import { streamPayload, streamRoom, streamSend } from "./table-stream";

// Per pod what was not told yet, as the row has it.
// @ts-ignore: decorator
@inline
const SUMS: u32 = PREDICTIONS_ROW_BYTES - 8;
const sums: usize = heap.alloc(MAX_PODS * SUMS);
memory.fill(sums, 0, MAX_PODS * SUMS);
/** Where the next report goes on, when one had no room for all. */
let first: u32 = 0;

// @ts-ignore: decorator
@inline
function add(row: usize, field: u32, by: u64): void {
  store<u64>(row + (field << 3), load<u64>(row + (field << 3)) + by);
}

/** The record of the tenant of `s` in a pod's row; the last one is everybody's who came too late for an own one. */
function tenantOf(row: usize, s: Stream): usize {
  const tag = max(<u32>(s.tenant >> 32), 1);
  let t = row + 56;
  for (let i: u32 = 1; i < PREDICTIONS_TENANTS; i++, t += PREDICTIONS_TENANT_BYTES) {
    const known = load<u32>(t);
    if (known == tag) return t;
    if (known) continue;
    store<u32>(t, tag);
    return t;
  }
  store<u32>(t, TENANT_OTHERS);
  return t;
}

/** A request of which the prompt was looked up has ended. */
export function recordAnnounced(s: Stream): void {
  const row = sums + <usize>s.pod * SUMS;
  add(row, 0, 1);
  add(row, 1, s.announced);
  const t = tenantOf(row, s);
  store<u32>(t, load<u32>(t, 4) + 1, 4);
  store<u64>(t, load<u64>(t, 16) + s.announced, 16);
}

/** Its answer said how much was cached. */
export function recordCached(s: Stream, cached: u32, over: bool, under: bool): void {
  const row = sums + <usize>s.pod * SUMS;
  add(row, 2, 1);
  add(row, 3, s.announced);
  add(row, 4, cached);
  add(row, 5, over ? 1 : 0);
  add(row, 6, under ? 1 : 0);
  const t = tenantOf(row, s);
  store<u32>(t, load<u32>(t, 8) + 1, 8);
  if (!over && !under) store<u32>(t, load<u32>(t, 12) + 1, 12);
}

/** Sends what there is, and forgets what was sent. Pods beyond the room of one frame come first the next time. */
export function sendPredictions(): void {
  const p = streamPayload();
  let at: u32 = PREDICTIONS_HEAD_BYTES;
  let rows: u32 = 0;
  let i: u32 = 0;
  for (; i < podHigh; i++) {
    const pod = (first + i) % podHigh;
    const from = sums + <usize>pod * SUMS;
    if (!load<u64>(from)) continue;
    if (!podKnown(pod)) {
      memory.fill(from, 0, SUMS);
      continue;
    }
    const size = podAddressSize(pod);
    const next = at + PREDICTIONS_ROW_BYTES + ((size + 7) & ~7);
    if (next > streamRoom()) break;
    const row = p + at;
    memory.fill(row, 0, next - at);
    store<u32>(row, size);
    memory.copy(row + 8, from, SUMS);
    memory.copy(row + PREDICTIONS_ROW_BYTES, podAddress(pod), size);
    at = next;
    rows++;
  }
  if (!rows) return;
  store<u32>(p, rows);
  store<u32>(p, 0, 4);
  if (!streamSend(KIND_PREDICTIONS, at)) return;
  for (let k: u32 = 0; k < i; k++) memory.fill(sums + <usize>((first + k) % podHigh) * SUMS, 0, SUMS);
  first = i < podHigh ? (first + i) % podHigh : 0;
}
