// How much of a prompt each pod holds, by the writer's own table: what the score routes answer. The filter's match also
// knows what it routed a moment ago; this knows what the engines announced.
import { maskWords } from "./delta-writer";
import { setMask } from "./pod-sets";
import { MAX_PODS } from "./pods-layout";
import { prefixFind } from "./prefix-table";
import { entries, table, tableBuckets } from "./published-table";

/** Bytes of a pod's result: blocks u32, tokens u32, tokens at the end of the block before the last matched one u32. */
// @ts-ignore: decorator
@inline
export const SCORE_BYTES: u32 = 12;

const alive: usize = heap.alloc(MAX_PODS >> 3);
const results: usize = heap.alloc(MAX_PODS * SCORE_BYTES);

/**
 * Longest run from the first of `count` text-block hashes at `hashes` that each pod holds. Returns the address of the
 * results by pod slot.
 */
export function scoreHashes(hashes: usize, count: u32): usize {
  memory.fill(results, 0, MAX_PODS * SCORE_BYTES);
  if (entries == 0) return results;
  memory.fill(alive, 0xff, maskWords << 3);
  let last: u32 = 0;
  let beforeLast: u32 = 0;
  let i: u32 = 0;
  for (; i < count; i++) {
    const at = prefixFind(table, tableBuckets, load<u64>(hashes + (<usize>i << 3)));
    if (!at || !narrow(load<u16>(at), i, last, beforeLast)) break;
    beforeLast = last;
    last = load<u32>(at);
  }
  for (let w: u32 = 0; w < maskWords; w++) leave(w, load<u64>(alive + (w << 3)), i, last, beforeLast);
  return results;
}

/** Leaves the pods of set `id` alive; false when none is left (whose results are written). */
function narrow(id: u32, blocks: u32, last: u32, beforeLast: u32): bool {
  let left: u64 = 0;
  for (let w: u32 = 0; w < maskWords; w++) {
    const a = load<u64>(alive + (w << 3));
    const s = load<u64>(setMask(id) + (w << 3));
    leave(w, a & ~s, blocks, last, beforeLast);
    store<u64>(alive + (w << 3), a & s);
    left |= a & s;
  }
  return left != 0;
}

function leave(word: u32, pods: u64, blocks: u32, last: u32, beforeLast: u32): void {
  while (pods) {
    const at = results + ((word << 6) + <u32>ctz(pods)) * SCORE_BYTES;
    pods &= pods - 1;
    store<u32>(at, blocks);
    store<u32>(at, (last >> 16) << 4, 4);
    store<u32>(at, (beforeLast >> 16) << 4, 8);
  }
}
