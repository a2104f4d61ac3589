// The pods that a pick still considers: a dense list that filters shorten, with columns beside it by place in the list.
import { MAX_PODS } from "../shared/pods-layout";

const list: usize = memory.data(MAX_PODS << 1, 64);
const kept: usize = memory.data(MAX_PODS << 1, 64);
const places: usize = memory.data(MAX_PODS << 1, 64); // place + 1 of a pod, 0 = not in the list

/** Marks of the places: which to keep. */
const marks: usize = memory.data(MAX_PODS, 64);
/** Values of one operation, f64 by place. */
const values: usize = memory.data(MAX_PODS << 3, 64);

export let candidateCount: u32 = 0;

/** Pod slot at a place. */
// @ts-ignore: decorator
@inline
export function candidate(place: u32): u32 {
  return load<u16>(list + (<usize>place << 1));
}

// @ts-ignore: decorator
@inline
export function value(place: u32): f64 {
  return load<f64>(values + (<usize>place << 3));
}
// @ts-ignore: decorator
@inline
export function setValue(place: u32, v: f64): void {
  store<f64>(values + (<usize>place << 3), v);
}
// @ts-ignore: decorator
@inline
export function mark(place: u32, keep: bool): void {
  store<u8>(marks + place, keep ? 1 : 0);
}

export function candidatesClear(): void {
  candidateCount = 0;
}

export function candidateAdd(pod: u32): void {
  store<u16>(list + (<usize>candidateCount << 1), <u16>pod);
  candidateCount++;
}

/** Keeps the marked places; when none is marked and `fallback` is set, all of them. */
export function keepMarked(fallback: bool): void {
  let n: u32 = 0;
  for (let i: u32 = 0; i < candidateCount; i++) {
    if (!load<u8>(marks + i)) continue;
    store<u16>(kept + (<usize>n << 1), load<u16>(list + (<usize>i << 1)));
    n++;
  }
  if (n == 0 && fallback) return;
  memory.copy(list, kept, <usize>n << 1);
  candidateCount = n;
}

/** Remembers each pod's place, for operations that go through pods in another order; `placesEnd` forgets them. */
export function placesBegin(): void {
  for (let i: u32 = 0; i < candidateCount; i++) store<u16>(places + (<usize>candidate(i) << 1), <u16>(i + 1));
}
/** -1 when the pod is no candidate. */
// @ts-ignore: decorator
@inline
export function placeOf(pod: u32): i32 {
  return <i32>load<u16>(places + (<usize>pod << 1)) - 1;
}
export function placesEnd(): void {
  for (let i: u32 = 0; i < candidateCount; i++) store<u16>(places + (<usize>candidate(i) << 1), 0);
}
