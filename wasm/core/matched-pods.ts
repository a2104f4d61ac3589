// How much of the prompt that is being decided each pod holds, one array per column.
import { MAX_PODS } from "../shared/pods-layout";
import { podApproximate, podHigh } from "./pods";

const blocks: usize = memory.data(MAX_PODS << 2, 64); // matched blocks per pod
const tokens: usize = memory.data(MAX_PODS << 2, 64); // predicted cached tokens per pod
const kept: usize = memory.data(MAX_PODS << 2, 64);
const announced: usize = memory.data(MAX_PODS << 2, 64); // matched blocks per pod by the table alone
// The same as an exact prompt's own hashes have it, while its approximate ones are matched.
const exactBlocks: usize = memory.data(MAX_PODS << 2, 64);
const exactTokens: usize = memory.data(MAX_PODS << 2, 64);
const exactAnnounced: usize = memory.data(MAX_PODS << 2, 64);
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

/** Puts what a pod matched: `count` text blocks, with so many tokens. */
// @ts-ignore: decorator
@inline
export function matchSet(i: u32, count: u32, cachedTokens: u32): void {
  store<u32>(blocks + (<usize>i << 2), count);
  store<u32>(tokens + (<usize>i << 2), cachedTokens);
}

/** Text blocks of pod `i` by the table alone. */
// @ts-ignore: decorator
@inline
export function matchAnnounced(i: u32): u32 {
  return load<u32>(announced + (<usize>i << 2));
}
export function matchSetAnnounced(i: u32, count: u32): void {
  store<u32>(announced + (<usize>i << 2), count);
}

/** Puts the tokens that a pod has cached of the prompt. */
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
