// Requests that wait for room on a pod: fixed arrays, strict between priorities, fair between tenants, first come first
// served within one. Fairness is start-time fair queueing (Goyal, Vin, Cheng 1996): each tenant has a virtual time that
// grows with what it was served, and who is furthest behind comes next.
import { subsetCount } from "./waiting-subsets";

/** Most requests that can wait. */
// @ts-ignore: decorator
@inline
export const LINE_MAX: u32 = 1024;
// @ts-ignore: decorator
@inline
const TENANTS: u32 = 256;
/** What a request weighs besides its bytes. */
// @ts-ignore: decorator
@inline
const BASE_COST: f64 = 4096;

// Entry: stream id u32, priority i32, bytes u32, model u32, tenant slot u32, subset u32 (waiting-subsets.ts), deadline ns u64, order u64.
// @ts-ignore: decorator
@inline
const ENTRY: u32 = 40;
const entries: usize = heap.alloc(LINE_MAX * ENTRY);
// Tenant: key u64, virtual time f64, waiting u32, zero u32.
// @ts-ignore: decorator
@inline
const TENANT: u32 = 24;
const tenants: usize = heap.alloc(TENANTS * TENANT);
memory.fill(tenants, 0, TENANTS * TENANT);

/** Requests that wait, and the bytes of their bodies. */
export let lineLength: u32 = 0;
export let lineBytes: u32 = 0;
let order: u64 = 0;
let clock: f64 = 0;

// @ts-ignore: decorator
@inline
function entry(i: u32): usize {
  return entries + <usize>i * ENTRY;
}

// @ts-ignore: decorator
@inline
function tenantAt(i: u32): usize {
  return tenants + <usize>i * TENANT;
}

export function lineStream(i: u32): u32 {
  return load<u32>(entry(i));
}
export function lineModel(i: u32): u32 {
  return load<u32>(entry(i), 12);
}
/** The subset of pods that it is limited to, 0 for none. */
export function lineSubset(i: u32): u32 {
  return load<u32>(entry(i), 20);
}

/** Slot of a tenant; the one furthest ahead without waiting requests makes room. Too many tenants share slots. */
function tenantSlot(key: u64): u32 {
  let free: u32 = TENANTS;
  for (let i: u32 = 0; i < TENANTS; i++) {
    const t = tenantAt(i);
    if (load<u64>(t) == key) return i;
    if (load<u32>(t, 16) == 0 && (free == TENANTS || load<f64>(t, 8) < load<f64>(tenantAt(free), 8))) free = i;
  }
  if (free == TENANTS) return <u32>(key % TENANTS);
  store<u64>(tenantAt(free), key);
  store<f64>(tenantAt(free), 0, 8);
  return free;
}

/** Appends a request; false when LINE_MAX wait already. */
export function lineAdd(
  stream: u32,
  priority: i32,
  tenant: u64,
  bytes: u32,
  model: u32,
  subset: u32,
  deadlineNs: u64,
): bool {
  if (lineLength == LINE_MAX) return false;
  const slot = tenantSlot(tenant);
  const t = tenantAt(slot);
  // A tenant that was away does not come back with a credit.
  if (load<u32>(t, 16) == 0) store<f64>(t, max(load<f64>(t, 8), clock), 8);
  store<u32>(t, load<u32>(t, 16) + 1, 16);
  const e = entry(lineLength++);
  store<u32>(e, stream);
  store<i32>(e, priority, 4);
  store<u32>(e, bytes, 8);
  store<u32>(e, model, 12);
  store<u32>(e, slot, 16);
  store<u32>(e, subset, 20);
  subsetCount(subset, 1);
  store<u64>(e, deadlineNs, 24);
  store<u64>(e, order++, 32);
  lineBytes += bytes;
  return true;
}

/** Takes entry `i` out; the last one takes its place. */
export function lineRemove(i: u32): void {
  const e = entry(i);
  const t = tenantAt(load<u32>(e, 16));
  store<u32>(t, load<u32>(t, 16) - 1, 16);
  subsetCount(load<u32>(e, 20), -1);
  lineBytes -= load<u32>(e, 8);
  lineLength--;
  if (i != lineLength) memory.copy(e, entry(lineLength), ENTRY);
}

/** Entry of a stream, -1 when it does not wait. */
export function lineFind(stream: u32): i32 {
  for (let i: u32 = 0; i < lineLength; i++) if (load<u32>(entry(i)) == stream) return i;
  return -1;
}

/** Counts entry `i` as served, to its tenant's account. */
export function lineServed(i: u32): void {
  const e = entry(i);
  const t = tenantAt(load<u32>(e, 16));
  clock = max(clock, load<f64>(t, 8));
  store<f64>(t, load<f64>(t, 8) + BASE_COST + <f64>load<u32>(e, 8), 8);
}

/**
 * The entry that comes next of those that may find room, -1 for none. `blocked`: a byte for each model up to `models`,
 * for each subset.
 */
export function lineNext(blocked: usize, models: u32): i32 {
  let best: i32 = -1;
  for (let i: u32 = 0; i < lineLength; i++) {
    const e = entry(i);
    if (load<u8>(lineMark(blocked, models, i))) continue;
    if (best < 0 || before(e, entry(best))) best = i;
  }
  return best;
}

/** The byte of entry `i` in `blocked`. */
export function lineMark(blocked: usize, models: u32, i: u32): usize {
  const e = entry(i);
  return blocked + load<u32>(e, 20) * (models + 1) + min(load<u32>(e, 12), models);
}

function before(a: usize, b: usize): bool {
  const pa = load<i32>(a, 4);
  const pb = load<i32>(b, 4);
  if (pa != pb) return pa > pb;
  const ta = load<f64>(tenantAt(load<u32>(a, 16)), 8);
  const tb = load<f64>(tenantAt(load<u32>(b, 16)), 8);
  if (ta != tb) return ta < tb;
  return load<u64>(a, 32) < load<u64>(b, 32);
}

/**
 * Whether somebody of at least this priority waits for the model, on any of its pods or on those of the same subset. Who
 * waits for another subset takes nobody's turn: other pods may have room.
 */
export function lineAhead(priority: i32, model: u32, subset: u32): bool {
  for (let i: u32 = 0; i < lineLength; i++) {
    const e = entry(i);
    if (load<i32>(e, 4) < priority || load<u32>(e, 12) != model) continue;
    if (load<u32>(e, 20) == 0 || load<u32>(e, 20) == subset) return true;
  }
  return false;
}

/**
 * Who has to go so that a request of `priority` and `tenant` may wait: the newest one of the lowest priority below; in
 * the same priority the newest one of the tenant that has most waiting, if that is more than the newcomer would have.
 * -1 when the newcomer is the one to go.
 */
export function lineVictim(priority: i32, tenant: u64): i32 {
  let victim: i32 = -1;
  for (let i: u32 = 0; i < lineLength; i++) {
    if (victim < 0 || weaker(entry(i), entry(victim))) victim = i;
  }
  if (victim < 0) return -1;
  const e = entry(victim);
  const lowest = load<i32>(e, 4);
  if (lowest != priority) return lowest < priority ? victim : -1;
  const t = tenantAt(load<u32>(e, 16));
  let own: u32 = 0;
  for (let i: u32 = 0; i < TENANTS; i++) if (load<u64>(tenantAt(i)) == tenant) own = load<u32>(tenantAt(i), 16);
  return load<u64>(t) != tenant && load<u32>(t, 16) > own + 1 ? victim : -1;
}

function weaker(a: usize, b: usize): bool {
  const pa = load<i32>(a, 4);
  const pb = load<i32>(b, 4);
  if (pa != pb) return pa < pb;
  const wa = load<u32>(tenantAt(load<u32>(a, 16)), 16);
  const wb = load<u32>(tenantAt(load<u32>(b, 16)), 16);
  if (wa != wb) return wa > wb;
  return load<u64>(a, 32) > load<u64>(b, 32);
}

/** An entry whose time is up, -1 for none. */
export function lineExpired(nowNs: u64): i32 {
  for (let i: u32 = 0; i < lineLength; i++) if (load<u64>(entry(i), 24) <= nowNs) return i;
  return -1;
}
