// Entry of wire.wasm, the module that Node loads: keys, index, frames out, frames in, checkpoint.
import { DECISION_HEAD_BYTES, DECISION_ROW_BYTES } from "./decision-layout";
import { RUN_SETS } from "./delta-layout";
import { growMask, logBytes, logClear, logPiece, logRows, logSize, maskWords } from "./delta-writer";
import {
  DISAGGREGATION_BODY_BYTES,
  DISAGGREGATION_BY,
  DISAGGREGATION_BYTES,
  DISAGGREGATION_CALLS,
  DISAGGREGATION_EXPIRY_MS,
  DISAGGREGATION_FAILURE,
  DISAGGREGATION_MODE,
  DISAGGREGATION_PROMPT,
  DISAGGREGATION_STALL_WEIGHT,
  DISAGGREGATION_THRESHOLD,
  DISAGGREGATION_TIMEOUT_MS,
  DISAGGREGATION_TOKENS_PER_SECOND,
  TRANSFER_COUNTER_COUNT,
  TRANSFERS_COUNTERS,
  TRANSFERS_HEAD_BYTES,
  TRANSFERS_ROW_BYTES,
  TRANSFERS_ROWS,
} from "./disaggregation-layout";
import { frameChecksum, frameDigest, frameSeal, frameValid } from "./frame";
import {
  HEAD_BYTES,
  HEAD_CHECKSUM,
  HEAD_LENGTH,
  KIND_COLUMNS,
  KIND_DECISION,
  KIND_FOREIGN,
  KIND_SHARE,
  KIND_DELTA,
  KIND_DISAGGREGATION,
  KIND_HEARTBEAT,
  KIND_HELLO,
  KIND_INSIDE,
  KIND_LOADS,
  KIND_MODELS,
  KIND_PODS,
  KIND_POLICY,
  KIND_PREDICTIONS,
  KIND_REPORT,
  KIND_RESYNC,
  KIND_ROUTED,
  KIND_RULES,
  KIND_SNAPSHOT_BEGIN,
  KIND_SNAPSHOT_END,
  KIND_SNAPSHOT_PIECE,
  KIND_TRANSFERS,
  MAX_PAYLOAD,
} from "./frame-layout";
import { checksum, expandKey, hashBlocks, KEY_WORDS } from "./hash";
import { indexLoad, indexSave, indexSaveBytes } from "./index-checkpoint";
import {
  blocksHeld,
  blocksOf,
  bytesSeen,
  indexBytes,
  indexClearPod,
  indexHeldRun,
  indexInit,
  indexRemove,
  indexReset as forgetIndex,
  indexStore,
  indexStoreKnown,
  indexUnique,
  tokensSeen,
} from "./kv-index";
import {
  POLICY_BLOCK_BYTES,
  POLICY_BLOCK_KEY,
  POLICY_BODY_READ,
  POLICY_BYTES,
  POLICY_DEBUG_HEADERS,
  POLICY_LOAD_TTL_MS,
  POLICY_ISOLATION,
  POLICY_RESERVED,
  POLICY_SALT_KEY,
  POLICY_STALE_MS,
  POLICY_VERSION,
} from "./policy-layout";
import {
  PREDICTIONS_HEAD_BYTES,
  PREDICTIONS_ROW_BYTES,
  PREDICTIONS_TENANT_BYTES,
  PREDICTIONS_TENANTS,
} from "./predictions-layout";
import { SCORE_BYTES, scoreHashes } from "./prefix-score";
import { prefixBytes } from "./prefix-table";
import { setMask, setsHigh, setUsed } from "./pod-sets";
import {
  approximateBytes,
  approximateBytesAt,
  approximateClear,
  approximateExpire,
  approximateInit,
  approximateLoad,
  approximateOf,
  approximateSave,
  approximateSaveBytes,
  approximateUse,
} from "./approximate-index";
import { fnv32 } from "./fnv";
import { MAX_ADAPTERS, MAX_COLUMNS, MAX_LABEL_BITS, NO_PROFILE } from "./program-layout";
import { programSize, programWrite } from "./program-writer";
import { entries, refused, snapshotDue, snapshotTaken, table, tableBuckets } from "./published-table";
import {
  HELLO_BYTES,
  REPORT_COUNTER_COUNT,
  REPORT_COUNTERS,
  REPORT_HEAD_BYTES,
  REPORT_ROW_BYTES,
} from "./report-layout";
import { ROUTED_HEAD_BYTES, ROUTED_ROW_BYTES } from "./routed-layout";
import { sectionBytes, sectionRaw } from "./sections";
import { SHARE_HEAD_BYTES, SHARE_ROW_BYTES } from "./sharing-layout";
import { sipHi, sipLo, siphash128, siphash64 } from "./siphash";

export {
  sectionBegin,
  sectionEnd,
  podRow,
  loadRow,
  modelRow,
  templateBegin,
  templateJoint,
  templateThinking,
  templateTurns,
  turnsJoint,
  templateEnd,
} from "./sections";
export { approximateClear, approximateExpire, approximateOf, indexClearPod };
export { programBegin, programHeader, programProfile, programOp, programCode, columnRow } from "./program-writer";
// Enums become exports such as "Op.Queue": Node finds the numbers by name.
export { Code, Comparison, Handler, Op, Stickiness, Tie, Variable } from "./program-layout";
export { foreignBegin, foreignEnd, foreignRow } from "./foreign-section";
export {
  ruleClaimHeader,
  ruleClaimValue,
  ruleObjective,
  ruleOverride,
  rulePrincipal,
  ruleRewrite,
  ruleRow,
  rulesBegin,
  rulesEnd,
  ruleTarget,
  ruleToken,
} from "./rules-section";

// Numbers that Node needs are exported, never repeated there.
export const kindDelta: u32 = KIND_DELTA;
export const kindPods: u32 = KIND_PODS;
export const kindLoads: u32 = KIND_LOADS;
export const kindModels: u32 = KIND_MODELS;
export const kindPolicy: u32 = KIND_POLICY;
export const kindColumns: u32 = KIND_COLUMNS;
export const kindRules: u32 = KIND_RULES;
export const kindHeartbeat: u32 = KIND_HEARTBEAT;
export const kindHello: u32 = KIND_HELLO;
export const kindReport: u32 = KIND_REPORT;
export const kindResync: u32 = KIND_RESYNC;
export const kindForeign: u32 = KIND_FOREIGN;
export const kindShare: u32 = KIND_SHARE;
export const shareHeadBytes: u32 = SHARE_HEAD_BYTES;
export const shareRowBytes: u32 = SHARE_ROW_BYTES;
export const policyBytes: u32 = POLICY_BYTES;
export const kindDecision: u32 = KIND_DECISION;
export const decisionHeadBytes: u32 = DECISION_HEAD_BYTES;
export const decisionRowBytes: u32 = DECISION_ROW_BYTES;
export const kindDisaggregation: u32 = KIND_DISAGGREGATION;
export const kindTransfers: u32 = KIND_TRANSFERS;
export const transfersRows: u32 = TRANSFERS_ROWS;
export const transfersCounters: u32 = TRANSFERS_COUNTERS;
export const transferCounterCount: u32 = TRANSFER_COUNTER_COUNT;
export const transfersHeadBytes: u32 = TRANSFERS_HEAD_BYTES;
export const transfersRowBytes: u32 = TRANSFERS_ROW_BYTES;
export const headBytes: u32 = HEAD_BYTES;
export const helloBytes: u32 = HELLO_BYTES;
export const reportCounters: u32 = REPORT_COUNTERS;
export const reportCounterCount: u32 = REPORT_COUNTER_COUNT;
export const reportHeadBytes: u32 = REPORT_HEAD_BYTES;
export const reportRowBytes: u32 = REPORT_ROW_BYTES;
export const kindPredictions: u32 = KIND_PREDICTIONS;
export const predictionsHeadBytes: u32 = PREDICTIONS_HEAD_BYTES;
export const predictionsRowBytes: u32 = PREDICTIONS_ROW_BYTES;
export const predictionsTenants: u32 = PREDICTIONS_TENANTS;
export const predictionsTenantBytes: u32 = PREDICTIONS_TENANT_BYTES;
export const kindRouted: u32 = KIND_ROUTED;
export const routedHeadBytes: u32 = ROUTED_HEAD_BYTES;
export const routedRowBytes: u32 = ROUTED_ROW_BYTES;
export const scoreBytes: u32 = SCORE_BYTES;

export function abort(message: usize, file: usize, line: u32, column: u32): void {
  unreachable();
}

let input: usize = 0;
let inputCapacity: usize = 0;
let out: usize = 0;
let blockKey: usize = 0;
let blockBytes: u32 = 128;
let saltKey0: u64 = 0;
let saltKey1: u64 = 0;
let rootKey0: u64 = 0;
let rootKey1: u64 = 0;
let shownKey0: u64 = 0;
let shownKey1: u64 = 0;
let leader: u64 = 0;
let startMs: u64 = 0;
let sequence: u64 = 0;
let policyVersion: u32 = 0;

/** A buffer of at least `bytes` for what the caller passes in; valid until the next call. */
export function inputBuffer(bytes: u32): usize {
  if (<usize>bytes > inputCapacity) {
    if (input) heap.free(input);
    inputCapacity = <usize>bytes + (<usize>bytes >> 1);
    if (inputCapacity < 65536) inputCapacity = 65536;
    input = heap.alloc(inputCapacity);
  }
  return input;
}

/** A block of memory that stays, for token tables. */
export function allocate(bytes: u32): usize {
  return heap.alloc(bytes);
}

export function release(at: usize): void {
  heap.free(at);
}

/**
 * Sets up keys and index. The 32 secret bytes stand at the input buffer; each key is derived from them by label, so
 * that none says anything of another.
 */
export function init(bytes: u32, maxEntries: u32, leaderId: u64, start: u64): void {
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
  leader = leaderId;
  startMs = start;
  out = heap.alloc(MAX_PAYLOAD + HEAD_BYTES);
  indexInit(blockKey, bytes, maxEntries);
  approximateInit();
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

/** Forgets everything. */
export function indexReset(): void {
  forgetIndex();
  approximateInit();
}

/** Tells the index of a pod slot before it has blocks, so that masks are wide enough. */
export function usePod(pod: u32): void {
  if (growMask(pod)) indexWiden();
}

function indexWiden(): void {
  widened = true;
}
let widened: bool = false;

/** Whether the next frames must be a snapshot. */
export function needsSnapshot(): bool {
  return snapshotDue || widened;
}

/** The snapshot about to be broadcast holds all that was logged. */
export function snapshotMark(): void {
  snapshotTaken();
  widened = false;
}

/** Address of the frame that the last frame call made. */
export let frameAt: usize = 0;

/** Moves on to the next sequence number, for frames that are broadcast. */
export function nextSequence(): void {
  inside = 0;
  sequence++;
}

/** KIND_INSIDE between the begin and the end of a snapshot. */
let inside: u16 = 0;
/** Of the snapshot's frames so far. */
let digest: u64 = 0;

/** Seals the frame at `p` as the next one; returns its length. */
function seal(p: usize, kind: u16, payload: u32): u32 {
  frameAt = p;
  const n = frameSeal(p, kind, leader, startMs, sequence, policyVersion, payload);
  digest = frameDigest(digest, p);
  return n;
}

/** Seals the section that was written last as a frame of `kind`; returns its length. */
export function sectionFrame(kind: u32, payload: u32): u32 {
  return seal(sectionBytes(), <u16>kind | inside, payload);
}

/** Length of the next delta frame from offset `from` of the log, 0 at the end; `deltaNext` is where to go on. */
export let deltaNext: u32 = 0;
export function deltaFrame(from: u32): u32 {
  const n = <u32>logPiece(from, MAX_PAYLOAD);
  if (n == 0) return 0;
  deltaNext = from + n;
  memory.copy(out + HEAD_BYTES, logBytes() + from, n);
  sequence++;
  return seal(out, KIND_DELTA, n);
}

export function deltaClear(): void {
  logClear();
}

export function deltaBytes(): u32 {
  return <u32>logSize();
}

export function deltaRows(): u32 {
  return logRows();
}

// A snapshot in frames: begin, sections, set definitions, pieces of the table's image, end.
export function snapshotBegin(): u32 {
  inside = KIND_INSIDE;
  digest = 0;
  const p = out + HEAD_BYTES;
  store<u32>(p, tableBuckets);
  store<u32>(p, maskWords, 4);
  store<u32>(p, entries, 8);
  store<u32>(p, setsHigh(), 12);
  return seal(out, KIND_SNAPSHOT_BEGIN, 16);
}

/** Set definitions from id `from`; `deltaNext` is where to go on. 0 when there are none left. */
export function snapshotSets(from: u32): u32 {
  const width = 8 + (maskWords << 3);
  let p = out + HEAD_BYTES + 4;
  let n: u32 = 0;
  let id = from;
  for (; id < setsHigh() && n < 1024; id++) {
    if (id == 0 || !setUsed(id)) continue;
    store<u64>(p, 0);
    store<u16>(p, <u16>id);
    memory.copy(p + 8, setMask(id), maskWords << 3);
    p += width;
    n++;
  }
  if (n == 0) return 0;
  deltaNext = id;
  store<u16>(out + HEAD_BYTES, RUN_SETS);
  store<u16>(out + HEAD_BYTES, <u16>n, 2);
  return seal(out, KIND_DELTA | inside, 4 + n * width);
}

/** The table's image from byte `from`; 0 at its end. */
export function snapshotPiece(from: u32): u32 {
  const total = <u32>prefixBytes(tableBuckets);
  if (from >= total) return 0;
  const n = min(total - from, (MAX_PAYLOAD - 8) & ~63);
  store<u64>(out + HEAD_BYTES, <u64>from);
  memory.copy(out + HEAD_BYTES + 8, table + from, n);
  deltaNext = from + n;
  return seal(out, KIND_SNAPSHOT_PIECE, n + 8);
}

export function snapshotEnd(): u32 {
  inside = 0;
  store<u64>(out + HEAD_BYTES, <u64>entries);
  store<u64>(out + HEAD_BYTES + 8, digest);
  return seal(out, KIND_SNAPSHOT_END, 16);
}

/** Writes the policy section, with the program written last; returns the payload's length. */
export function policySection(
  version: u32,
  bodyRead: u32,
  debugHeaders: u32,
  staleMs: u32,
  loadTtlMs: u32,
  reserved: u32,
  isolation: u32,
): u32 {
  policyVersion = version;
  const p = sectionRaw(POLICY_BYTES + programSize());
  store<u32>(p, version, POLICY_VERSION);
  store<u32>(p, isolation, POLICY_ISOLATION);
  store<u32>(p, bodyRead, POLICY_BODY_READ);
  store<u32>(p, blockBytes, POLICY_BLOCK_BYTES);
  store<u32>(p, debugHeaders, POLICY_DEBUG_HEADERS);
  store<u32>(p, staleMs, POLICY_STALE_MS);
  store<u32>(p, loadTtlMs, POLICY_LOAD_TTL_MS);
  store<u32>(p, reserved, POLICY_RESERVED);
  store<u64>(p, saltKey0, POLICY_SALT_KEY);
  store<u64>(p, saltKey1, POLICY_SALT_KEY + 8);
  memory.copy(p + POLICY_BLOCK_KEY, blockKey, KEY_WORDS << 3);
  programWrite(p + POLICY_BYTES);
  return POLICY_BYTES + programSize();
}

export const noProfile: u32 = NO_PROFILE;
export const maxColumns: u32 = MAX_COLUMNS;
export const maxLabelBits: u32 = MAX_LABEL_BITS;
export const maxAdapters: u32 = MAX_ADAPTERS;

/** Hash of a label's value, `n` bytes at the input buffer, as a column has it. */
export function labelHash(n: u32): u32 {
  return fnv32(input, n);
}

/** Writes the disaggregation section; returns the payload's length. */
export function disaggregationSection(
  mode: u32,
  threshold: u32,
  timeoutMs: u32,
  failure: u32,
  calls: u32,
  bodyBytes: u32,
  expiryMs: u32,
  promptTokens: u32,
  tokensPerSecond: f64,
  stallWeight: f64,
  by: u32,
): u32 {
  const p = sectionRaw(DISAGGREGATION_BYTES);
  store<u32>(p, mode, DISAGGREGATION_MODE);
  store<u32>(p, threshold, DISAGGREGATION_THRESHOLD);
  store<u32>(p, timeoutMs, DISAGGREGATION_TIMEOUT_MS);
  store<u32>(p, failure, DISAGGREGATION_FAILURE);
  store<u32>(p, calls, DISAGGREGATION_CALLS);
  store<u32>(p, bodyBytes, DISAGGREGATION_BODY_BYTES);
  store<u32>(p, expiryMs, DISAGGREGATION_EXPIRY_MS);
  store<u32>(p, promptTokens, DISAGGREGATION_PROMPT);
  store<f64>(p, tokensPerSecond, DISAGGREGATION_TOKENS_PER_SECOND);
  store<f64>(p, stallWeight, DISAGGREGATION_STALL_WEIGHT);
  store<u32>(p, by, DISAGGREGATION_BY);
  return DISAGGREGATION_BYTES;
}

export function emptySection(): u32 {
  sectionRaw(0);
  return 0;
}

/** Kind of the frame of `n` bytes at the input buffer, 0 when it is not a whole frame of this format. */
export function frameKind(n: u32): u32 {
  return frameValid(input, n) ? <u32>load<u16>(input, 6) : 0;
}

// Facts for metrics.
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

/** Hashes text the way the filter does: `n` bytes at the input buffer; the hashes follow it. For vectors and the score route. */
export function hashText(root: u64, n: u32): usize {
  const at = input + ((<usize>n + 7) & ~7);
  hashBlocks(blockKey, root, input, n / blockBytes, blockBytes, at);
  return at;
}

/** Scores text of `n` bytes at the input buffer; returns the address of the results by pod slot. */
export function scoreText(root: u64, n: u32): usize {
  return scoreHashes(hashText(root, n), n / blockBytes);
}

/** How many of `count` engine hashes at the input buffer pod `pod` holds, from the first on. */
export function heldRun(pod: u32, count: u32): u32 {
  return indexHeldRun(pod, input, count);
}

/** KV blocks that a pod slot holds. */
export function statPodBlocks(pod: u32): u32 {
  return blocksOf(pod);
}

/** An engine's hash as people are shown it: none that knows a prompt can tell from it that the prompt is cached. */
export function shownHash(hash: u64): u64 {
  store<u64>(input, hash);
  return siphash64(shownKey0, shownKey1, input, 8);
}

/** Writes the length and the checksum of the frame of `n` bytes at the input buffer into its head. */
export function reseal(n: u32): void {
  store<u32>(input, n - HEAD_BYTES, HEAD_LENGTH);
  store<u64>(input, frameChecksum(input, n - HEAD_BYTES), HEAD_CHECKSUM);
}

/** Writes a checkpoint behind an 8-byte checksum; returns its address. `checkpointBytes` is its length. */
export let checkpointBytes: u32 = 0;
export function checkpoint(): usize {
  const approximate = approximateSaveBytes();
  const n = approximate + indexSaveBytes();
  const p = heap.alloc(n + 8);
  approximateSave(p + 8);
  indexSave(p + 8 + approximate);
  store<u64>(p, checksum(p + 8, n));
  checkpointBytes = <u32>n + 8;
  return p;
}

/** Takes a checkpoint of `n` bytes at the input buffer; false when it is damaged or of another key or format. */
export function restore(n: u32): bool {
  if (n < 8 || load<u64>(input) != checksum(input + 8, n - 8)) return false;
  const approximate = n < 16 ? n : <u32>approximateBytesAt(input + 8);
  if (approximate > n - 8 || !indexLoad(input + 8 + approximate, n - 8 - approximate)) return false;
  approximateLoad(input + 8);
  return true;
}
