// The changes since the last drain, as runs of rows in wire order. A reader applies them in order, so a set id may be
// freed and used again within one delta.
import { MAX_DELTA_ROWS, PUT_BYTES, RUN_PUTS, RUN_REMOVES, RUN_SETS } from "./delta-layout";
import { setMask } from "./pod-sets";

let log: usize = 0;
let capacity: usize = 0;
let size: usize = 0;
let run: usize = 0; // offset of the current run's head
let kind: u16 = 0;

/** 64-bit words of a mask on the wire: enough for the highest pod slot in use. */
export let maskWords: u32 = 1;

/** Raises the mask width; true when it changed, which makes a new snapshot necessary. */
export function growMask(pod: u32): bool {
  const words = (pod >> 6) + 1;
  if (words <= maskWords) return false;
  maskWords = words;
  return true;
}

function reserve(bytes: usize): usize {
  if (size + bytes > capacity) {
    capacity = (size + bytes) << 1;
    if (capacity < 65536) capacity = 65536;
    log = log ? heap.realloc(log, capacity) : heap.alloc(capacity);
  }
  const at = log + size;
  size += bytes;
  return at;
}

function row(k: u16, bytes: u32): usize {
  if (k != kind || run == size || load<u16>(log + run, 2) == 1024) {
    run = size;
    kind = k;
    const head = reserve(4);
    store<u16>(head, k);
    store<u16>(head, 0, 2);
  }
  const at = reserve(bytes);
  store<u16>(log + run, load<u16>(log + run, 2) + 1, 2);
  return at;
}

export function logSet(id: u32): void {
  const at = row(RUN_SETS, 8 + (maskWords << 3));
  store<u64>(at, 0);
  store<u16>(at, <u16>id);
  memory.copy(at + 8, setMask(id), maskWords << 3);
}

export function logPut(hash: u64, meta: u32): void {
  const at = row(RUN_PUTS, PUT_BYTES);
  store<u64>(at, hash);
  store<u32>(at, meta, 8);
}

export function logRemove(hash: u64): void {
  store<u64>(row(RUN_REMOVES, 8), hash);
}

/** Forgets what was logged: a snapshot that follows holds it. */
export function logClear(): void {
  size = 0;
  run = 0;
  kind = 0;
}

export function logSize(): usize {
  return size;
}

/** Start of the log. */
export function logBytes(): usize {
  return log;
}

/** Length in bytes of the next piece from `from`: whole runs, at most MAX_DELTA_ROWS rows and `limit` bytes. */
export function logPiece(from: usize, limit: u32): usize {
  let at = from;
  let n: u32 = 0;
  while (at < size) {
    const k = load<u16>(log + at);
    const c = <u32>load<u16>(log + at, 2);
    const width = k == RUN_SETS ? 8 + (maskWords << 3) : k == RUN_PUTS ? PUT_BYTES : 8;
    const next = at + 4 + <usize>c * width;
    if (at > from && (n + c > MAX_DELTA_ROWS || next - from > limit)) break;
    n += c;
    at = next;
  }
  return at - from;
}
