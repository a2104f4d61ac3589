// Conversations that break templates which look right: white space, emptiness, template syntax, special tokens.
import type { ChatMessage, Conversation, Tool, ToolCall } from "./conversation.js";
import { type Json, Spelled } from "./python-json.js";
import { renderTurns, type TurnProgram } from "./turn-program.js";

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
  "<b>&amp;</b> 'single'",
  "<tool_response>",
  "C:\\path\\file",
  "user",
  "assistant\n\n",
  "0123456789 3.14159",
  "\ufeffBOM",
  "\x85next line\x1c",
];
const KEYS = ["city", "path", "limit", "größe", 'with "quotes"', "items", "名前", "$schema", "default"];
const NUMBERS = [
  new Spelled("1.0", "1.0"),
  new Spelled("1e3", "1000.0"),
  new Spelled("-0", "0"),
  new Spelled("-0.0", "-0.0"),
  new Spelled("2.50", "2.5"),
  new Spelled("1E-7", "1e-07"),
  new Spelled("0.00012", "0.00012"),
  new Spelled("123456789012345678901234567890", "123456789012345678901234567890"),
  new Spelled("12345e20", "1.2345e+24"),
  new Spelled("1e15", "1000000000000000.0"),
];

/** What a conversation is to have beside plain texts. */
export interface Wanted {
  tools?: boolean;
  parts?: boolean;
  calls?: boolean;
  parallel?: boolean;
  reasoning?: boolean;
  continued?: boolean;
}

/** Attempts at a conversation that the program covers. */
const TRIES = 60;

/** A conversation that the program claims to know; null when none was found. `random` gives numbers in [0, 1). */
export function randomConversation(
  program: TurnProgram,
  wanted: Wanted,
  random: () => number,
): Conversation | null {
  const maker = new Maker(wanted, random);
  for (let i = 0; i < TRIES; i++) {
    const conversation = maker.make();
    if (renderTurns(program, conversation)) return conversation;
  }
  return null;
}

/** A conversation, whether a program covers it or not. */
export function anyConversation(wanted: Wanted, random: () => number): Conversation {
  return new Maker(wanted, random).make();
}

class Maker {
  constructor(
    readonly wanted: Wanted,
    readonly random: () => number,
  ) {}

  make(): Conversation {
    const { wanted } = this;
    const messages = this.#odd() ? this.#oddTurns() : this.#usualTurns();
    const conversation: Conversation = { messages, generationPrompt: this.random() < 0.75 };
    if (wanted.tools) conversation.tools = Array.from({ length: 1 + this.#below(3) }, () => this.#tool());
    if (wanted.continued) {
      if (messages.at(-1)!.role !== "assistant")
        messages.push({ role: "assistant", content: this.#words().trimEnd() });
      conversation.generationPrompt = false;
      conversation.continued = true;
    }
    return conversation;
  }

  #below(n: number): number {
    return Math.floor(this.random() * n);
  }

  #odd(): boolean {
    const { calls, reasoning, continued } = this.wanted;
    return !calls && !reasoning && !continued && this.random() < 0.25;
  }

  #oddTurns(): ChatMessage[] {
    const roles = ["system", "user", "assistant"] as const;
    return Array.from({ length: 1 + this.#below(5) }, () => ({
      role: roles[this.#below(3)]!,
      content: this.#content(),
    }));
  }

  #usualTurns(): ChatMessage[] {
    const { calls } = this.wanted;
    const messages: ChatMessage[] = [];
    if (this.random() < 0.5) messages.push({ role: "system", content: this.#content() });
    messages.push({ role: "user", content: this.#content() });
    for (let turns = this.#below(4) + (calls && this.random() < 0.5 ? 1 : 0); turns > 0; turns--) {
      if (calls && this.random() < 0.7) this.#loop(messages);
      messages.push(this.#assistant(), { role: "user", content: this.#content() });
    }
    if (calls && !messages.some((m) => m.calls)) this.#loop(messages);
    return messages;
  }

  #assistant(): ChatMessage {
    const message: ChatMessage = { role: "assistant", content: this.#content() };
    if (this.wanted.reasoning && this.random() < 0.6) message.reasoning = this.#words();
    return message;
  }

  #loop(messages: ChatMessage[]): void {
    for (let rounds = 1 + this.#below(2); rounds > 0; rounds--) {
      const parallel = this.wanted.parallel && this.random() < 0.6 ? 2 + this.#below(2) : 1;
      const calls = Array.from({ length: parallel }, () => this.#call());
      const asks: ChatMessage = {
        role: "assistant",
        content: this.random() < 0.6 ? null : this.#words(),
        calls,
      };
      if (this.random() < 0.1) asks.content = "";
      if (this.wanted.reasoning && this.random() < 0.6) asks.reasoning = this.#words();
      messages.push(asks);
      for (const { id } of calls) messages.push({ role: "tool", content: this.#content(), callId: id });
    }
  }

  #call(): ToolCall {
    const id = Array.from({ length: 9 }, () => "abcXYZ0189"[this.#below(10)]!).join("");
    return { id, name: ["find_shelf", "weather", "run"][this.#below(3)]!, arguments: this.#object(2) };
  }

  #tool(): Tool {
    const tool: Tool = { name: `tool_${this.#below(1000)}` };
    if (this.random() < 0.9) tool.description = this.#words();
    if (this.random() < 0.9)
      tool.parameters = {
        type: "object",
        properties: this.#object(3),
        required: [KEYS[this.#below(KEYS.length)]!],
      };
    if (this.random() < 0.1) tool.strict = this.random() < 0.5;
    return tool;
  }

  #object(depth: number): { [key: string]: Json } {
    const out: { [key: string]: Json } = {};
    for (let n = this.#below(4); n > 0; n--) out[KEYS[this.#below(KEYS.length)]!] = this.#json(depth - 1);
    return out;
  }

  #json(depth: number): Json {
    switch (this.#below(depth > 0 ? 8 : 6)) {
      case 0:
        return this.#words();
      case 1:
        return NUMBERS[this.#below(NUMBERS.length)]!;
      case 2:
        return this.#below(1000) - 500;
      case 3:
        return this.random() < 0.5;
      case 4:
        return null;
      case 5:
        return "plain";
      case 6:
        return this.#object(depth);
      default:
        return Array.from({ length: this.#below(4) }, () => this.#json(depth - 1));
    }
  }

  #content(): ChatMessage["content"] {
    const kind = this.random();
    if (kind < 0.06) return "";
    if (kind < 0.1) return " \n\t ";
    if (this.wanted.parts && kind < 0.5)
      return Array.from({ length: this.#below(4) }, () => ({
        type: "text" as const,
        text: this.random() < 0.2 ? "" : this.#words(),
      }));
    return this.#words();
  }

  #words(): string {
    return Array.from({ length: 1 + this.#below(6) }, () => PIECES[this.#below(PIECES.length)]!).join(
      [" ", "", "\n"][this.#below(3)],
    );
  }
}
