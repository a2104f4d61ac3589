// Compares a program with the engine on random conversations.
import type { Conversation } from "./conversation.js";
import { inParallel } from "./in-parallel.js";
import { randomConversation, type Wanted } from "./random-conversation.js";
import type { PromptRenderer } from "./template-prober.js";
import { renderTurns, type TurnProgram } from "./turn-program.js";

/** Compares `count` random conversations that the program covers with the engine's rendering. */
export async function verifyTurns(
  renderer: PromptRenderer,
  program: TurnProgram,
  wanted: Wanted,
  count: number,
  random: () => number,
): Promise<{ made: number; accepted: number; mismatch: string | null }> {
  const conversations = Array.from({ length: count }, () =>
    randomConversation(program, wanted, random),
  ).filter((conversation) => conversation !== null);
  let accepted = 0;
  let mismatch: string | null = null;
  await inParallel(conversations, async (conversation) => {
    const real = await renderer.chat(conversation);
    if (!real) return;
    accepted++;
    const ours = renderTurns(program, conversation);
    if (ours && Buffer.compare(ours, real) === 0) return;
    mismatch ??= `a verified conversation differs (${roles(conversation)}): ${difference(ours, real)}`;
  });
  return { made: conversations.length, accepted, mismatch };
}

/** Who speaks in a conversation, for messages. */
export function roles(conversation: Conversation): string {
  return conversation.messages.map((m) => (m.calls ? "calls" : m.role)).join(", ");
}

/** Where two prompts part, in words. */
export function difference(ours: Uint8Array | null, real: Uint8Array | null): string {
  if (!ours || !real) return "nothing to compare";
  let at = 0;
  while (at < ours.length && ours[at] === real[at]) at++;
  const piece = (bytes: Uint8Array) => JSON.stringify(Buffer.from(bytes.subarray(at, at + 24)).toString());
  return `at byte ${at} the engine has ${piece(real)} where ${piece(ours)} was expected`;
}
