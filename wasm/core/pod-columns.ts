// What the policy's own plugins know of pods: label bits, custom columns, adapters. Filled by the agent.
import { MAX_PODS } from "../shared/pods-layout";
import { COLUMN_ROW_BYTES, MAX_ADAPTERS, MAX_COLUMNS } from "../shared/program-layout";

const labels: usize = heap.alloc(MAX_PODS << 3);
const columns: usize = heap.alloc(<usize>MAX_PODS * MAX_COLUMNS * 4);
const adapterCounts: usize = heap.alloc(MAX_PODS << 2); // active u8, waiting u8, most u16
const adapters: usize = heap.alloc(<usize>MAX_PODS * MAX_ADAPTERS * 8);
let readNs: u64 = 0;
let ever: bool = false;

function clear(): void {
  memory.fill(labels, 0, MAX_PODS << 3);
  memory.fill(adapterCounts, 0, MAX_PODS << 2);
  for (let i: u32 = 0; i < MAX_PODS * MAX_COLUMNS; i++) store<f32>(columns + (<usize>i << 2), NaN);
}

/** Takes a column section; false, with nothing changed, when it is not whole. Pods it does not name have nothing. */
export function columnsRead(p: usize, n: u32, nowNs: u64): bool {
  if (n < 8) return false;
  const count = <u32>load<u16>(p);
  let at: u32 = 8;
  for (let i: u32 = 0; i < count; i++) {
    if (n - at < COLUMN_ROW_BYTES) return false;
    const roots = <u32>load<u8>(p + at, 2) + <u32>load<u8>(p + at, 3);
    if (<u32>load<u16>(p + at) >= MAX_PODS || roots > MAX_ADAPTERS) return false;
    at += COLUMN_ROW_BYTES;
    if (n - at < roots << 3) return false;
    at += roots << 3;
  }
  clear();
  at = 8;
  for (let i: u32 = 0; i < count; i++) {
    const row = p + at;
    const slot = <usize>load<u16>(row);
    const roots = <u32>load<u8>(row, 2) + <u32>load<u8>(row, 3);
    store<u32>(adapterCounts + (slot << 2), load<u32>(row, 2));
    store<u64>(labels + (slot << 3), load<u64>(row, 8));
    memory.copy(columns + slot * MAX_COLUMNS * 4, row + 16, MAX_COLUMNS << 2);
    memory.copy(adapters + slot * MAX_ADAPTERS * 8, row + COLUMN_ROW_BYTES, roots << 3);
    at += COLUMN_ROW_BYTES + (roots << 3);
  }
  readNs = nowNs;
  if (count) ever = true;
  return true;
}

/** Whether custom columns are young enough to use. */
export function columnsFresh(nowNs: u64, ttlMs: u32): bool {
  return readNs != 0 && nowNs - readNs <= <u64>ttlMs * 1000000;
}

/** Whether any columns have arrived. */
export function columnsEver(): bool {
  return ever;
}
/** Label bits of a pod, and where its columns are. */
export function podLabels(pod: u32): u64 {
  return load<u64>(labels + (<usize>pod << 3));
}
export function columnsAt(pod: u32): usize {
  return columns + <usize>pod * MAX_COLUMNS * 4;
}

// @ts-ignore: decorator
@inline
export function podLabel(pod: u32, bit: u32): bool {
  return ((load<u64>(labels + (<usize>pod << 3)) >> bit) & 1) != 0;
}
/** Value of a custom column, NaN when it is missing. */
// @ts-ignore: decorator
@inline
export function podColumn(pod: u32, column: u32): f64 {
  return <f64>load<f32>(columns + ((<usize>pod * MAX_COLUMNS + column) << 2));
}
/** Hash in a column of label values, 0 when the pod lacks the label. */
// @ts-ignore: decorator
@inline
export function podLabelHash(pod: u32, column: u32): u32 {
  return load<u32>(columns + ((<usize>pod * MAX_COLUMNS + column) << 2));
}

/** The adapter (by its root) runs on the pod. */
export function adapterActive(pod: u32, root: u64): bool {
  return among(pod, root, 0, load<u8>(adapterCounts + (<usize>pod << 2)));
}
/** The adapter is waited for on the pod. */
export function adapterWaiting(pod: u32, root: u64): bool {
  const active = <u32>load<u8>(adapterCounts + (<usize>pod << 2));
  return among(pod, root, active, active + load<u8>(adapterCounts + (<usize>pod << 2), 1));
}
/** The pod can load one more adapter. */
export function adapterRoom(pod: u32): bool {
  const at = adapterCounts + (<usize>pod << 2);
  return <u32>load<u8>(at) + <u32>load<u8>(at, 1) < <u32>load<u16>(at, 2);
}

function among(pod: u32, root: u64, from: u32, to: u32): bool {
  const at = adapters + <usize>pod * MAX_ADAPTERS * 8;
  for (let i = from; i < to; i++) {
    if (load<u64>(at + (<usize>i << 3)) == root) return true;
  }
  return false;
}

clear();
