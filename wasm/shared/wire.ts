// Entry of wire.wasm, the module that Node loads: what it exports, and how it begins.
import { approximateInit } from "./approximate-index";
import { keysInit } from "./keys";
import { indexInit } from "./kv-index";
import { framesInit } from "./wire-frames";

export { approximateClear, approximateExpire, approximateOf } from "./approximate-index";
export { checkpoint, checkpointBytes, restore } from "./checkpoint";
export { disaggregationSection } from "./disaggregation-section";
export { foreignBegin, foreignEnd, foreignRow } from "./foreign-section";
export { heldRun, removeBlocks, scoreText, storeBlocks, storeKnownBlocks, useApproximate, usePod } from "./index-calls";
export {
  statBlocks,
  statBytes,
  statBytesSeen,
  statEntries,
  statPodBlocks,
  statRefused,
  statSets,
  statTokensSeen,
  statUnique,
} from "./index-stats";
export { allocate, inputBuffer, release } from "./input-buffer";
export { hashText, rootOf, saltedRoot, shownHash } from "./keys";
export { indexClearPod } from "./kv-index";
export { policySection } from "./policy-section";
// Enums become exports such as "Op.Queue": Node finds the numbers by name.
export { Code, Comparison, Handler, Op, Stickiness, Tie, Variable } from "./program-layout";
export {
  columnRow,
  labelHash,
  programBegin,
  programCode,
  programHeader,
  programOp,
  programProfile,
} from "./program-writer";
export { needsSnapshot, snapshotMark } from "./published-table";
export {
  ruleClaimHeader,
  ruleClaimValue,
  ruleObjective,
  ruleOverride,
  rulePrincipal,
  ruleRewrite,
  ruleRow,
  ruleTarget,
  ruleToken,
  rulesBegin,
  rulesEnd,
} from "./rules-section";
export {
  emptySection,
  loadRow,
  modelRow,
  podRow,
  sectionBegin,
  sectionEnd,
  templateBegin,
  templateEnd,
  templateJoint,
  templateThinking,
  templateTurns,
  turnsJoint,
} from "./sections";
export {
  deltaBytes,
  deltaClear,
  deltaFrame,
  deltaNext,
  frameAt,
  frameKind,
  nextSequence,
  reseal,
  sectionFrame,
  snapshotBegin,
  snapshotEnd,
  snapshotPiece,
  snapshotSets,
} from "./wire-frames";
export * from "./wire-numbers";

export function abort(message: usize, file: usize, line: u32, column: u32): void {
  unreachable();
}

/**
 * Sets up keys, from the 32 secret bytes at the input buffer, and an empty index of text blocks of `bytes` bytes whose
 * table holds at most `maxEntries` entries; `leaderId` and its start in ms are the epoch of the frames.
 */
export function init(bytes: u32, maxEntries: u32, leaderId: u64, start: u64): void {
  keysInit(bytes);
  framesInit(leaderId, start);
  indexInit(maxEntries);
  approximateInit();
}
