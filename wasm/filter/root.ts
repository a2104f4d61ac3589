// The root context of a VM: configuration, and the tick that keeps everything current.
import { podsReady } from "../core/pods";
import { bodyRead, isolated, policyDefaults } from "../core/policy";
import { scanInit } from "../core/scan";
import { readerInit } from "../shared/table-reader";
import { memoryInit, memoryLimit, text } from "./abi/memory";
import { BUFFER_PLUGIN_CONFIGURATION, CAS_MISMATCH, CONTINUE, LOG_WARN, NOT_FOUND, OK } from "./abi/types";
import { timingDefine } from "./callback-timing";
import { configurationRead, configuredDebug, configuredRead, tableMiB } from "./configuration";
import {
  buffer,
  effectiveContext,
  getShared,
  log,
  now,
  random,
  resultAt,
  resultSize,
  scratch,
  setShared,
  sharedCas,
} from "./host";
import { decisionBudget, decisionsSend } from "./decision-record";
import { inflightTick } from "./inflight";
import { C_SUCCESS, C_WATCHDOG, count, metricsDefine, metricsFlush, processCounter } from "./metrics";
import { owedTick, resume } from "./owed";
import { queueTick } from "./queue";
import { prefillTick } from "./prefill-answered";
import { prefillMemory } from "./prefill-calls";
import { expireBlocks } from "./prefill-held";
import { prefillMetricsDefine, sendTransfers } from "./prefill-metrics";
import { sendPredictions } from "./prediction-report";
import { sendReport } from "./report";
import { RENDER_BYTES } from "./prompt-match";
import { bodySeen, decideOnHeaders, refuseUnread, resumedBlind, resumingEnds } from "./request";
import { setArrivalRate } from "./route";
import { routedBudget, routedSend } from "./routed-blocks";
import { streamsEver, streamWalk, streamsOwed, streamsWaiting, waitingAdd, walkNext, WAITING } from "./streams";
import { sharingTick } from "./sharing";
import { streamIdentify, streamOpen, streamTick, vmId } from "./table-stream";
import { paceBegin, paceTick } from "./tick-pace";
import { rosterLeave, rosterSign, workersServing } from "./worker-roster";

/** A stream that waits this long for a first body callback tells that none will come. */
// @ts-ignore: decorator
@inline
const WATCHDOG_NS: u64 = 250000000;

const PROCESS_KEY = text("warmgate.process");
const BLIND = text(
  "warmgate: no body callback came for a held request; is allow_on_headers_stop_iteration set? With a plain WasmPlugin use mode: headers",
);

let configured: bool = false;
let started: bool = false;
let lastSecond: u64 = 0;
let lastDecisions: u64 = 0;
let rate: f64 = 0;

export function onConfigure(size: u32): bool {
  memoryInit(2097152);
  if (size) {
    if (buffer(BUFFER_PLUGIN_CONFIGURATION, 0, size) != OK) return false;
    configurationRead(resultAt, resultSize);
  }
  if (!configured) {
    configured = true;
    scanInit(RENDER_BYTES);
    readerInit(<usize>tableMiB << 20);
    metricsDefine();
    timingDefine();
    prefillMetricsDefine();
  }
  policyDefaults(configuredRead, configuredDebug);
  return paceBegin();
}

/** Names the process: the first VM writes a random number, the others read it. */
function identify(): bool {
  const status = getShared(PROCESS_KEY);
  let process: u64 = 0;
  if (status == OK && resultSize == 8) process = load<u64>(resultAt);
  else if (status == NOT_FOUND) {
    const p = scratch(8);
    if (!p) return false;
    process = random() | 1;
    store<u64>(p, process);
    const wrote = setShared(PROCESS_KEY, p, 8, sharedCas);
    if (wrote == CAS_MISMATCH || wrote != OK) return false;
    if (getShared(PROCESS_KEY) == OK && resultSize == 8) process = load<u64>(resultAt);
  } else return false;
  streamIdentify(random() | 1, process);
  return true;
}

export function onTick(): void {
  const t = now();
  resumingEnds();
  if (!started) {
    started = identify();
    if (!started) return;
    lastSecond = t;
    // At once, so that a VM that is lost in its first second is missed, too.
    rosterSign(vmId, t / 1000000, false);
  }
  if (<usize>bodyRead > memoryLimit()) memoryInit(bodyRead + 1048576);
  streamTick(t);
  prefillMemory();
  prefillTick(t);
  // A lone worker has all counts itself.
  inflightTick(t, workersServing() > 1);
  decisionsSend();
  routedSend();
  sharingTick(t);
  paceTick(t);
  if (t - lastSecond >= 1000000000) {
    metricsFlush();
    decisionBudget();
    routedBudget();
    const decisions = processCounter(C_SUCCESS);
    const seconds = <f64>(t - lastSecond) / 1e9;
    if (lastDecisions && decisions >= lastDecisions) {
      rate = rate * 0.5 + (<f64>(decisions - lastDecisions) / seconds) * 0.5;
      setArrivalRate(podsReady ? rate / <f64>podsReady : 0);
    }
    lastDecisions = decisions;
    lastSecond = t;
    rosterSign(vmId, t / 1000000, streamsEver());
    expireBlocks(t);
    if (streamOpen()) {
      sendPredictions();
      sendReport();
      sendTransfers();
    }
  }
  // Last: what follows runs in the contexts of requests, which have no gRPC stream.
  queueTick(t);
  if (streamsWaiting && !bodySeen) watchdog(t);
  if (streamsOwed) owedTick();
}

/** The VM is about to end: its last stream is gone. */
export function onRootDone(): void {
  if (started) rosterLeave(vmId);
}

function watchdog(t: u64): void {
  for (let s = streamWalk(0); s; s = streamWalk(walkNext)) {
    if (s.state != WAITING) continue;
    if (!s.startNs) s.startNs = t;
    if (t - s.startNs < WATCHDOG_NS) continue;
    if (effectiveContext(s.id) != OK) continue;
    if (isolated) {
      refuseUnread(s);
      count(C_WATCHDOG);
      continue;
    }
    waitingAdd(-1);
    if (decideOnHeaders(s) != CONTINUE) continue;
    resumedBlind(s);
    count(C_WATCHDOG);
    log(LOG_WARN, BLIND);
    resume(s);
  }
}
