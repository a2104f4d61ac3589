// What the scanner's tests need of wasm/core, as a module of its own.
import { inexactReason, outLen, outPtr, segmentCount, segmentLen, segmentPtr } from "../../wasm/core/render";
import { reserved as reservedFields } from "../../wasm/core/reserved-fields";
import * as scan from "../../wasm/core/scan";
import { HEAD_BYTES } from "../../wasm/shared/frame-layout";
import {
  sectionBegin,
  sectionBytes,
  sectionEnd,
  templateBegin,
  templateEnd,
  templateJoint,
  templateThinking,
  templateTurns,
  turnsJoint,
} from "../../wasm/shared/sections";

export { sectionBegin, templateBegin, templateEnd, templateJoint, templateThinking, templateTurns, turnsJoint };

export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

/** A buffer that ends at the very end of memory but for the 64 bytes that may be read past a body. */
export function allocate(bytes: u32): usize {
  return heap.alloc(bytes);
}

export function init(capacity: u32): void {
  scan.scanInit(capacity);
}

/** Address of the only template written since `sectionBegin`. */
export function templateAt(): usize {
  sectionEnd();
  return sectionBytes() + HEAD_BYTES + 8;
}

export function run(p: usize, n: u32, api: u32, truncated: bool, template: usize): i32 {
  return scan.scanRequest(p, n, api, truncated, template);
}
export function outAt(): usize {
  return outPtr;
}
export function outSize(): u32 {
  return outLen;
}
export function exact(): bool {
  return scan.renderExact;
}
export function complete(): bool {
  return scan.promptIsComplete;
}
export function why(): u32 {
  return inexactReason;
}
export function reserved(): u32 {
  return reservedFields;
}
export function modelKind(): u32 {
  return scan.hasModel;
}
export function modelAt(): usize {
  return scan.modelPtr;
}
export function modelSize(): u32 {
  return scan.modelLen;
}
export function streams(): bool {
  return scan.stream;
}
export function segments(): u32 {
  return segmentCount;
}
export function segmentAt(i: u32): usize {
  return segmentPtr(i);
}
export function segmentSize(i: u32): u32 {
  return segmentLen(i);
}
