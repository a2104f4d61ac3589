// How much of a prompt each pod holds: the look-up, which skips what must be the same, against a slow count of blocks.
import fc from "fast-check";
import { expect, test } from "vitest";
import { PickTest } from "./pick-module.js";
import { policy } from "./table.js";
import { byteTokens, newWire, podRow } from "./wire-for-test.js";

const BLOCK = 128;
const NOW_MS = 1_000_000n;

/** A prompt: text blocks, each of one letter. */
type Prompt = number[];

const textOf = (prompt: Prompt) => Buffer.concat(prompt.map((letter) => Buffer.alloc(BLOCK, letter)));

/** The slow reference: blocks that two prompts begin with alike. */
function shared(a: Prompt, b: Prompt): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

class Lookups {
  readonly #test = new PickTest();
  readonly #x = this.#test.x;

  private constructor(readonly root: bigint) {
    this.#x["table"]!(16 << 20);
  }

  /** A gateway whose table says that pod i holds these prompts. */
  static async create(held: Prompt[][]): Promise<Lookups> {
    const wire = await newWire();
    const model = wire.addModel("m");
    wire.setTokenBytes(model, byteTokens());
    wire.setPods(held.map((_, slot) => podRow(slot, model)));
    wire.setPolicy(policy);
    let next = 1n;
    held.forEach((prompts, pod) => {
      for (const prompt of prompts) {
        const hashes = BigUint64Array.from(prompt, () => next++);
        const tokens = Uint32Array.from(textOf(prompt));
        if (prompt.length)
          wire.store(pod, model, { hashes, parent: null, tokens, blockSize: BLOCK, lora: "", salt: "" });
      }
    });
    wire.drain();
    const lookups = new Lookups(wire.root(model, "", ""));
    for (const frame of wire.snapshot()) {
      lookups.#test.put(frame);
      expect(lookups.#x["frame"]!(frame.length, NOW_MS * 1_000_000n)).toBe(1);
    }
    return lookups;
  }

  /** Matched blocks of each pod. */
  of(prompt: Prompt, pods: number): number[] {
    const text = textOf(prompt);
    this.#test.put(text);
    this.#x["lookUp"]!(this.#x["hashPrompt"]!(text.length, this.root), NOW_MS);
    return Array.from({ length: pods }, (_, pod) => this.#x["matchBlocks"]!(pod));
  }

  /** The prompt that was looked up last goes to a pod. */
  route(prompt: Prompt, pod: number): void {
    this.#x["route"]!(pod, prompt.length, NOW_MS);
  }
}

/** Prompts that share much: a long text, cut somewhere, that goes on differently from there. */
const prompts = fc.array(
  fc.record({
    cut: fc.integer({ min: 0, max: 700 }),
    letter: fc.integer({ min: 98, max: 100 }),
    more: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 200, max: 400 })),
  }),
  { minLength: 1, maxLength: 8 },
);
const promptOf = ({ cut, letter, more }: { cut: number; letter: number; more: number }): Prompt => [
  ...Array<number>(cut).fill(97),
  ...Array<number>(more).fill(letter),
];
const RUNS = { numRuns: 60 };

test("each pod's match ends where none of the prompts that it holds goes on alike, however long they are", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(prompts, { minLength: 1, maxLength: 6 }), prompts, async (onPods, asked) => {
      const held = onPods.map((list) => list.map(promptOf));
      const lookups = await Lookups.create(held);
      for (const prompt of asked.map(promptOf)) {
        const matched = lookups.of(prompt, held.length);
        expect(matched).toEqual(held.map((texts) => Math.max(...texts.map((t) => shared(t, prompt)))));
      }
    }),
    RUNS,
  );
});

test("what was routed to a pod counts as held from the block on that it holds, and only where prompts are alike", async () => {
  const steps = fc.array(fc.tuple(prompts, fc.nat()), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.array(prompts, { minLength: 2, maxLength: 4 }), steps, async (onPods, routes) => {
      const held = onPods.map((list) => list.slice(0, 2).map(promptOf));
      const lookups = await Lookups.create(held);
      for (const [list, chosen] of routes) {
        const prompt = promptOf(list[0]!);
        const matched = lookups.of(prompt, held.length);
        expect(matched).toEqual(held.map((texts) => Math.max(...texts.map((t) => shared(t, prompt)))));
        const pod = chosen % held.length;
        lookups.route(prompt, pod);
        held[pod]!.push(prompt);
      }
    }),
    RUNS,
  );
});
