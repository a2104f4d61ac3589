// The models section: what a request may call a model, the root of its chains, its chat template.
import {
  JOINT_UNKNOWN,
  MODEL_ROW_BYTES,
  PLAIN_THINKING,
  TEMPLATE_BOS,
  TEMPLATE_FLAGS,
  TEMPLATE_LITERALS,
  TEMPLATE_THINKING,
  TEMPLATE_TURNS,
} from "../shared/models-layout";
import { TURN_KINDS, TURNS_BYTES, TURNS_JOINTS } from "../shared/turns-layout";

let rows: usize = 0; // the payload, copied
let capacity: u32 = 0;
let size: u32 = 0;
let count: u32 = 0;
let templates: u32 = 0; // offset of the first template blob

/** Result of `modelFind` and `modelDefault`. */
export let foundModel: u32 = 0;
export let foundRoot: u64 = 0;
export let foundTemplate: usize = 0;
export let foundBytesPerToken: f64 = 4;

export function modelsKnown(): u32 {
  return count;
}

/** Takes a models section; false, with nothing changed, when it is not whole. */
export function modelsRead(p: usize, n: u32): bool {
  if (n < 8) return false;
  const rowCount = <u32>load<u16>(p);
  const templateCount = <u32>load<u16>(p, 2);
  let at: u32 = 8;
  for (let i: u32 = 0; i < rowCount; i++) {
    if (at + MODEL_ROW_BYTES > n) return false;
    const t = load<u16>(p + at, 4);
    if (t != 0xffff && <u32>t >= templateCount) return false;
    at += MODEL_ROW_BYTES + ((<u32>load<u16>(p + at) + 7) & ~7);
    if (at > n) return false;
  }
  const first = at;
  for (let i: u32 = 0; i < templateCount; i++) {
    if (at + TEMPLATE_LITERALS > n) return false;
    const bytes = load<u32>(p + at);
    if (bytes < TEMPLATE_LITERALS || bytes > n - at || !templateWhole(p + at, bytes)) return false;
    at += bytes;
  }
  if (n > capacity) {
    capacity = n << 1;
    rows = heap.alloc(capacity);
  }
  memory.copy(rows, p, n);
  size = n;
  count = rowCount;
  templates = first;
  return true;
}

/** Whether the `count` joints at `at` lie within a blob of `bytes`. */
function jointsWhole(at: usize, count: u32, bytes: u32): bool {
  for (let i: u32 = 0; i < count; i++) {
    const offset = load<u32>(at + (i << 3));
    const length = load<u32>(at + (i << 3), 4);
    if (length == JOINT_UNKNOWN) continue;
    if (offset > bytes || length > bytes - offset) return false;
  }
  return true;
}

function templateWhole(p: usize, bytes: u32): bool {
  // BOS and the 36 joints are pairs of offset and length from TEMPLATE_BOS on.
  if (!jointsWhole(p + TEMPLATE_BOS, 37, bytes)) return false;
  if (load<u8>(p, TEMPLATE_FLAGS) & PLAIN_THINKING && !jointsWhole(p + TEMPLATE_THINKING, 1, bytes)) return false;
  for (let i: u32 = 0; i < 2; i++) {
    const at = load<u32>(p + TEMPLATE_TURNS + (i << 2));
    if (!at) continue;
    if (at > bytes || TURNS_BYTES > bytes - at) return false;
    if (!jointsWhole(p + at + TURNS_JOINTS, TURN_KINDS * TURN_KINDS, bytes)) return false;
  }
  return true;
}

function take(at: u32): void {
  const row = rows + at;
  foundModel = load<u16>(row, 2);
  foundRoot = load<u64>(row, 8);
  const perToken = <f64>load<f32>(row, 16);
  foundBytesPerToken = perToken >= 0.25 && perToken <= 64 ? perToken : 4;
  let t = <u32>load<u16>(row, 4);
  foundTemplate = 0;
  if (t == 0xffff) return;
  let blob = rows + templates;
  while (t--) blob += load<u32>(blob);
  foundTemplate = blob;
}

/** Looks a model name up; false when no pod serves it. */
export function modelFind(name: usize, n: u32): bool {
  let at: u32 = 8;
  for (let i: u32 = 0; i < count; i++) {
    const length = <u32>load<u16>(rows + at);
    if (length == n && memory.compare(rows + at + MODEL_ROW_BYTES, name, n) == 0) {
      take(at);
      return true;
    }
    at += MODEL_ROW_BYTES + ((length + 7) & ~7);
  }
  return false;
}

/** The first model: the best guess before a request has named one; false when there is none. */
export function modelDefault(): bool {
  foundTemplate = 0;
  if (count == 0) return false;
  take(8);
  return true;
}
