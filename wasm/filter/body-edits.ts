// Edits of a request's body: a few of its bytes are replaced, everything else stays as it came.
import { text } from "./abi/memory";
import { BUFFER_REQUEST_BODY, MAP_REQUEST, OK } from "./abi/types";
import { setNumber } from "./decimal";
import { getHeader, replaceBuffer, resultSize } from "./host";

const LENGTH = text("content-length");

/** Most edits of one body. */
// @ts-ignore: decorator
@inline
const MAX_EDITS: u32 = 2;
// Edit: start, end, text, text's size, a usize each.
// @ts-ignore: decorator
@inline
const EDIT: usize = 4 * sizeof<usize>();
const edits: usize = heap.alloc(<usize>MAX_EDITS * EDIT);
let count: u32 = 0;

let edited: usize = 0;
let editedBytes: usize = 0;
/** Size of the body that `editsWrite` wrote. */
export let editedSize: u32 = 0;

export function editsBegin(): void {
  count = 0;
}

/** The bytes [`from`, `to`) of the body become `n` bytes at `p`, which stay where they are until `editsWrite`. */
export function edit(from: usize, to: usize, p: usize, n: usize): void {
  // In the order of the body: there are two at most.
  const at = edits + EDIT * <usize>(count && load<usize>(edits) > from ? 0 : count);
  if (count && at == edits) memory.copy(edits + EDIT, edits, EDIT);
  store<usize>(at, from);
  store<usize>(at, to, sizeof<usize>());
  store<usize>(at, p, 2 * sizeof<usize>());
  store<usize>(at, n, 3 * sizeof<usize>());
  count++;
}

/** Puts the edits into the body of `n` bytes at `body`, which is all of it; false when Envoy refuses. */
export function editsWrite(body: usize, n: u32): bool {
  let size: usize = n;
  for (let i: u32 = 0; i < count; i++) {
    const e = edits + EDIT * <usize>i;
    size += load<usize>(e, 3 * sizeof<usize>()) - (load<usize>(e, sizeof<usize>()) - load<usize>(e));
  }
  if (size > editedBytes) {
    // Kept for the next one; at most twice the longest body that is read.
    editedBytes = size << 1;
    edited = heap.alloc(editedBytes);
  }
  let from = body;
  let out = edited;
  for (let i: u32 = 0; i < count; i++) {
    const e = edits + EDIT * <usize>i;
    const start = load<usize>(e);
    const length = load<usize>(e, 3 * sizeof<usize>());
    memory.copy(out, from, start - from);
    out += start - from;
    memory.copy(out, load<usize>(e, 2 * sizeof<usize>()), length);
    out += length;
    from = load<usize>(e, sizeof<usize>());
  }
  memory.copy(out, from, body + n - from);
  editedSize = <u32>size;
  if (replaceBuffer(BUFFER_REQUEST_BODY, n, edited, size) != OK) return false;
  if (getHeader(MAP_REQUEST, LENGTH) == OK && resultSize) setNumber(MAP_REQUEST, LENGTH, size);
  return true;
}
