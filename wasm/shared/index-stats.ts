// Facts of the index and the table, for metrics.
import { approximateBytes } from "./approximate-index";
import { blocksHeld, blocksOf, bytesSeen, indexBytes, indexUnique, tokensSeen } from "./kv-index";
import { setsHigh } from "./pod-sets";
import { entries, refused } from "./published-table";

export function statBlocks(): u32 {
  return blocksHeld;
}
export function statEntries(): u32 {
  return entries;
}
export function statUnique(): f64 {
  return indexUnique();
}
export function statSets(): u32 {
  return setsHigh();
}
export function statRefused(): u64 {
  return refused;
}
export function statBytes(): f64 {
  return indexBytes() + <f64>approximateBytes();
}
export function statBytesSeen(): u64 {
  return bytesSeen;
}
export function statTokensSeen(): u64 {
  return tokensSeen;
}
/** KV blocks that a pod slot holds. */
export function statPodBlocks(pod: u32): u32 {
  return blocksOf(pod);
}
