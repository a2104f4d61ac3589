// What `enable_thinking` among a request's template arguments does to a prompt. Templates of the Qwen3 family close the
// reasoning of the turn to come where it is false; a template that does anything else is not exact with it.
import type { Conversation } from "./conversation.js";
import { randomConversation } from "./random-conversation.js";
import type { PromptRenderer } from "./template-prober.js";
import { renderTurns, SHAPE, type TurnProgram } from "./turn-program.js";

/**
 * What `enable_thinking: false` adds to the generation prompt, where `true` adds nothing; a text says why that is not
 * so. `programs` are the exact ones, without tools and with them.
 * @param count conversations that must agree, of each program.
 * @throws what the renderer throws when the engine does not answer.
 */
export async function learnThinking(
  renderer: PromptRenderer,
  programs: { plain: TurnProgram | null; tools: TurnProgram | null },
  count: number,
  random: () => number,
): Promise<Uint8Array | string> {
  let added: Uint8Array | null = null;
  for (const [tools, program] of [
    [false, programs.plain],
    [true, programs.tools],
  ] as const) {
    if (!program) continue;
    const calls = (program.shapes & SHAPE.calls) !== 0;
    const reasoning = (program.shapes & SHAPE.reasoning) !== 0;
    for (let i = 0; i < count; i++) {
      const conversation = randomConversation(
        program,
        i % 2 ? { tools, calls, reasoning } : { tools },
        random,
      );
      if (!conversation || conversation.continued) continue;
      const asked: Conversation = { ...conversation, generationPrompt: true };
      const ours = renderTurns(program, asked);
      const on = await renderer.chat({ ...asked, thinking: true });
      const off = await renderer.chat({ ...asked, thinking: false });
      if (!ours || !on || !off) continue;
      if (Buffer.compare(on, ours) !== 0) return "enable_thinking: true changes the prompt";
      if (Buffer.compare(off.subarray(0, ours.length), ours) !== 0)
        return "enable_thinking: false changes more than the prompt's end";
      const rest = new Uint8Array(off.subarray(ours.length));
      if (added && Buffer.compare(added, rest) !== 0)
        return "enable_thinking: false does not always add the same";
      added = rest;
    }
  }
  return added ?? "the engine takes no template arguments";
}
