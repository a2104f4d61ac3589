// Conversations that break templates which look right: white space, emptiness, template syntax, special tokens.
import type { TemplateProgram } from "../wire.js";
import { type ChatMessage, type ChatRole, KIND } from "./template.js";

const PIECES = [
  "Hello",
  "What is a KV cache?",
  " leading",
  "trailing ",
  "\n\nblank lines\n\n",
  "\u00a0no-break\u00a0",
  "\u3000ideographic\u3000",
  "\ttab\tand\r\nCRLF",
  "naïve café — “quotes”",
  "日本語のテキスト",
  "🙂👩‍👩‍👧",
  "e\u0301 decomposed",
  "{{ messages }}",
  "{% if x %}y{% endif %}",
  "<|eot_id|>",
  "<|im_end|>",
  "<s>[INST] x [/INST]</s>",
  "def f(x):\n    return x  # code\n",
  '{"json": [1, 2.0, null]}',
  "<b>&amp;</b>",
  "user",
  "assistant\n\n",
  "0123456789 3.14159",
  "\ufeffBOM",
  "\x85next line\x1c",
];
const ROLES: ChatRole[] = ["system", "user", "assistant"];

/** A conversation of 1 to 9 messages whose joints the program knows. `random` gives numbers in [0, 1). */
export function randomConversation(
  program: TemplateProgram,
  random: () => number,
): { messages: ChatMessage[]; generationPrompt: boolean } {
  const below = (n: number) => Math.floor(random() * n);
  for (;;) {
    const generationPrompt = random() < 0.75;
    const roles = random() < 0.75 ? usualRoles(below, random) : oddRoles(below);
    const kinds = [KIND.start, ...roles.map((r) => KIND[r]), generationPrompt ? KIND.endPrompt : KIND.end];
    if (!kinds.slice(1).every((kind, i) => program.joints[kinds[i]!]![kind])) continue;
    return { messages: roles.map((role) => ({ role, content: content(below, random) })), generationPrompt };
  }
}

function usualRoles(below: (n: number) => number, random: () => number): ChatRole[] {
  const roles: ChatRole[] = random() < 0.5 ? ["system", "user"] : ["user"];
  for (let turns = below(4); turns > 0; turns--) roles.push("assistant", "user");
  return roles;
}

function oddRoles(below: (n: number) => number): ChatRole[] {
  return Array.from({ length: 1 + below(5) }, () => ROLES[below(3)]!);
}

function content(below: (n: number) => number, random: () => number): ChatMessage["content"] {
  const kind = random();
  if (kind < 0.06) return "";
  if (kind < 0.1) return " \n\t ";
  if (kind < 0.2)
    return Array.from({ length: below(4) }, () => ({
      type: "text" as const,
      text: random() < 0.2 ? "" : words(below),
    }));
  return words(below);
}

function words(below: (n: number) => number): string {
  return Array.from({ length: 1 + below(6) }, () => PIECES[below(PIECES.length)]!).join(
    [" ", "", "\n"][below(3)],
  );
}
