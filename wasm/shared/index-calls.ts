// The index as Node calls it: hashes, tokens and text stand at the input buffer.
import { approximateUse } from "./approximate-index";
import { growMask } from "./delta-writer";
import { input } from "./input-buffer";
import { blockBytes, hashText } from "./keys";
import { indexHeldRun, indexRemove, indexStore, indexStoreKnown } from "./kv-index";
import { scoreHashes } from "./prefix-score";
import { requireSnapshot } from "./published-table";

/** KV blocks: `count` hashes at the input buffer, then count × blockSize token ids (u32). */
export function storeBlocks(
  pod: u32,
  tier: u32,
  count: u32,
  hasParent: bool,
  parent: u64,
  root: u64,
  blockSize: u32,
  offsets: usize,
  bytes: usize,
  known: usize,
  vocabulary: u32,
): i32 {
  return indexStore(
    pod,
    tier,
    input,
    count,
    hasParent,
    parent,
    root,
    input + (<usize>count << 3),
    blockSize,
    offsets,
    bytes,
    known,
    vocabulary,
  );
}

/** Blocks of a tier without their tokens: `count` hashes at the input buffer. */
export function storeKnownBlocks(pod: u32, tier: u32, count: u32): u32 {
  return indexStoreKnown(pod, tier, input, count);
}

export function removeBlocks(pod: u32, tier: u32, count: u32): u32 {
  return indexRemove(pod, tier, input, count);
}

/** A prompt went to a pod: `count` approximate block hashes at the input buffer (approximate-index.ts). */
export function useApproximate(pod: u32, count: u32, tokensPerBlock: f64, limit: u32, seconds: u32): void {
  usePod(pod);
  approximateUse(pod, input, count, tokensPerBlock, limit, seconds);
}

/** Tells the index of a pod slot before it has blocks, so that masks are wide enough. */
export function usePod(pod: u32): void {
  if (growMask(pod)) requireSnapshot();
}

/** Scores text of `n` bytes at the input buffer; returns the address of the results by pod slot. */
export function scoreText(root: u64, n: u32): usize {
  return scoreHashes(hashText(root, n), n / blockBytes);
}

/** How many of `count` engine hashes at the input buffer pod `pod` holds, from the first on. */
export function heldRun(pod: u32, count: u32): u32 {
  return indexHeldRun(pod, input, count);
}
