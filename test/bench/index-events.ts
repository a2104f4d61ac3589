// KV event batches for the index bench: sequences of a prompt and of blocks from decode steps, all different by their
// first block, made by changing bytes of a few encoded ones so that the maker costs little beside the reader.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { encode } from "@msgpack/msgpack";
import type { Encode } from "../../agent/model/canonical-encoder.js";
import { packageRoot } from "../../agent/package-root.js";

export const TOKENIZER = join(packageRoot(), "test", "fixtures", "vllm", "model-chatml", "tokenizer.json");

/** Tokens of a KV block, blocks of a prompt and of its answer: a tenth of the blocks comes from decode steps. */
export const BLOCK_TOKENS = 16;
const PROMPT_BLOCKS = 54;
const DECODE_BLOCKS = 6;
export const SEQUENCE_BLOCKS = PROMPT_BLOCKS + DECODE_BLOCKS;

/** Tokens at the beginning of a sequence that make it another one. */
const DISTINCT_TOKENS = 4;
export const TEMPLATES = 64;
const MARK = 0xfeed_0000_0000_0000n;

interface Payload {
  bytes: Buffer;
  /** Where the hash of block `block` stands. */
  hashes: { at: number; block: number }[];
  /** Where the first token stands, -1 when it is not here. */
  tokensAt: number;
}

/** Batches of one pod. */
export class EventMaker {
  readonly #templates: Payload[][];
  readonly #first: number[];
  #sequences = 0;
  /** Text blocks of 128 bytes that a sequence completes, on average. */
  readonly textBlocks: number;

  constructor(encodeText: Encode) {
    const { model } = JSON.parse(readFileSync(TOKENIZER, "utf8")) as {
      model: { vocab: Record<string, number> };
    };
    const words = Object.keys(model.vocab).filter((word) => /^Ġ[a-z]{2,4}$/.test(word));
    let seed = 7;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    // Three bytes each in msgpack, so that one can stand for another.
    this.#first = words.map((word) => model.vocab[word]!).filter((id) => id >= 256);
    let bytes = 0;
    this.#templates = Array.from({ length: TEMPLATES }, () => {
      const text = Array.from({ length: SEQUENCE_BLOCKS * BLOCK_TOKENS }, () => words[random(words.length)]!);
      const ids = encodeText(text.join("").replaceAll("Ġ", " ")).slice(0, SEQUENCE_BLOCKS * BLOCK_TOKENS);
      bytes += (text.join("").length * ids.length) / SEQUENCE_BLOCKS / BLOCK_TOKENS;
      return template([...ids]);
    });
    this.textBlocks = bytes / TEMPLATES / 128;
  }

  /** Batches of the next sequence; they are overwritten by the one after it that has the same text. */
  next(): Buffer[] {
    const n = this.#sequences++;
    const payloads = this.#templates[n % TEMPLATES]!;
    const base = BigInt(n) * BigInt(SEQUENCE_BLOCKS) * 0x9e3779b97f4a7c15n;
    for (const { bytes, hashes, tokensAt } of payloads) {
      for (const { at, block } of hashes)
        bytes.writeBigUInt64BE(BigInt.asUintN(64, base + BigInt(block) * 0x9e3779b97f4a7c15n), at);
      if (tokensAt < 0) continue;
      let left = n;
      for (let i = 0; i < DISTINCT_TOKENS; i++) {
        bytes.writeUInt16BE(this.#first[left % this.#first.length]!, tokensAt + 3 * i + 1);
        left = Math.floor(left / this.#first.length);
      }
    }
    return payloads.map(({ bytes }) => bytes);
  }
}

/** Engine hashes of sequence `n`. */
export function hashesOf(n: number): BigUint64Array {
  const base = BigInt(n) * BigInt(SEQUENCE_BLOCKS);
  return BigUint64Array.from({ length: SEQUENCE_BLOCKS }, (_, i) =>
    BigInt.asUintN(64, (base + BigInt(i)) * 0x9e3779b97f4a7c15n),
  );
}

function template(ids: number[]): Payload[] {
  const distinct = Array.from({ length: DISTINCT_TOKENS }, (_, i) => 1000 + i);
  const tokens = [...distinct, ...ids].slice(0, SEQUENCE_BLOCKS * BLOCK_TOKENS);
  const run = (from: number, count: number) => ({
    type: "BlockStored",
    block_hashes: Array.from({ length: count }, (_, i) => MARK + BigInt(from + i)),
    parent_block_hash: from === 0 ? null : MARK + BigInt(from - 1),
    token_ids: tokens.slice(from * BLOCK_TOKENS, (from + count) * BLOCK_TOKENS),
    block_size: BLOCK_TOKENS,
    lora_id: null,
    medium: "GPU",
    lora_name: null,
    extra_keys: Array.from({ length: count }, () => null),
    group_idx: 0,
    kv_cache_spec_kind: "full_attention",
  });
  const runs = [run(0, PROMPT_BLOCKS)];
  for (let i = PROMPT_BLOCKS; i < SEQUENCE_BLOCKS; i++) runs.push(run(i, 1));
  return runs.map((event) => {
    const bytes = Buffer.from(encode([1.5, [event], 0], { useBigInt64: true }));
    const hashes: Payload["hashes"] = [];
    const mark = Buffer.from([0xcf, 0xfe, 0xed, 0, 0, 0, 0, 0]);
    for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at + 9))
      hashes.push({ at: at + 1, block: bytes[at + 8]! });
    return { bytes, hashes, tokensAt: bytes.indexOf(Buffer.from([0xcd, 1000 >> 8, 1000 & 255, 0xcd])) };
  });
}
