// A chat request as far as its prompt goes, the way clients write it.
import { type Json, jsonText } from "./python-json.js";

export type ChatRole = "system" | "user" | "assistant" | "tool";

export type Content = string | null | { type: "text"; text: string }[];

export interface ToolCall {
  id: string;
  name: string;
  /** The object, sent as the text that its JSON is. */
  arguments: { [key: string]: Json };
}

export interface ChatMessage {
  role: ChatRole;
  content: Content;
  /** Reasoning that a client sends back (assistant). */
  reasoning?: string;
  calls?: ToolCall[];
  /** Which call a result is of (tool). */
  callId?: string;
  name?: string;
}

export interface Tool {
  name: string;
  /** Absent: the request has none. */
  description?: string;
  parameters?: Json;
  strict?: boolean;
}

export interface Conversation {
  messages: ChatMessage[];
  tools?: Tool[];
  generationPrompt: boolean;
  /** The last message is to be continued: its end is the prompt's. Needs `generationPrompt` off. */
  continued?: boolean;
  /** `enable_thinking` of the template's arguments. */
  thinking?: boolean;
}

/** Body of POST /tokenize, as text: numbers keep the spelling that they were given. */
export function tokenizeBody(c: Conversation): string {
  const body: { [key: string]: Json } = {
    messages: c.messages.map(messageJson),
    add_generation_prompt: c.generationPrompt,
  };
  if (c.thinking !== undefined) body["chat_template_kwargs"] = { enable_thinking: c.thinking };
  if (c.continued) body["continue_final_message"] = true;
  if (c.tools)
    body["tools"] = c.tools.map((tool) => ({
      type: "function",
      function: { ...tool } as { [key: string]: Json },
    }));
  return jsonText(body);
}

function messageJson(m: ChatMessage): Json {
  const out: { [key: string]: Json } = { role: m.role, content: m.content as Json };
  // Which of the two an engine reads depends on its version; where it reads both they are the same.
  if (m.reasoning !== undefined) out["reasoning"] = out["reasoning_content"] = m.reasoning;
  if (m.calls)
    out["tool_calls"] = m.calls.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: jsonText(call.arguments) },
    }));
  if (m.callId !== undefined) out["tool_call_id"] = m.callId;
  if (m.name !== undefined) out["name"] = m.name;
  return out;
}
