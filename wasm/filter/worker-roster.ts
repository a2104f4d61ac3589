// Which VMs of the process are alive. Each signs one shared-data record every second; who has not signed for a while
// is struck off by whoever notices first, which begins a new era of the in-flight gauges: what the lost VM had counted
// in stays behind with the old ones.
import { text } from "./abi/memory";
import { CAS_MISMATCH, NOT_FOUND, OK } from "./abi/types";
import { getShared, resultAt, resultSize, setShared, sharedCas } from "./host";
import { ERAS, inflightEmpty, inflightEnter } from "./inflight";
import { C_LOST_VMS, count } from "./metrics";

// Record: era u32, 1 when the other eras' gauges are known to be empty u32, ms since when both are as they are u64, then
// rows of VM id u64, ms of its last sign u64, whose top bit says that it has had a request (SERVES).
const KEY = text("warmgate.roster");
// @ts-ignore: decorator
@inline
const HEAD: u32 = 16;
// @ts-ignore: decorator
@inline
const SETTLED: u32 = 4;
// @ts-ignore: decorator
@inline
const SINCE: u32 = 8;
// @ts-ignore: decorator
@inline
const ROW: u32 = 16;
// @ts-ignore: decorator
@inline
const MAX_ROWS: u32 = 256;
/** A VM that has not signed for so long is lost: its worker would have been stuck as long. */
// @ts-ignore: decorator
@inline
const LOST_MS: u64 = 4000;
/** All living VMs are in a new era by then, so that the other gauges can be emptied. */
// @ts-ignore: decorator
@inline
const FOLLOWED_MS: u64 = 6000;
/** So long after they were emptied a next era may begin: whoever still empties them is done by then. */
// @ts-ignore: decorator
@inline
const REST_MS: u64 = 1000;

// @ts-ignore: decorator
@inline
const SERVES: u64 = 1 << 63;

/** A VM is new for so long. */
// @ts-ignore: decorator
@inline
const NEW_MS: u64 = 10000;

const roster: usize = heap.alloc(HEAD + MAX_ROWS * ROW);
let rows: u32 = 0;
let serving: u32 = 0;
let firstSignMs: u64 = 0;
let cas: u32 = 0;
let era: u32 = 0;
let known: bool = false;

/**
 * How many VMs had requests when this one looked last: all workers but the main thread's VM, which never has any. All
 * count while this VM is new, since their first requests may be on the way.
 */
export function workersServing(): u32 {
  return serving;
}

function read(): bool {
  memory.fill(roster, 0, HEAD);
  rows = 0;
  const status = getShared(KEY);
  cas = sharedCas;
  if (status == NOT_FOUND) {
    store<u32>(roster, 1, SETTLED);
    return true;
  }
  if (status != OK || resultSize < HEAD || resultSize > HEAD + MAX_ROWS * ROW) return false;
  memory.copy(roster, resultAt, resultSize);
  rows = <u32>(resultSize - HEAD) / ROW;
  return true;
}

function write(): u32 {
  return setShared(KEY, roster, HEAD + rows * ROW, cas);
}

// @ts-ignore: decorator
@inline
function row(i: u32): usize {
  return roster + HEAD + <usize>i * ROW;
}

/** Takes row `i` out. */
function strike(i: u32): void {
  rows--;
  if (i != rows) memory.copy(row(i), row(rows), ROW);
}

/** Signs for `vm`, which `serves` once it has had a request, strikes off the lost, and follows the era; once a second from the tick. */
export function rosterSign(vm: u64, nowMs: u64, serves: bool): void {
  for (let tries = 0; tries < 4; tries++) {
    if (!read()) return;
    const signed = sign(vm, serves ? nowMs | SERVES : nowMs);
    countServing(nowMs);
    const lost = strikeLost(vm, nowMs);
    const settled = lost == 0 && settle(nowMs);
    if (!signed && !lost && !settled) return;
    const wrote = write();
    if (wrote == CAS_MISMATCH) continue;
    if (wrote != OK) return;
    if (lost) count(C_LOST_VMS, lost);
    follow();
    return;
  }
}

/** False when there is no room for one more VM. */
function sign(vm: u64, mark: u64): bool {
  let i: u32 = 0;
  while (i < rows && load<u64>(row(i)) != vm) i++;
  if (i == MAX_ROWS) return false;
  if (i == rows) rows++;
  store<u64>(row(i), vm);
  store<u64>(row(i), mark, 8);
  return true;
}

function countServing(nowMs: u64): void {
  if (!firstSignMs) firstSignMs = nowMs;
  serving = nowMs < firstSignMs + NEW_MS ? rows : 0;
  if (serving) return;
  for (let i: u32 = 0; i < rows; i++) {
    if (load<u64>(row(i), 8) & SERVES) serving++;
  }
}

/** Strikes off who has not signed, which begins an era; returns how many they are. */
function strikeLost(vm: u64, nowMs: u64): u32 {
  // What a new era's gauges still hold would count: they must be empty.
  if (!load<u32>(roster, SETTLED) || nowMs < load<u64>(roster, SINCE) + REST_MS) return 0;
  let lost: u32 = 0;
  for (let i: u32 = 0; i < rows; ) {
    if (load<u64>(row(i)) != vm && nowMs > (load<u64>(row(i), 8) & ~SERVES) + LOST_MS) {
      strike(i);
      lost++;
    } else i++;
  }
  if (!lost) return 0;
  store<u32>(roster, load<u32>(roster) + 1);
  store<u32>(roster, 0, SETTLED);
  store<u64>(roster, nowMs, SINCE);
  return lost;
}

/** Empties the gauges of the other eras when all have left them; true when the roster now says so. */
function settle(nowMs: u64): bool {
  if (load<u32>(roster, SETTLED) || nowMs < load<u64>(roster, SINCE) + FOLLOWED_MS) return false;
  // This VM, too.
  follow();
  for (let i: u32 = 1; i < ERAS; i++) {
    if (!inflightEmpty(era + i)) return false;
  }
  store<u32>(roster, 1, SETTLED);
  store<u64>(roster, nowMs, SINCE);
  return true;
}

function follow(): void {
  const now = load<u32>(roster);
  if (known && now == era) return;
  // The first era is the one that gauges begin with.
  if (known || now % ERAS != 0) inflightEnter(now);
  known = true;
  era = now;
}

/** Takes this VM off the list: it ends with nothing under way. */
export function rosterLeave(vm: u64): void {
  for (let tries = 0; tries < 8; tries++) {
    if (!read()) return;
    let i: u32 = 0;
    while (i < rows && load<u64>(row(i)) != vm) i++;
    if (i == rows) return;
    strike(i);
    if (write() != CAS_MISMATCH) return;
  }
}
