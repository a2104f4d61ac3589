// Learns a model's chat template from the engine itself: conversations are rendered there, the literals between the
// contents are what stands between sentinels, and nothing is used that did not prove itself on random conversations.
import type { Strip, TemplateProgram } from "../wire.js";
import { randomConversation } from "./random-conversation.js";
import { type ChatMessage, type ChatRole, KIND, renderProgram } from "./template.js";

/** Renders with the real thing. */
export interface PromptRenderer {
  /** Prompt bytes of a conversation; null when the engine refuses it (4xx). @throws when the engine does not answer. */
  chat(messages: ChatMessage[], generationPrompt: boolean): Promise<Uint8Array | null>;
  /** Bytes that a raw prompt becomes, with what the tokenizer adds. */
  raw(prompt: string): Promise<Uint8Array | null>;
}

export type ProbeResult =
  | { exact: true; program: TemplateProgram; verified: number }
  | { exact: false; reason: string };

const ROLES: ChatRole[] = ["system", "user", "assistant"];
const RULES: Strip[] = ["raw", "both", "left", "right"];
/** Conversations that must come out byte for byte. */
export const VERIFY_CONVERSATIONS = 40;
/** Of these at least so many must be accepted by the engine. */
const VERIFY_ACCEPTED = 30;
const CONCURRENCY = 8;

const utf8 = new TextEncoder();

interface Shape {
  roles: ChatRole[];
  generationPrompt: boolean;
  usual: boolean;
}

/** Shapes to learn from, usual ones first: where shapes disagree, the usual one is right and the odd one inexact. */
function shapes(): Shape[] {
  const usual: ChatRole[][] = [
    ["user"],
    ["system", "user"],
    ["user", "assistant", "user"],
    ["system", "user", "assistant", "user"],
    ["user", "assistant", "user", "assistant", "user"],
    ["system", "user", "assistant", "user", "assistant", "user"],
  ];
  const seen = new Set(usual.map(String));
  const odd: ChatRole[][] = [];
  let row: ChatRole[][] = [[]];
  for (let length = 1; length <= 3; length++) {
    row = row.flatMap((roles) => ROLES.map((role) => [...roles, role]));
    odd.push(...row.filter((roles) => !seen.has(String(roles))));
  }
  return [
    ...usual.map((roles) => ({ roles, generationPrompt: true, usual: true })),
    ...usual.map((roles) => ({ roles, generationPrompt: false, usual: true })),
    ...odd.flatMap((roles) =>
      [true, false].map((generationPrompt) => ({ roles, generationPrompt, usual: false })),
    ),
  ];
}

/**
 * Learns and verifies the template behind `renderer`.
 * @param random numbers in [0, 1) that choose the verification's conversations.
 * @throws what the renderer throws when the engine does not answer.
 */
export async function probeTemplate(renderer: PromptRenderer, random: () => number): Promise<ProbeResult> {
  const joints = await learnJoints(renderer);
  if (typeof joints === "string") return { exact: false, reason: joints };
  const bos = await learnBos(renderer);
  if (typeof bos === "string") return { exact: false, reason: bos };
  const program: TemplateProgram = {
    joints,
    strip: { system: "raw", user: "raw", assistant: "raw" },
    bos,
  };
  const bad = await learnStrips(renderer, program);
  if (bad) return { exact: false, reason: bad };
  const verdict = await verifyTemplate(renderer, program, VERIFY_CONVERSATIONS, random);
  if (verdict.mismatch) return { exact: false, reason: verdict.mismatch };
  if (verdict.accepted < VERIFY_ACCEPTED)
    return {
      exact: false,
      reason: `the engine accepted only ${verdict.accepted} of the verification's conversations`,
    };
  return { exact: true, program, verified: verdict.accepted };
}

/** Compares `count` random conversations that the program covers with the engine's rendering. */
export async function verifyTemplate(
  renderer: PromptRenderer,
  program: TemplateProgram,
  count: number,
  random: () => number,
): Promise<{ accepted: number; mismatch: string | null }> {
  const conversations = Array.from({ length: count }, () => randomConversation(program, random));
  let accepted = 0;
  let mismatch: string | null = null;
  await inParallel(conversations, async ({ messages, generationPrompt }) => {
    const real = await renderer.chat(messages, generationPrompt);
    if (!real) return;
    accepted++;
    const ours = renderProgram(program, messages, generationPrompt);
    if (ours && Buffer.compare(ours, real) === 0) return;
    mismatch ??= `a verified conversation differs (${messages.map((m) => m.role).join(", ")}): ${difference(ours, real)}`;
  });
  return { accepted, mismatch };
}

async function learnJoints(renderer: PromptRenderer): Promise<(Uint8Array | null)[][] | string> {
  const all = shapes();
  const rendered: (Uint8Array | null)[] = new Array(all.length).fill(null);
  await inParallel(all, async (shape, i) => {
    const messages = shape.roles.map((role, k) => ({ role, content: sentinel(k) }));
    rendered[i] = await renderer.chat(messages, shape.generationPrompt);
  });
  const known = new Map<number, { literal: Uint8Array; usual: boolean }>();
  const barred = new Set<number>();
  for (const [i, shape] of all.entries()) {
    const bytes = rendered[i];
    if (!bytes) continue;
    const literals = split(bytes, shape.roles.length);
    if (!literals) {
      if (i === 0) return "the engine's prompt does not contain the user's text as given";
      continue;
    }
    const kinds = [
      KIND.start,
      ...shape.roles.map((r) => KIND[r]),
      shape.generationPrompt ? KIND.endPrompt : KIND.end,
    ];
    const found = literals.map((literal, k) => ({ at: kinds[k]! * 6 + kinds[k + 1]!, literal }));
    const agrees = found.every(({ at, literal }) =>
      [...found.filter((other) => other.at === at), known.get(at)].every(
        (other) => !other || Buffer.compare(other.literal, literal) === 0,
      ),
    );
    if (agrees) {
      for (const { at, literal } of found) if (!known.has(at)) known.set(at, { literal, usual: shape.usual });
      continue;
    }
    // What usual shapes do not need tells this one apart: without it the shape counts as inexact.
    const odd = found.filter(({ at }) => !known.get(at)?.usual);
    if (odd.length === 0)
      return `the text before a message depends on more than the two roles (${shape.roles.join(", ")})`;
    for (const { at } of odd) barred.add(at);
  }
  if (known.size === 0) return "the engine accepted no conversation";
  return Array.from({ length: 6 }, (_, previous) =>
    Array.from({ length: 6 }, (_, next) => {
      const at = previous * 6 + next;
      return barred.has(at) ? null : (known.get(at)?.literal ?? null);
    }),
  );
}

async function learnStrips(renderer: PromptRenderer, program: TemplateProgram): Promise<string | null> {
  const carriers: Record<ChatRole, ChatRole[]> = {
    system: ["system", "user"],
    user: ["user"],
    assistant: ["user", "assistant", "user"],
  };
  for (const role of ROLES) {
    const messages: ChatMessage[] = carriers[role].map((r, k) => ({ role: r, content: sentinel(k) }));
    const padded = messages.find((m) => m.role === role)!;
    padded.content = `\n\u3000 \t${padded.content as string} \u00a0\x1c\n`;
    const real = await renderer.chat(messages, true);
    if (!real) continue;
    const rule = RULES.find((candidate) => {
      const ours = renderProgram(
        { ...program, strip: { ...program.strip, [role]: candidate } },
        messages,
        true,
      );
      return ours !== null && Buffer.compare(ours, real) === 0;
    });
    if (!rule) return `the white space around ${role} text is treated in an unknown way`;
    program.strip[role] = rule;
  }
  return null;
}

async function learnBos(renderer: PromptRenderer): Promise<Uint8Array | string> {
  const first = await renderer.raw(sentinel(0));
  if (!first) return "the engine refuses raw prompts";
  const at = Buffer.from(first).indexOf(sentinel(0));
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

/** Plain words that no template holds and no rule about white space touches. */
function sentinel(k: number): string {
  return `Qz${"abcdefgh"[k]}Warmgate${k}vX`;
}

/** Literals before, between and after the sentinels; null when they are not there once each, in order. */
function split(bytes: Uint8Array, count: number): Uint8Array[] | null {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const literals: Uint8Array[] = [];
  let from = 0;
  for (let k = 0; k < count; k++) {
    const at = buffer.indexOf(sentinel(k), from);
    if (at < 0 || buffer.indexOf(sentinel(k), at + 1) >= 0) return null;
    literals.push(bytes.slice(from, at));
    from = at + sentinel(k).length;
  }
  literals.push(bytes.slice(from));
  return literals;
}

function difference(ours: Uint8Array | null, real: Uint8Array | null): string {
  if (!ours || !real) return "nothing to compare";
  let at = 0;
  while (at < ours.length && ours[at] === real[at]) at++;
  const piece = (bytes: Uint8Array) => JSON.stringify(Buffer.from(bytes.subarray(at, at + 24)).toString());
  return `at byte ${at} the engine has ${piece(real)} where ${piece(ours)} was expected`;
}

async function inParallel<T>(items: T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const i = next++;
      await work(items[i]!, i);
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, items.length) }, lane));
}
