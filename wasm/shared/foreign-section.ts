// Writer of the frame that tells a gateway what the others have under way; sharing-layout.ts has the offsets.
import { HEAD_BYTES } from "./frame-layout";
import { sectionBytes, sectionMore, sectionRaw, sectionSize } from "./sections";
import { FOREIGN_HEAD_BYTES, FOREIGN_ROW_BYTES } from "./sharing-layout";

let rows: u32 = 0;

export function foreignBegin(stamp: u64, gateways: u32): void {
  const p = sectionRaw(FOREIGN_HEAD_BYTES);
  store<u64>(p, stamp);
  store<u32>(p, gateways, 8);
  rows = 0;
}

export function foreignRow(slot: u32, requests: u32, prefills: u32, work: f64, tokens: f64): void {
  const at = sectionMore(FOREIGN_ROW_BYTES);
  store<u32>(at, slot);
  store<u32>(at, requests, 4);
  store<u32>(at, prefills, 8);
  store<f64>(at, work, 16);
  store<f64>(at, tokens, 24);
  rows++;
}

/** Ends the section; returns the payload's length. */
export function foreignEnd(): u32 {
  store<u32>(sectionBytes() + HEAD_BYTES, rows, 12);
  return sectionSize() - HEAD_BYTES;
}
