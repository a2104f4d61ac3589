// Writers of the sections: pods, loads, models, policy. Rows are built one by one in a buffer that grows; the
// files *-layout.ts have the offsets.
import { HEAD_BYTES } from "./frame-layout";
import {
  JOINT_UNKNOWN,
  MODEL_ROW_BYTES,
  PLAIN_THINKING,
  TEMPLATE_BOS,
  TEMPLATE_FLAGS,
  TEMPLATE_JOINTS,
  TEMPLATE_LITERALS,
  TEMPLATE_STRIP,
  TEMPLATE_THINKING,
  TEMPLATE_TURNS,
} from "./models-layout";
import { LOAD_ROW_BYTES, POD_ROW_BYTES } from "./pods-layout";
import { TURN_KINDS, TURNS_BYTES, TURNS_JOINTS } from "./turns-layout";

let buffer: usize = 0;
let capacity: usize = 0;
let size: usize = 0;
let rows: u32 = 0;
let template: u32 = 0; // offset of the template being written
let turns: u32 = 0; // offset of its turn program being written
let templates: usize = 0; // templates wait in a buffer of their own: they follow the model rows
let templatesCapacity: usize = 0;
let templatesSize: usize = 0;
let templateCount: u32 = 0;

/** Start of the section with room for a frame head before its payload. */
export function sectionBytes(): usize {
  return buffer;
}

function reserve(bytes: usize): usize {
  if (size + bytes > capacity) {
    capacity = (size + bytes) << 1;
    if (capacity < 65536) capacity = 65536;
    buffer = buffer ? heap.realloc(buffer, capacity) : heap.alloc(capacity);
  }
  const at = buffer + size;
  memory.fill(at, 0, bytes);
  size += bytes;
  return at;
}

function padded(n: u32): u32 {
  return (n + 7) & ~7;
}

/** Begins a section of rows; the payload starts with the row count. */
export function sectionBegin(): void {
  size = 0;
  rows = 0;
  templatesSize = 0;
  templateCount = 0;
  reserve(HEAD_BYTES + 8);
}

/** Ends a section; returns the payload's length. */
export function sectionEnd(): u32 {
  store<u16>(buffer + HEAD_BYTES, <u16>rows);
  store<u16>(buffer + HEAD_BYTES, <u16>templateCount, 2);
  if (templatesSize) {
    const at = reserve(templatesSize);
    memory.copy(at, templates, templatesSize);
  }
  return <u32>size - HEAD_BYTES;
}

/** Room for one more row of a kind that is written elsewhere. */
export function reserveRow(bytes: u32): usize {
  rows++;
  return reserve(bytes);
}

export function podRow(
  slot: u32,
  flags: u32,
  role: u32,
  model: u32,
  blockTokens: u32,
  capacityTokens: u32,
  waiting: u32,
  running: u32,
  usagePerMille: u32,
  ageMs: u32,
  tokensPerSecond: f64,
  name: usize,
  nameLength: u32,
  address: usize,
  addressLength: u32,
): void {
  const at = reserve(POD_ROW_BYTES + padded(nameLength + addressLength));
  store<u16>(at, <u16>slot);
  store<u8>(at, <u8>flags, 2);
  store<u8>(at, <u8>role, 3);
  store<u16>(at, <u16>model, 4);
  store<u8>(at, <u8>nameLength, 6);
  store<u8>(at, <u8>addressLength, 7);
  store<u32>(at, blockTokens, 8);
  store<u32>(at, capacityTokens, 12);
  store<u32>(at, waiting, 16);
  store<u32>(at, running, 20);
  store<u32>(at, usagePerMille, 24);
  store<u32>(at, ageMs, 28);
  store<f64>(at, tokensPerSecond, 32);
  memory.copy(at + POD_ROW_BYTES, name, nameLength);
  memory.copy(at + POD_ROW_BYTES + nameLength, address, addressLength);
  rows++;
}

export function loadRow(
  slot: u32,
  ready: bool,
  waiting: u32,
  running: u32,
  usagePerMille: u32,
  ageMs: u32,
): void {
  const at = reserve(LOAD_ROW_BYTES);
  store<u16>(at, <u16>slot);
  store<u8>(at, ready ? 1 : 0, 2);
  store<u32>(at, waiting, 4);
  store<u32>(at, running, 8);
  store<u32>(at, usagePerMille, 12);
  store<u32>(at, ageMs, 16);
  rows++;
}

/** `templateIndex` counts the templates in the order they are written; 0xffff means none. */
export function modelRow(
  model: u32,
  templateIndex: u32,
  root: u64,
  bytesPerToken: f32,
  name: usize,
  nameLength: u32,
): void {
  const at = reserve(MODEL_ROW_BYTES + padded(nameLength));
  store<u16>(at, <u16>nameLength);
  store<u16>(at, <u16>model, 2);
  store<u16>(at, <u16>templateIndex, 4);
  store<u64>(at, root, 8);
  store<f32>(at, bytesPerToken, 16);
  memory.copy(at + MODEL_ROW_BYTES, name, nameLength);
  rows++;
}

function templateReserve(bytes: u32): usize {
  if (templatesSize + bytes > templatesCapacity) {
    templatesCapacity = (templatesSize + bytes) << 1;
    if (templatesCapacity < 16384) templatesCapacity = 16384;
    templates = templates ? heap.realloc(templates, templatesCapacity) : heap.alloc(templatesCapacity);
  }
  const at = templates + templatesSize;
  memory.fill(at, 0, bytes);
  templatesSize += bytes;
  return at;
}

/** Begins a template: its flags, the strip rule of system, user and assistant text, the BOS of raw prompts. */
export function templateBegin(
  flags: u32,
  system: u32,
  user: u32,
  assistant: u32,
  bos: usize,
  bosLength: u32,
): void {
  const known: u32 = bosLength == JOINT_UNKNOWN ? 0 : bosLength;
  template = <u32>templatesSize;
  const at = templateReserve(TEMPLATE_LITERALS + known);
  store<u8>(at, <u8>flags, TEMPLATE_FLAGS);
  store<u8>(at, <u8>system, TEMPLATE_STRIP + 1);
  store<u8>(at, <u8>user, TEMPLATE_STRIP + 2);
  store<u8>(at, <u8>assistant, TEMPLATE_STRIP + 3);
  store<u32>(at, TEMPLATE_LITERALS, TEMPLATE_BOS);
  store<u32>(at, bosLength, TEMPLATE_BOS + 4);
  memory.copy(at + TEMPLATE_LITERALS, bos, known);
  for (let i: u32 = 0; i < 36; i++) store<u32>(at + TEMPLATE_JOINTS + (i << 3), JOINT_UNKNOWN, 4);
}

/** What thinking off adds to the generation prompt, behind the template's last literal. */
export function templateThinking(literal: usize, length: u32): void {
  const text = templateReserve(length);
  memory.copy(text, literal, length);
  const at = templates + template;
  store<u8>(at, load<u8>(at, TEMPLATE_FLAGS) | <u8>PLAIN_THINKING, TEMPLATE_FLAGS);
  store<u32>(at, <u32>(text - at), TEMPLATE_THINKING);
  store<u32>(at, length, TEMPLATE_THINKING + 4);
}

/** Begins the turn program without tools (0) or with them (1): `head` is its first TURNS_JOINTS bytes. */
export function templateTurns(which: u32, head: usize): void {
  turns = <u32>templatesSize;
  const at = templateReserve(TURNS_BYTES);
  memory.copy(at, head, TURNS_JOINTS);
  for (let i: u32 = 0; i < TURN_KINDS * TURN_KINDS; i++) store<u32>(at + TURNS_JOINTS + (i << 3), JOINT_UNKNOWN, 4);
  store<u32>(templates + template + TEMPLATE_TURNS + (which << 2), turns - template);
}

export function turnsJoint(previous: u32, next: u32, literal: usize, length: u32): void {
  const text = templateReserve(length);
  memory.copy(text, literal, length);
  const joint = templates + turns + TURNS_JOINTS + ((previous * TURN_KINDS + next) << 3);
  store<u32>(joint, <u32>(text - templates - template));
  store<u32>(joint, length, 4);
}

export function templateJoint(previous: u32, next: u32, literal: usize, length: u32): void {
  const text = templateReserve(length);
  memory.copy(text, literal, length);
  const joint = templates + template + TEMPLATE_JOINTS + ((previous * 6 + next) << 3);
  store<u32>(joint, <u32>(text - templates - template));
  store<u32>(joint, length, 4);
}

export function templateEnd(): u32 {
  const length = <u32>(templatesSize - template);
  templateReserve(padded(length) - length);
  store<u32>(templates + template, padded(length));
  return templateCount++;
}

/** Room for a payload of `bytes` without rows (policy, hello). Returns where the payload starts. */
export function sectionRaw(bytes: u32): usize {
  size = 0;
  return reserve(HEAD_BYTES + bytes) + HEAD_BYTES;
}

/** The section of a frame that says nothing but that it comes. */
export function emptySection(): u32 {
  sectionRaw(0);
  return 0;
}

/** More zeroed room behind what `sectionRaw` began. Returns where it starts; earlier addresses may have moved. */
export function sectionMore(bytes: u32): usize {
  return reserve(bytes);
}

/** Bytes from the frame head to the end of what was written. */
export function sectionSize(): u32 {
  return <u32>size;
}
