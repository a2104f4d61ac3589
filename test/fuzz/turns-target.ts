// Fuzzes turn programs: each seed makes a random program and renders random conversations with tools, calls, results and
// reasoning by it, and broken ones. What is expected comes from the agent's own renderer, which shares no code with the
// filter's.
import { type Conversation, tokenizeBody } from "../../agent/model/conversation.js";
import { anyConversation } from "../../agent/model/random-conversation.js";
import { templateProgram } from "../../agent/model/template.js";
import { renderTurns, type TurnProgram } from "../../agent/model/turn-program.js";
import { Core } from "../templates/core.js";
import { Random } from "./random.js";
import { randomProgram } from "./random-program.js";
import { Fault, printable, type Target } from "./target.js";

const CONVERSATIONS = 4;
export class TurnsTarget implements Target {
  readonly name = "turns";
  readonly #random = new Random();
  readonly #core = new Core();
  /** Conversations of which both renderers knew the prompt. */
  agreed = 0;

  run(seed: number): number {
    const r = this.#random;
    r.seed(seed);
    const random = () => r.word() / 4294967296;
    const plain = randomProgram(r);
    const tools = randomProgram(r);
    // The plain table is another's subject: without it every chat is rendered by its turns.
    const program = { ...templateProgram(null, tools, null), turns: { plain, tools } };
    const at = this.#core.template(program);
    let cases = 0;
    for (let i = 0; i < CONVERSATIONS; i++) {
      const wanted = {
        tools: r.oneIn(2),
        parts: r.oneIn(4),
        calls: r.oneIn(2),
        parallel: r.oneIn(3),
        reasoning: r.oneIn(3),
        continued: r.oneIn(12),
      };
      const conversation = anyConversation(wanted, random);
      if (r.oneIn(8)) conversation.messages[r.below(conversation.messages.length)]!.name = "n";
      const body = Buffer.from(tokenizeBody(conversation));
      this.#compare(seed, at, conversation.tools ? tools : plain, conversation, body);
      this.#broken(seed, at, body);
      cases += 2;
    }
    return cases;
  }

  #compare(seed: number, at: number, program: TurnProgram, conversation: Conversation, body: Buffer): void {
    const want = renderTurns(program, conversation);
    const got = this.#core.chat(at, body);
    const say = (what: string): never => {
      const { joints: _, ...rest } = program;
      throw new Fault(this.name, seed, what, `${printable(body, 8000)}\n  program: ${JSON.stringify(rest)}`);
    };
    if (got.status !== 0) say(`status ${got.status}`);
    if (got.exact !== (want !== null)) say(`exact is ${got.exact} (${got.why})`);
    if (!want) return;
    this.agreed++;
    if (!got.complete) say("not complete");
    if (Buffer.compare(got.prompt, want) !== 0)
      say(`another prompt: ${printable(got.prompt, 2000)} instead of ${printable(want, 2000)}`);
  }

  /** A body with bytes changed, lost or doubled: whatever it is now, it does no harm. */
  #broken(seed: number, at: number, body: Buffer): void {
    const r = this.#random;
    let bytes = Buffer.from(body);
    for (let n = 1 + r.below(4); n > 0; n--) {
      const from = r.below(bytes.length);
      const piece = bytes.subarray(from, from + r.below(40));
      const how = r.below(4);
      if (how < 2) bytes[from] = how ? r.pick([0x22, 0x5c, 0x7b, 0x5d, 0x2c, 0x2d, 0]) : r.below(256);
      else if (how === 2)
        bytes = Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + piece.length)]);
      else bytes = Buffer.concat([bytes.subarray(0, from), piece, bytes.subarray(from)]);
      if (bytes.length === 0) return;
    }
    const size = r.oneIn(2) ? bytes.length : r.below(bytes.length + 1);
    let status = -1;
    try {
      status = this.#core.chat(at, bytes, size).status;
    } catch (error) {
      throw new Fault(this.name, seed, `trap: ${error}`, printable(bytes.subarray(0, size), 8000));
    }
    if (status < 0 || status > 4)
      throw new Fault(this.name, seed, `unknown status ${status}`, printable(bytes.subarray(0, size), 8000));
  }
}
