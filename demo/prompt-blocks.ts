// KV blocks of a text as pods cache them.
import { hashBlocks, rootHash } from "../simulator/block-hash.js";
import type { Tokenizer } from "../simulator/tokenizer.js";

/** Tokens of a KV block. */
export const BLOCK = 16;

const root = rootHash("");

/** A text's tokens, and keys of its whole blocks: 53 bits of each hash, enough to tell a few million apart. */
export function promptBlocks(tokenizer: Tokenizer, text: string): { tokens: number; keys: number[] } {
  const tokens = tokenizer.encode(text);
  const count = Math.floor(tokens.length / BLOCK);
  const lanes = new Int32Array(count * 2);
  hashBlocks(tokens, BLOCK, 0, count, root, lanes);
  const keys = Array.from(
    { length: count },
    (_, i) => (lanes[2 * i]! >>> 0) * 0x200000 + (lanes[2 * i + 1]! & 0x1fffff),
  );
  return { tokens: tokens.length, keys };
}
