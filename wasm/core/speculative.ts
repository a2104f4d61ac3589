// What this worker has routed and the engines have not announced yet: (block hash, pod) with seconds of life, so that
// a burst sharing a cold prefix stays together. Four-way sets in one array; a full set loses its oldest.

// @ts-ignore: decorator
@inline
const SETS: u32 = 16384;
// @ts-ignore: decorator
@inline
const WAYS: u32 = 4;
/** ms an entry lives: longer than a request normally waits for its prefill. */
// @ts-ignore: decorator
@inline
export const SPECULATIVE_MS: u32 = 10000;

// Entry: key u64, expiry ms u64.
const entries: usize = heap.alloc(SETS * WAYS * 16);
memory.fill(entries, 0, SETS * WAYS * 16);

// @ts-ignore: decorator
@inline
function keyOf(hash: u64, pod: u32): u64 {
  const k = (hash ^ ((<u64>pod + 1) * 0x9e3779b97f4a7c15)) * 0xc2b2ae3d27d4eb4f;
  return k == 0 ? 1 : k;
}

export function speculativeAdd(hash: u64, pod: u32, nowMs: u64): void {
  const key = keyOf(hash, pod);
  const set = entries + (<usize>(<u32>(key >> 40) & (SETS - 1)) << 6);
  let victim = set;
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + (i << 4);
    if (load<u64>(e) == key) {
      victim = e;
      break;
    }
    if (load<u64>(e, 8) < load<u64>(victim, 8)) victim = e;
  }
  store<u64>(victim, key);
  store<u64>(victim, nowMs + SPECULATIVE_MS, 8);
}

export function speculativeHas(hash: u64, pod: u32, nowMs: u64): bool {
  const key = keyOf(hash, pod);
  const set = entries + (<usize>(<u32>(key >> 40) & (SETS - 1)) << 6);
  for (let i: u32 = 0; i < WAYS; i++) {
    const e = set + (i << 4);
    if (load<u64>(e) == key) return load<u64>(e, 8) > nowMs;
  }
  return false;
}
