// How much of a prompt each pod holds: the longest run of blocks from the first one, by the table and by what was
// routed and not announced yet.
import { MAX_PODS } from "../shared/layout";
import { prefixFind } from "../shared/prefix-table";
import { liveBuckets, liveSets, liveTable, liveWords } from "../shared/table-reader";
import { podBlockTokens, podHigh, podKnown } from "./pods";
import { speculativeAny, speculativeHas } from "./speculative";

// @ts-ignore: decorator
@inline
const BATCH: u32 = 16;
/**
 * From so many blocks on only each STRIDE-th one is looked up: sets along a chain only shrink, so where two of them are
 * the same, all between are, too.
 */
// @ts-ignore: decorator
@inline
const STRIDE_FROM: u32 = 512;
// @ts-ignore: decorator
@inline
const STRIDE: u32 = 32;

const alive: usize = heap.alloc(MAX_PODS >> 3);
const metas: usize = heap.alloc(BATCH << 2);
const blocks: usize = heap.alloc(MAX_PODS << 2); // matched blocks per pod
const tokens: usize = heap.alloc(MAX_PODS << 2); // predicted cached tokens per pod
const kept: usize = heap.alloc(MAX_PODS << 2);

/** Predicted cached tokens of pod `i` after `matchPrompt`, floored to its KV block. */
// @ts-ignore: decorator
@inline
export function matchTokens(i: u32): u32 {
  return load<u32>(tokens + (<usize>i << 2));
}

/** Matched text blocks of pod `i`. */
// @ts-ignore: decorator
@inline
export function matchBlocks(i: u32): u32 {
  return load<u32>(blocks + (<usize>i << 2));
}

/** Most text blocks that any pod matched. */
export function bestMatch(): u32 {
  let most: u32 = 0;
  for (let i: u32 = 0; i < podHigh; i++) most = max(most, matchBlocks(i));
  return most;
}

/** Says what a pod would match, where there is no table to look it up in: simulations and tests. */
export function matchPut(pod: u32, cachedTokens: u32): void {
  store<u32>(tokens + (<usize>pod << 2), cachedTokens);
}

export function matchClear(): void {
  memory.fill(blocks, 0, <usize>podHigh << 2);
  memory.fill(tokens, 0, <usize>podHigh << 2);
}

/**
 * Makes cached prefixes count half (`share` 1) or nothing (0) in the pick to come, for a request that weighs load more;
 * `matchRestore` brings back what is really expected to be cached.
 */
export function matchWeigh(share: u32): void {
  memory.copy(kept, tokens, <usize>podHigh << 2);
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    const at = tokens + (<usize>pod << 2);
    store<u32>(at, (load<u32>(at) * share) >> 1);
  }
}

export function matchRestore(): void {
  memory.copy(tokens, kept, <usize>podHigh << 2);
}

/**
 * Matches `count` block hashes at `hashes` for all pods. `bytesPerToken` converts blocks that only the speculative
 * set knows. `endsOnBlock`: the prompt ends exactly where its last block does, and an engine never serves a whole
 * prompt from its cache (it computes at least one token), so a full match counts one block less.
 */
export function matchPrompt(
  hashes: usize,
  count: u32,
  blockBytes: u32,
  bytesPerToken: f64,
  endsOnBlock: bool,
  nowMs: u64,
): void {
  matchClear();
  if (liveTable) walk(hashes, count, endsOnBlock);
  const limit = endsOnBlock && count > 0 ? count - 1 : count;
  // Pods mostly end their run at one of a few blocks, and no pod is on its way to hold these.
  let asked: u32 = 0xffffffff;
  let some = false;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (!podKnown(pod)) continue;
    const at = blocks + (<usize>pod << 2);
    const known = load<u32>(at);
    let j = known;
    if (j < limit) {
      if (j != asked) some = speculativeAny(load<u64>(hashes + (<usize>j << 3)));
      asked = j;
      if (some) while (j < limit && holds(load<u64>(hashes + (<usize>j << 3)), pod, nowMs)) j++;
    }
    let n = load<u32>(tokens + (<usize>pod << 2));
    if (j > known) {
      store<u32>(at, j);
      // The prompt's own ratio is better than the model's once some of it is known.
      const ratio = known >= 8 && n > 0 ? <f64>(known * blockBytes) / <f64>n : bytesPerToken;
      n += <u32>(<f64>((j - known) * blockBytes) / ratio);
    }
    if (n) store<u32>(tokens + (<usize>pod << 2), n - (n % podBlockTokens(pod)));
  }
}

function holds(hash: u64, pod: u32, nowMs: u64): bool {
  if (speculativeHas(hash, pod, nowMs)) return true;
  if (!liveTable) return false;
  const meta = prefixFind(liveTable, liveBuckets, hash);
  if (!meta || pod >= liveWords << 6) return false;
  const set = liveSets + ((<usize>load<u16>(meta) * liveWords) << 3);
  return ((load<u64>(set + ((pod >> 6) << 3)) >> (<u64>pod & 63)) & 1) != 0;
}

function walk(hashes: usize, count: u32, endsOnBlock: bool): void {
  const words = liveWords;
  memory.fill(alive, 0xff, words << 3);
  let lastSet: u32 = 0xffffffff;
  let last: u32 = 0; // meta of the block before
  let done: u32 = 0;
  let beforeLast: u32 = 0;
  let any = true;
  // Where a run of blocks that are looked up one by one ends.
  let oneByOne: u32 = count < STRIDE_FROM ? count : 0;
  while (done < count && any) {
    if (done == oneByOne) {
      const end = done + STRIDE;
      if (end < count) {
        const at = prefixFind(liveTable, liveBuckets, load<u64>(hashes + (<usize>(end - 1) << 3)));
        const meta = at ? load<u32>(at) : 0;
        if ((meta & 0xffff) == lastSet) {
          last = meta;
          done = end;
          oneByOne = end;
          continue;
        }
      }
      oneByOne = min(end, count);
    }
    // Independent look-ups first: the misses of one batch overlap, a walk that branches on each would wait for all.
    const n = min(oneByOne - done, BATCH);
    for (let i: u32 = 0; i < n; i++) {
      const at = prefixFind(liveTable, liveBuckets, load<u64>(hashes + (<usize>(done + i) << 3)));
      store<u32>(metas + (i << 2), at ? load<u32>(at) : 0);
    }
    for (let i: u32 = 0; i < n; i++) {
      const meta = load<u32>(metas + (i << 2));
      const set = meta & 0xffff;
      if (set != lastSet) {
        any = narrow(liveSets + ((<usize>set * words) << 3), set, words, done + i, last);
        if (!any) return;
        lastSet = set;
      }
      beforeLast = last;
      last = meta;
    }
    done += n;
  }
  // Who is left has everything; an engine still computes the last tokens.
  const whole = endsOnBlock && count > 0;
  finish(words, whole ? count - 1 : count, whole ? beforeLast : last);
}

/** Narrows `alive` to a set; pods that drop out have matched `matched` blocks, the last with `meta`. */
function narrow(set: usize, id: u32, words: u32, matched: u32, meta: u32): bool {
  let left: u64 = 0;
  for (let w: u32 = 0; w < words; w++) {
    const a = load<u64>(alive + (w << 3));
    const s = id == 0 ? 0 : load<u64>(set + (w << 3));
    let gone = a & ~s;
    while (gone) {
      const pod = (w << 6) + <u32>ctz(gone);
      gone &= gone - 1;
      record(pod, matched, meta);
    }
    store<u64>(alive + (w << 3), a & s);
    left |= a & s;
  }
  return left != 0;
}

function finish(words: u32, matched: u32, meta: u32): void {
  for (let w: u32 = 0; w < words; w++) {
    let a = load<u64>(alive + (w << 3));
    while (a) {
      const pod = (w << 6) + <u32>ctz(a);
      a &= a - 1;
      record(pod, matched, meta);
    }
  }
}

// @ts-ignore: decorator
@inline
function record(pod: u32, matched: u32, meta: u32): void {
  if (pod >= podHigh) return;
  store<u32>(blocks + (<usize>pod << 2), matched);
  store<u32>(tokens + (<usize>pod << 2), matched ? (meta >> 16) << 4 : 0);
}
