// Renders a template program as the filter does. The filter's own copy is in wasm/core; this one judges probes.
import type { Strip, TemplateProgram } from "../wire.js";

export type ChatRole = "system" | "user" | "assistant";

export interface ChatMessage {
  role: ChatRole;
  content: string | { type: "text"; text: string }[];
}

/** Kinds of a joint, as in TemplateProgram. */
export const KIND = { start: 0, system: 1, user: 2, assistant: 3, end: 4, endPrompt: 5 } as const;

const utf8 = new TextEncoder();

// What Python's str.strip takes away.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEFT = new RegExp(`^[${SPACE}]+`);
const RIGHT = new RegExp(`[${SPACE}]+$`);

/** Applies a strip rule with Python's white space. */
export function strip(text: string, rule: Strip): string {
  let s = text;
  if (rule === "left" || rule === "both") s = s.replace(LEFT, "");
  if (rule === "right" || rule === "both") s = s.replace(RIGHT, "");
  return s;
}

/** Text of a content: parts are joined by newlines, empty ones dropped (vLLM's "string" content format). */
export function contentText(content: ChatMessage["content"]): string {
  if (typeof content === "string") return content;
  return content
    .map((part) => part.text)
    .filter((text) => text !== "")
    .join("\n");
}

/** Bytes of the rendered prompt, or null when the program has no literal for a joint. */
export function renderProgram(
  program: TemplateProgram,
  messages: ChatMessage[],
  generationPrompt: boolean,
): Uint8Array | null {
  const parts: Uint8Array[] = [];
  let previous: number = KIND.start;
  for (const { role, content } of messages) {
    const literal = program.joints[previous]![KIND[role]];
    if (!literal) return null;
    parts.push(literal, utf8.encode(strip(contentText(content), program.strip[role])));
    previous = KIND[role];
  }
  const last = program.joints[previous]![generationPrompt ? KIND.endPrompt : KIND.end];
  if (!last) return null;
  parts.push(last);
  return Buffer.concat(parts);
}
