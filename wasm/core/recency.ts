// Which pods were chosen longest ago: one list of pods per use, oldest first, in this worker.
import { MAX_PODS } from "../shared/pods-layout";

/** Order of the last choices that hit no cache: no-hit-lru-scorer. */
// @ts-ignore: decorator
@inline
export const COLD: u32 = 0;
/** Order of all last choices: round-robin. */
// @ts-ignore: decorator
@inline
export const ALL: u32 = 1;
// @ts-ignore: decorator
@inline
export const END: u32 = 0xffff;

// Per list and pod: next u16, previous u16; then the pod's address hash when it was last chosen.
const links: usize = heap.alloc(MAX_PODS << 3);
const owners: usize = heap.alloc(MAX_PODS << 4);
const heads: usize = heap.alloc(2 << 2); // oldest u16, newest u16
const sizes: usize = heap.alloc(2 << 2);

export function recencyClear(): void {
  memory.fill(owners, 0, MAX_PODS << 4);
  memory.fill(heads, 0xff, 2 << 2);
  memory.fill(sizes, 0, 2 << 2);
}

// @ts-ignore: decorator
@inline
function link(list: u32, pod: u32): usize {
  return links + ((<usize>list * MAX_PODS + pod) << 2);
}
// @ts-ignore: decorator
@inline
function owner(list: u32, pod: u32): usize {
  return owners + ((<usize>list * MAX_PODS + pod) << 3);
}

/** The pod chosen longest ago, END when none was. */
export function oldest(list: u32): u32 {
  return load<u16>(heads + (<usize>list << 2));
}
/** The pod chosen next after this one, END when it is the last. */
export function newer(list: u32, pod: u32): u32 {
  return load<u16>(link(list, pod));
}
/** Whether the pod with this address is in the list; its slot may have been another pod's. */
export function remembered(list: u32, pod: u32, address: u64): bool {
  return load<u64>(owner(list, pod)) == (address | 1);
}

/** Puts a pod at the new end; a list of more than `limit` pods forgets its oldest. */
export function touch(list: u32, pod: u32, address: u64, limit: u32): void {
  if (load<u64>(owner(list, pod))) drop(list, pod);
  const head = heads + (<usize>list << 2);
  const last = <u32>load<u16>(head, 2);
  const at = link(list, pod);
  store<u16>(at, <u16>END);
  store<u16>(at, <u16>last, 2);
  if (last == END) store<u16>(head, <u16>pod);
  else store<u16>(link(list, last), <u16>pod);
  store<u16>(head, <u16>pod, 2);
  store<u64>(owner(list, pod), address | 1);
  const size = load<u32>(sizes + (<usize>list << 2)) + 1;
  store<u32>(sizes + (<usize>list << 2), size);
  if (size > limit) drop(list, oldest(list));
}

function drop(list: u32, pod: u32): void {
  const head = heads + (<usize>list << 2);
  const at = link(list, pod);
  const next = <u32>load<u16>(at);
  const previous = <u32>load<u16>(at, 2);
  if (previous == END) store<u16>(head, <u16>next);
  else store<u16>(link(list, previous), <u16>next);
  if (next == END) store<u16>(head, <u16>previous, 2);
  else store<u16>(link(list, next), <u16>previous, 2);
  store<u64>(owner(list, pod), 0);
  store<u32>(sizes + (<usize>list << 2), load<u32>(sizes + (<usize>list << 2)) - 1);
}

recencyClear();
