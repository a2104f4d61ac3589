// Filters: each goes through the candidates once and drops some. Formulas: docs/policy.md, which names their sources.
import { Comparison, Op } from "../shared/program-layout";
import { hold } from "./affinity-scores";
import { candidate, candidateCount, keepMarked, mark, value } from "./candidates";
import { runExpression } from "./expression";
import { fresh } from "./load-scores";
import { matchTokens } from "./matched-pods";
import { adapterActive, adapterRoom, adapterWaiting, columnsFresh, podColumn, podLabel } from "./pod-columns";
import { podPendingTokens, podRequests } from "./pod-counts";
import { podRunning, podUsage, podWaiting } from "./pods";
import { loadTtlMs } from "./policy";
import { opA, opFlags, opKind, opP } from "./program";
import { adapter, chanceUnit, nowNs, promptTokens, session } from "./request-facts";
import { sessionPod } from "./session-table";

/** Runs one filter over the candidates. */
export function runFilter(op: usize): void {
  switch (<i32>opKind(op)) {
    case Op.FilterLabels:
      for (let k: u32 = 0; k < candidateCount; k++) mark(k, podLabel(candidate(k), opA(op)));
      keepMarked(false);
      break;
    case Op.FilterPrefixAffinity:
      prefixAffinity(op);
      break;
    case Op.FilterSession:
      sessionAffinity(op);
      break;
    case Op.FilterUtilization:
      utilization(op);
      break;
    case Op.FilterAttribute:
      attribute(op);
      break;
    case Op.FilterLora:
      lora(op);
      break;
    case Op.FilterContextLength:
      contextLength(op);
      break;
    case Op.FilterExpression:
      runExpression(opA(op), <u32>opP(op, 0));
      for (let k: u32 = 0; k < candidateCount; k++) mark(k, value(k) != 0);
      keepMarked(false);
      break;
    default:
      break;
  }
}

/**
 * Keeps the pods that hold at least the threshold of the prompt, unless there are none, or the least loaded of them
 * would be later than the least loaded of the others by more than the penalty; then it keeps all.
 */
function prefixAffinity(op: usize): void {
  const exploration = opP(op, 1);
  if (exploration > 0 && chanceUnit() < exploration) return;
  const least = opP(op, 0) * max(promptTokens, 1);
  let sticky = f64.MAX_VALUE;
  let other = f64.MAX_VALUE;
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    const warm = min(<f64>matchTokens(pod), promptTokens) >= least;
    mark(k, warm);
    if (warm) sticky = min(sticky, podPendingTokens(pod));
    else other = min(other, podPendingTokens(pod));
  }
  if (sticky == f64.MAX_VALUE || other == f64.MAX_VALUE) return;
  const penalty = opP(op, 2);
  if (penalty > 0 && ((sticky - other) / opP(op, 3)) * 1000 > penalty) return;
  keepMarked(true);
}

/** Keeps the session's pod alone, as long as that holds on to it. */
function sessionAffinity(op: usize): void {
  const at = sessionPod(session, nowNs);
  if (at < 0 || !(hold(<u32>at, opA(op)) > 0)) return;
  for (let k: u32 = 0; k < candidateCount; k++) mark(k, <i32>candidate(k) == at);
  keepMarked(true);
}

/** Scraped columns that are too old exclude nobody. */
function utilization(op: usize): void {
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    let keep = <f64>podRequests(pod) <= opP(op, 0);
    if (keep && fresh(pod)) {
      keep = <f64>podRunning(pod) <= opP(op, 1) && <f64>podWaiting(pod) <= opP(op, 2) && podUsage(pod) <= opP(op, 3);
    }
    mark(k, keep);
  }
  keepMarked((opFlags(op) & 1) != 0);
}

function attribute(op: usize): void {
  const usable = columnsFresh(nowNs, loadTtlMs);
  const than = opP(op, 0);
  const missing = (opFlags(op) & 2) == 0;
  for (let k: u32 = 0; k < candidateCount; k++) {
    const v = usable ? podColumn(candidate(k), opA(op)) : NaN;
    mark(k, v != v ? missing : compare(opFlags(op) >> 4, v, than));
  }
  keepMarked((opFlags(op) & 1) != 0);
}

function compare(how: u32, v: f64, than: f64): bool {
  switch (<i32>how) {
    case Comparison.Less:
      return v < than;
    case Comparison.AtMost:
      return v <= than;
    case Comparison.More:
      return v > than;
    case Comparison.AtLeast:
      return v >= than;
    case Comparison.Equal:
      return v == than;
    default:
      return v != than;
  }
}

/** Keeps pods that have the adapter, or now and then those with room for it; all when there is neither. */
function lora(op: usize): void {
  let having: u32 = 0;
  let roomy: u32 = 0;
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    if (adapterActive(pod, adapter) || adapterWaiting(pod, adapter)) having++;
    else if (adapterRoom(pod)) roomy++;
  }
  const prefer = having > 0 && (roomy == 0 || chanceUnit() < opP(op, 0));
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    const has = adapterActive(pod, adapter) || adapterWaiting(pod, adapter);
    mark(k, prefer ? has : !has && adapterRoom(pod));
  }
  keepMarked(true);
}

/** Keeps pods whose range has the prompt's length, and those without a range; all when there is none. */
function contextLength(op: usize): void {
  for (let k: u32 = 0; k < candidateCount; k++) {
    const least = podColumn(candidate(k), opA(op));
    const most = podColumn(candidate(k), opA(op) + 1);
    mark(k, least != least || (least >= 0 && promptTokens >= least && promptTokens <= most));
  }
  keepMarked(true);
}
