// How much of a prompt each pod holds: the longest run of blocks from the first one, by the table and by what was
// routed and not announced yet.
import { MAX_PODS } from "../shared/pods-layout";
import { prefixFind } from "../shared/prefix-table";
import { liveBuckets, liveSets, liveTable, liveWords } from "../shared/table-reader";
import { podApproximate, podBlockTokens, podHigh, podKnown } from "./pods";
import { speculativeAny, speculativeEnd, speculativeFind, speculativeTokens } from "./speculative";

/** Blocks that are walked at once; a power of four. */
// @ts-ignore: decorator
@inline
const GROUP: u32 = 256;
/** Up to so many blocks are looked up at once where any two differ: one wait for memory. */
// @ts-ignore: decorator
@inline
const SHORT: u32 = 16;

const alive: usize = heap.alloc(MAX_PODS >> 3);
const metas: usize = heap.alloc(GROUP << 2); // of a group's blocks
const blocks: usize = heap.alloc(MAX_PODS << 2); // matched blocks per pod
const tokens: usize = heap.alloc(MAX_PODS << 2); // predicted cached tokens per pod
const kept: usize = heap.alloc(MAX_PODS << 2);
const announced: usize = heap.alloc(MAX_PODS << 2); // matched blocks per pod by the table alone
// The same as an exact prompt's own hashes have it, while its approximate ones are matched.
const exactBlocks: usize = heap.alloc(MAX_PODS << 2);
const exactTokens: usize = heap.alloc(MAX_PODS << 2);
const exactAnnounced: usize = heap.alloc(MAX_PODS << 2);
/** Whether the last match has both. */
let both: bool = false;

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
  both = false;
  memory.fill(blocks, 0, <usize>podHigh << 2);
  memory.fill(tokens, 0, <usize>podHigh << 2);
}

/** Puts what an exact prompt matched aside, before its approximate hashes are matched. */
export function matchAside(): void {
  const bytes = <usize>podHigh << 2;
  memory.copy(exactBlocks, blocks, bytes);
  memory.copy(exactTokens, tokens, bytes);
  memory.copy(exactAnnounced, announced, bytes);
}

/** After that: what the exact ones matched counts for all pods that are not known approximately alone. */
export function matchMerge(): void {
  both = true;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (podApproximate(pod)) continue;
    const at = <usize>pod << 2;
    store<u32>(blocks + at, load<u32>(exactBlocks + at));
    store<u32>(tokens + at, load<u32>(exactTokens + at));
    store<u32>(announced + at, load<u32>(exactAnnounced + at));
  }
}

/** Cached tokens of pod `i` by its announced blocks alone; -1 where some are on their way to it and not announced yet. */
export function matchPromised(i: u32): i32 {
  const at = <usize>i << 2;
  if (load<u32>(blocks + at) != load<u32>(announced + at)) return -1;
  if (!both || !podApproximate(i)) return matchTokens(i);
  return load<u32>(exactBlocks + at) == load<u32>(exactAnnounced + at) ? load<u32>(exactTokens + at) : -1;
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
  promptHashes = hashes;
  promptLimit = endsOnBlock && count > 0 ? count - 1 : count;
  if (liveTable) walk(hashes, promptLimit);
  promptBlockBytes = blockBytes;
  promptBytesPerToken = bytesPerToken;
  promptNowMs = nowMs;
  // Pods mostly end their run at one of a few blocks, and no pod is on its way to hold these.
  let asked: u32 = 0xffffffff;
  let some = false;
  for (let pod: u32 = 0; pod < podHigh; pod++) {
    if (!podKnown(pod)) continue;
    const j = load<u32>(blocks + (<usize>pod << 2));
    store<u32>(announced + (<usize>pod << 2), j);
    if (j < promptLimit) {
      if (j != asked) some = speculativeAny(load<u64>(hashes + (<usize>j << 3)));
      asked = j;
      if (some && goOn(pod, j)) continue;
    }
    floorTokens(pod);
  }
}

/** Hashes of the prompt that is matched, and how many blocks can be cached of it. */
export let promptHashes: usize = 0;
export let promptLimit: u32 = 0;
let promptBlockBytes: u32 = 128;
let promptBytesPerToken: f64 = 4;
let promptNowMs: u64 = 0;

/** Says which of a prompt's hashes are those by which the pod that was chosen is known. */
export function promptKnownBy(hashes: usize): void {
  promptHashes = hashes;
}

/** Blocks of the prompt that the table says pod `i` holds. */
function matchAnnounced(i: u32): u32 {
  return load<u32>(announced + (<usize>i << 2));
}

/**
 * A pod is on its way to hold the prompt's first `count` blocks as well, of which the engine counted `counted` tokens (0
 * = it did not). Follows from there what else is on its way to it.
 */
export function matchExtend(pod: u32, count: u32, counted: u32): void {
  const at = blocks + (<usize>pod << 2);
  const n = load<u32>(tokens + (<usize>pod << 2));
  const from = load<u32>(at);
  if (count <= from || count > promptLimit) return;
  store<u32>(at, count);
  store<u32>(tokens + (<usize>pod << 2), counted ? max(counted, n) : estimate(from, n, count));
  if (count == promptLimit || !goOn(pod, count)) floorTokens(pod);
}

/** Follows what is on its way to a pod from block `from`; false when that is nothing. */
function goOn(pod: u32, from: u32): bool {
  const known = matchAnnounced(pod);
  const n = load<u32>(tokens + (<usize>pod << 2));
  // The last block before which the number of tokens is known, and that number.
  let base = from;
  let baseTokens = n;
  let ticket: u32 = 0;
  let j = from;
  while (j < promptLimit) {
    const hash = load<u64>(promptHashes + (<usize>j << 3));
    const found = speculativeFind(hash, pod, promptNowMs, known);
    if (!found && !tableHolds(hash, pod)) break;
    if (found != ticket) {
      const counted = ticket ? speculativeTokens(ticket, j, base, baseTokens) : 0;
      if (counted) {
        base = j;
        baseTokens = counted;
      }
      ticket = found;
    }
    j = found ? speculativeEnd(found, promptHashes, j, promptLimit, pod) : j + 1;
  }
  if (j == from) return false;
  const counted = ticket ? speculativeTokens(ticket, j, base, baseTokens) : 0;
  store<u32>(blocks + (<usize>pod << 2), j);
  store<u32>(tokens + (<usize>pod << 2), counted ? counted : estimate(base, baseTokens, j));
  floorTokens(pod);
  return true;
}

/** Tokens of `count` blocks whose first `known` have `n`, by bytes. */
function estimate(known: u32, n: u32, count: u32): u32 {
  // The prompt's own ratio is better than the model's once some of it is known.
  const ratio = known >= 8 && n > 0 ? <f64>(known * promptBlockBytes) / <f64>n : promptBytesPerToken;
  return n + <u32>(<f64>((count - known) * promptBlockBytes) / ratio);
}

/** An engine serves whole KV blocks. */
function floorTokens(pod: u32): void {
  const at = tokens + (<usize>pod << 2);
  const n = load<u32>(at);
  if (n) store<u32>(at, n - (n % podBlockTokens(pod)));
}

function tableHolds(hash: u64, pod: u32): bool {
  if (!liveTable) return false;
  const meta = prefixFind(liveTable, liveBuckets, hash);
  if (!meta || pod >= liveWords << 6) return false;
  const set = liveSets + ((<usize>load<u16>(meta) * liveWords) << 3);
  return ((load<u64>(set + ((pod >> 6) << 3)) >> (<u64>pod & 63)) & 1) != 0;
}

/** Where the walk is: the set and the meta of the last block that all of `alive` hold; no set before the first block. */
let lastSet: u32 = 0;
let lastMeta: u32 = 0;

/**
 * Matches `count` blocks by the table. Sets along a chain only shrink, so where two blocks have the same, all between
 * have it, too, and are not looked up.
 */
function walk(hashes: usize, count: u32): void {
  memory.fill(alive, 0xff, liveWords << 3);
  lastSet = 0xffffffff;
  lastMeta = 0;
  for (let from: u32 = 0; from < count; from += GROUP) {
    if (!walkGroup(hashes + (<usize>from << 3), from, min(GROUP, count - from))) return;
  }
  finish(count, lastMeta);
}

/** Walks the `n` blocks from number `base` on; false when no pod holds more. */
function walkGroup(hashes: usize, base: u32, n: u32): bool {
  lookUp(hashes, n - 1);
  if (setAt(n - 1) == lastSet) {
    lastMeta = metaAt(n - 1);
    return true;
  }
  if (base == 0) lookUp(hashes, 0);
  const before = base == 0 ? setAt(0) : lastSet;
  // Each part that changes is divided by four, all of one size before the smaller ones: what one look-up waits for in
  // memory, the others of its size wait for meanwhile.
  let part = n <= SHORT ? SHORT : GROUP;
  let size: u32 = n <= SHORT ? 1 : GROUP >> 2;
  for (;;) {
    for (let from: u32 = 0; from < n; from += part) {
      const end = min(from + part, n) - 1;
      const same = setAt(end) == (from ? setAt(from - 1) : before);
      for (let block = from + size - 1; block < end; block += size) {
        if (same) store<u32>(metas + (block << 2), metaAt(end));
        else lookUp(hashes, block);
      }
    }
    if (size == 1) break;
    part = size;
    size >>= 2;
  }
  for (let block: u32 = 0; block < n; block++) {
    const set = setAt(block);
    if (set != lastSet) {
      if (!narrow(liveSets + ((<usize>set * liveWords) << 3), set, liveWords, base + block, lastMeta)) return false;
      lastSet = set;
    }
    lastMeta = metaAt(block);
  }
  return true;
}

// @ts-ignore: decorator
@inline
function lookUp(hashes: usize, block: u32): void {
  const at = prefixFind(liveTable, liveBuckets, load<u64>(hashes + (<usize>block << 3)));
  store<u32>(metas + (block << 2), at ? load<u32>(at) : 0);
}

// @ts-ignore: decorator
@inline
function metaAt(block: u32): u32 {
  return load<u32>(metas + (block << 2));
}

// @ts-ignore: decorator
@inline
function setAt(block: u32): u32 {
  return metaAt(block) & 0xffff;
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

/** Who is left has everything. */
function finish(matched: u32, meta: u32): void {
  for (let w: u32 = 0; w < liveWords; w++) {
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
