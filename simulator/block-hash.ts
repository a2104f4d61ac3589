// Chained block hashes in two 32-bit lanes: no BigInt until an event is encoded.

const rotate = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits));

function finish(x: number): number {
  let h = x;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/**
 * Root of a chain: two lanes that depend on the cache salt only, as vLLM's hashes do (it hashes the salt into block 0
 * and no model name), and the same in every process, as its deterministic NONE_HASH is.
 */
export function rootHash(salt: string): [number, number] {
  let low = 0x2f0b4a9d;
  let high = 0x51ed270b;
  for (let i = 0; i < salt.length; i++) {
    const unit = salt.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x01000193);
    high = Math.imul(rotate(high, 5) ^ unit, 0x85ebca6b);
  }
  return [low, high];
}

/**
 * Hashes blocks `from` to `to` (exclusive) of a token sequence into `lanes` (low, high per block). MurmurHash3's body
 * runs over each block twice with different constants, seeded with the hash of the block before.
 */
export function hashBlocks(
  tokens: Uint32Array,
  blockSize: number,
  from: number,
  to: number,
  root: readonly [number, number],
  lanes: Int32Array,
): void {
  let low = from > 0 ? (lanes[2 * from - 2] as number) : root[0];
  let high = from > 0 ? (lanes[2 * from - 1] as number) : root[1];
  for (let block = from; block < to; block++) {
    const end = (block + 1) * blockSize;
    for (let i = block * blockSize; i < end; i++) {
      const token = tokens[i] as number;
      low =
        (Math.imul(rotate(low ^ Math.imul(rotate(Math.imul(token, 0xcc9e2d51), 15), 0x1b873593), 13), 5) +
          0xe6546b64) |
        0;
      high =
        (Math.imul(rotate(high ^ Math.imul(rotate(Math.imul(token, 0xab0e9789), 16), 0x38b34ae5), 17), 5) +
          0x561ccd1b) |
        0;
    }
    low = (low + high) | 0;
    high = (high + low) | 0;
    low = finish(low);
    high = finish(high);
    low = (low + high) | 0;
    high = (high + low) | 0;
    lanes[2 * block] = low;
    lanes[2 * block + 1] = high;
  }
}
