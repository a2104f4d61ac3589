// Which pods a request may go to at all, where somebody whom the policy trusts has said so: a caller in a header, or the
// gateway's own filters in metadata. Source: endpoint picker protocol, "subset hint" (GIE, proposal 004).
import { podsKeep } from "../core/listed-pods";
import { ruleFlags } from "../core/request-rules";
import { podsShow } from "../core/pods";
import { fnv64 } from "../shared/fnv";
import { RULES_SUBSET_METADATA } from "../shared/rules-layout";
import { text } from "./abi/memory";
import { MAP_REQUEST, OK } from "./abi/types";
import { SUBSET } from "./control-headers";
import { getHeader, property, removeHeader, resultAt, resultSize } from "./host";
import { CONTROL_SUBSET } from "./request-controls";
import { Stream } from "./streams";

const METADATA = text("metadata\0filter_metadata\0envoy.lb.subset_hint\0x-gateway-destination-endpoint-subset");

/** All pods may be chosen. */
export const SUBSET_NONE: u32 = 0;
/** Those outside the subset are hidden: `podsShow` is due. */
export const SUBSET_KEPT: u32 = 1;
/** No ready pod is in the subset; nothing is hidden. */
export const SUBSET_EMPTY: u32 = 2;

/** Hash of the lists that the last `hideOutside` read: requests with the same one are limited to the same pods. */
export let subsetKey: u64 = 0;

/** Whether a request may be limited to a subset. */
// @ts-ignore: decorator
@inline
export function subsetAsked(s: Stream): bool {
  return (s.controls & CONTROL_SUBSET) != 0 || (ruleFlags & RULES_SUBSET_METADATA) != 0;
}

/** Hides the pods that a request must not go to, and takes the header off. */
export function keepSubset(s: Stream): u32 {
  const kept = hideOutside(s);
  if (s.controls & CONTROL_SUBSET) removeHeader(MAP_REQUEST, SUBSET.at, SUBSET.size);
  return kept;
}

/** Hides the pods that a request must not go to. */
export function hideOutside(s: Stream): u32 {
  let some = false;
  let left = true;
  subsetKey = 0;
  if (s.controls & CONTROL_SUBSET && getHeader(MAP_REQUEST, SUBSET) == OK) {
    some = true;
    subsetKey = fnv64(resultAt, <u32>resultSize);
    left = podsKeep(resultAt, <u32>resultSize);
  }
  if (left && ruleFlags & RULES_SUBSET_METADATA && property(METADATA) == OK) {
    some = true;
    subsetKey = rotl(subsetKey, 1) ^ fnv64(resultAt, <u32>resultSize);
    left = listed();
  }
  if (!left) podsShow();
  return !some ? SUBSET_NONE : left ? SUBSET_KEPT : SUBSET_EMPTY;
}

/**
 * Takes the metadata's value, a text or a list of texts. Envoy gives a list as its map of headers: a count, then two
 * sizes for each entry, then each entry and its empty partner, both with a final zero.
 */
function listed(): bool {
  const count = resultSize >= 4 ? load<u32>(resultAt) : 0;
  const texts: usize = 4 + (<usize>count << 3);
  if (count == 0 || count > 4096 || texts > <usize>resultSize) return podsKeep(resultAt, <u32>resultSize);
  // Zeros and sizes apart, what stands behind them is a list already: entries, each with two zeros behind it.
  return podsKeep(resultAt + texts, <u32>(<usize>resultSize - texts));
}
