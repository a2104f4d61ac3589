// What is being learned of one engine's template, and the ways to ask it.
import type { Conversation } from "./conversation.js";
import { sentinels } from "./probe-conversations.js";
import type { PromptRenderer } from "./template-prober.js";
import { type Edit, renderTurns, SHAPE, type Shape, TURN_KINDS, type TurnProgram } from "./turn-program.js";

/** A program that knows nothing yet. */
function empty(): TurnProgram {
  return {
    systemAt: "own",
    toolsAt: "dropped",
    toolsFirst: false,
    bareTool: false,
    toolIndent: 0,
    toolLevel: 0,
    argumentsIndent: 0,
    callFields: [],
    resultFields: [],
    edits: new Array<Edit>(TURN_KINDS).fill("raw"),
    shapes: Object.values(SHAPE).reduce((all, bit) => all | bit, 0),
    joinParts: "\n",
    emptyUnknown: { system: false, user: false, assistant: false, tool: false },
    thinkUnknown: false,
    nameInert: true,
    strictTool: "printed",
    escapedTool: true,
    repeatedUnknown: false,
    joints: [],
  };
}

/** Handed from one learner to the next; each fills in its part of `program`. */
export class Lesson {
  readonly program = empty();
  readonly inexact: Partial<Record<Shape, string>> = {};
  /** Conversations that came out byte for byte. */
  verified = 0;

  constructor(
    readonly renderer: PromptRenderer,
    /** The requests have tools. */
    readonly tools: boolean,
    readonly random: () => number,
  ) {}

  /** A prompt as text; null when the engine refuses it. */
  async text(conversation: Conversation): Promise<string | null> {
    const bytes = await this.renderer.chat(conversation);
    return bytes && Buffer.from(bytes).toString();
  }

  /** The conversation of a pattern. */
  pattern(letters: string, generationPrompt = true): Conversation {
    return sentinels(letters, this.tools ? 2 : 0, generationPrompt);
  }

  /** A shape is not exact. */
  bar(shape: Shape, reason: string): void {
    this.program.shapes &= ~SHAPE[shape];
    this.inexact[shape] ??= reason;
  }

  /** Whether the program prints a conversation as the engine does; null when either does not know. */
  async agrees(conversation: Conversation, change: Partial<TurnProgram> = {}): Promise<boolean | null> {
    const ours = renderTurns({ ...this.program, ...change }, conversation);
    const real = ours && (await this.renderer.chat(conversation));
    return real ? Buffer.compare(ours, real) === 0 : null;
  }
}
