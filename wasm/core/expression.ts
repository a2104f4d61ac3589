// Custom expressions: a short list of instructions over a stack of columns, each run for all candidates at once. No
// loops and no calls, so its cost is its length times the number of candidates.
import { MAX_PODS } from "../shared/pods-layout";
import { Code, MAX_STACK, Variable } from "../shared/program-layout";
import { candidate, candidateCount, setValue } from "./candidates";
import { fresh } from "./load-scores";
import { matchTokens } from "./matched-pods";
import { columnsFresh, podColumn } from "./pod-columns";
import { podPendingTokens, podRequests } from "./pod-counts";
import { podCapacity, podRate, podRunning, podUsage, podWaiting } from "./pods";
import { loadTtlMs } from "./policy";
import { codeArgument, codeConstant, codeKind, codeRow } from "./program";
import { nowNs, promptTokens } from "./request-facts";

const stack: usize = heap.alloc(<usize>MAX_PODS * 8 * MAX_STACK);

// @ts-ignore: decorator
@inline
function level(depth: u32): usize {
  return stack + <usize>depth * (MAX_PODS << 3);
}

/** Runs `count` instructions from `first` on; the values are the result, 0 where there is no number. */
export function runExpression(first: u32, count: u32): void {
  let depth: u32 = 0;
  const n = candidateCount;
  for (let i: u32 = 0; i < count; i++) {
    const row = codeRow(first + i);
    const kind = codeKind(row);
    if (kind <= <u32>Code.Column) push(row, kind, level(depth++));
    else if (kind < <u32>Code.Add) unary(kind, level(depth - 1), n);
    else if (kind < <u32>Code.Select) {
      depth--;
      binary(kind, level(depth - 1), level(depth), n);
    } else {
      depth -= 2;
      select(level(depth - 1), level(depth), level(depth + 1), n);
    }
  }
  for (let k: u32 = 0; k < n; k++) {
    const v = load<f64>(stack + (<usize>k << 3));
    setValue(k, v == v ? v : 0);
  }
}

function push(row: usize, kind: u32, to: usize): void {
  const n = candidateCount;
  if (kind == <u32>Code.Constant) {
    const v = codeConstant(row);
    for (let k: u32 = 0; k < n; k++) store<f64>(to + (<usize>k << 3), v);
    return;
  }
  const which = codeArgument(row);
  if (kind == <u32>Code.Column) {
    const usable = columnsFresh(nowNs, loadTtlMs);
    for (let k: u32 = 0; k < n; k++) store<f64>(to + (<usize>k << 3), usable ? podColumn(candidate(k), which) : NaN);
    return;
  }
  for (let k: u32 = 0; k < n; k++) store<f64>(to + (<usize>k << 3), variable(which, candidate(k)));
}

function variable(which: u32, pod: u32): f64 {
  switch (<i32>which) {
    case Variable.waiting:
      return fresh(pod) ? <f64>podWaiting(pod) : NaN;
    case Variable.running:
      return fresh(pod) ? <f64>podRunning(pod) : NaN;
    case Variable.kvUsage:
      return fresh(pod) ? podUsage(pod) : NaN;
    case Variable.inflightRequests:
      return <f64>podRequests(pod);
    case Variable.inflightTokens:
      return podPendingTokens(pod);
    case Variable.cachedTokens:
      return min(<f64>matchTokens(pod), promptTokens);
    case Variable.promptTokens:
      return promptTokens;
    case Variable.uncachedTokens:
      return promptTokens - min(<f64>matchTokens(pod), promptTokens);
    case Variable.rate:
      return podRate(pod);
    default:
      return <f64>podCapacity(pod);
  }
}

function unary(kind: u32, at: usize, n: u32): void {
  for (let k: u32 = 0; k < n; k++, at += 8) {
    const v = load<f64>(at);
    let r = v;
    switch (<i32>kind) {
      case Code.Negate:
        r = -v;
        break;
      case Code.Not:
        r = v == 0 ? 1 : 0;
        break;
      case Code.Absolute:
        r = Math.abs(v);
        break;
      case Code.Floor:
        r = Math.floor(v);
        break;
      case Code.SquareRoot:
        r = Math.sqrt(v);
        break;
      case Code.Exponential:
        r = Math.exp(v);
        break;
      case Code.Logarithm:
        r = Math.log(v);
        break;
      default:
        break;
    }
    store<f64>(at, r);
  }
}

function binary(kind: u32, at: usize, other: usize, n: u32): void {
  for (let k: u32 = 0; k < n; k++, at += 8, other += 8) {
    const a = load<f64>(at);
    const b = load<f64>(other);
    let r = a;
    switch (<i32>kind) {
      case Code.Add:
        r = a + b;
        break;
      case Code.Subtract:
        r = a - b;
        break;
      case Code.Multiply:
        r = a * b;
        break;
      case Code.Divide:
        r = a / b;
        break;
      case Code.Minimum:
        r = min(a, b);
        break;
      case Code.Maximum:
        r = max(a, b);
        break;
      case Code.Less:
        r = a < b ? 1 : 0;
        break;
      case Code.AtMost:
        r = a <= b ? 1 : 0;
        break;
      case Code.Equal:
        r = a == b ? 1 : 0;
        break;
      case Code.And:
        r = a != 0 && b != 0 ? 1 : 0;
        break;
      case Code.Or:
        r = a != 0 || b != 0 ? 1 : 0;
        break;
      default:
        break;
    }
    store<f64>(at, r);
  }
}

function select(condition: usize, yes: usize, no: usize, n: u32): void {
  for (let k: u32 = 0; k < n; k++, condition += 8, yes += 8, no += 8) {
    store<f64>(condition, load<f64>(condition) != 0 ? load<f64>(yes) : load<f64>(no));
  }
}
