// Texts that a KV block completes besides its last one, which only large blocks do: u64 hashes in cells, chained by the
// block's record.
//
// Cell: text hash u64, next u32 (cell + 1), record u32 (NO_RECORD = free).

// @ts-ignore: decorator
@inline
const CELL: u32 = 16;
// @ts-ignore: decorator
@inline
const NO_RECORD: u32 = 0xffffffff;

let cells: usize = 0;
let capacity: u32 = 0;
let high: u32 = 0;
let free: u32 = 0; // cell + 1
let live: u32 = 0;
let heads: usize = 0;
let mask: u32 = 0;

// @ts-ignore: decorator
@inline
function cell(c: u32): usize {
  return cells + <usize>(c - 1) * CELL;
}

// @ts-ignore: decorator
@inline
function head(record: u32): usize {
  return heads + (<usize>((record * 0x9e3779b1) & mask) << 2);
}

export function textsInit(): void {
  capacity = 1024;
  cells = cells ? heap.realloc(cells, capacity * CELL) : heap.alloc(capacity * CELL);
  high = 0;
  free = 0;
  live = 0;
  newHeads(1023);
}

function newHeads(m: u32): void {
  mask = m;
  const bytes = <usize>(mask + 1) << 2;
  heads = heads ? heap.realloc(heads, bytes) : heap.alloc(bytes);
  memory.fill(heads, 0, bytes);
}

/** Bytes of memory. */
export function textsBytes(): usize {
  return <usize>capacity * CELL + (<usize>(mask + 1) << 2);
}

function link(c: u32): void {
  const at = head(load<u32>(cell(c), 12));
  store<u32>(cell(c), load<u32>(at), 8);
  store<u32>(at, c);
}

function relink(m: u32): void {
  newHeads(m);
  for (let c: u32 = 1; c <= high; c++) {
    if (load<u32>(cell(c), 12) != NO_RECORD) link(c);
  }
}

export function textAdd(record: u32, hash: u64): void {
  let c = free;
  if (c) free = load<u32>(cell(c), 8);
  else {
    if (high == capacity) {
      capacity += capacity >> 1;
      cells = heap.realloc(cells, <usize>capacity * CELL);
    }
    c = ++high;
  }
  store<u64>(cell(c), hash);
  store<u32>(cell(c), record, 12);
  live++;
  link(c);
  if (live > mask) relink((mask << 1) | 1);
}

/** First text of a record, as a cell; 0 when it has none. */
export function textFirst(record: u32): u32 {
  return live ? from(load<u32>(head(record)), record) : 0;
}

/** Next text of the same record after cell `c`. */
export function textNext(c: u32): u32 {
  return from(load<u32>(cell(c), 8), load<u32>(cell(c), 12));
}

function from(c: u32, record: u32): u32 {
  while (c && load<u32>(cell(c), 12) != record) c = load<u32>(cell(c), 8);
  return c;
}

export function textHash(c: u32): u64 {
  return load<u64>(cell(c));
}

/** Frees all texts of a record. */
export function textsDrop(record: u32): void {
  if (!live) return;
  let at = head(record);
  while (load<u32>(at)) {
    const c = load<u32>(at);
    if (load<u32>(cell(c), 12) != record) {
      at = cell(c) + 8;
      continue;
    }
    store<u32>(at, load<u32>(cell(c), 8));
    store<u32>(cell(c), free, 8);
    store<u32>(cell(c), NO_RECORD, 12);
    free = c;
    live--;
  }
}

/** Bytes that `textsSave` writes. */
export function textsSaveBytes(): usize {
  return 16 + <usize>high * CELL;
}

export function textsSave(p: usize): void {
  store<u32>(p, high);
  store<u32>(p, free, 4);
  store<u32>(p, live, 8);
  store<u32>(p, 0, 12);
  memory.copy(p + 16, cells, <usize>high * CELL);
}

/** Takes what `textsSave` wrote; returns the bytes read. */
export function textsLoad(p: usize): usize {
  textsInit();
  high = load<u32>(p);
  free = load<u32>(p, 4);
  live = load<u32>(p, 8);
  capacity = max(capacity, high);
  cells = heap.realloc(cells, <usize>capacity * CELL);
  memory.copy(cells, p + 16, <usize>high * CELL);
  let m = mask;
  while (m < live) m = (m << 1) | 1;
  relink(m);
  return textsSaveBytes();
}
