// The installation's keys, and the blocks of text that are hashed with one of them.
import { expandKey, hashBlocks, KEY_WORDS } from "./hash";
import { input } from "./input-buffer";
import { sipHi, sipLo, siphash128, siphash64 } from "./siphash";

/** KEY_WORDS words with which text blocks are hashed. */
export let blockKey: usize = 0;
/** Bytes of a text block. */
export let blockBytes: u32 = 128;
export let saltKey0: u64 = 0;
export let saltKey1: u64 = 0;
let rootKey0: u64 = 0;
let rootKey1: u64 = 0;
let shownKey0: u64 = 0;
let shownKey1: u64 = 0;

/** Derives each key from the 32 secret bytes at the input buffer by its label, so that none says anything of another. */
export function keysInit(bytes: u32): void {
  blockKey = heap.alloc(KEY_WORDS << 3);
  derive(1);
  expandKey(sipLo, sipHi, blockKey);
  derive(2);
  saltKey0 = sipLo;
  saltKey1 = sipHi;
  derive(3);
  rootKey0 = sipLo;
  rootKey1 = sipHi;
  derive(4);
  shownKey0 = sipLo;
  shownKey1 = sipHi;
  blockBytes = bytes;
}

/** Key number `label`: the first half of the secret keys a hash of the second half and the label. */
function derive(label: u64): void {
  store<u64>(input, label, 32);
  siphash128(load<u64>(input), load<u64>(input, 8), input + 16, 24);
}

/** Root of a model's (and its LoRA adapter's) chains; `n` bytes "model NUL lora" stand at the input buffer. */
export function rootOf(n: u32): u64 {
  return siphash64(rootKey0, rootKey1, input, n);
}

/** Root under a cache salt of `n` bytes at the input buffer; the filter does the same. */
export function saltedRoot(root: u64, n: u32): u64 {
  return siphash64(saltKey0 ^ root, saltKey1, input, n);
}

/** An engine's hash as people are shown it: none that knows a prompt can tell from it that the prompt is cached. */
export function shownHash(hash: u64): u64 {
  store<u64>(input, hash);
  return siphash64(shownKey0, shownKey1, input, 8);
}

/** Hashes text the way the filter does: `n` bytes at the input buffer; the hashes follow it. For vectors and the score route. */
export function hashText(root: u64, n: u32): usize {
  const at = input + ((<usize>n + 7) & ~7);
  hashBlocks(blockKey, root, input, n / blockBytes, blockBytes, at);
  return at;
}
