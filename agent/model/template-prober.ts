// Learns a model's chat template from the engine itself, and says which requests it prints exactly: nothing is used that
// did not prove itself on random conversations.
import type { TemplateProgram } from "../wire.js";
import type { Conversation } from "./conversation.js";
import { templateProgram } from "./template.js";
import { learnThinking } from "./thinking.js";
import { probeTurns, type TurnProbe } from "./turn-prober.js";
import { SHAPE, type Shape } from "./turn-program.js";
import { difference, verifyTurns } from "./verify-turns.js";

/** Renders with the real thing. */
export interface PromptRenderer {
  /** Prompt bytes of a conversation; null when the engine refuses it (4xx). @throws when the engine does not answer. */
  chat(conversation: Conversation): Promise<Uint8Array | null>;
  /** Bytes that a raw prompt becomes, with what the tokenizer adds. */
  raw(prompt: string): Promise<Uint8Array | null>;
}

/** Whether a kind of request is matched by text, and why not. */
export interface ShapeReport {
  shape: "completions" | "chat" | "tools" | "chat.enable_thinking" | `${"chat" | "tools"}.${Shape}`;
  exact: boolean;
  reason?: string;
}

export interface ProbeResult {
  /** Chats are exact, without tools or with them. */
  exact: boolean;
  program: TemplateProgram;
  shapes: ShapeReport[];
  /** Conversations that came out byte for byte. */
  verified: number;
  /** Why chats are not exact, "" when they are. */
  reason: string;
}

const RECHECKED = 6;
/** Conversations by which `enable_thinking` is learned, of plain chats and of chats with tools. */
const THINKING_CHECKED = 24;
const utf8 = new TextEncoder();

/**
 * Learns and verifies the template behind `renderer`.
 * @param random numbers in [0, 1) that choose the verification's conversations.
 * @throws what the renderer throws when the engine does not answer.
 */
export async function probeTemplate(renderer: PromptRenderer, random: () => number): Promise<ProbeResult> {
  const bos = await learnBos(renderer);
  const plain = await probeTurns(renderer, false, random);
  const tools = await probeTurns(renderer, true, random);
  const exact = { plain: plain.program, tools: tools.program };
  const thinking = await learnThinking(renderer, exact, THINKING_CHECKED, random);
  const shapes = [
    ...bosReport(bos),
    ...report("chat", plain),
    thinkingReport(thinking),
    ...report("tools", tools),
  ];
  const program = {
    ...templateProgram(plain.program, tools.program, typeof bos === "string" ? null : bos),
    thinkingOff: typeof thinking === "string" ? null : thinking,
  };
  return {
    exact: plain.program !== null || tools.program !== null,
    program,
    shapes,
    verified: (plain.program ? plain.verified : 0) + (tools.program ? tools.verified : 0),
    reason: plain.program === null ? plain.reason : "",
  };
}

function bosReport(bos: Uint8Array | string): ShapeReport[] {
  return [
    typeof bos === "string"
      ? { shape: "completions", exact: false, reason: bos }
      : { shape: "completions", exact: true },
  ];
}

function thinkingReport(thinking: Uint8Array | string): ShapeReport {
  const shape = "chat.enable_thinking";
  return typeof thinking === "string" ? { shape, exact: false, reason: thinking } : { shape, exact: true };
}

function report(of: "chat" | "tools", probe: TurnProbe): ShapeReport[] {
  if (!probe.program) return [{ shape: of, exact: false, reason: probe.reason }];
  const { program, inexact } = probe;
  return [
    { shape: of, exact: true },
    ...(Object.keys(SHAPE) as Shape[]).map((shape): ShapeReport => {
      const exact = (program.shapes & SHAPE[shape]) !== 0;
      return {
        shape: `${of}.${shape}`,
        exact,
        ...(exact ? {} : { reason: inexact[shape] ?? "not verified" }),
      };
    }),
  ];
}

/**
 * Compares `count` fresh random conversations of every exact shape, and how a raw prompt begins; the first difference,
 * null without one.
 */
export async function recheckTemplate(
  renderer: PromptRenderer,
  program: TemplateProgram,
  random: () => number,
  count = RECHECKED,
): Promise<string | null> {
  const bos = await learnBos(renderer);
  const begins = typeof bos === "string" ? null : bos;
  if (begins === null ? program.bos !== null : !program.bos || Buffer.compare(begins, program.bos) !== 0)
    return "raw prompts begin otherwise";
  for (const [tools, turns] of [
    [false, program.turns.plain],
    [true, program.turns.tools],
  ] as const) {
    if (!turns) continue;
    const calls = (turns.shapes & SHAPE.calls) !== 0;
    const reasoning = (turns.shapes & SHAPE.reasoning) !== 0;
    for (const wanted of [{ tools }, ...(calls || reasoning ? [{ tools, calls, reasoning }] : [])]) {
      const { mismatch } = await verifyTurns(renderer, turns, wanted, count, random);
      if (mismatch) return mismatch;
    }
  }
  if (!program.thinkingOff) return null;
  const thinking = await learnThinking(renderer, program.turns, count, random);
  if (typeof thinking === "string") return thinking;
  return Buffer.compare(thinking, program.thinkingOff) === 0
    ? null
    : "enable_thinking: false adds something else";
}

/** What the tokenizer puts before a raw prompt, or why raw prompts are not their own text. */
async function learnBos(renderer: PromptRenderer): Promise<Uint8Array | string> {
  const word = "QzWarmgatevX";
  const first = await renderer.raw(word);
  if (!first) return "the engine refuses raw prompts";
  const at = Buffer.from(first).indexOf(word);
  if (at < 0) return "the engine's tokens of a raw prompt do not contain its text";
  const bos = first.slice(0, at);
  for (const prompt of [" two leading  spaces\n", "naïve — 日本語 🙂", '{"a": [1, 2]}\n\n']) {
    const real = await renderer.raw(prompt);
    const ours = Buffer.concat([bos, utf8.encode(prompt)]);
    if (!real || Buffer.compare(ours, real.subarray(0, ours.length)) !== 0)
      return `the tokenizer changes raw text: ${difference(ours, real)}`;
  }
  return bos;
}
