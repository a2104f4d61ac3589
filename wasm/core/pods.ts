// What the table says of the pods, filled from its sections; pod-counts.ts has what is under way.
import { fnv64 } from "../shared/fnv";
import {
  AGE_NEVER,
  LOAD_ROW_BYTES,
  MAX_PODS,
  POD_ROW_BYTES,
  ROLE_DECODE,
  ROLE_PREFILL,
} from "../shared/pods-layout";
import { countsForget } from "./pod-counts";
import { podRow, podRowsClear, Row } from "./pod-rows";

// @ts-ignore: decorator
@inline
const NAME_BYTES: usize = 64;

const blockTokens: usize = heap.alloc(MAX_PODS << 2);
const names: usize = heap.alloc(<usize>MAX_PODS * NAME_BYTES);
const nameSizes: usize = heap.alloc(MAX_PODS);
const addresses: usize = heap.alloc(<usize>MAX_PODS * NAME_BYTES);
const addressSizes: usize = memory.data(MAX_PODS);

/** In the place of a model: none restricts the choice. */
// @ts-ignore: decorator
@inline
export const ANY_MODEL: u32 = 0xffffffff;

/** One more than the highest known slot. */
export let podHigh: u32 = 0;
/** Known pods that are ready and decode. */
export let podsReady: u32 = 0;
/** Pods that are only known approximately. */
export let podsApproximate: u32 = 0;
/** Changes whenever a slot may have become another pod's. */
export let podsVersion: u32 = 0;

/** Forgets all that is known of pods and what is under way on them. */
export function podsClear(): void {
  podRowsClear();
  memory.fill(addressSizes, 0, MAX_PODS);
  podHigh = 0;
  podsReady = 0;
  podsApproximate = 0;
}

/**
 * Takes a pod section of `n` bytes at `p`; false, with nothing changed, when it is not whole. A slot whose address
 * changes loses its own counts: they were another pod's.
 */
export function podsRead(p: usize, n: u32, nowNs: u64): bool {
  if (n < 8) return false;
  const count = <u32>load<u16>(p);
  const end = p + n;
  let at = p + 8;
  for (let i: u32 = 0; i < count; i++) {
    if (at + POD_ROW_BYTES > end) return false;
    const text = <u32>load<u8>(at, 6) + <u32>load<u8>(at, 7);
    if (<u32>load<u16>(at) >= MAX_PODS || load<u8>(at, 6) > NAME_BYTES || load<u8>(at, 7) > NAME_BYTES) return false;
    at += POD_ROW_BYTES + ((text + 7) & ~7);
    if (at > end) return false;
  }
  for (let i: u32 = 0; i < MAX_PODS; i++) store<u8>(podRow(i), 0, Row.Flags);
  podHigh = 0;
  podsApproximate = 0;
  podsVersion++;
  at = p + 8;
  for (let i: u32 = 0; i < count; i++) {
    const slot = <u32>load<u16>(at);
    const nameSize = <u32>load<u8>(at, 6);
    const addressSize = <u32>load<u8>(at, 7);
    const address = at + POD_ROW_BYTES + nameSize;
    if (!sameAddress(slot, address, addressSize)) {
      countsForget(slot);
      store<u64>(podRow(slot), 0, Row.OutUntil);
      memory.copy(addresses + <usize>slot * NAME_BYTES, address, addressSize);
      store<u8>(addressSizes + slot, <u8>addressSize);
      store<u64>(podRow(slot), fnv64(address, addressSize), Row.AddressHash);
    }
    memory.copy(names + <usize>slot * NAME_BYTES, at + POD_ROW_BYTES, nameSize);
    store<u8>(nameSizes + slot, <u8>nameSize);
    const approximate = (load<u8>(at, 2) >> 1) & 1;
    store<u8>(podRow(slot), approximate, Row.Approximate);
    podsApproximate += approximate;
    store<u8>(podRow(slot), 1 | ((load<u8>(at, 2) & 1) << 1), Row.Flags);
    store<u8>(podRow(slot), load<u8>(at, 3), Row.Roles);
    store<u16>(podRow(slot), load<u16>(at, 4), Row.Model);
    store<u32>(blockTokens + (<usize>slot << 2), max(load<u32>(at, 8), 1));
    store<u32>(podRow(slot), load<u32>(at, 12), Row.Capacity);
    store<f64>(podRow(slot), max(load<f64>(at, 32), 1), Row.Rate);
    podSetLoad(slot, load<u32>(at, 16), load<u32>(at, 20), load<u32>(at, 24), load<u32>(at, 28), nowNs);
    if (slot >= podHigh) podHigh = slot + 1;
    at += POD_ROW_BYTES + ((nameSize + addressSize + 7) & ~7);
  }
  countReady();
  return true;
}

/** Takes a load section; rows of unknown slots are skipped. */
export function loadsRead(p: usize, n: u32, nowNs: u64): bool {
  if (n < 8) return false;
  const count = <u32>load<u16>(p);
  if (<usize>count * LOAD_ROW_BYTES + 8 > n) return false;
  let at = p + 8;
  for (let i: u32 = 0; i < count; i++, at += LOAD_ROW_BYTES) {
    const slot = <u32>load<u16>(at);
    if (slot >= podHigh || !(load<u8>(podRow(slot), Row.Flags) & 1)) continue;
    store<u8>(podRow(slot), 1 | ((load<u8>(at, 2) & 1) << 1), Row.Flags);
    podSetLoad(slot, load<u32>(at, 4), load<u32>(at, 8), load<u32>(at, 12), load<u32>(at, 16), nowNs);
  }
  countReady();
  return true;
}

/** Puts scraped load in a row; `usage` in thousandths, `age` in ms. */
export function podSetLoad(slot: u32, waiting: u32, running: u32, usage: u32, age: u32, nowNs: u64): void {
  store<u32>(podRow(slot), waiting, Row.Waiting);
  store<u32>(podRow(slot), running, Row.Running);
  store<f64>(podRow(slot), <f64>usage / 1000, Row.Usage);
  store<u32>(podRow(slot), age, Row.LoadAge);
  store<u64>(podRow(slot), nowNs, Row.LoadRead);
}

function countReady(): void {
  podsReady = 0;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (load<u8>(podRow(i), Row.Flags) == 3 && (load<u8>(podRow(i), Row.Roles) & ROLE_DECODE) != 0) podsReady++;
  }
}

function sameAddress(slot: u32, p: usize, n: u32): bool {
  return (
    load<u8>(addressSizes + slot) == <u8>n && memory.compare(addresses + <usize>slot * NAME_BYTES, p, n) == 0 && n != 0
  );
}

/** Slot of the pod with this address, -1 when unknown. */
export function podByAddress(p: usize, n: u32): i32 {
  if (<usize>n > NAME_BYTES) return -1;
  for (let i: u32 = 0; i < podHigh; i++) {
    if (load<u8>(podRow(i), Row.Flags) & 1 && sameAddress(i, p, n)) return i;
  }
  return -1;
}

// @ts-ignore: decorator
@inline
export function podKnown(i: u32): bool {
  return (load<u8>(podRow(i), Row.Flags) & 1) != 0;
}
// @ts-ignore: decorator
@inline
export function podReady(i: u32): bool {
  return load<u8>(podRow(i), Row.Flags) == 3;
}
/** Whether a pod announces nothing, or nothing that is believed. */
// @ts-ignore: decorator
@inline
export function podApproximate(i: u32): bool {
  return load<u8>(podRow(i), Row.Approximate) != 0;
}
/** Makes a pod count as not ready until `podsShow`: for one pick. */
export function podHide(i: u32): void {
  store<u8>(podRow(i), load<u8>(podRow(i), Row.Flags) | 4, Row.Flags);
}
export function podHidden(i: u32): bool {
  return (load<u8>(podRow(i), Row.Flags) & 4) != 0;
}
/** Ends what `podHide` did. */
export function podsShow(): void {
  for (let i: u32 = 0; i < podHigh; i++) store<u8>(podRow(i), load<u8>(podRow(i), Row.Flags) & 3, Row.Flags);
}
/** Roles of a pod, bits. */
// @ts-ignore: decorator
@inline
export function podRole(i: u32): u32 {
  return load<u8>(podRow(i), Row.Roles);
}
// @ts-ignore: decorator
@inline
export function podPrefills(i: u32): bool {
  return (load<u8>(podRow(i), Row.Roles) & ROLE_PREFILL) != 0;
}
// @ts-ignore: decorator
@inline
export function podModel(i: u32): u32 {
  return load<u16>(podRow(i), Row.Model);
}
/** Whether a pod has one of the roles and the model (or ANY_MODEL), ready or not. */
// @ts-ignore: decorator
@inline
export function podServes(i: u32, roles: u32, model: u32): bool {
  return (podRole(i) & roles) != 0 && (model == ANY_MODEL || podModel(i) == model);
}
// @ts-ignore: decorator
@inline
export function podBlockTokens(i: u32): u32 {
  return load<u32>(blockTokens + (<usize>i << 2));
}
/** Tokens that the pod's KV cache holds, 0 when unknown. */
// @ts-ignore: decorator
@inline
export function podCapacity(i: u32): u32 {
  return load<u32>(podRow(i), Row.Capacity);
}
// @ts-ignore: decorator
@inline
export function podWaiting(i: u32): u32 {
  return load<u32>(podRow(i), Row.Waiting);
}
// @ts-ignore: decorator
@inline
export function podRunning(i: u32): u32 {
  return load<u32>(podRow(i), Row.Running);
}
/** KV-cache usage, 0–1. */
// @ts-ignore: decorator
@inline
export function podUsage(i: u32): f64 {
  return load<f64>(podRow(i), Row.Usage);
}
/** Whether the load is younger than `ttlMs`. */
export function podLoadFresh(i: u32, nowNs: u64, ttlMs: u32): bool {
  const age = load<u32>(podRow(i), Row.LoadAge);
  if (age == AGE_NEVER || age > ttlMs) return false;
  return nowNs - load<u64>(podRow(i), Row.LoadRead) < (<u64>(ttlMs - age) + 1) * 1000000;
}
/** How much faster than the table says the pods are, as this worker has seen; one figure for all pods. */
let pace: f64 = 1;
let paceSamples: f64 = 0;

/** Prefill rate in tokens per second: the table's, corrected by what was seen. */
// @ts-ignore: decorator
@inline
export function podRate(i: u32): f64 {
  return load<f64>(podRow(i), Row.Rate) * pace;
}

/**
 * Takes an observed rate of pod `i`. The correction is shared: a figure per pod would make the pod that was measured
 * first look better than those that never got a request, and keep it so.
 */
export function podObserveRate(i: u32, tokensPerSecond: f64): void {
  const seen = min(max(tokensPerSecond / load<f64>(podRow(i), Row.Rate), 0.02), 50);
  paceSamples = min(paceSamples + 1, 20);
  pace += (seen - pace) / paceSamples;
}
// @ts-ignore: decorator
@inline
export function podAddress(i: u32): usize {
  return addresses + <usize>i * NAME_BYTES;
}
// @ts-ignore: decorator
@inline
export function podAddressSize(i: u32): u32 {
  return load<u8>(addressSizes + i);
}
// @ts-ignore: decorator
@inline
export function podAddressHash(i: u32): u64 {
  return load<u64>(podRow(i), Row.AddressHash);
}
// @ts-ignore: decorator
@inline
export function podName(i: u32): usize {
  return names + <usize>i * NAME_BYTES;
}
// @ts-ignore: decorator
@inline
export function podNameSize(i: u32): u32 {
  return load<u8>(nameSizes + i);
}
/** Whether a pod is left out at this time, because it refused connections. */
// @ts-ignore: decorator
@inline
export function podOut(i: u32, nowNs: u64): bool {
  return load<u64>(podRow(i), Row.OutUntil) > nowNs;
}
export function podSetOut(i: u32, untilNs: u64): void {
  store<u64>(podRow(i), untilNs, Row.OutUntil);
}
