// The demo's traffic and pods as the simulation takes them: the same tokens, the same blocks, steps as long.
import { expect, test } from "vitest";
import { loadOf } from "../../demo/simulated.js";
import { kneeWorkload, mixedWorkload, Words } from "../../demo/workload.js";
import { H200_8B, StepWork } from "../../simulate/cost-model.js";
import { ENGINES, faster, stepSeconds } from "../../simulate/engine.js";
import { renderChat } from "../../simulator/chat-template.js";
import { Tokenizer } from "../../simulator/tokenizer.js";

const tokenizer = Tokenizer.load();
const words = new Words();

test("the knee workload comes at its rate, within its time, and is the same for the same seed", () => {
  const made = kneeWorkload(words, 1, 20, 8).conversations;
  expect(made.length).toBeGreaterThan(100);
  expect(made.length).toBeLessThan(220);
  for (const { startS } of made) {
    expect(startS).toBeGreaterThanOrEqual(0);
    expect(startS).toBeLessThan(20);
  }
  const text = (seed: number) => JSON.stringify(kneeWorkload(words, seed, 5, 2));
  const one = text(1);
  expect(text(1) === one).toBe(true);
  expect(text(2) === one).toBe(false);
});

test("requests have the tokens of their prompts, in order of arrival, on the time scale", () => {
  const made = kneeWorkload(words, 3, 10, 2);
  const [requests] = loadOf(made, tokenizer, 4).stages;
  const sorted = [...made.conversations].sort((a, b) => a.startS - b.startS);
  expect(requests!.map((r) => r.arrival)).toEqual(sorted.map((c) => c.startS / 4));
  const { system, turns, session } = sorted[0]!;
  const tokens = tokenizer.encode(
    renderChat(
      [
        { role: "system", content: system! },
        { role: "user", content: turns[0]!.text },
      ],
      true,
    ),
  );
  expect(requests![0]).toMatchObject({ prompt: tokens.length, output: turns[0]!.outputTokens });
  expect(requests![0]!.blocks).toHaveLength(Math.floor(tokens.length / 16));
  const same = requests!.filter((r) => r.session === requests![0]!.session);
  expect(same).toHaveLength(sorted.filter((c) => c.session === session).length);
});

test("prompts share as many blocks as they have whole blocks of tokens in common", () => {
  const system = words.text(500, () => 0.3);
  const conversations = ["first question", "second one"].map((text, i) => ({
    startS: i,
    system,
    grows: false,
    turns: [{ text, outputTokens: 1, thinkS: 0 }],
  }));
  const load = loadOf({ name: "two", conversations, warmUp: [] }, tokenizer, 1);
  const [a, b] = load.stages[0]!;
  const rendered = conversations.map((c) =>
    tokenizer.encode(
      renderChat(
        [
          { role: "system", content: system },
          { role: "user", content: c.turns[0]!.text },
        ],
        true,
      ),
    ),
  );
  let common = 0;
  while (rendered[0]![common] === rendered[1]![common]) common++;
  const shared = a!.blocks.filter((id) => b!.blocks.includes(id));
  expect(shared).toEqual(a!.blocks.slice(0, Math.floor(common / 16)));
});

test("traffic whose requests depend on answers cannot be simulated, and is refused", () => {
  expect(() => loadOf(mixedWorkload(words, 1, 20), tokenizer, 1)).toThrow(/wait for answers/);
});

test.each([
  ["a cold prompt", { prefill: 6000, context: 0, decodes: 0 }],
  ["the rest of a cached prompt", { prefill: 1000, context: 8000, decodes: 0 }],
  ["decodes", { prefill: 0, context: 4000, decodes: 30 }],
  ["a prompt among decodes", { prefill: 4000, context: 4000, decodes: 30 }],
])("the engine 8b-h200 takes as long as the simulated pods for %s", (_, { prefill, context, decodes }) => {
  const pods = new StepWork(H200_8B);
  pods.clear();
  if (prefill) pods.prefill(prefill, context);
  for (let i = 0; i < decodes; i++) pods.decode(context);
  const step = {
    requests: decodes + (prefill ? 1 : 0),
    tokens: prefill + decodes,
    pairs: prefill * (context + prefill / 2),
    decodes,
    context: decodes * context,
  };
  const engine = ENGINES["8b-h200"];
  const seconds = stepSeconds(engine, step);
  expect(Math.abs((seconds * 1000) / pods.durationMs() - 1)).toBeLessThan(0.1);
  expect(stepSeconds(faster(engine, 4), step)).toBeCloseTo(seconds / 4, 9);
});
