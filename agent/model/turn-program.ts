// What a chat template does with a conversation, as a table: the texts in the order in which they are printed, and the
// literal between each two of them by their kinds. The filter prints by them in wasm/core/turns.ts.
import type { ChatMessage, Content, Conversation, Tool } from "./conversation.js";
import { type Indent, pythonEscaped, pythonJson } from "./python-json.js";

/**
 * Kinds of what is printed. An assistant's turn is *late* behind the last user turn, and *last* when it also ends the
 * conversation: templates print reasoning, and what stands for it, by that.
 */
export const TURN = {
  start: 0,
  system: 1,
  user: 2,
  assistant: 3,
  end: 4,
  generate: 5,
  assistantLate: 6,
  assistantLast: 7,
  /** Text of a turn that also calls tools. */
  callText: 8,
  callTextLate: 9,
  reasoning: 10,
  reasoningLate: 11,
  reasoningLast: 12,
  /** First call of a turn that printed nothing before it. */
  call: 13,
  callLate: 14,
  /** First call behind its turn's text or reasoning. */
  callAfter: 15,
  callNext: 16,
  callSecond: 17,
  callThird: 18,
  result: 19,
  resultSecond: 20,
  tool: 21,
  toolNext: 22,
  /** Text behind its turn's own reasoning. */
  textAfter: 23,
} as const;
export const TURN_KINDS = 24;

/** What is done to a text, by number: Python's strip family, the same for line feeds only, a JSON string's inside. */
export const EDITS = [
  "raw",
  "both",
  "left",
  "right",
  "lines-left",
  "lines-right",
  "lines-both",
  "json",
  "drop",
] as const;
export type Edit = (typeof EDITS)[number];

export const SYSTEM_PLACES = ["own", "last-user", "final-user", "dropped"] as const;
export const TOOLS_PLACES = ["start", "after-system", "last-user", "dropped"] as const;
export const CALL_FIELDS = ["none", "name", "arguments", "id"] as const;
export const RESULT_FIELDS = ["none", "content", "id"] as const;
export type CallField = Exclude<(typeof CALL_FIELDS)[number], "none">;
export type ResultField = Exclude<(typeof RESULT_FIELDS)[number], "none">;

/** What a request has that must have proved exact, as bits. */
export const SHAPE = { parts: 1, calls: 2, parallel: 4, results: 8, reasoning: 16, continued: 32 } as const;
export type Shape = keyof typeof SHAPE;

/** A template without tools, or with them. */
export interface TurnProgram {
  /** Where a leading system text is printed: in place, before the last user text, or only when that ends the chat. */
  systemAt: (typeof SYSTEM_PLACES)[number];
  /** Where the tools are printed. */
  toolsAt: (typeof TOOLS_PLACES)[number];
  /** Before the last user text, the tools come before the system text. */
  toolsFirst: boolean;
  /** The tool's `function` alone is printed. */
  bareTool: boolean;
  toolIndent: Indent;
  /** Levels that the tool's print stands deep in a larger one. */
  toolLevel: number;
  argumentsIndent: Indent;
  /** In the order in which they are printed; none when calls are not printed. */
  callFields: CallField[];
  resultFields: ResultField[];
  /** By kind. */
  edits: Edit[];
  /** Shape bits that proved exact. */
  shapes: number;
  /** Text parts are joined by line feeds, or by nothing. */
  joinParts: "\n" | "";
  /** Roles whose empty texts are treated in a way of their own. */
  emptyUnknown: { system: boolean; user: boolean; assistant: boolean; tool: boolean };
  /** Assistant text with "</think>" in it is treated in a way of its own. */
  thinkUnknown: boolean;
  /** A message's `name` makes no difference. */
  nameInert: boolean;
  /** `strict` of a tool is printed at its end, or not at all; null when neither proved true. */
  strictTool: "printed" | "dropped" | null;
  /** A tool's strings are printed as JSON; otherwise those that need escapes are unknown. */
  escapedTool: boolean;
  /** With tools, a user's text that equals the last user's is treated in a way of its own. */
  repeatedUnknown: boolean;
  /** [previous][next] by kind: literal bytes, null = never seen. */
  joints: (Uint8Array | null)[][];
}

/** One printed text. */
export interface Printed {
  kind: number;
  text: string;
}

// What Python's str.strip takes away.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEFT = new RegExp(`^[${SPACE}]+`);
const RIGHT = new RegExp(`[${SPACE}]+$`);

/** Applies an edit with Python's idea of white space. */
export function edited(text: string, edit: Edit): string {
  switch (edit) {
    case "raw":
      return text;
    case "both":
      return text.replace(LEFT, "").replace(RIGHT, "");
    case "left":
      return text.replace(LEFT, "");
    case "right":
      return text.replace(RIGHT, "");
    case "lines-left":
      return text.replace(/^\n+/, "");
    case "lines-right":
      return text.replace(/\n+$/, "");
    case "lines-both":
      return text.replace(/^\n+/, "").replace(/\n+$/, "");
    case "json":
      return pythonEscaped(text);
    case "drop":
      return "";
  }
}

/** Text of a content: parts without text are left out. */
export function contentText(content: Content, join: string): string {
  if (content === null) return "";
  if (typeof content === "string") return content;
  return content
    .map((part) => part.text)
    .filter((text) => text !== "")
    .join(join);
}

/** A tool as vLLM hands it to the template: known fields in its own order, null for those that are absent. */
export function toolText(
  tool: Tool,
  p: Pick<TurnProgram, "bareTool" | "toolIndent" | "toolLevel" | "strictTool">,
): string {
  const declared = {
    name: tool.name,
    description: tool.description ?? null,
    parameters: tool.parameters ?? null,
    ...(tool.strict !== undefined && p.strictTool !== "dropped" ? { strict: tool.strict } : {}),
  };
  return pythonJson(
    p.bareTool ? declared : { type: "function", function: declared },
    p.toolIndent,
    p.toolLevel,
  );
}

const NAME = /^[\w.:-]*$/;

/** Collects a conversation's texts in the order in which a program prints them. */
class Printer {
  readonly out: Printed[] = [];
  known = true;
  readonly #lastUser: number;

  constructor(
    readonly program: TurnProgram,
    readonly conversation: Conversation,
  ) {
    this.#lastUser = conversation.messages.findLastIndex((m) => m.role === "user");
  }

  run(): void {
    const { messages, generationPrompt, continued } = this.conversation;
    const { program: p } = this;
    if (continued) this.#need("continued");
    if (messages.some((m) => m.name !== undefined) && !p.nameInert) this.known = false;
    if (p.toolsAt === "start") this.#tools();
    for (const [i, m] of messages.entries()) {
      if (i === 0 && m.role !== "system" && p.toolsAt === "after-system") this.#tools();
      if (m.role === "system") this.#system(m, i);
      else if (m.role === "user") this.#user(m, i);
      else if (m.role === "assistant") this.#assistant(m, i);
      else this.#result(m);
    }
    if (p.repeatedUnknown && this.#repeated()) this.known = false;
    // Without a user turn no assistant's turn is before or behind the last one.
    if (
      this.#lastUser < 0 &&
      (messages.some((m) => m.role !== "system") || this.#hoisted() || this.#toolsMoved())
    )
      this.known = false;
    if (continued) this.#continued(messages.at(-1));
    else this.#add(generationPrompt ? TURN.generate : TURN.end, "");
  }

  #toolsMoved(): boolean {
    return this.conversation.tools !== undefined && this.program.toolsAt === "last-user";
  }

  #repeated(): boolean {
    const { messages } = this.conversation;
    const text = (m: ChatMessage) => contentText(m.content, this.program.joinParts);
    return messages.some(
      (m, i) => m.role === "user" && i !== this.#lastUser && text(m) === text(messages[this.#lastUser]!),
    );
  }

  /** A leading system text is printed elsewhere. */
  #hoisted(): boolean {
    return this.program.systemAt !== "own" && this.conversation.messages[0]?.role === "system";
  }

  #add(kind: number, text: string): void {
    this.out.push({ kind, text: edited(text, this.program.edits[kind]!) });
  }

  #need(shape: Shape): void {
    if (!(this.program.shapes & SHAPE[shape])) this.known = false;
  }

  #text(content: Content, role: keyof TurnProgram["emptyUnknown"], bare = false): string {
    if (Array.isArray(content)) {
      this.#need("parts");
      if (role === "tool" && this.program.joinParts !== "\n") this.known = false;
    }
    const text = contentText(content, this.program.joinParts);
    if (!bare && this.program.emptyUnknown[role] && edited(text, "both") === "") this.known = false;
    if (role === "assistant" && this.program.thinkUnknown && text.includes("</think>")) this.known = false;
    return text;
  }

  #system(m: ChatMessage, i: number): void {
    if (this.program.systemAt !== "own") {
      if (i > 0) this.known = false;
      return;
    }
    this.#add(TURN.system, this.#text(m.content, "system"));
    if (i === 0 && this.program.toolsAt === "after-system") this.#tools();
  }

  #user(m: ChatMessage, i: number): void {
    const { program: p, conversation } = this;
    if (i === this.#lastUser) {
      const first = conversation.messages[0]!;
      const system =
        this.#hoisted() &&
        (p.systemAt === "last-user" ||
          (p.systemAt === "final-user" && i === conversation.messages.length - 1));
      const tools = p.toolsAt === "last-user";
      if (tools && p.toolsFirst) this.#tools();
      if (system) this.#add(TURN.system, this.#text(first.content, "system"));
      if (tools && !p.toolsFirst) this.#tools();
    }
    this.#add(TURN.user, this.#text(m.content, "user"));
  }

  #tools(): void {
    this.conversation.tools?.forEach((tool, i) => {
      if (tool.strict !== undefined && this.program.strictTool === null) this.known = false;
      const text = toolText(tool, this.program);
      if (!this.program.escapedTool && text.includes("\\")) this.known = false;
      this.#add(i ? TURN.toolNext : TURN.tool, text);
    });
  }

  #assistant(m: ChatMessage, i: number): void {
    const { edits } = this.program;
    const late = i > this.#lastUser;
    const last = late && i === this.conversation.messages.length - 1;
    const calls = m.calls ?? [];
    if (calls.length > 0 && last) this.known = false;
    let own = false;
    if (m.reasoning !== undefined) {
      this.#need("reasoning");
      if (edited(m.reasoning, "both") === "") this.known = false;
      const kind = last ? TURN.reasoningLast : late ? TURN.reasoningLate : TURN.reasoning;
      if (edits[kind] !== "drop") {
        this.#add(kind, m.reasoning);
        own = true;
      }
    }
    const text = this.#text(m.content, "assistant", calls.length > 0);
    if (calls.length === 0) {
      this.#add(
        own ? TURN.textAfter : last ? TURN.assistantLast : late ? TURN.assistantLate : TURN.assistant,
        text,
      );
      return;
    }
    this.#need("calls");
    if (calls.length > 1) this.#need("parallel");
    const kind = late ? TURN.callTextLate : TURN.callText;
    if (text !== "") {
      if (this.program.emptyUnknown.assistant && edited(text, "both") === "") this.known = false;
      if (edits[kind] !== "drop") {
        this.#add(own ? TURN.textAfter : kind, text);
        own = true;
      }
    }
    for (const [k, call] of calls.entries()) {
      const values = {
        name: call.name,
        arguments: pythonJson(call.arguments, this.program.argumentsIndent),
        id: call.id,
      };
      const first = k ? TURN.callNext : own ? TURN.callAfter : late ? TURN.callLate : TURN.call;
      const kinds = [first, TURN.callSecond, TURN.callThird];
      for (const [at, field] of this.program.callFields.entries()) {
        if (field !== "arguments" && !NAME.test(values[field])) this.known = false;
        this.#add(kinds[at]!, values[field]);
      }
    }
  }

  #result(m: ChatMessage): void {
    this.#need("results");
    for (const [at, field] of this.program.resultFields.entries()) {
      const kind = at ? TURN.resultSecond : TURN.result;
      if (field === "content") {
        const text = this.#text(m.content, "tool");
        this.out.push({ kind, text: edited(text, this.program.edits[TURN.result]!) });
        continue;
      }
      const id = m.callId ?? "";
      if (id === "" || !NAME.test(id)) this.known = false;
      this.out.push({ kind, text: id });
    }
  }

  /** A prompt that ends in a message's text: only where nothing could have been trimmed there. */
  #continued(last: ChatMessage | undefined): void {
    const text = last ? contentText(last.content, this.program.joinParts) : "";
    if (!last || last.calls || last.role === "tool" || text === "" || edited(text, "right") !== text)
      this.known = false;
  }
}

/** The texts that a program prints, with the ends; null where the program does not know. */
export function printed(program: TurnProgram, conversation: Conversation): Printed[] | null {
  const printer = new Printer(program, conversation);
  printer.run();
  return printer.known ? printer.out : null;
}

const utf8 = new TextEncoder();

/** Bytes of the prompt, null where the program does not know them. */
export function renderTurns(program: TurnProgram, conversation: Conversation): Uint8Array | null {
  const texts = printed(program, conversation);
  if (!texts) return null;
  const parts: Uint8Array[] = [];
  let previous: number = TURN.start;
  for (const { kind, text } of texts) {
    const literal = program.joints[previous]![kind];
    if (!literal) return null;
    parts.push(literal, utf8.encode(text));
    previous = kind;
  }
  return Buffer.concat(parts);
}
