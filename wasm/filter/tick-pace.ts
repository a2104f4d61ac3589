// How often a VM ticks. Each tick wakes its thread, so one that has no requests ticks seldom: an idle worker's, and for good
// that of the main thread, which never has any.
import { OK } from "./abi/types";
import { now, setTick } from "./host";
import { inflightTick } from "./inflight";
import { streamsLive } from "./streams";
import { workersServing } from "./worker-roster";

// @ts-ignore: decorator
@inline
const BUSY_MS: u32 = 5;
// @ts-ignore: decorator
@inline
const QUIET_MS: u32 = 50;
/** What a request leaves behind, such as its counts for other gateways, is sent by then. */
// @ts-ignore: decorator
@inline
const QUIET_AFTER_NS: u64 = 1000000000;

let quiet: bool = false;
/** The last tick with a request under way, or the first after one came; 0 until then. */
let busyNs: u64 = 0;

/** Begins to tick; false when the host refuses. */
export function paceBegin(): bool {
  quiet = false;
  return setTick(BUSY_MS) == OK;
}

/** From the tick. */
export function paceTick(t: u64): void {
  if (streamsLive || !busyNs) busyNs = t;
}

/**
 * Slows the ticks down when that is due. From any callback but the tick: Envoy destroys the timer that a new period
 * replaces, and with it the function that is running (Wasm::setTimerPeriod).
 */
export function paceRest(t: u64): void {
  if (quiet || streamsLive || !busyNs || t - busyNs < QUIET_AFTER_NS) return;
  quiet = setTick(QUIET_MS) == OK;
}

/** A request comes: what other workers have under way is looked at now, the last tick may be long ago. */
export function paceWake(): void {
  busyNs = 0;
  if (!quiet) return;
  quiet = setTick(BUSY_MS) != OK;
  inflightTick(now(), workersServing() > 1);
}
