// What goes up to the agent within milliseconds about prompts that are matched approximately: which pod got which
// blocks. The agent keeps them as long as the pod's cache may, and all gateways see them in the table.
import { podAddress, podAddressSize } from "../core/pods";
import { KIND_ROUTED } from "../shared/frame-layout";
import { ROUTED_HEAD_BYTES, ROUTED_ROW_BYTES } from "../shared/routed-layout";
import { C_ROUTED_CUT, count } from "./metrics";
import { streamPayload, streamRoom, streamSend } from "./table-stream";

// @ts-ignore: decorator
@inline
const BYTES: u32 = 98304;
/** Blocks that this worker tells in a second: 8 MiB of text with blocks of 128 bytes. */
// @ts-ignore: decorator
@inline
const MOST_A_SECOND: u32 = 65536;
const rows: usize = heap.alloc(BYTES);
let size: u32 = 0;
let rowCount: u32 = 0;
let left: u32 = MOST_A_SECOND;

/** Remembers that a prompt of `blocks` block hashes went to `pod`; what there is no room for is left out at its end. */
export function routedAdd(pod: u32, hashes: usize, blocks: u32, tokensPerBlock: f64): void {
  const address = podAddressSize(pod);
  const fixed = ROUTED_ROW_BYTES + ((address + 7) & ~7);
  const room = size + fixed < BYTES ? (BYTES - size - fixed) >> 3 : 0;
  const n = min(blocks, min(room, left));
  if (n < blocks) count(C_ROUTED_CUT);
  if (!n) return;
  const row = rows + size;
  memory.fill(row, 0, fixed);
  store<u32>(row, address);
  store<u32>(row, n, 4);
  store<f64>(row, tokensPerBlock, 8);
  memory.copy(row + ROUTED_ROW_BYTES, podAddress(pod), address);
  memory.copy(row + fixed, hashes, <usize>n << 3);
  size += fixed + (n << 3);
  rowCount++;
  left -= n;
}

/** A second has passed. */
export function routedBudget(): void {
  left = MOST_A_SECOND;
}

/** Sends what was remembered; without a stream it is forgotten. From the tick. */
export function routedSend(): void {
  if (!rowCount) return;
  if (ROUTED_HEAD_BYTES + size <= streamRoom()) {
    const p = streamPayload();
    store<u32>(p, rowCount);
    store<u32>(p, 0, 4);
    memory.copy(p + ROUTED_HEAD_BYTES, rows, size);
    streamSend(KIND_ROUTED, ROUTED_HEAD_BYTES + size);
  }
  size = 0;
  rowCount = 0;
}
