import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CanonicalCheck } from "../../agent/kv/canonical-check.js";
import { SampledBlocks } from "../../agent/kv/sampled-blocks.js";
import { type Encode, loadEncoder } from "../../agent/model/canonical-encoder.js";
import { loadTokenBytes } from "../../agent/model/token-bytes.js";
import type { TokenBytes } from "../../agent/wire.js";
import { fixturePath } from "./fixtures.js";

const TOKENIZER = fixturePath("model-chatml/tokenizer.json");
const TEXTS = [
  "def main(argv=None):\n    return [int(a) for a in argv or []]\n\n\nclass Worker:\n    pass\n",
  "The order is late because the carrier has lost 12345 of 67890 parcels,   it says.\n\n  Sorry! ",
  "Größe — naïve “quotes” 日本語のテキスト 🙂👩‍👩‍👧 e\u0301",
  "<|im_start|>user\nWhere is the parser?<|im_end|>\n<|im_start|>assistant\nIn Lib/ast.py.<|im_end|>\n",
];

let encode: Encode;
let table: TokenBytes;
let check: CanonicalCheck;

beforeAll(async () => {
  encode = await loadEncoder(TOKENIZER);
  table = await loadTokenBytes(TOKENIZER);
});
beforeEach(() => {
  check = new CanonicalCheck(encode, table);
});

/** The tokens of a text with each one taken apart into bytes where `apart` says so. */
function sampled(text: string, apart: (i: number) => boolean): number[] {
  return encode(text).flatMap((id, i) => {
    const bytes = [...table.bytes.subarray(table.offsets[id], table.offsets[id + 1])];
    return apart(i) && bytes.length > 1 ? bytes.map(byteToken) : [id];
  });
}

function byteToken(byte: number): number {
  for (let id = 0; id < 256; id++)
    if (table.offsets[id + 1]! - table.offsets[id]! === 1 && table.bytes[table.offsets[id]!] === byte)
      return id;
  throw new RangeError(`no token for byte ${byte}`);
}

/** Blocks of 16 tokens, each judged with the one before it. */
function judged(tokens: number[]): boolean[] {
  const verdicts: boolean[] = [];
  for (let at = 0; at + 16 <= tokens.length; at += 16)
    verdicts.push(check.differs(tokens.slice(Math.max(0, at - 16), at), tokens.slice(at, at + 16), at === 0));
  return verdicts;
}

describe("the check of sampled tokens", () => {
  test.each(TEXTS)("takes the tokens of a text for what they are: %j", (text) => {
    const verdicts = judged([...encode(text.repeat(6))]);
    expect(verdicts.length).toBeGreaterThan(3);
    expect(verdicts).not.toContain(true);
  });

  test.each(TEXTS)("takes them so from any place on, whatever came before: %j", (text) => {
    const tokens = [...encode(text.repeat(4))];
    for (let at = 1; at + 16 <= tokens.length; at++)
      expect(check.differs([], tokens.slice(at, at + 16), false), `from token ${at}`).toBe(false);
  });

  test.each(TEXTS.slice(0, 2))("knows a block whose words were sampled in pieces: %j", (text) => {
    const tokens = sampled(text.repeat(4), () => true);
    expect(judged(tokens)).not.toContain(false);
  });

  test("tells at the next block at the latest that a block ended in pieces", () => {
    const whole = [...encode("the parser reads an answer from the socket of the server ".repeat(3))];
    const block = [...whole.slice(0, 15), ...sampled("parser", () => true)].slice(0, 16);
    const pieces = [...sampled("parser", () => true).slice(1), ...whole].slice(0, 16);
    expect(check.differs(block, pieces, false)).toBe(true);
  });

  test("leaves out bytes that are not text, which no request can hold", () => {
    const block = [...encode("an answer from the socket of the server is read by the parser")].slice(0, 16);
    block[8] = byteToken(0xff);
    expect(check.differs([], block, true)).toBe(true);
  });

  test("tokenizes again only what its pairs leave in doubt", () => {
    judged([...encode(TEXTS[0]!.repeat(6))]);
    expect(check.counts.checked).toBeGreaterThan(3);
    expect(check.counts.encoded).toBeLessThan(check.counts.checked);
  });
});

describe("sampled blocks", () => {
  const hashes = (...n: number[]) => BigUint64Array.from(n, BigInt);
  const good = () =>
    Uint32Array.from(encode("the parser reads an answer from the socket of the server ".repeat(5)));
  const bad = () => Uint32Array.from(sampled("worker thread queue buffer ", () => true).slice(0, 16));

  test("end the chain at the first block that differs", () => {
    const blocks = new SampledBlocks(check, 0);
    expect(blocks.usable(hashes(1, 2), null, good().slice(0, 32), 16)).toBe(2);
    expect(blocks.usable(hashes(3), 2n, bad(), 16)).toBe(0);
    expect(blocks.usable(hashes(4), 3n, good().slice(0, 16), 16)).toBe(0);
    expect(blocks.usable(hashes(5, 6), 4n, good().slice(0, 32), 16)).toBe(0);
    expect(blocks.usable(hashes(7), 2n, good().slice(32, 48), 16)).toBe(1);
  });

  test("are known again when the engine computes a preempted request anew, as if it were a prompt", () => {
    const blocks = new SampledBlocks(check, 0);
    blocks.usable(hashes(1), null, good().slice(0, 16), 16);
    blocks.usable(hashes(2), 1n, bad(), 16);
    expect(blocks.usable(hashes(1, 2, 3), null, good().slice(0, 48), 16)).toBe(1);
  });

  test("are forgotten with the pod's cache", () => {
    const blocks = new SampledBlocks(check, 0);
    blocks.usable(hashes(1), null, bad(), 16);
    expect(blocks.has(1n)).toBe(true);
    blocks.clear();
    expect(blocks.has(1n)).toBe(false);
  });
});
