// How much of a prompt each pod holds: the longest run of blocks from the first one, by the table and by what was
// routed and not announced yet.
import { liveTable } from "../shared/table-reader";
import { tableHolds, walk } from "./chain-walk";
import {
  matchAnnounced,
  matchBlocks,
  matchClear,
  matchPut,
  matchSet,
  matchSetAnnounced,
  matchTokens,
} from "./matched-pods";
import { podBlockTokens, podHigh, podKnown } from "./pods";
import { speculativeAny, speculativeEnd, speculativeFind, speculativeTokens } from "./speculative";

/** Hashes of the prompt that is matched, and how many blocks can be cached of it. */
export let promptHashes: usize = 0;
export let promptLimit: u32 = 0;
let promptBlockBytes: u32 = 128;
let promptBytesPerToken: f64 = 4;
let promptNowMs: u64 = 0;

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
    const j = matchBlocks(pod);
    matchSetAnnounced(pod, j);
    if (j < promptLimit) {
      if (j != asked) some = speculativeAny(load<u64>(hashes + (<usize>j << 3)));
      asked = j;
      if (some && goOn(pod, j)) continue;
    }
    floorTokens(pod);
  }
}

/** Says which of a prompt's hashes are those by which the pod that was chosen is known. */
export function promptKnownBy(hashes: usize): void {
  promptHashes = hashes;
}

/**
 * A pod is on its way to hold the prompt's first `count` blocks as well, of which the engine counted `counted` tokens (0
 * = it did not). Follows from there what else is on its way to it.
 */
export function matchExtend(pod: u32, count: u32, counted: u32): void {
  const n = matchTokens(pod);
  const from = matchBlocks(pod);
  if (count <= from || count > promptLimit) return;
  matchSet(pod, count, counted ? max(counted, n) : estimate(from, n, count));
  if (count == promptLimit || !goOn(pod, count)) floorTokens(pod);
}

/** Follows what is on its way to a pod from block `from`; false when that is nothing. */
function goOn(pod: u32, from: u32): bool {
  const known = matchAnnounced(pod);
  const n = matchTokens(pod);
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
  matchSet(pod, j, counted ? counted : estimate(base, baseTokens, j));
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
  const n = matchTokens(pod);
  if (n) matchPut(pod, n - (n % podBlockTokens(pod)));
}
