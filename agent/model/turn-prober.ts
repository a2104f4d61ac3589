// Learns how an engine prints conversations, without tools or with them: probes whose texts are sentinels show what is
// printed where, and the literals are what stands between.
import type { ChatMessage, Conversation, Tool } from "./conversation.js";
import { type Indent, pythonJson } from "./python-json.js";
import { randomConversation, type Wanted } from "./random-conversation.js";
import type { PromptRenderer } from "./template-prober.js";
import {
  type CallField,
  EDITS,
  type Edit,
  printed,
  type ResultField,
  renderTurns,
  SHAPE,
  type Shape,
  TURN,
  TURN_KINDS,
  type TurnProgram,
  toolText,
} from "./turn-program.js";

export type TurnProbe =
  | { program: TurnProgram; verified: number; inexact: Partial<Record<Shape, string>> }
  | { program: null; reason: string };

const CONCURRENCY = 8;
/** Random conversations that must come out byte for byte, without and with each shape that is not plain text. */
const VERIFY_PLAIN = 40;
const VERIFY_SHAPE = 16;
/** Share of them that the engine must accept. */
const ACCEPTED = 0.6;
/** Bytes of all literals of a program; those of real templates have some tens of thousand. */
const MAX_LITERALS = 128 * 1024;
/** Every sentinel begins with it; no template has it. */
const MARK = "Qz";

const utf8 = new TextEncoder();

/** Plain words that no template holds and no rule about white space touches. */
function sentinel(k: number): string {
  return `${MARK}${k.toString(36).padStart(2, "0")}WarmgatevX`;
}

/** Of nine letters and digits, which is what Mistral's templates insist on. */
function sentinelId(k: number): string {
  return `${MARK}${k.toString(36).padStart(2, "0")}idIdI`;
}

const TOOLS = [0, 1, 2].map(
  (k): Tool => ({
    name: `${MARK}Tool${k}`,
    description: `${MARK}Says${k}`,
    parameters: {
      type: "object",
      properties: {
        [`${MARK}Key${k}`]: { type: "string", description: `${MARK}Of${k}` },
        count: { type: "integer" },
      },
      required: [`${MARK}Key${k}`],
    },
  }),
);

/** The conversation of a pattern, with so many tools. */
function sentinels(pattern: string, tools: number, generationPrompt = true): Conversation {
  let k = 0;
  const text = () => sentinel(k++);
  let calls: string[] = [];
  const messages = [...pattern].map((letter): ChatMessage => {
    const call = () => {
      const id = sentinelId(k++);
      calls.push(id);
      return { id, name: `${MARK}Call${k++}`, arguments: { [`${MARK}a${k++}`]: sentinel(k++), n: 1 } };
    };
    switch (letter) {
      case "s":
        return { role: "system", content: text() };
      case "u":
        calls = [];
        return { role: "user", content: text() };
      case "a":
        return { role: "assistant", content: text() };
      case "r":
        return { role: "assistant", reasoning: text(), content: text() };
      case "c":
        return { role: "assistant", content: null, calls: [call()] };
      case "C":
        return { role: "assistant", content: text(), calls: [call()] };
      case "2":
        return { role: "assistant", content: null, calls: [call(), call()] };
      case "q":
        return { role: "assistant", reasoning: text(), content: null, calls: [call()] };
      case "Q":
        return { role: "assistant", reasoning: text(), content: text(), calls: [call()] };
      default:
        return { role: "tool", content: text(), callId: calls.shift() ?? sentinelId(k++) };
    }
  });
  return { messages, generationPrompt, ...(tools ? { tools: TOOLS.slice(0, tools) } : {}) };
}

interface Pattern {
  letters: string;
  generationPrompt: boolean;
  /** What chats look like: where patterns disagree these are right, and the others inexact. */
  usual: boolean;
  tools: number;
}

const USUAL = ["u", "su", "uau", "suau", "uauau", "suauau"];

/** Patterns to learn from: enough for each pair of neighbours in chats that clients have, and in short odd ones. */
function patterns(calls: boolean, reasoning: boolean, withTools: boolean): Pattern[] {
  const odd: string[] = [];
  let row = [""];
  for (let length = 1; length <= 3; length++) {
    row = row.flatMap((letters) => ["s", "u", "a"].map((letter) => letters + letter));
    odd.push(...row.filter((letters) => !USUAL.includes(letters)));
  }
  const loops = calls ? ["ct", "Ct", "ctct", "2tt", "2ttct", "ct2tt", "CtCt", "ctCt"] : [];
  if (calls && reasoning) loops.push("qt", "Qt", "qtqt", "qtct", "ctqt");
  const turns: string[] = [];
  for (const first of ["u", "su"])
    for (const loop of loops)
      for (const rest of ["", "a", "au", "u", ...(reasoning ? ["r", "ru"] : [])])
        turns.push(first + loop + rest);
  for (const loop of loops) turns.push(`u${loop}au${loop}`, `u${loop}u${loop}au`);
  if (reasoning) turns.push("ur", "uru", "suru", "ururu", "urau", "uaru", "ura", "uar");
  const tools = withTools ? 2 : 0;
  const make = (letters: string[], generationPrompt: boolean, usual: boolean, count = tools): Pattern[] =>
    letters.map((l) => ({ letters: l, generationPrompt, usual, tools: count }));
  return [
    ...make(USUAL, true, true),
    ...make(USUAL, false, true),
    ...(withTools ? [1, 3].flatMap((count) => make(USUAL, true, true, count)) : []),
    ...make(turns, true, false),
    ...make(
      [...turns, ...odd].filter((letters) => letters.length < 3),
      false,
      false,
    ),
    ...make(odd, true, false),
  ];
}

/** Whether each place of `before` is there and precedes the one after it. */
const ordered = (...places: number[]) => places.every((at, i) => at >= 0 && (i === 0 || places[i - 1]! < at));

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

/**
 * Learns and verifies one program.
 * @param tools the requests have tools.
 * @throws what the renderer throws when the engine does not answer.
 */
export async function probeTurns(
  renderer: PromptRenderer,
  tools: boolean,
  random: () => number,
): Promise<TurnProbe> {
  const learner = new Learner(renderer, tools, random);
  const reason = await learner.learn();
  if (reason) return { program: null, reason };
  return { program: learner.program, verified: learner.verified, inexact: learner.inexact };
}

class Learner {
  readonly program = empty();
  readonly inexact: Partial<Record<Shape, string>> = {};
  verified = 0;

  constructor(
    readonly renderer: PromptRenderer,
    readonly tools: boolean,
    readonly random: () => number,
  ) {}

  async learn(): Promise<string | null> {
    return (
      (await this.#layout()) ??
      (await this.#fields()) ??
      (await this.#joints()) ??
      (await this.#edits()) ??
      (await this.#rules()) ??
      (await this.#verify())
    );
  }

  /** A prompt as text; null when the engine refuses it. */
  async #text(conversation: Conversation): Promise<string | null> {
    const bytes = await this.renderer.chat(conversation);
    return bytes && Buffer.from(bytes).toString();
  }

  #pattern(letters: string, generationPrompt = true): Conversation {
    return sentinels(letters, this.tools ? 2 : 0, generationPrompt);
  }

  #bar(shape: Shape, reason: string): void {
    this.program.shapes &= ~SHAPE[shape];
    this.inexact[shape] ??= reason;
  }

  /** Where the system text and the tools go. */
  async #layout(): Promise<string | null> {
    const { program: p } = this;
    const four = this.#pattern("suau");
    let text = await this.#text(four);
    let places = four.messages.map((m) => (text ?? "").indexOf(m.content as string));
    if (!text) {
      // Some templates refuse a system text.
      const three = this.#pattern("uau");
      text = (await this.#text(three)) ?? (await this.#text(this.#pattern("u")));
      if (!text) return "the engine accepted no conversation";
      places = [-1, ...three.messages.map((m) => text!.indexOf(m.content as string))];
    } else {
      const [s, u1, a, u2] = places as [number, number, number, number];
      if (!ordered(u1, a, u2)) return "the engine's prompt does not contain the texts as given, in order";
      if (s < 0) p.systemAt = "dropped";
      else if (s > a && s < u2) {
        const ended = await this.#text(this.#pattern("sua"));
        p.systemAt = ended?.includes(sentinel(0)) ? "last-user" : "final-user";
      } else if (s > u1) return "the system text is printed in a place of its own";
    }
    if (!this.tools) return null;
    const found = this.#findTool(text);
    if (found === null) {
      if (text.includes(TOOLS[0]!.name)) return "tools are printed field by field";
      p.toolsAt = "dropped";
      return null;
    }
    const [s, u1, a, u2] = places as [number, number, number, number];
    if (found < u1 || u1 < 0)
      p.toolsAt = p.systemAt === "own" && s >= 0 && found > s ? "after-system" : "start";
    else if (found > a && found < u2) {
      p.toolsAt = "last-user";
      p.toolsFirst = found < s;
    } else return "tools are printed in a place of their own";
    return null;
  }

  #findTool(text: string): number | null {
    const { program: p } = this;
    for (const bareTool of [false, true])
      for (const toolIndent of [0, 2, 4] as Indent[])
        for (const toolLevel of [0, 1]) {
          const at = text.indexOf(
            toolText(TOOLS[0]!, { bareTool, toolIndent, toolLevel, strictTool: "printed" }),
          );
          if (at < 0) continue;
          Object.assign(p, { bareTool, toolIndent, toolLevel });
          return at;
        }
    return null;
  }

  /** Which fields of calls and results are printed, in which order; which texts are dropped. */
  async #fields(): Promise<null> {
    const { program: p } = this;
    const loop = this.#pattern("uct");
    const [, asks, answers] = loop.messages;
    const call = asks!.calls![0]!;
    answers!.callId = sentinelId(30);
    const text = await this.#text(loop);
    if (text === null) {
      for (const shape of ["calls", "parallel", "results"] as const)
        this.#bar(shape, "the engine refuses tool calls");
    } else {
      const places: [CallField, number][] = [
        ["name", text.indexOf(call.name)],
        ["id", text.indexOf(call.id)],
        ["arguments", -1],
      ];
      for (const indent of [0, 2, 4] as Indent[]) {
        const at = text.indexOf(pythonJson(call.arguments, indent));
        if (at < 0) continue;
        places[2]![1] = at;
        p.argumentsIndent = indent;
        break;
      }
      p.callFields = places
        .filter(([, at]) => at >= 0)
        .sort((a, b) => a[1] - b[1])
        .map(([field]) => field);
      const results: [ResultField, number][] = [
        ["content", text.indexOf(answers!.content as string)],
        ["id", text.indexOf(answers!.callId)],
      ];
      p.resultFields = results
        .filter(([, at]) => at >= 0)
        .sort((a, b) => a[1] - b[1])
        .map(([field]) => field);
    }
    const shown = async (letters: string, at: number, field: "content" | "reasoning", kind: number) => {
      const probe = this.#pattern(letters);
      const out = await this.#text(probe);
      if (out !== null && !out.includes(probe.messages[at]![field] as string)) p.edits[kind] = "drop";
    };
    await shown("uru", 1, "reasoning", TURN.reasoning);
    await shown("uqt", 1, "reasoning", TURN.reasoningLate);
    await shown("ur", 1, "reasoning", TURN.reasoningLast);
    await shown("uCtau", 1, "content", TURN.callText);
    await shown("uCt", 1, "content", TURN.callTextLate);
    return null;
  }

  async #joints(): Promise<string | null> {
    const { program: p } = this;
    const calls = (p.shapes & SHAPE.calls) !== 0;
    const reasoning = (await this.renderer.chat(this.#pattern("uru"))) !== null;
    if (!reasoning) this.#bar("reasoning", "the engine refuses reasoning that is sent back");
    const all = patterns(calls, reasoning, this.tools);
    const conversations = all.map(({ letters, tools, generationPrompt }) =>
      sentinels(letters, tools, generationPrompt),
    );
    const rendered: (Uint8Array | null)[] = new Array(all.length).fill(null);
    await inParallel(conversations, async (conversation, i) => {
      rendered[i] = await this.renderer.chat(conversation);
    });
    const known = new Map<number, { literal: Uint8Array; usual: boolean }>();
    const barred = new Set<number>();
    for (const [i, pattern] of all.entries()) {
      const bytes = rendered[i];
      if (!bytes) continue;
      const conversation = conversations[i]!;
      const found = split(p, conversation, bytes);
      if (!found) {
        if (i === 0) return "the engine's prompt does not contain the user's text as given";
        continue;
      }
      const differs = ({ at, literal }: Found) =>
        [...found.filter((other) => other.at === at), known.get(at)].some(
          (other) => other && Buffer.compare(other.literal, literal) !== 0,
        );
      const wrong = found.filter(differs);
      if (wrong.length === 0) {
        for (const { at, literal } of found)
          if (!known.has(at)) known.set(at, { literal, usual: pattern.usual });
        continue;
      }
      // What usual chats do not need tells this one apart: without it the pattern counts as inexact.
      const odd = (joints: Found[]) => joints.filter(({ at }) => !known.get(at)?.usual);
      const out = odd(wrong).length > 0 ? odd(wrong) : odd(found);
      if (pattern.usual && odd(wrong).length === 0)
        return `the text before a message depends on more than the two roles (${roles(conversation)})`;
      for (const { at } of out) barred.add(at);
    }
    if (known.size === 0) return "the engine accepted no conversation";
    let literals = 0;
    for (const { literal } of known.values()) literals += literal.length;
    if (literals > MAX_LITERALS) return `the template's own text takes ${literals} bytes`;
    // Where texts are left out, or moved, the pairs that only odd patterns have are not to be trusted.
    for (const [i, conversation] of conversations.entries()) {
      const bytes = rendered[i];
      if (!bytes || split(p, conversation, bytes)) continue;
      for (const at of pairs(p, conversation)) if (!known.get(at)?.usual) barred.add(at);
    }
    p.joints = Array.from({ length: TURN_KINDS }, (_, previous) =>
      Array.from({ length: TURN_KINDS }, (_, next) => {
        const at = previous * TURN_KINDS + next;
        return barred.has(at) ? null : (known.get(at)?.literal ?? null);
      }),
    );
    return null;
  }

  /** What is done to the white space around each kind of text. */
  async #edits(): Promise<string | null> {
    const { program: p } = this;
    const carriers: [number, string, number, "content" | "reasoning"][] = [
      [TURN.system, "su", 0, "content"],
      [TURN.system, "us", 1, "content"],
      [TURN.user, "u", 0, "content"],
      [TURN.assistant, "uau", 1, "content"],
      [TURN.assistantLate, "uaa", 1, "content"],
      [TURN.assistantLast, "ua", 1, "content"],
      [TURN.callText, "uCtau", 1, "content"],
      [TURN.callTextLate, "uCt", 1, "content"],
      [TURN.reasoning, "uru", 1, "reasoning"],
      [TURN.reasoningLate, "uqt", 1, "reasoning"],
      [TURN.reasoningLast, "ur", 1, "reasoning"],
      [TURN.textAfter, "uru", 1, "content"],
      [TURN.textAfter, "ur", 1, "content"],
      [TURN.textAfter, "uQt", 1, "content"],
      [TURN.result, "uct", 2, "content"],
    ];
    const judged = new Set<number>();
    for (const generationPrompt of [true, false])
      for (const [kind, letters, at, field] of carriers) {
        if (p.edits[kind] === "drop" || judged.has(kind)) continue;
        const conversation = this.#pattern(letters, generationPrompt);
        const message = conversation.messages[at]!;
        message[field] = `\n\u3000 \t${message[field]} "\\q\n${sentinel(33)} \u00a0\x1c\n`;
        const place = kind === TURN.result && p.resultFields[0] !== "content" ? TURN.resultSecond : kind;
        if (!printed(p, conversation)?.some((text) => text.kind === place) || !renderTurns(p, conversation))
          continue;
        const real = await this.renderer.chat(conversation);
        if (!real) continue;
        const edit = EDITS.filter((e) => e !== "drop").find((candidate) => {
          const edits = p.edits.with(kind, candidate);
          const ours = renderTurns({ ...p, edits }, conversation);
          return ours !== null && Buffer.compare(ours, real) === 0;
        });
        if (edit) {
          judged.add(kind);
          p.edits[kind] = edit;
        } else if (kind <= TURN.assistant)
          return `the white space around ${message.role} text is treated in an unknown way`;
      }
    // A kind of text that was not seen with white space is not known.
    for (const [kind] of carriers) if (!judged.has(kind)) this.#forget(kind);
    return null;
  }

  /** Makes every conversation with a text of this kind unknown. */
  #forget(kind: number): void {
    const { edits, joints } = this.program;
    if (edits[kind] !== "drop") for (const row of joints) row[kind] = null;
  }

  /** Whether the program prints a conversation as the engine does; null when either does not know. */
  async #agrees(conversation: Conversation, change: Partial<TurnProgram> = {}): Promise<boolean | null> {
    const ours = renderTurns({ ...this.program, ...change }, conversation);
    const real = ours && (await this.renderer.chat(conversation));
    return real ? Buffer.compare(ours, real) === 0 : null;
  }

  /** Rules about what is in a text. */
  async #rules(): Promise<null> {
    const { program: p } = this;
    const carriers: [keyof TurnProgram["emptyUnknown"], string, number][] = [
      ["system", "su", 0],
      ["user", "uau", 0],
      ["user", "uau", 2],
      ["assistant", "uau", 1],
      ["tool", "uctau", 2],
      ["tool", "uct", 2],
    ];
    for (const [role, letters, at] of carriers)
      for (const text of ["", " \n"]) {
        const conversation = this.#pattern(letters);
        conversation.messages[at]!.content = text;
        // A refusal is no reason to refuse here: there is nothing to route then.
        if ((await this.#agrees(conversation)) === false) p.emptyUnknown[role] = true;
      }
    for (const letters of ["uau", "ua", "uCt"]) {
      const conversation = this.#pattern(letters);
      conversation.messages[1]!.content = `<think>\n${sentinel(20)}\n</think>\n\n${sentinel(21)}`;
      if ((await this.#agrees(conversation)) === false) p.thinkUnknown = true;
    }
    const named = this.#pattern("suau");
    for (const message of named.messages) message.name = `${MARK}name`;
    if ((await this.#agrees(named)) === false) p.nameInert = false;
    const parts = this.#pattern("suau");
    for (const message of parts.messages)
      message.content = [`a${message.content}`, "", "b"].map((text) => ({ type: "text", text }));
    const joined = await this.#agrees(parts);
    if (joined === false) {
      if (await this.#agrees(parts, { joinParts: "" })) p.joinParts = "";
      else this.#bar("parts", "text parts are joined in an unknown way");
    }
    if (this.tools) await this.#toolRules();
    return null;
  }

  async #toolRules(): Promise<void> {
    const { program: p } = this;
    const strict = this.#pattern("u");
    strict.tools = [{ ...TOOLS[0]!, strict: true }];
    if ((await this.#agrees(strict)) === false)
      p.strictTool = (await this.#agrees(strict, { strictTool: "dropped" })) ? "dropped" : null;
    const quoted = this.#pattern("u");
    quoted.tools = [{ ...TOOLS[0]!, description: `"${MARK}"\n\\` }];
    if ((await this.#agrees(quoted)) === false) p.escapedTool = false;
    const repeated = this.#pattern("uauau");
    for (const at of [2, 4]) repeated.messages[at]!.content = repeated.messages[0]!.content;
    if ((await this.#agrees(repeated)) === false) p.repeatedUnknown = true;
  }

  /** Plain text, then each other shape on top of it, on random conversations; what fails is left out. */
  async #verify(): Promise<string | null> {
    const wrong = await this.#judge({ tools: this.tools }, VERIFY_PLAIN);
    if (wrong) return wrong;
    const shapes: [Shape, Wanted][] = [
      ["parts", { parts: true }],
      ["calls", { calls: true }],
      ["results", { calls: true }],
      ["parallel", { calls: true, parallel: true }],
      ["reasoning", { reasoning: true }],
      ["reasoning", { reasoning: true, calls: true }],
      ["continued", { continued: true }],
    ];
    for (const [shape, wanted] of shapes) {
      if (!(this.program.shapes & SHAPE[shape])) continue;
      if (wanted.calls && !(this.program.shapes & SHAPE.calls)) {
        if (shape !== "reasoning") this.#bar(shape, this.inexact.calls ?? "tool calls are not exact");
        continue;
      }
      const reason = await this.#judge({ ...wanted, tools: this.tools }, VERIFY_SHAPE);
      if (!reason) continue;
      if (shape === "calls") this.#bar("results", reason);
      this.#bar(shape, reason);
    }
    return null;
  }

  async #judge(wanted: Wanted, count: number): Promise<string | null> {
    const { program, renderer, random } = this;
    const result = await verifyTurns(renderer, program, wanted, count, random);
    if (result.mismatch) return result.mismatch;
    if (result.made === 0) return "no such conversation came out as expected while learning";
    if (result.accepted < count * ACCEPTED)
      return `the engine accepted only ${result.accepted} of the verification's conversations`;
    this.verified += result.accepted;
    return null;
  }
}

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

interface Found {
  /** previous * TURN_KINDS + next. */
  at: number;
  literal: Uint8Array;
}

/** Literals between the sentinels; null when these are not all there, in order, or others are. */
function split(program: TurnProgram, conversation: Conversation, bytes: Uint8Array): Found[] | null {
  const texts = printed(program, conversation);
  if (!texts) return null;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: Found[] = [];
  let previous: number = TURN.start;
  let from = 0;
  for (const { kind, text } of texts) {
    const ends = kind === TURN.end || kind === TURN.generate;
    const at = ends ? buffer.length : buffer.indexOf(utf8.encode(text), from);
    if (at < 0) return null;
    const literal = bytes.slice(from, at);
    if (Buffer.from(literal).includes(MARK)) return null;
    found.push({ at: previous * TURN_KINDS + kind, literal });
    from = at + Buffer.byteLength(text);
    previous = kind;
  }
  return found;
}

/** The joints that a conversation needs. */
function pairs(program: TurnProgram, conversation: Conversation): number[] {
  let previous: number = TURN.start;
  return (printed(program, conversation) ?? []).map(({ kind }) => {
    const at = previous * TURN_KINDS + kind;
    previous = kind;
    return at;
  });
}

function roles(conversation: Conversation): string {
  return conversation.messages.map((m) => (m.calls ? "calls" : m.role)).join(", ");
}

export function difference(ours: Uint8Array | null, real: Uint8Array | null): string {
  if (!ours || !real) return "nothing to compare";
  let at = 0;
  while (at < ours.length && ours[at] === real[at]) at++;
  const piece = (bytes: Uint8Array) => JSON.stringify(Buffer.from(bytes.subarray(at, at + 24)).toString());
  return `at byte ${at} the engine has ${piece(real)} where ${piece(ours)} was expected`;
}

async function inParallel<T>(items: T[], work: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const i = next++;
      await work(items[i]!, i);
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, items.length) }, lane));
}
