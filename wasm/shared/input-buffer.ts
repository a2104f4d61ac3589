// Where Node puts what it passes in.

/** The input buffer; every call that takes input reads it there. */
export let input: usize = 0;
let inputCapacity: usize = 0;

/** A buffer of at least `bytes` for what the caller passes in; valid until the next call. */
export function inputBuffer(bytes: u32): usize {
  if (<usize>bytes > inputCapacity) {
    if (input) heap.free(input);
    inputCapacity = <usize>bytes + (<usize>bytes >> 1);
    if (inputCapacity < 65536) inputCapacity = 65536;
    input = heap.alloc(inputCapacity);
  }
  return input;
}

/** A block of memory that stays, for token tables. */
export function allocate(bytes: u32): usize {
  return heap.alloc(bytes);
}

export function release(at: usize): void {
  heap.free(at);
}
