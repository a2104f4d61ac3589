// Which VMs of the process are alive. Each signs one shared-data record every second; who has not signed for a while
// is struck off by whoever notices first, which begins a new era of the in-flight gauges: what the lost VM had counted
// in stays behind with the old ones.
import { text } from "./abi/memory";
import { CAS_MISMATCH, NOT_FOUND, OK } from "./abi/types";
import { getShared, resultAt, resultSize, setShared, sharedCas } from "./host";
import { ERAS, inflightEmpty, inflightEnter } from "./inflight";
import { C_LOST_VMS, count } from "./metrics";

// Record: era u32, rows u32, ms of the last era's beginning u64, then rows of VM id u64, ms of its last sign u64.
const KEY = text("warmgate.roster");
// @ts-ignore: decorator
@inline
const HEAD: u32 = 16;
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
/** All living VMs are in the new era by then, so that the other gauges can be emptied. */
// @ts-ignore: decorator
@inline
const SETTLED_MS: u64 = 6000;
/** Eras follow one another no faster, so that nothing still counts on gauges that are used again. */
// @ts-ignore: decorator
@inline
const ERA_MS: u64 = 7000;

const roster: usize = heap.alloc(HEAD + MAX_ROWS * ROW);
let era: u32 = 0;
let known: bool = false;
/** Ms when the gauges of other eras are to be emptied by this VM, which began the era; 0 for never. */
let emptyAt: u64 = 0;

function read(): bool {
  memory.fill(roster, 0, HEAD);
  const status = getShared(KEY);
  if (status == NOT_FOUND) return true;
  if (status != OK || resultSize < HEAD || resultSize > HEAD + MAX_ROWS * ROW) return false;
  memory.copy(roster, resultAt, resultSize);
  store<u32>(roster, <u32>(resultSize - HEAD) / ROW, 4);
  return true;
}

function write(): u32 {
  return setShared(KEY, roster, HEAD + load<u32>(roster, 4) * ROW, sharedCas);
}

// @ts-ignore: decorator
@inline
function row(i: u32): usize {
  return roster + HEAD + <usize>i * ROW;
}

/** Takes row `i` out. */
function strike(i: u32): void {
  const last = load<u32>(roster, 4) - 1;
  if (i != last) memory.copy(row(i), row(last), ROW);
  store<u32>(roster, last, 4);
}

/** Signs for `vm`, strikes off the lost, and follows the era; once a second from the tick. */
export function rosterSign(vm: u64, nowMs: u64): void {
  for (let tries = 0; tries < 4; tries++) {
    if (!read()) return;
    let signed = false;
    let lost: u32 = 0;
    const mayStrike = nowMs >= load<u64>(roster, 8) + ERA_MS;
    for (let i: u32 = 0; i < load<u32>(roster, 4); ) {
      const r = row(i);
      if (load<u64>(r) == vm) {
        store<u64>(r, nowMs, 8);
        signed = true;
      } else if (mayStrike && nowMs > load<u64>(r, 8) + LOST_MS) {
        strike(i);
        lost++;
        continue;
      }
      i++;
    }
    const rows = load<u32>(roster, 4);
    if (!signed && rows < MAX_ROWS) {
      store<u64>(row(rows), vm);
      store<u64>(row(rows), nowMs, 8);
      store<u32>(roster, rows + 1, 4);
    }
    if (lost) {
      store<u32>(roster, load<u32>(roster) + 1);
      store<u64>(roster, nowMs, 8);
    }
    const wrote = write();
    if (wrote == CAS_MISMATCH) continue;
    if (wrote != OK) return;
    if (lost) {
      emptyAt = nowMs + SETTLED_MS;
      count(C_LOST_VMS, lost);
    }
    break;
  }
  follow();
  if (emptyAt && nowMs >= emptyAt) {
    emptyAt = 0;
    for (let i: u32 = 1; i < ERAS; i++) inflightEmpty(era + i);
  }
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
    while (i < load<u32>(roster, 4) && load<u64>(row(i)) != vm) i++;
    if (i == load<u32>(roster, 4)) return;
    strike(i);
    if (write() != CAS_MISMATCH) return;
  }
}
