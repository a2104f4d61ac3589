// The prefix entries: one cache line (64 bytes) holds five entries, so a look-up touches one line nearly always and
// an entry costs 15 bytes at a load of 0.85. Both sides run this code, so a snapshot is a copy of the agent's image.
//
// Bucket: hash u64 × 5, then (set id u16, tokens/16 u16) × 5, then spilled u32: how many entries that belong here or
// before passed on to a later bucket. Hash 0 means empty; a real hash of 0 is stored as 1.

// @ts-ignore: decorator
@inline
const BUCKET_BYTES: u32 = 64;
// @ts-ignore: decorator
@inline
const BUCKET_ENTRIES: u32 = 5;
/** Most buckets: 2 GiB. */
// @ts-ignore: decorator
@inline
export const MAX_BUCKETS: u32 = 33554432;
// @ts-ignore: decorator
@inline
const META: u32 = 40;
// @ts-ignore: decorator
@inline
const SPILLED: u32 = 60;

// @ts-ignore: decorator
@inline
function keyOf(hash: u64): u64 {
  return hash == 0 ? 1 : hash;
}

// @ts-ignore: decorator
@inline
function home(table: usize, buckets: u32, key: u64): usize {
  return table + <usize>(((key >> 32) * <u64>buckets) >> 32) * BUCKET_BYTES;
}

/** The slot that has a key, -1 when none has. */
// @ts-ignore: decorator
@inline
function slotIn(bucket: usize, key: u64): i32 {
  // No key is there twice. Sums instead of branches: which slot it is in nobody can guess, and a wrong guess waits for
  // the bucket before it is known to be wrong.
  return (
    <i32>(load<u64>(bucket) == key) +
    (<i32>(load<u64>(bucket, 8) == key) << 1) +
    <i32>(load<u64>(bucket, 16) == key) * 3 +
    (<i32>(load<u64>(bucket, 24) == key) << 2) +
    <i32>(load<u64>(bucket, 32) == key) * 5 -
    1
  );
}

/** A slot that is empty, -1 when there is none. */
// @ts-ignore: decorator
@inline
function emptyIn(bucket: usize): i32 {
  for (let i: u32 = 0; i < BUCKET_ENTRIES; i++) {
    if (load<u64>(bucket + (<usize>i << 3)) == 0) return <i32>i;
  }
  return -1;
}

/** Reads where a hash's entry is to be expected, so that `prefixFind` need not wait for it; what it read means nothing. */
// @ts-ignore: decorator
@inline
export function prefixFetch(table: usize, buckets: u32, hash: u64): u64 {
  return load<u64>(home(table, buckets, keyOf(hash)));
}

/**
 * Address of the entry's meta word (set id in the low, tokens/16 in the high half), 0 when absent.
 */
export function prefixFind(table: usize, buckets: u32, hash: u64): usize {
  const key = keyOf(hash);
  let bucket = home(table, buckets, key);
  for (let steps: u32 = 0; steps < buckets; steps++) {
    const i = slotIn(bucket, key);
    if (i >= 0) return bucket + META + (<usize>i << 2);
    if (load<u32>(bucket, SPILLED) == 0) return 0;
    bucket = nextBucket(table, buckets, bucket);
  }
  return 0;
}

// @ts-ignore: decorator
@inline
function nextBucket(table: usize, buckets: u32, bucket: usize): usize {
  const next = bucket + BUCKET_BYTES;
  return next == table + <usize>buckets * BUCKET_BYTES ? table : next;
}

/** Writes an entry, new or old. Returns 1 when it is new, 0 when it was there, -1 when the table is full. */
export function prefixPut(table: usize, buckets: u32, hash: u64, meta: u32): i32 {
  const found = prefixFind(table, buckets, hash);
  if (found) {
    store<u32>(found, meta);
    return 0;
  }
  const key = keyOf(hash);
  let bucket = home(table, buckets, key);
  for (let steps: u32 = 0; steps < buckets; steps++) {
    const i = emptyIn(bucket);
    if (i >= 0) {
      store<u64>(bucket + (<usize>i << 3), key);
      store<u32>(bucket + META + (<usize>i << 2), meta);
      let b = home(table, buckets, key);
      while (b != bucket) {
        store<u32>(b, load<u32>(b, SPILLED) + 1, SPILLED);
        b = nextBucket(table, buckets, b);
      }
      return 1;
    }
    bucket = nextBucket(table, buckets, bucket);
  }
  return -1;
}

/** Removes an entry; false when it was not there. */
export function prefixRemove(table: usize, buckets: u32, hash: u64): bool {
  const found = prefixFind(table, buckets, hash);
  if (!found) return false;
  const offset = (found - table) & (BUCKET_BYTES - 1);
  const bucket = found - offset;
  store<u64>(bucket + ((offset - META) << 1), 0);
  store<u32>(found, 0);
  let b = home(table, buckets, keyOf(hash));
  while (b != bucket) {
    const spilled = load<u32>(b, SPILLED);
    if (spilled) store<u32>(b, spilled - 1, SPILLED);
    b = nextBucket(table, buckets, b);
  }
  return true;
}

/** Bytes of a table of `buckets` buckets. */
// @ts-ignore: decorator
@inline
export function prefixBytes(buckets: u32): usize {
  return <usize>buckets * BUCKET_BYTES;
}

/**
 * Grows a table in its place: the memory at `table` has room for `to` buckets. Homes keep the order of hashes and move
 * towards the end only, so buckets are emptied from the last one on into those behind them. An entry that lies behind
 * its home may come into a bucket that is yet to be emptied; it is then placed once more.
 */
export function prefixGrow(table: usize, buckets: u32, to: u32): void {
  memory.fill(table + prefixBytes(buckets), 0, prefixBytes(to) - prefixBytes(buckets));
  for (let b: u32 = 0; b < buckets; b++) store<u32>(table + prefixBytes(b), 0, SPILLED);
  const taken = heap.alloc(SPILLED);
  for (let b = buckets; b > 0; b--) {
    const at = table + prefixBytes(b - 1);
    memory.copy(taken, at, SPILLED);
    memory.fill(at, 0, SPILLED);
    for (let i: u32 = 0; i < BUCKET_ENTRIES; i++) {
      const hash = load<u64>(taken + (<usize>i << 3));
      if (hash) prefixPut(table, to, hash, load<u32>(taken + META + (<usize>i << 2)));
    }
  }
  heap.free(taken);
}
