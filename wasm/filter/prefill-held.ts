// Blocks that a prefill pod holds although nobody will pull them: the client left, or the decode pod died. They cannot
// be given back from here; they are counted until the pod lets them expire.
import { splitExpiryMs } from "../core/disaggregation";
import { podBlockTokens } from "../core/pods";
import { addHeld, countPrefillEvent, P_BLOCKS_LEFT } from "./prefill-metrics";

// A ring of those that expire, oldest first: until ns u64, blocks u64.
// @ts-ignore: decorator
@inline
const SLOTS: u32 = 4096;
const ring: usize = heap.alloc(SLOTS << 4);
let first: u32 = 0;
let count: u32 = 0;

/** Blocks of `tokens` prompt tokens stay behind on `pod`. Beyond 4,096 cases at once the oldest counts as expired. */
export function leaveBlocks(pod: u32, tokens: u32, nowNs: u64): void {
  const size = podBlockTokens(pod);
  const blocks = (tokens + size - 1) / size;
  if (blocks == 0) return;
  if (count == SLOTS) drop();
  const at = ring + (<usize>((first + count) & (SLOTS - 1)) << 4);
  store<u64>(at, nowNs + <u64>splitExpiryMs * 1000000);
  store<u64>(at, blocks, 8);
  count++;
  addHeld(blocks);
  countPrefillEvent(P_BLOCKS_LEFT, blocks);
}

function drop(): void {
  addHeld(-load<i64>(ring + (<usize>first << 4), 8));
  first = (first + 1) & (SLOTS - 1);
  count--;
}

/** Forgets what has expired; from the tick. */
export function expireBlocks(nowNs: u64): void {
  while (count && load<u64>(ring + (<usize>first << 4)) <= nowNs) drop();
}
