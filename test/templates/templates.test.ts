import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Conversation, tokenizeBody } from "../../agent/model/conversation.js";
import { engineRenderer } from "../../agent/model/engine-renderer.js";
import { randomConversation, type Wanted } from "../../agent/model/random-conversation.js";
import { holdsToday } from "../../agent/model/template.js";
import {
  type ProbeResult,
  type PromptRenderer,
  probeTemplate,
  recheckTemplate,
} from "../../agent/model/template-prober.js";
import { SHAPE } from "../../agent/model/turn-program.js";
import { seeded } from "../../simulate/random.js";
import { byteTokens } from "../wasm/wire-for-test.js";
import { Core } from "./core.js";
import { TEMPLATES, type TemplateName, TemplatePod } from "./pod.js";

const pod = new TemplatePod();
const core = new Core();
beforeAll(() => pod.start(), 300_000);
afterAll(() => pod.stop());

const learned = new Map<TemplateName, Promise<{ renderer: PromptRenderer; result: ProbeResult }>>();
function learn(name: TemplateName) {
  let known = learned.get(name);
  if (!known) {
    const renderer = engineRenderer(pod.base(name), byteTokens());
    known = probeTemplate(renderer, seeded(1)).then((result) => ({ renderer, result }));
    learned.set(name, known);
  }
  return known;
}

function exactShapes(result: ProbeResult): string[] {
  return result.shapes.filter((shape) => shape.exact).map((shape) => shape.shape);
}

const PLAIN = ["completions", "chat", "chat.parts", "chat.reasoning", "chat.continued"];
const CALLS = ["chat.calls", "chat.parallel", "chat.results"];
const both = (shapes: string[]) => [
  ...shapes,
  ...shapes.filter((shape) => shape.startsWith("chat")).map((shape) => shape.replace("chat", "tools")),
];

/** Shapes that are exact at the least. */
const EXACT: Record<TemplateName, string[]> = {
  chatml: both([...PLAIN, ...CALLS]),
  "qwen-2.5": both([...PLAIN, ...CALLS]),
  "qwen-3": both([...PLAIN, ...CALLS]),
  "llama-3": both([...PLAIN, ...CALLS]),
  // Refuses more than one call.
  "llama-3.1": both([...PLAIN, "chat.calls", "chat.results"]),
  "llama-3.2": both([...PLAIN, "chat.calls", "chat.results"]),
  "mistral-v3": both([...PLAIN, ...CALLS]),
  "mistral-nemo": both([...PLAIN, ...CALLS]),
  // What follows knows no tools; they are not printed.
  gemma: both(PLAIN),
  "gemma-3": both(PLAIN.filter((shape) => shape !== "chat.parts")),
  "deepseek-v3": both(PLAIN),
  "deepseek-r1-distill": both(PLAIN),
  "phi-3.5": both(PLAIN.filter((shape) => shape !== "chat.continued")),
  "phi-4": both(PLAIN.filter((shape) => shape !== "chat.continued")),
  "gpt-oss": PLAIN,
};

const NAMES = Object.keys(TEMPLATES) as TemplateName[];

describe("real templates, rendered by Python's Jinja", () => {
  test.each(NAMES)(
    "%s is learned, with what it covers named",
    async (name) => {
      const { result } = await learn(name);
      expect(exactShapes(result)).toEqual(expect.arrayContaining(EXACT[name]));
      for (const { exact, reason } of result.shapes) expect(exact || reason).toBeTruthy();
    },
    120_000,
  );

  test.each(NAMES)(
    "%s comes out of the filter byte for byte, or is said to be unknown",
    async (name) => {
      const { renderer, result } = await learn(name);
      const at = core.template(result.program);
      const random = seeded(NAMES.indexOf(name) + 2);
      let compared = 0;
      let exact = 0;
      for (const tools of [false, true]) {
        const program = result.program.turns[tools ? "tools" : "plain"];
        if (!program) continue;
        const has = (bit: number, share: number) => (program.shapes & bit) !== 0 && random() < share;
        for (let i = 0; i < 25; i++) {
          const wanted: Wanted = {
            tools,
            parts: has(SHAPE.parts, 0.3),
            calls: has(SHAPE.calls, 0.6),
            parallel: has(SHAPE.parallel, 0.3),
            reasoning: has(SHAPE.reasoning, 0.3),
            continued: has(SHAPE.continued, 0.1),
          };
          const conversation = randomConversation(program, wanted, random);
          const real = conversation && (await renderer.chat(conversation));
          if (!real) continue;
          compared++;
          const body = Buffer.from(tokenizeBody(conversation));
          const got = core.chat(at, body);
          if (!got.exact) continue;
          exact++;
          expect(Buffer.from(got.prompt).toString()).toBe(Buffer.from(real).toString());
          expect(got.complete).toBe(true);
          expect([0, 1, 2, 4]).toContain(core.chat(at, body, Math.floor(random() * body.length)).status);
        }
      }
      expect(compared).toBeGreaterThan(10);
      expect(exact / compared).toBeGreaterThan(0.95);
    },
    120_000,
  );

  test("a field that Python prints in another way is printed so, or makes the request unknown", async () => {
    const { renderer, result } = await learn("qwen-2.5");
    const at = core.template(result.program);
    const ask = async (tools: string, calls?: string) => {
      const loop = calls
        ? `{"role":"assistant","content":null,"tool_calls":${calls}},{"role":"tool","tool_call_id":"i","content":"r"}`
        : '{"role":"assistant","content":"a","tool_calls":[]},{"role":"user","content":"y"}';
      const messages = `[{"role":"user","content":"x"},${loop}]`;
      const body = `{"messages":${messages},"tools":${tools}}`;
      const real = await fetch(`${pod.base("qwen-2.5")}/tokenize`, { method: "POST", body });
      const { tokens } = (await real.json()) as { tokens: number[] };
      const got = core.chat(at, Buffer.from(body));
      return { exact: got.exact, same: Buffer.compare(got.prompt, Buffer.from(tokens)) === 0 };
    };
    const tool = (parameters: string) =>
      `[{"type":"function","function":{"name":"f","parameters":${parameters}}}]`;
    const call = (text: string) =>
      `[{"id":"i","type":"function","function":{"name":"f","arguments":${JSON.stringify(text)}}}]`;
    for (const value of [
      "-0",
      "-0.0",
      "0.00001",
      "1E5",
      "100000000000000000000",
      "1e16",
      "123456789.125e-3",
      "0e5",
      "5e-1",
      '"\\u00e9\\u0001\\/\\ud83d\\ude42\\u0022"',
      "[]",
      "{}",
      "[[1, {}], null]",
      '{"a" : {"b":\n[true]}}',
    ])
      expect([value, await ask(tool(`{"v":${value}}`))]).toEqual([value, { exact: true, same: true }]);
    for (const text of ["", "{}", "[1]", "nonsense", ' {"a":1.50}\n', '{"a":"\\u20ac"}', "{"])
      expect([text, await ask(tool("{}"), call(text))]).toEqual([text, { exact: true, same: true }]);
    // A key that stands twice, and more digits than are safe to print again.
    expect(await ask(tool('{"a":1,"a":2}'))).toMatchObject({ exact: false });
    expect(await ask(tool('{"a":0.12345678901234567}'))).toMatchObject({ exact: false });
    expect(await ask('[{"type":"function","function":{"name":"f"},"cache_control":{}}]')).toMatchObject({
      exact: false,
    });
    await expect(renderer.raw("x")).resolves.toBeTruthy();
  }, 120_000);

  test.each(["qwen-3", "chatml"] as const)(
    "%s: enable_thinking is exact, alone in the template's arguments and before a generation prompt",
    async (name) => {
      const { renderer, result } = await learn(name);
      expect(exactShapes(result)).toContain("chat.enable_thinking");
      const at = core.template(result.program);
      const random = seeded(7);
      let compared = 0;
      for (let i = 0; i < 40; i++) {
        const tools = i % 2 === 1;
        const conversation = randomConversation(
          result.program.turns[tools ? "tools" : "plain"]!,
          { tools },
          random,
        );
        if (!conversation || conversation.continued) continue;
        const asked = { ...conversation, generationPrompt: true, thinking: i % 4 < 2 };
        const body = Buffer.from(tokenizeBody(asked));
        const got = core.chat(at, body);
        if (!got.exact) continue;
        compared++;
        expect(Buffer.from(got.prompt).toString()).toBe(
          Buffer.from((await renderer.chat(asked))!).toString(),
        );
        // What the arguments add is the end of a prompt that is there whole.
        expect(core.chat(at, body, body.length - 3).complete).toBe(false);
      }
      expect(compared).toBeGreaterThan(20);
      const exact = (more: object) =>
        core.chat(at, Buffer.from(JSON.stringify({ messages: [{ role: "user", content: "x" }], ...more })))
          .exact;
      const kwargs = (value: unknown, more = {}) => exact({ chat_template_kwargs: value, ...more });
      expect([kwargs({}), kwargs(null), kwargs({ enable_thinking: true })]).toEqual([true, true, true]);
      for (const value of [
        { enable_thinking: 0 },
        { enable_thinking: null },
        { enable_thinking: "false" },
        { enable_thinkinG: false },
        { enable_thinking: false, other: 1 },
        { other: true },
        [],
        "enable_thinking",
      ])
        expect([value, kwargs(value)]).toEqual([value, false]);
      expect(kwargs({ enable_thinking: false }, { add_generation_prompt: false })).toBe(false);
    },
    120_000,
  );

  test("enable_thinking is not exact where it changes more than the prompt's end", async () => {
    const { renderer, result } = await learn("chatml");
    const odd: PromptRenderer = {
      ...renderer,
      chat: async (conversation) => {
        const real = await renderer.chat(conversation);
        return real && conversation.thinking === false ? Buffer.concat([Buffer.from("x"), real]) : real;
      },
    };
    const probed = await probeTemplate(odd, seeded(8));
    expect(probed.program.thinkingOff).toBeNull();
    expect(probed.shapes).toContainEqual({
      shape: "chat.enable_thinking",
      exact: false,
      reason: "enable_thinking: false changes more than the prompt's end",
    });
    const body = JSON.stringify({
      messages: [{ role: "user", content: "x" }],
      chat_template_kwargs: { enable_thinking: true },
    });
    expect(core.chat(core.template(probed.program), Buffer.from(body)).exact).toBe(false);
    expect(await recheckTemplate(odd, result.program, seeded(9))).toContain("enable_thinking");
  }, 120_000);

  test("a date in a template is noticed, and does not pass the check of the next day", async () => {
    await pod.setClock("2026-03-04T12:00:00");
    try {
      const renderer = engineRenderer(pod.base("llama-3.2"), byteTokens());
      const { program } = await probeTemplate(renderer, seeded(5));
      expect(holdsToday(program, Date.parse("2026-03-04T12:00:00Z"))).toBe(true);
      expect(holdsToday(program, Date.parse("2026-04-04T12:00:00Z"))).toBe(false);
      expect(await recheckTemplate(renderer, program, seeded(6))).toBeNull();
      await pod.setClock("2026-03-05T00:00:01");
      expect(await recheckTemplate(renderer, program, seeded(6))).toContain("differs");
      const qwen = await learn("qwen-3");
      expect(holdsToday(qwen.result.program, Date.parse("2026-03-04T12:00:00Z"))).toBe(false);
    } finally {
      await pod.setClock(new Date().toISOString().slice(0, 19));
    }
  }, 120_000);

  test("reasoning inside a text, and a chat without a user turn, are not guessed at", async () => {
    const { result } = await learn("qwen-3");
    const at = core.template(result.program);
    const exact = (messages: Conversation["messages"]) =>
      core.chat(at, Buffer.from(tokenizeBody({ messages, generationPrompt: true }))).exact;
    expect(exact([{ role: "user", content: "</think>" }])).toBe(true);
    const user = { role: "user", content: "x" } as const;
    expect(exact([user, { role: "assistant", content: "<think>\na\n</think>\n\nb" }, user])).toBe(false);
    expect(exact([{ role: "assistant", content: "x" }])).toBe(false);
  }, 120_000);
});
