// Scorers over what a pod already has for this request: cached prefix, adapter, session, labels, and the order in
// which pods were chosen. Formulas: docs/policy.md, which names their sources.
import { Stickiness } from "../shared/program-layout";
import { candidate, candidateCount, placeOf, placesBegin, placesEnd, setValue, value } from "./candidates";
import { fresh } from "./load-scores";
import { matchTokens } from "./matched-pods";
import {
  adapterActive,
  adapterRoom,
  adapterWaiting,
  columnsFresh,
  podColumn,
  podLabelHash,
} from "./pod-columns";
import { podAddressHash, podUsage, podWaiting } from "./pods";
import { loadTtlMs } from "./policy";
import { opA, opFlags, opP } from "./program";
import { COLD, END, newer, oldest, remembered } from "./recency";
import { adapter, headerHash, nowNs, promptTokens, session } from "./request-facts";
import { sessionPod } from "./session-table";

/** Waiting requests and KV-cache use at which a pod is saturated: utilization-detector's defaults in llm-d. */
// @ts-ignore: decorator
@inline
const SATURATED_WAITING: f64 = 5;
// @ts-ignore: decorator
@inline
const SATURATED_USAGE: f64 = 0.8;

export function scorePrefix(op: usize): void {
  const lengthWeight = opP(op, 0);
  const scale = opP(op, 1);
  const least = opP(op, 2);
  const most = opP(op, 3) > 0 ? opP(op, 3) : f64.MAX_VALUE;
  const total = max(min(promptTokens, most), 1);
  for (let k: u32 = 0; k < candidateCount; k++) {
    const cached = min(<f64>matchTokens(candidate(k)), total);
    const share = cached / total;
    const long = min(1, cached / scale);
    setValue(k, share < least ? 0 : lengthWeight * long * long + (1 - lengthWeight) * share);
  }
}

export function scoreLora(): void {
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    setValue(
      k,
      adapterActive(pod, adapter) ? 1 : adapterRoom(pod) ? 0.8 : adapterWaiting(pod, adapter) ? 0.6 : 0,
    );
  }
}

/** 0 for an idle pod, from 1 on saturated: max(waiting / 5, KV-cache use / 0.8). */
function saturation(pod: u32): f64 {
  if (!fresh(pod)) return 0;
  return max(<f64>podWaiting(pod) / SATURATED_WAITING, podUsage(pod) / SATURATED_USAGE);
}

/** How much the session's pod holds on to it: 1 whole, 0 not at all. */
export function hold(pod: u32, stickiness: u32): f64 {
  if (stickiness == <u32>Stickiness.High) return 1;
  const s = saturation(pod);
  if (stickiness == <u32>Stickiness.Medium) return s < 1 ? 1 : 0;
  return max(0, 1 - s);
}

export function scoreSession(op: usize): void {
  const at = sessionPod(session, nowNs);
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    setValue(k, <i32>pod == at ? hold(pod, opA(op)) : 0);
  }
}

/** Whether no candidate has a part of the prompt. */
export function coldRequest(): bool {
  for (let k: u32 = 0; k < candidateCount; k++) {
    if (matchTokens(candidate(k)) > 0) return false;
  }
  return true;
}

/** The pod chosen longest ago has the highest score, those never chosen before it, in slot order. */
export function scoreLongestAgo(list: u32): void {
  const n = candidateCount;
  const last = <f64>max(n - 1, 1);
  let never: u32 = 0;
  for (let k: u32 = 0; k < n; k++) {
    const pod = candidate(k);
    if (!remembered(list, pod, podAddressHash(pod))) setValue(k, 1 - <f64>(never++) / last);
  }
  placesBegin();
  let rank = never;
  for (let pod = oldest(list); pod != END; pod = newer(list, pod)) {
    const k = placeOf(pod);
    if (k >= 0 && remembered(list, pod, podAddressHash(pod))) setValue(<u32>k, 1 - <f64>(rank++) / last);
  }
  placesEnd();
}

export function scoreNoHitLru(cold: bool): void {
  if (cold) scoreLongestAgo(COLD);
  else for (let k: u32 = 0; k < candidateCount; k++) setValue(k, 0.5);
}

/** A pod takes prompts of its range: the label's ends in two columns, NaN without the label, -1 for no range. */
export function scoreContextLength(op: usize): void {
  const column = opA(op);
  for (let k: u32 = 0; k < candidateCount; k++) {
    const pod = candidate(k);
    const least = podColumn(pod, column);
    const most = podColumn(pod, column + 1);
    if (least != least) setValue(k, 0.5);
    else if (least < 0) setValue(k, 0);
    else if (promptTokens < least) setValue(k, 0.3 / (1 + (least - promptTokens) / 1000));
    else if (promptTokens > most) setValue(k, 0.3 / (1 + (promptTokens - most) / 1000));
    else {
      const width = most - least;
      const headroom = width > 0 ? (most - promptTokens) / width : 0;
      setValue(k, width > 0 ? 0.3 + 0.7 * (0.7 / (1 + width / 10000) + 0.3 * headroom) : 1);
    }
  }
}

export function scoreHeaderLabel(op: usize): void {
  const hash = headerHash(opA(op));
  const wanted = <u32>(hash ^ (hash >> 32));
  const column = <u32>opP(op, 0);
  for (let k: u32 = 0; k < candidateCount; k++) {
    setValue(k, hash != 0 && podLabelHash(candidate(k), column) == (wanted ? wanted : 1) ? 1 : 0);
  }
}

export function scoreAttribute(op: usize): void {
  const column = opA(op);
  const usable = columnsFresh(nowNs, loadTtlMs);
  let least = opP(op, 0);
  let most = opP(op, 1);
  if (!(opFlags(op) & 2)) {
    least = f64.MAX_VALUE;
    most = -f64.MAX_VALUE;
  }
  for (let k: u32 = 0; k < candidateCount; k++) {
    const v = usable ? podColumn(candidate(k), column) : NaN;
    setValue(k, v);
    if (v != v || opFlags(op) & 2) continue;
    least = min(least, v);
    most = max(most, v);
  }
  const range = most - least;
  for (let k: u32 = 0; k < candidateCount; k++) {
    const v = value(k);
    if (v != v) setValue(k, 0);
    else if (!(range > 0)) setValue(k, 1);
    else setValue(k, opFlags(op) & 1 ? (most - v) / range : (v - least) / range);
  }
}
