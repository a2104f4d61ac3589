// Which pod has which gauges. Envoy never frees a metric's name, so gauges are named by slot, and which address has
// which slot is agreed inside the process through one shared-data key.
import { podAddress, podAddressSize, podByAddress, podHigh, podKnown } from "../core/pods";
import { MAX_PODS } from "../shared/pods-layout";
import { Text, text } from "./abi/memory";
import { CAS_MISMATCH, METRIC_GAUGE, NOT_FOUND, OK } from "./abi/types";
import { digits } from "./decimal";
import { defineMetric, getShared, metricValue, recordMetric, resultAt, resultSize, setShared, sharedCas } from "./host";

// Record of the shared map, in slot order: address 56 bytes, its length u8, 7 bytes unused.
// @ts-ignore: decorator
@inline
const RECORD: u32 = 64;
// @ts-ignore: decorator
@inline
const ADDRESS_MAX: u32 = 56;

// The gauges of a slot. Two counts share one, since each change is a call into Envoy: the first in the lower 32 bits,
// the second in the upper ones. A sum of such sums is right as long as no count outgrows its half.
/** Requests under way, and prefills among them that are not over. */
// @ts-ignore: decorator
@inline
export const GAUGE_COUNTS: u32 = 0;
/** Uncached tokens of those prefills, and their work. */
// @ts-ignore: decorator
@inline
export const GAUGE_TOKENS: u32 = 1;
/** Not a count: until when the pod is left out, ms. */
// @ts-ignore: decorator
@inline
export const GAUGE_OUT: u32 = 2;

const SLOTS_KEY = text("warmgate.slots");
const NAMES: StaticArray<Text> = [
  text("warmgate_inflight_counts"),
  text("warmgate_inflight_tokens"),
  text("warmgate_left_out_until_ms"),
];
const ERA = text("_era_");
const SLOT = text("_slot_");

const shared: usize = heap.alloc(MAX_PODS * RECORD);
const nameScratch: usize = heap.alloc(128);
// Per era and gauge slot: ids of its gauges; 0 = not defined yet.
// @ts-ignore: decorator
@inline
const ERA_BYTES: u32 = MAX_PODS << 4;
const ids: usize = heap.alloc(ERA_BYTES * 4);
memory.fill(ids, 0, ERA_BYTES * 4);
// Per pod slot of the table: gauge slot + 1.
const slotOf: usize = heap.alloc(MAX_PODS << 1);
memory.fill(slotOf, 0, MAX_PODS << 1);
/** The same while it is being agreed. */
const nextSlotOf: usize = heap.alloc(MAX_PODS << 1);
/** Slots that were agreed on when this VM looked last. */
export let slotsBound: u32 = 0;

function put(t: Text, at: usize): usize {
  memory.copy(at, t.at, t.size);
  return at + t.size;
}

/** Id of a gauge, for `addMetric` and its like; defined at first use. Era 0 is not named. */
export function gaugeId(era: u32, slot: u32, gauge: u32): u32 {
  if (gauge == GAUGE_OUT) era = 0;
  const at = ids + <usize>era * ERA_BYTES + (<usize>slot << 4) + (gauge << 2);
  let id = load<u32>(at);
  if (id) return id;
  let end = put(unchecked(NAMES[gauge]), nameScratch);
  if (era) {
    end = put(ERA, end);
    end += digits(end, era);
  }
  end = put(SLOT, end);
  end += digits(end, slot);
  id = defineMetric(METRIC_GAUGE, nameScratch, end - nameScratch);
  store<u32>(at, id);
  return id;
}

/** Gauge slot + 1 of a pod slot, 0 for none. */
// @ts-ignore: decorator
@inline
export function gaugeSlotOf(pod: u32): u32 {
  return pod < MAX_PODS ? <u32>load<u16>(slotOf + (<usize>pod << 1)) : 0;
}

/** Address that a gauge slot was given to last. */
export function slotAddress(slot: u32): usize {
  return shared + <usize>slot * RECORD;
}
export function slotAddressSize(slot: u32): u32 {
  return load<u8>(slotAddress(slot), ADDRESS_MAX);
}

/** Slot of an address among the first `used` ones, or `used`. */
function find(p: usize, size: u32, used: u32): u32 {
  let slot: u32 = 0;
  for (; slot < used; slot++) {
    const r = shared + <usize>slot * RECORD;
    if (load<u8>(r, ADDRESS_MAX) == <u8>size && memory.compare(r, p, size) == 0) break;
  }
  return slot;
}

/** A slot whose pod is gone and has nothing under way; MAX_PODS when there is none. */
function findFree(era: u32): u32 {
  for (let slot: u32 = 0; slot < MAX_PODS; slot++) {
    const r = shared + <usize>slot * RECORD;
    if (podByAddress(r, load<u8>(r, ADDRESS_MAX)) >= 0) continue;
    if (metricValue(gaugeId(era, slot, GAUGE_COUNTS)) == 0) return slot;
  }
  return MAX_PODS;
}

/** How many slots the process uses, -1 when the host does not tell. */
export function slotsUsed(): i32 {
  const status = getShared(SLOTS_KEY);
  if (status == NOT_FOUND) return 0;
  return status == OK && resultSize <= MAX_PODS * RECORD ? <i32>(resultSize / RECORD) : -1;
}

/** Gives every known pod its slot. False, with all as it was, when the host would not agree. */
export function slotsBind(era: u32): bool {
  for (let tries = 0; tries < 8; tries++) {
    const status = getShared(SLOTS_KEY);
    if (status != OK && status != NOT_FOUND) return false;
    let used: u32 = 0;
    if (status == OK && resultSize <= MAX_PODS * RECORD) {
      used = <u32>resultSize / RECORD;
      memory.copy(shared, resultAt, used * RECORD);
    }
    const cas = sharedCas;
    let changed = false;
    memory.fill(nextSlotOf, 0, MAX_PODS << 1);
    for (let pod: u32 = 0; pod < podHigh; pod++) {
      const size = podAddressSize(pod);
      if (!podKnown(pod) || size == 0 || size > ADDRESS_MAX) continue;
      let slot = find(podAddress(pod), size, used);
      if (slot == used) {
        if (slot == MAX_PODS) slot = findFree(era);
        else used++;
        if (slot == MAX_PODS) continue;
        const r = shared + <usize>slot * RECORD;
        memory.fill(r, 0, RECORD);
        memory.copy(r, podAddress(pod), size);
        store<u8>(r, <u8>size, ADDRESS_MAX);
        recordMetric(gaugeId(era, slot, GAUGE_OUT), 0);
        changed = true;
      }
      store<u16>(nextSlotOf + (<usize>pod << 1), <u16>(slot + 1));
    }
    if (changed) {
      const wrote = setShared(SLOTS_KEY, shared, used * RECORD, cas);
      if (wrote == CAS_MISMATCH) continue;
      if (wrote != OK) return false;
    }
    memory.copy(slotOf, nextSlotOf, MAX_PODS << 1);
    slotsBound = used;
    return true;
  }
  return false;
}
