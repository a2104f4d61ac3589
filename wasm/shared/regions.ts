// Memory for tables: a few big regions under one limit. The filter's heap never takes anything back, so what a table
// leaves is kept here, merged with its neighbours and used again; all that was ever taken from the heap counts.

/** Regions begin at a cache line. */
// @ts-ignore: decorator
@inline
const LINE: usize = 64;
// @ts-ignore: decorator
@inline
const MAX_EXTENTS: u32 = 64;
/** Left to the heap's small blocks when memory grows, so that they do not make it double. */
// @ts-ignore: decorator
@inline
const SPARE: usize = 1048576;
/** What the heap (AssemblyScript's stub runtime) puts before each block. */
// @ts-ignore: decorator
@inline
const HEAP_HEAD: usize = 4;

// Extents in the order of their addresses: start u32, bytes u32, used u32.
// @ts-ignore: decorator
@inline
const ROW: u32 = 12;
const extents: usize = heap.alloc(MAX_EXTENTS * ROW);
let count: u32 = 0;
/** Where the heap's next block would begin if nobody else took one since. */
let heapNext: usize = 0;
let limit: usize = 0;

/** Bytes taken from the heap so far, in use or kept for reuse. */
export let regionsBytes: usize = 0;

/** Sets the most bytes that may be taken in all. */
export function regionsLimit(bytes: usize): void {
  limit = bytes;
}

// @ts-ignore: decorator
@inline
function row(i: u32): usize {
  return extents + <usize>(i * ROW);
}
// @ts-ignore: decorator
@inline
function startOf(i: u32): usize {
  return <usize>load<u32>(row(i));
}
// @ts-ignore: decorator
@inline
function bytesOf(i: u32): usize {
  return <usize>load<u32>(row(i), 4);
}
// @ts-ignore: decorator
@inline
function usedAt(i: u32): bool {
  return load<u32>(row(i), 8) != 0;
}

function put(i: u32, start: usize, bytes: usize, used: bool): void {
  store<u32>(row(i), <u32>start);
  store<u32>(row(i), <u32>bytes, 4);
  store<u32>(row(i), used ? 1 : 0, 8);
}

function insert(i: u32, start: usize, bytes: usize, used: bool): void {
  memory.copy(row(i + 1), row(i), <usize>((count - i) * ROW));
  count++;
  put(i, start, bytes, used);
}

/**
 * Takes a region of at least `bytes`, its content undefined; 0 when the limit or the machine does not allow it. The
 * smallest free extent that fits is used, else the heap gives what the last extent lacks.
 */
export function regionTake(bytes: usize): usize {
  const size = (bytes + LINE - 1) & ~(LINE - 1);
  let best: u32 = count;
  for (let i: u32 = 0; i < count; i++) {
    if (!usedAt(i) && bytesOf(i) >= size && (best == count || bytesOf(i) < bytesOf(best))) best = i;
  }
  if (best == count) {
    if (!extend(size)) return 0;
    best = count - 1;
  }
  const start = startOf(best);
  const rest = bytesOf(best) - size;
  if (rest && count < MAX_EXTENTS) {
    insert(best + 1, start + size, rest, false);
    put(best, start, size, true);
  } else put(best, start, bytesOf(best), true);
  return start;
}

/** Gives back the region at `start`; its memory is used again. */
export function regionGive(start: usize): void {
  for (let i: u32 = 0; i < count; i++) {
    if (startOf(i) != start) continue;
    put(i, start, bytesOf(i), false);
    join(i);
    if (i) join(i - 1);
    return;
  }
}

/** Merges extents `i` and the next one, when both are free and touch. */
function join(i: u32): void {
  if (i + 1 >= count || usedAt(i) || usedAt(i + 1) || startOf(i) + bytesOf(i) != startOf(i + 1)) return;
  put(i, startOf(i), bytesOf(i) + bytesOf(i + 1), false);
  memory.copy(row(i + 1), row(i + 2), <usize>((count - i - 2) * ROW));
  count--;
}

/** Makes the last extent a free one of at least `size` bytes; false when that may not be. */
function extend(size: usize): bool {
  // A block that is freed at once tells where the heap ends.
  const end = heap.alloc(1);
  heap.free(end);
  const fresh = count == 0 || end != heapNext;
  if (count == MAX_EXTENTS) return false;
  const tail = !fresh && !usedAt(count - 1) ? bytesOf(count - 1) : 0;
  // Of a fresh block up to a line is lost to alignment.
  const need = fresh ? size + LINE : size - tail;
  if (regionsBytes + need > limit) return false;
  // The heap would double the memory, and trap where that fails; this takes what is needed and can be refused.
  const missing = <i64>(end + need + SPARE) - (<i64>memory.size() << 16);
  if (missing > 0 && memory.grow(<i32>((missing + 65535) >> 16)) < 0) return false;
  // A multiple of 16 with its head, so that the next block begins where this one ends.
  const block = heap.alloc(need - HEAP_HEAD);
  heapNext = block + need;
  regionsBytes += need;
  if (tail) {
    put(count - 1, startOf(count - 1), size, false);
    return true;
  }
  insert(count, fresh ? (block + LINE - 1) & ~(LINE - 1) : startOf(count - 1) + bytesOf(count - 1), size, false);
  return true;
}
