// Fuzzes the learner of chat templates: each seed is an engine with a random template of its own, an honest one or one
// that answers with noise, and the learner probes it. Whatever it is told, it ends with a program or a reason. What it
// learned of an honest engine must print fresh conversations as that engine does; any program must do no harm in the
// filter.
import type { Conversation } from "../../agent/model/conversation.js";
import { tokenizeBody } from "../../agent/model/conversation.js";
import { anyConversation } from "../../agent/model/random-conversation.js";
import { type PromptRenderer, probeTemplate } from "../../agent/model/template-prober.js";
import { renderTurns, type TurnProgram } from "../../agent/model/turn-program.js";
import { Core } from "../templates/core.js";
import { Random } from "./random.js";
import { randomProgram } from "./random-program.js";
import { Fault, printable, type Target } from "./target.js";

const FRESH = 60;
/** More questions than that and a probe would not end: it asks some 900 of an engine that accepts everything. */
const MOST_QUESTIONS = 2000;

/** What an engine does wrong, if anything. */
const HABITS = ["honest", "honest", "noisy", "broken", "forgetful", "echo", "garbage"] as const;
type Habit = (typeof HABITS)[number];

export class TemplateTarget implements Target {
  readonly name = "template";
  /** Fresh conversations that a learned program printed as the engine did. */
  agreed = 0;
  readonly #random = new Random();
  readonly #core = new Core();
  #questions = 0;

  async run(seed: number): Promise<number> {
    const r = this.#random;
    r.seed(seed);
    const random = () => r.word() / 4294967296;
    const habit = r.pick(HABITS);
    const engine = { plain: randomProgram(r), tools: randomProgram(r) };
    this.#questions = 0;
    const renderer = this.#renderer(engine, habit);
    const result = await probeTemplate(renderer, random).catch((error: unknown) => {
      throw new Fault(this.name, seed, `${error}`, habit);
    });
    if (this.#questions > MOST_QUESTIONS)
      throw new Fault(this.name, seed, `${this.#questions} questions`, habit);
    const at = this.#core.template(result.program);
    const { turns } = result.program;
    for (let i = 0; i < FRESH; i++) {
      const tools = r.oneIn(2);
      const conversation = anyConversation(
        { tools, parts: r.oneIn(4), calls: r.oneIn(2), parallel: r.oneIn(3), reasoning: r.oneIn(3) },
        random,
      );
      const body = Buffer.from(tokenizeBody(conversation));
      const filter = this.#filter(at, body, seed);
      if (habit !== "honest") continue;
      const real = renderTurns(tools ? engine.tools : engine.plain, conversation);
      const program = tools ? turns.tools : turns.plain;
      const ours = program && renderTurns(program, conversation);
      for (const [who, prompt] of [
        ["the agent", ours],
        ["the filter", filter],
      ] as const) {
        if (!prompt || !real) continue;
        if (Buffer.compare(prompt, real) !== 0)
          throw new Fault(
            this.name,
            seed,
            `${who} prints ${printable(prompt)} where the engine prints ${printable(real)}`,
            printable(body),
          );
        this.agreed++;
      }
    }
    return this.#questions + FRESH;
  }

  /** The filter's rendering; null when it is inexact. @throws Fault when it traps. */
  #filter(at: number, body: Buffer, seed: number): Uint8Array | null {
    try {
      const { status, exact, complete, prompt } = this.#core.chat(at, body);
      return status === 0 && exact && complete ? prompt : null;
    } catch (error) {
      throw new Fault(this.name, seed, `trap: ${error}`, printable(body));
    }
  }

  #renderer(engine: { plain: TurnProgram; tools: TurnProgram }, habit: Habit): PromptRenderer {
    const r = this.#random;
    const answer = (right: Uint8Array | null): Uint8Array | null => {
      this.#questions++;
      switch (habit) {
        case "honest":
          return right;
        case "noisy":
          return r.oneIn(30) ? this.#noise(right) : right;
        case "forgetful":
          return r.oneIn(10) ? null : right;
        case "broken":
          return right?.subarray(0, r.below(right.length + 1)) ?? null;
        case "echo":
          return right && Buffer.concat([right, right]);
        default:
          return r.oneIn(5) ? null : this.#noise(right);
      }
    };
    return {
      chat: async (c: Conversation) => answer(renderTurns(c.tools ? engine.tools : engine.plain, c)),
      raw: async (prompt: string) => answer(Buffer.from(prompt)),
    };
  }

  #noise(right: Uint8Array | null): Uint8Array {
    const r = this.#random;
    const bytes = right && r.oneIn(2) ? Buffer.from(right) : Buffer.alloc(r.below(400));
    for (let n = r.below(20); n > 0 && bytes.length > 0; n--) bytes[r.below(bytes.length)] = r.below(256);
    return bytes;
  }
}
