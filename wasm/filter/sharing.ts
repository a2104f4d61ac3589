// In-flight counts that gateways share through the agent: each worker tells what it has under way as soon as that
// changes, in batches, and hears what other gateways have. It also measures how long that takes: while it takes too long,
// warm-until-busy, which relies on these counts, is stood in for (core/pick.ts).
import { pickSharing } from "../core/pick";
import { podsClearForeign, podSetForeign } from "../core/pod-counts";
import { podHigh, podKnown } from "../core/pods";
import { ruleFlags, slowSharingMs } from "../core/request-rules";
import { KIND_SHARE } from "../shared/frame-layout";
import { MAX_PODS } from "../shared/pods-layout";
import { RULES_KEEP_WHEN_SLOW } from "../shared/rules-layout";
import {
  FOREIGN_HEAD_BYTES,
  FOREIGN_ROW_BYTES,
  SHARE_HEAD_BYTES,
  SHARE_ROW_BYTES,
  SHARE_SLOW,
  SHARE_WHOLE,
} from "../shared/sharing-layout";
import { text } from "./abi/memory";
import { LOG_INFO, LOG_WARN } from "./abi/types";
import { GAUGE_COUNTS, GAUGE_TOKENS, slotAddress, slotAddressSize, slotsBound } from "./gauge-slots";
import { log } from "./host";
import { first, second, shareOf } from "./inflight";
import { C_SLOW_SHARING, count, recordSharingDelay } from "./metrics";
import { streamOpen, streamPayload, streamRoom, streamSend } from "./table-stream";

/** Changes within this time share a frame: one that comes after a calm goes at once. */
// @ts-ignore: decorator
@inline
const BATCH_NS: u64 = 8000000;
/** Everything is told anew this often, so that no loss stays. */
// @ts-ignore: decorator
@inline
const WHOLE_NS: u64 = 1000000000;
/** Counts of others that were not told again for so long are nobody's. */
// @ts-ignore: decorator
@inline
const GONE_NS: u64 = 2000000000;

// Per gauge slot what was told last: this VM's share of its two gauges.
const told: usize = heap.alloc(MAX_PODS << 4);
memory.fill(told, 0, MAX_PODS << 4);
let toldNs: u64 = 0;
let wholeNs: u64 = 0;
let heardNs: u64 = 0;
let echoed: u64 = 0;

/** Other gateways, as last told. Their number stays when nothing is heard any more: they are still there. */
let others: u32 = 0;
/** Since when the oldest share is without an answer, 0 for none. While the stream is closed: since when it is. */
let askedNs: u64 = 0;
/** Whether counts of other gateways come too late to rely on, and how many answers in time came since. */
let slow: bool = false;
let inTime: u32 = 0;
let saidNs: u64 = 0;

/** So many answers in time end what one late answer began: a busy worker gets them within 50 ms. */
// @ts-ignore: decorator
@inline
const IN_TIME: u32 = 3;
/** The log says no more often than that how sharing goes. */
// @ts-ignore: decorator
@inline
const SAID_NS: u64 = 10000000000;
const SLOW_LOG = text(
  "warmgate: in-flight counts of other gateways come later than sharing.slowAfter: unless sharing.whenSlow is keep, warm-until-busy decides as llm-d-token-aware until they come in time",
);
const FAST_LOG = text("warmgate: in-flight counts of other gateways come in time again");

function judge(late: bool, nowNs: u64): void {
  inTime = late ? 0 : inTime + 1;
  const now = late || (slow && inTime < IN_TIME);
  if (now == slow) return;
  slow = now;
  if (saidNs && nowNs - saidNs < SAID_NS) return;
  saidNs = nowNs;
  log(slow ? LOG_WARN : LOG_INFO, slow ? SLOW_LOG : FAST_LOG);
}

/** Nobody is there to share with. */
function alone(nowNs: u64): void {
  askedNs = 0;
  inTime = IN_TIME;
  judge(false, nowNs);
}

/** Silence is no good sign: a share that nobody answers is as late as it is old. */
function judgeSilence(nowNs: u64): void {
  if (!others) return;
  if (!askedNs && !streamOpen()) askedNs = nowNs;
  if (!askedNs || nowNs - askedNs <= <u64>slowSharingMs * 1000000) return;
  if (!slow) count(C_SLOW_SHARING);
  recordSharingDelay((nowNs - askedNs) / 1000);
  judge(true, nowNs);
}

/** Tells what changed, and forgets what others have not confirmed; from the tick. */
export function sharingTick(nowNs: u64): void {
  if (heardNs && nowNs - heardNs > GONE_NS) {
    heardNs = 0;
    podsClearForeign();
  }
  judgeSilence(nowNs);
  pickSharing(slow && !(ruleFlags & RULES_KEEP_WHEN_SLOW));
  if (!streamOpen() || nowNs - toldNs < BATCH_NS) return;
  const whole = nowNs - wholeNs >= WHOLE_NS;
  const p = streamPayload();
  let at: u32 = SHARE_HEAD_BYTES;
  let rows: u32 = 0;
  for (let slot: u32 = 0; slot < slotsBound; slot++) {
    const changed = differs(slot);
    if (!changed && !(whole && shareOf(slot, GAUGE_COUNTS) != 0)) continue;
    const size = slotAddressSize(slot);
    const next = at + SHARE_ROW_BYTES + ((size + 7) & ~7);
    if (next > streamRoom()) break;
    write(p + at, slot, size, next - at);
    at = next;
    rows++;
  }
  // An idle worker says so once a second: then its counts are known to be none.
  if (rows == 0 && !whole) return;
  store<u64>(p, nowNs);
  store<u32>(p, (whole ? SHARE_WHOLE : 0) | (slow ? SHARE_SLOW : 0), 8);
  store<u32>(p, rows, 12);
  if (!streamSend(KIND_SHARE, at)) return;
  toldNs = nowNs;
  if (others && !askedNs) askedNs = nowNs;
  if (whole) wholeNs = nowNs;
}

// @ts-ignore: decorator
@inline
function toldAt(slot: u32): usize {
  return told + (<usize>slot << 4);
}

function differs(slot: u32): bool {
  const at = toldAt(slot);
  return load<u64>(at) != shareOf(slot, GAUGE_COUNTS) || load<u64>(at, 8) != shareOf(slot, GAUGE_TOKENS);
}

function write(row: usize, slot: u32, size: u32, bytes: u32): void {
  const counts = shareOf(slot, GAUGE_COUNTS);
  const tokens = shareOf(slot, GAUGE_TOKENS);
  store<u64>(toldAt(slot), counts);
  store<u64>(toldAt(slot), tokens, 8);
  memory.fill(row, 0, bytes);
  store<u32>(row, size);
  store<u32>(row, first(counts), 4);
  store<u32>(row, second(counts), 8);
  store<u64>(row, second(tokens), 16);
  store<u64>(row, first(tokens), 24);
  memory.copy(row + SHARE_ROW_BYTES, slotAddress(slot), size);
}

/** Takes what other gateways have under way; the payload is all of it. */
export function foreignRead(p: usize, n: u32, nowNs: u64): void {
  if (n < FOREIGN_HEAD_BYTES) return;
  const rows = load<u32>(p, 12);
  if (rows > MAX_PODS || FOREIGN_HEAD_BYTES + rows * FOREIGN_ROW_BYTES > n) return;
  podsClearForeign();
  for (let i: u32 = 0; i < rows; i++) {
    const row = p + FOREIGN_HEAD_BYTES + i * FOREIGN_ROW_BYTES;
    const pod = load<u32>(row);
    if (pod >= podHigh || !podKnown(pod)) continue;
    podSetForeign(pod, load<u32>(row, 4), load<u32>(row, 8), max<f64>(load<f64>(row, 16), 0), max<f64>(load<f64>(row, 24), 0));
  }
  heardNs = nowNs;
  others = load<u32>(p, 8);
  if (!others) {
    alone(nowNs);
    return;
  }
  const stamp = load<u64>(p);
  if (stamp == 0 || stamp == echoed || stamp > nowNs) return;
  echoed = stamp;
  // What was told after it is still without an answer.
  askedNs = stamp < toldNs ? toldNs : 0;
  // There and back again is what a count of ours takes to others, and theirs to us.
  const micros = (nowNs - stamp) / 1000;
  const late = micros > <u64>slowSharingMs * 1000;
  recordSharingDelay(micros);
  if (late) count(C_SLOW_SHARING);
  judge(late, nowNs);
}
