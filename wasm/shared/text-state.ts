// Where a chain of KV blocks stands in its text: a hash state and never text.
import { ACC0, ACC1, chain, mul32 } from "./hash";

/** The unfinished word has at most seven bytes; the eighth is free for who keeps the state. */
// @ts-ignore: decorator
@inline
export const PARTIAL_MASK: u64 = 0x00ffffffffffffff;

/** Hash at the last text-block boundary. */
export let sChain: u64 = 0;
export let sAcc0: u64 = 0;
export let sAcc1: u64 = 0;
/** The unfinished word, masked by its key word. */
export let sPartial: u64 = 0;
/** Bytes from some text-block boundary on. */
export let sSize: u32 = 0;

export function stateStart(root: u64): void {
  sChain = root;
  sAcc0 = ACC0;
  sAcc1 = ACC1;
  sPartial = 0;
  sSize = 0;
}

/** Goes on from a state that was kept; `position` = its bytes since the last text-block boundary. */
export function stateSet(chainHash: u64, acc0: u64, acc1: u64, partial: u64, position: u32): void {
  sChain = chainHash;
  sAcc0 = acc0;
  sAcc1 = acc1;
  sPartial = partial & PARTIAL_MASK;
  sSize = position;
}

/**
 * Feeds bytes up to the next text-block boundary or the end of the span, whichever is first, and returns how many
 * it took. `sChain` has moved on when the size is at a boundary.
 */
export function feed(key: usize, blockBytes: u32, p: usize, n: u32): u32 {
  let at = sSize & (blockBytes - 1);
  const take = min(n, blockBytes - at);
  const end = p + take;
  while (p < end) {
    const word = at >> 3;
    const k = load<u64>(key + (<usize>word << 3));
    let d: u64;
    if ((at & 7) == 0 && end - p >= 8) {
      d = load<u64>(p);
      p += 8;
      at += 8;
    } else {
      // The partial word is kept masked so that no plain text stays in memory.
      let w = (at & 7) == 0 ? 0 : (sPartial ^ k) & PARTIAL_MASK;
      while (p < end) {
        w |= (<u64>load<u8>(p)) << (<u64>(at & 7) << 3);
        p++;
        at++;
        if ((at & 7) == 0) break;
      }
      if ((at & 7) != 0) {
        sPartial = (w ^ k) & PARTIAL_MASK;
        break;
      }
      d = w;
      sPartial = 0;
    }
    if (word & 1) {
      sAcc1 += mul32(d ^ k);
      sAcc0 += d;
    } else {
      sAcc0 += mul32(d ^ k);
      sAcc1 += d;
    }
  }
  sSize += take;
  if (at == blockBytes) {
    sChain = chain(sChain, sAcc0, sAcc1);
    sAcc0 = ACC0;
    sAcc1 = ACC1;
    sPartial = 0;
  }
  return take;
}
