// Writes scheduling programs and pod columns for Node; program-layout.ts has the offsets.
import { fnv32, fnv64 } from "./fnv";
import { input } from "./input-buffer";
import { reserveRow } from "./sections";
import {
  COLUMN_ROW_BYTES,
  MAX_CODE,
  MAX_COLUMNS,
  MAX_HEADERS,
  MAX_OPS,
  MAX_PROFILES,
  PROGRAM_CODE_BYTES,
  PROGRAM_HEAD_BYTES,
  PROGRAM_HEADER_BYTES,
  PROGRAM_MAX_BYTES,
  PROGRAM_OP_BYTES,
  PROGRAM_PROFILE_BYTES,
} from "./program-layout";

const head: usize = heap.alloc(PROGRAM_MAX_BYTES);
const headers: usize = head + PROGRAM_HEAD_BYTES;
const profiles: usize = headers + MAX_HEADERS * PROGRAM_HEADER_BYTES;
const ops: usize = profiles + MAX_PROFILES * PROGRAM_PROFILE_BYTES;
const code: usize = ops + MAX_OPS * PROGRAM_OP_BYTES;
let headerCount: u32 = 0;
let profileCount: u32 = 0;
let opCount: u32 = 0;
let codeCount: u32 = 0;

/** Begins a program; its parts follow in any order, but an operation belongs to the profile written last. */
export function programBegin(
  handler: u32,
  main: u32,
  prefill: u32,
  profileHeader: u32,
): void {
  memory.fill(head, 0, PROGRAM_MAX_BYTES);
  headerCount = 0;
  profileCount = 0;
  opCount = 0;
  codeCount = 0;
  store<u8>(head, <u8>handler, 5);
  store<u8>(head, <u8>main, 6);
  store<u8>(head, <u8>prefill, 7);
  store<u8>(head, <u8>profileHeader, 9);
}

/** Name of a request header, in lower case. False when there is no room for one more, or it is too long. */
export function programHeader(name: usize, n: u32): bool {
  if (headerCount == MAX_HEADERS || n == 0 || n >= PROGRAM_HEADER_BYTES) return false;
  const row = headers + headerCount++ * PROGRAM_HEADER_BYTES;
  store<u8>(row, <u8>n);
  memory.copy(row + 1, name, n);
  return true;
}

export function programProfile(name: usize, n: u32, roles: u32): bool {
  if (profileCount == MAX_PROFILES) return false;
  const row = profiles + profileCount++ * PROGRAM_PROFILE_BYTES;
  store<u64>(row, fnv64(name, n));
  store<u16>(row, <u16>opCount, 8);
  store<u8>(row, <u8>roles, 12);
  return true;
}

export function programOp(
  kind: u32,
  flags: u32,
  a: u32,
  weight: f64,
  p0: f64,
  p1: f64,
  p2: f64,
  p3: f64,
): bool {
  if (opCount == MAX_OPS || profileCount == 0) return false;
  const row = ops + opCount++ * PROGRAM_OP_BYTES;
  store<u16>(row, <u16>kind);
  store<u16>(row, <u16>flags, 2);
  store<u32>(row, a, 4);
  store<f64>(row, weight, 8);
  store<f64>(row, p0, 16);
  store<f64>(row, p1, 24);
  store<f64>(row, p2, 32);
  store<f64>(row, p3, 40);
  const profile = profiles + (profileCount - 1) * PROGRAM_PROFILE_BYTES;
  store<u16>(profile, load<u16>(profile, 10) + 1, 10);
  return true;
}

export function programCode(kind: u32, argument: u32, constant: f64): bool {
  if (codeCount == MAX_CODE) return false;
  const row = code + codeCount++ * PROGRAM_CODE_BYTES;
  store<u16>(row, <u16>kind);
  store<u16>(row, <u16>argument, 2);
  store<f64>(row, constant, 8);
  return true;
}

/** Bytes of the program as it stands. */
export function programSize(): u32 {
  return (
    PROGRAM_HEAD_BYTES +
    headerCount * PROGRAM_HEADER_BYTES +
    profileCount * PROGRAM_PROFILE_BYTES +
    opCount * PROGRAM_OP_BYTES +
    codeCount * PROGRAM_CODE_BYTES
  );
}

/** Writes the program at `to`. */
export function programWrite(to: usize): void {
  store<u32>(head, programSize());
  store<u8>(head, <u8>profileCount, 4);
  store<u8>(head, <u8>headerCount, 8);
  store<u16>(head, <u16>codeCount, 10);
  store<u16>(head, <u16>opCount, 12);
  to = append(to, head, PROGRAM_HEAD_BYTES);
  to = append(to, headers, headerCount * PROGRAM_HEADER_BYTES);
  to = append(to, profiles, profileCount * PROGRAM_PROFILE_BYTES);
  to = append(to, ops, opCount * PROGRAM_OP_BYTES);
  append(to, code, codeCount * PROGRAM_CODE_BYTES);
}

function append(to: usize, from: usize, n: u32): usize {
  memory.copy(to, from, n);
  return to + n;
}

/** Row of pod columns: 16 columns of 4 bytes and then the roots of its adapters stand at `from`. */
export function columnRow(slot: u32, active: u32, waiting: u32, most: u32, labels: u64, from: usize): void {
  const roots = (active + waiting) << 3;
  const at = reserveRow(COLUMN_ROW_BYTES + roots);
  store<u16>(at, <u16>slot);
  store<u8>(at, <u8>active, 2);
  store<u8>(at, <u8>waiting, 3);
  store<u16>(at, <u16>most, 4);
  store<u64>(at, labels, 8);
  memory.copy(at + 16, from, MAX_COLUMNS << 2);
  memory.copy(at + COLUMN_ROW_BYTES, from + (MAX_COLUMNS << 2), roots);
}

/** Hash of a label's value, `n` bytes at the input buffer, as a column has it. */
export function labelHash(n: u32): u32 {
  return fnv32(input, n);
}
