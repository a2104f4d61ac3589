import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { renderChat } from "../../simulator/chat-template.js";
import { AnswerWriter } from "../../simulator/generated-text.js";
import { Tokenizer } from "../../simulator/tokenizer.js";

let tokenizer: Tokenizer;
let writer: AnswerWriter;

beforeAll(() => {
  tokenizer = Tokenizer.load();
  writer = new AnswerWriter(tokenizer.vocabulary, 7);
});

function answerTo(prompt: Uint32Array, hash: number, length: number): number[] {
  const state = writer.start(hash, prompt.at(-1) as number);
  return Array.from({ length }, () => writer.next(state));
}

describe("generated text", () => {
  it("is tokenized to the very tokens it was made of, inside the next turn's prompt", () => {
    const lengths = fc.integer({ min: 1, max: 120 });
    fc.assert(
      fc.property(fc.integer(), lengths, fc.string({ unit: "grapheme" }), (hash, length, question) => {
        const turn = { role: "user", content: question };
        const prompt = tokenizer.encode(renderChat([turn], true));
        const answer = answerTo(prompt, hash, length);
        const reply = { role: "assistant", content: tokenizer.decode(answer) };
        const next = tokenizer.encode(renderChat([turn, reply, turn], true));
        const said = [...prompt, ...answer, writer.endOfTurn];
        expect(Array.from(next.subarray(0, said.length))).toEqual(said);
      }),
    );
  });

  it("goes on from a text prompt as the tokenizer would read both together", () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.constantFrom("one two", "x = 1;", "Über", "(a", "end.\n", "世界"),
        (hash, text) => {
          const prompt = tokenizer.encode(text);
          const answer = answerTo(prompt, hash, 30);
          expect(Array.from(tokenizer.encode(text + tokenizer.decode(answer)))).toEqual([
            ...prompt,
            ...answer,
          ]);
        },
      ),
    );
  });

  it("depends on the prompt and on the seed", () => {
    const prompt = tokenizer.encode("Hello");
    const other = new AnswerWriter(tokenizer.vocabulary, 8);
    const state = other.start(1, prompt.at(-1) as number);
    const first = answerTo(prompt, 1, 20);
    expect(answerTo(prompt, 1, 20)).toEqual(first);
    expect(answerTo(prompt, 2, 20)).not.toEqual(first);
    expect(Array.from({ length: 20 }, () => other.next(state))).not.toEqual(first);
  });
});
