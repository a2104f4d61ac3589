// The prompt of the request that is being decided: hashed, looked up among what pods hold, and counted on a pod to hold.
import { matchPrompt, promptKnownBy } from "../core/match";
import {
  bestMatch,
  matchAside,
  matchBlocks,
  matchClear,
  matchMerge,
  matchPromised,
  matchTokens,
} from "../core/matched-pods";
import { foundBytesPerToken, foundRoot, modelsKnown } from "../core/models";
import { podApproximate, podsApproximate } from "../core/pods";
import { blockBytes, blockKey, policyKnown, saltKey0, saltKey1 } from "../core/policy";
import { outLen, outPtr } from "../core/render";
import { approximateSeed, promptIsComplete, renderExact, saltLen, saltPtr } from "../core/scan";
import { NO_TAIL, speculativeAdd, speculativeAlso, speculativeBegin } from "../core/speculative";
import { hashBlocks } from "../shared/hash";
import { siphash64 } from "../shared/siphash";
import { timingHashed } from "./callback-timing";
import { C_INEXACT, count } from "./metrics";
import { routedAdd } from "./routed-blocks";
import { routedExtend } from "./routed-prompts";
import { sessionSpread, Stream } from "./streams";

/** Output and hash buffers hold a rendered prompt of this many bytes. */
// @ts-ignore: decorator
@inline
export const RENDER_BYTES: u32 = 1310720;
const hashes: usize = heap.alloc((RENDER_BYTES / 64) << 3);
/** The same under the root of what is only known approximately; made when something is. */
let approximateHashes: usize = 0;
/** Whether the prompt is known exactly. */
let exact: bool = false;
const seed: usize = memory.data(8, 8);
/** "approxim": the label of the approximate roots' key. */
const APPROXIMATE: u64 = 0x6d69786f72707061;
/** Blocks of the prompt; 0 when nothing was looked up. */
export let promptBlocks: u32 = 0;

/** Nothing is known of the prompt, or there is none. */
export function promptUnknown(): void {
  matchClear();
  promptBlocks = 0;
}

/**
 * Looks the scanned prompt up; returns what spreads requests over pods where nothing else decides: the hash of the first
 * block that no pod holds, since what many prompts share says nothing of where this one should go, or the session's.
 */
export function matchScanned(s: Stream, usable: bool, t0: u64): u64 {
  exact = renderExact;
  const known = usable && policyKnown && outLen > 0 && (exact || modelsKnown() > 0);
  if (usable && policyKnown && !exact) count(C_INEXACT);
  if (!known) {
    promptUnknown();
    return sessionSpread(s);
  }
  const root = saltLen ? siphash64(saltKey0 ^ foundRoot, saltKey1, saltPtr, saltLen) : foundRoot;
  const blocks = min(outLen, RENDER_BYTES) / blockBytes;
  const ends = promptIsComplete && blocks * blockBytes == outLen;
  promptBlocks = blocks;
  if (exact) {
    hashBlocks(blockKey, root, outPtr, blocks, blockBytes, hashes);
    timingHashed(t0);
    matchPrompt(hashes, blocks, blockBytes, foundBytesPerToken, ends, t0 / 1000000);
    routedExtend(t0 / 1000000);
  }
  if (!exact || podsApproximate) approximate(root, blocks, ends, t0 / 1000000);
  if (!blocks) return sessionSpread(s);
  const first = exact ? hashes : approximateHashes;
  return load<u64>(first + (<usize>min(blocks - 1, bestMatch()) << 3));
}

/**
 * Matches what is only known approximately: a prompt that is not rendered exactly, or the pods that are not known better.
 * Its chains have a root of their own, so that nothing exact ever matches.
 */
function approximate(root: u64, blocks: u32, ends: bool, nowMs: u64): void {
  if (!approximateHashes) approximateHashes = heap.alloc((RENDER_BYTES / 64) << 3);
  store<u64>(seed, exact ? 0 : approximateSeed);
  const own = siphash64(saltKey0 ^ root, saltKey1 ^ APPROXIMATE, seed, 8);
  hashBlocks(blockKey, own, outPtr, blocks, blockBytes, approximateHashes);
  if (exact) matchAside();
  matchPrompt(approximateHashes, blocks, blockBytes, foundBytesPerToken, ends, nowMs);
  routedExtend(nowMs);
  if (exact) matchMerge();
}

/** The hashes by which the prompt is known on `pod`. */
function hashesOn(pod: u32): usize {
  return exact && !podApproximate(pod) ? hashes : approximateHashes;
}

/**
 * What the chosen pod's announced blocks promise is compared with the answer, unless some are only on their way to it. Of
 * a prompt that is only known in part, or is shorter than a text block, no answer says whether that was right.
 */
export function notePromise(s: Stream, pod: u32): void {
  if (!promptBlocks || !promptIsComplete) return;
  s.textBlockTokens = <u16>Math.ceil(<f64>blockBytes / foundBytesPerToken);
  if (!exact) return;
  const promised = matchPromised(pod);
  s.compared = promised >= 0;
  s.announced = max(promised, 0);
}

/** Counts on a pod to hold the prompt of `s`, whose prompt was looked up last. */
export function speculate(s: Stream, pod: u32, t: u64): void {
  if (!promptBlocks) return;
  const own = hashesOn(pod);
  promptKnownBy(own);
  if (own == approximateHashes) routedAdd(pod, own, promptBlocks, <f64>blockBytes / foundBytesPerToken);
  const first = matchBlocks(pod);
  if (first >= promptBlocks) return;
  if (s.speculation) speculativeAlso(s.speculation, first);
  else {
    const start = load<u64>(own + (<usize>first << 3));
    const tail = promptIsComplete ? outLen - promptBlocks * blockBytes : NO_TAIL;
    s.speculation = speculativeBegin(t / 1000000, first, promptBlocks, matchTokens(pod), start, tail);
    s.ticket = s.speculation;
  }
  for (let j = first; j < promptBlocks; j++) {
    speculativeAdd(load<u64>(own + (<usize>j << 3)), pod, s.speculation);
  }
}
