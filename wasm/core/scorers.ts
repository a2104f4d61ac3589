// Runs one scorer: its scores go into the values, by place in the list of candidates.
import { Op } from "../shared/program-layout";
import {
  scoreAttribute,
  scoreContextLength,
  scoreHeaderLabel,
  scoreLongestAgo,
  scoreLora,
  scoreNoHitLru,
  scorePrefix,
  scoreSession,
} from "./affinity-scores";
import { candidateCount, setValue, value } from "./candidates";
import { runExpression } from "./expression";
import {
  scoreActiveRequests,
  scoreKvUsage,
  scoreLoadAware,
  scoreLoadBlend,
  scoreQueue,
  scoreRunning,
  scoreTokenLoad,
} from "./load-scores";
import { opA, opKind, opP } from "./program";
import { ALL } from "./recency";
import { chanceUnit } from "./request-facts";
import { warmCosts } from "./warm-until-busy";

/** `cold`: no pod that passed the filters has a part of the prompt. */
export function runScorer(op: usize, cold: bool): void {
  switch (<i32>opKind(op)) {
    case Op.Queue:
      scoreQueue();
      break;
    case Op.Running:
      scoreRunning();
      break;
    case Op.KvUsage:
      scoreKvUsage();
      break;
    case Op.LoadAware:
      scoreLoadAware(op);
      break;
    case Op.LoadBlend:
      scoreLoadBlend(op);
      break;
    case Op.ActiveRequests:
      scoreActiveRequests(op);
      break;
    case Op.TokenLoad:
      scoreTokenLoad(op);
      break;
    case Op.Prefix:
      scorePrefix(op);
      break;
    case Op.Lora:
      scoreLora();
      break;
    case Op.Session:
      scoreSession(op);
      break;
    case Op.NoHitLru:
      scoreNoHitLru(cold);
      break;
    case Op.ContextLength:
      scoreContextLength(op);
      break;
    case Op.Attribute:
      scoreAttribute(op);
      break;
    case Op.HeaderLabel:
      scoreHeaderLabel(op);
      break;
    case Op.Random:
      for (let k: u32 = 0; k < candidateCount; k++) setValue(k, chanceUnit());
      break;
    case Op.Expression:
      runExpression(opA(op), <u32>opP(op, 0));
      break;
    case Op.WarmUntilBusy:
      warmShare();
      break;
    case Op.RoundRobin:
      scoreLongestAgo(ALL);
      break;
    default:
      for (let k: u32 = 0; k < candidateCount; k++) setValue(k, 0);
      break;
  }
}

/** Beside other scorers: the least cost divided by the pod's. */
function warmShare(): void {
  const lowest = warmCosts();
  for (let k: u32 = 0; k < candidateCount; k++) setValue(k, value(k) > 0 ? lowest / value(k) : 1);
}
