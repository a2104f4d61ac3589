// The scheduling program in force: checked once when it arrives, then read in place.
import { ROLE_DECODE } from "../shared/pods-layout";
import {
  Code,
  Handler,
  MAX_CODE,
  MAX_COLUMNS,
  MAX_EXPRESSION,
  MAX_HEADERS,
  MAX_LABEL_BITS,
  MAX_OPS,
  MAX_PROFILE_OPS,
  MAX_PROFILES,
  MAX_STACK,
  NO_PROFILE,
  Op,
  PROGRAM_CODE_BYTES,
  PROGRAM_HEAD_BYTES,
  PROGRAM_HEADER_BYTES,
  PROGRAM_MAX_BYTES,
  PROGRAM_OP_BYTES,
  PROGRAM_PROFILE_BYTES,
  Stickiness,
  Tie,
  Variable,
} from "../shared/program-layout";

// @ts-ignore: decorator
@inline
const WEIGHT_MAX: f64 = 1e9;

const bytes: usize = heap.alloc(PROGRAM_MAX_BYTES);
let headers: usize = 0;
let profiles: usize = 0;
let ops: usize = 0;
let code: usize = 0;

let profileCount: u32 = 0;
export let handler: u32 = 0;
/** Profile of the decode pod, or of every request. */
export let mainProfile: u32 = 0;
/** Profile of the prefill pod, NO_PROFILE when there is none. */
export let prefillProfile: u32 = NO_PROFILE;
/** Request headers that operations look at. */
export let headerCount: u32 = 0;
/** Which of them names the profile. */
export let profileHeader: u32 = 0;

/** Address of the name of header `i`; its length is `headerNameSize`. */
export function headerName(i: u32): usize {
  return headers + <usize>i * PROGRAM_HEADER_BYTES + 1;
}
export function headerNameSize(i: u32): u32 {
  return load<u8>(headers + <usize>i * PROGRAM_HEADER_BYTES);
}
/** Profile whose name has this hash, -1 when none has. */
export function profileByName(hash: u64): i32 {
  for (let i: u32 = 0; i < profileCount; i++) {
    if (load<u64>(profiles + <usize>i * PROGRAM_PROFILE_BYTES) == hash) return i;
  }
  return -1;
}
export function profileOps(i: u32): u32 {
  return load<u16>(profiles + <usize>i * PROGRAM_PROFILE_BYTES, 10);
}
/** Roles that a pod of this profile may have, bits. */
export function profileRoles(i: u32): u32 {
  return load<u8>(profiles + <usize>i * PROGRAM_PROFILE_BYTES, 12);
}
/** Row of operation `k` of profile `i`. */
export function profileOp(i: u32, k: u32): usize {
  const first = <u32>load<u16>(profiles + <usize>i * PROGRAM_PROFILE_BYTES, 8);
  return ops + <usize>(first + k) * PROGRAM_OP_BYTES;
}

// Fields of an operation's row.
// @ts-ignore: decorator
@inline
export function opKind(row: usize): u32 {
  return load<u16>(row);
}
// @ts-ignore: decorator
@inline
export function opFlags(row: usize): u32 {
  return load<u16>(row, 2);
}
// @ts-ignore: decorator
@inline
export function opA(row: usize): u32 {
  return load<u32>(row, 4);
}
// @ts-ignore: decorator
@inline
export function opWeight(row: usize): f64 {
  return load<f64>(row, 8);
}
/** Parameter 0–3. */
// @ts-ignore: decorator
@inline
export function opP(row: usize, i: u32): f64 {
  return load<f64>(row + (<usize>i << 3), 16);
}

// Fields of an instruction.
// @ts-ignore: decorator
@inline
export function codeRow(i: u32): usize {
  return code + <usize>i * PROGRAM_CODE_BYTES;
}
// @ts-ignore: decorator
@inline
export function codeKind(row: usize): u32 {
  return load<u16>(row);
}
// @ts-ignore: decorator
@inline
export function codeArgument(row: usize): u32 {
  return load<u16>(row, 2);
}
// @ts-ignore: decorator
@inline
export function codeConstant(row: usize): f64 {
  return load<f64>(row, 8);
}

/** Bytes of the program at `p` when it is whole and every part of it is known and within bounds, else 0. */
export function programValid(p: usize, n: u32): u32 {
  if (n < PROGRAM_HEAD_BYTES) return 0;
  const size = load<u32>(p);
  const profileTotal = <u32>load<u8>(p, 4);
  const headerTotal = <u32>load<u8>(p, 8);
  const codeTotal = <u32>load<u16>(p, 10);
  const opTotal = <u32>load<u16>(p, 12);
  if (profileTotal == 0 || profileTotal > MAX_PROFILES || headerTotal > MAX_HEADERS) return 0;
  if (codeTotal > MAX_CODE || opTotal > MAX_OPS) return 0;
  const headersAt = p + PROGRAM_HEAD_BYTES;
  const profilesAt = headersAt + headerTotal * PROGRAM_HEADER_BYTES;
  const opsAt = profilesAt + profileTotal * PROGRAM_PROFILE_BYTES;
  const codeAt = opsAt + opTotal * PROGRAM_OP_BYTES;
  if (size > n || <usize>size != codeAt + codeTotal * PROGRAM_CODE_BYTES - p) return 0;
  const mode = <u32>load<u8>(p, 5);
  if (mode > <u32>Handler.Header || <u32>load<u8>(p, 6) >= profileTotal) return 0;
  const prefill = <u32>load<u8>(p, 7);
  if (prefill != NO_PROFILE && prefill >= profileTotal) return 0;
  if (mode == <u32>Handler.Header && <u32>load<u8>(p, 9) >= headerTotal) return 0;
  for (let i: u32 = 0; i < headerTotal; i++) {
    const length = <u32>load<u8>(headersAt + i * PROGRAM_HEADER_BYTES);
    if (length == 0 || length >= PROGRAM_HEADER_BYTES) return 0;
  }
  for (let i: u32 = 0; i < profileTotal; i++) {
    const row = profilesAt + i * PROGRAM_PROFILE_BYTES;
    const first = <u32>load<u16>(row, 8);
    const count = <u32>load<u16>(row, 10);
    const roles = <u32>load<u8>(row, 12);
    if (roles == 0 || roles > 3) return 0;
    if (count == 0 || count > MAX_PROFILE_OPS || first + count > opTotal) return 0;
    for (let k: u32 = 0; k < count; k++) {
      const op = opsAt + (first + k) * PROGRAM_OP_BYTES;
      // One picker, and it is last.
      if (opKind(op) >= <u32>Op.MaxScore != (k + 1 == count)) return 0;
      if (!opValid(op, headerTotal, codeAt, codeTotal)) return 0;
    }
  }
  return size;
}

function opValid(op: usize, headerTotal: u32, codeAt: usize, codeTotal: u32): bool {
  const weight = opWeight(op);
  if (!(weight >= 0 && weight <= WEIGHT_MAX)) return false;
  for (let i: u32 = 0; i < 4; i++) {
    if (opP(op, i) != opP(op, i)) return false;
  }
  const a = opA(op);
  switch (<i32>opKind(op)) {
    case Op.FilterLabels:
      return a < MAX_LABEL_BITS;
    case Op.FilterSession:
    case Op.Session:
      return a <= <u32>Stickiness.High && opP(op, 0) > 0;
    case Op.FilterAttribute:
      return a < MAX_COLUMNS && opFlags(op) >> 4 <= 5;
    case Op.Attribute:
      return a < MAX_COLUMNS;
    case Op.FilterContextLength:
    case Op.ContextLength:
      return a + 1 < MAX_COLUMNS;
    case Op.HeaderLabel:
      return a < headerTotal && opP(op, 0) >= 0 && opP(op, 0) < <f64>MAX_COLUMNS;
    case Op.FilterExpression:
    case Op.Expression:
      return expressionValid(a, opP(op, 0), codeAt, codeTotal);
    case Op.LoadAware:
    case Op.LoadBlend:
    case Op.TokenLoad:
      return opP(op, 0) > 0;
    case Op.FilterPrefixAffinity:
      return opP(op, 3) > 0;
    case Op.Prefix:
      return opP(op, 1) > 0 && opP(op, 3) >= 0;
    case Op.NoHitLru:
      return opP(op, 0) >= 1;
    case Op.MaxScore:
      return a <= <u32>Tie.Session;
    case Op.FilterUtilization:
    case Op.FilterLora:
    case Op.Queue:
    case Op.Running:
    case Op.KvUsage:
    case Op.ActiveRequests:
    case Op.Lora:
    case Op.Random:
    case Op.WarmUntilBusy:
    case Op.RoundRobin:
    case Op.WeightedRandom:
    case Op.RandomPick:
      return true;
    default:
      return false;
  }
}

/** Columns that an instruction takes from the stack; each puts one back. 255 = unknown instruction. */
function codeTakes(kind: u32): u32 {
  if (kind <= <u32>Code.Column) return 0;
  if (kind >= <u32>Code.Negate && kind <= <u32>Code.Logarithm) return 1;
  if (kind >= <u32>Code.Add && kind <= <u32>Code.Or) return 2;
  return kind == <u32>Code.Select ? 3 : 255;
}

function expressionValid(first: u32, length: f64, codeAt: usize, codeTotal: u32): bool {
  if (!(length >= 1 && length <= <f64>MAX_EXPRESSION)) return false;
  const count = <u32>length;
  if (first > codeTotal || count > codeTotal - first) return false;
  let depth: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const row = codeAt + <usize>(first + i) * PROGRAM_CODE_BYTES;
    const kind = codeKind(row);
    const takes = codeTakes(kind);
    if (takes == 255 || depth < takes) return false;
    if (kind == <u32>Code.Variable && codeArgument(row) > <u32>Variable.capacityTokens) return false;
    if (kind == <u32>Code.Column && codeArgument(row) >= MAX_COLUMNS) return false;
    depth += 1 - takes;
    if (depth > MAX_STACK) return false;
  }
  return depth == 1;
}

/** Takes a program that `programValid` found right. */
export function programTake(p: usize): void {
  const size = load<u32>(p);
  if (p != bytes) memory.copy(bytes, p, size);
  profileCount = load<u8>(bytes, 4);
  handler = load<u8>(bytes, 5);
  mainProfile = load<u8>(bytes, 6);
  prefillProfile = load<u8>(bytes, 7);
  headerCount = load<u8>(bytes, 8);
  profileHeader = load<u8>(bytes, 9);
  headers = bytes + PROGRAM_HEAD_BYTES;
  profiles = headers + headerCount * PROGRAM_HEADER_BYTES;
  ops = profiles + profileCount * PROGRAM_PROFILE_BYTES;
  code = ops + <usize>load<u16>(bytes, 12) * PROGRAM_OP_BYTES;
}

/** warm-until-busy alone: what runs until a policy arrives. */
function programDefault(): void {
  const size = PROGRAM_HEAD_BYTES + PROGRAM_PROFILE_BYTES + 2 * PROGRAM_OP_BYTES;
  memory.fill(bytes, 0, size);
  store<u32>(bytes, size);
  store<u8>(bytes, 1, 4);
  store<u8>(bytes, <u8>NO_PROFILE, 7);
  store<u16>(bytes, 2, 12);
  const profile = bytes + PROGRAM_HEAD_BYTES;
  store<u16>(profile, 2, 10);
  store<u8>(profile, <u8>ROLE_DECODE, 12);
  const op = profile + PROGRAM_PROFILE_BYTES;
  store<u16>(op, <u16>Op.WarmUntilBusy);
  store<f64>(op, 1, 8);
  store<u16>(op + PROGRAM_OP_BYTES, <u16>Op.MaxScore);
  store<u32>(op + PROGRAM_OP_BYTES, <u32>Tie.Prompt, 4);
  programTake(bytes);
}

programDefault();
