// Reads requests by the filter's own code: a typed face over build/prompt.wasm, whose source is wasm/core.
import { readFile } from "node:fs/promises";
import { built } from "./package-root.js";

/** Path of a request: how its body is read. The numbers are those of wasm/core/scan. */
export const PROMPT_API = { chat: 0, completions: 1 } as const;
export type PromptApi = keyof typeof PROMPT_API;

/** A prompt as gateways see it. Views of wasm memory: valid until the next `read`. */
export interface ReadPrompt {
  text: Uint8Array;
  /** Whether the text is the prompt's own, as far as it goes. */
  exact: boolean;
  /** Whether it is the whole prompt. */
  whole: boolean;
  /** Why it is not exact; empty when it is. */
  reasons: string[];
  /** As `reasons`, for a prompt of token ids. */
  reasonsOfTokens: string[];
  /** Root of the model's chains, without the salt. */
  root: bigint;
  /** Cache salt, empty when there is none. */
  salt: Uint8Array;
}

/** Why a body could not be read. */
export type PromptProblem = "malformed" | "not_an_object" | "too_deep" | "empty" | "unknown_model";

/** By bit of INEXACT_* in wasm/core/render. */
const REASONS = [
  "a field may change the prompt",
  "a content is neither a string nor a list of text parts",
  "a role is missing or not covered",
  "the chat template is not known for this sequence of roles",
  "a message has more than role and content",
  "the prompt is not of one text",
  "there is no prompt",
  "the model's chat template is not known",
  "a text is one that the template treats in a way of its own",
  "a number or an object is not printed again as the template prints it",
  "there are more messages than are looked at",
];
/** Bits that say nothing of a prompt whose tokens are given: it is not rendered. */
const OF_TEXT = (1 << 5) | (1 << 7);
const PROBLEMS: (PromptProblem | undefined)[] = [
  undefined,
  "malformed",
  "not_an_object",
  "too_deep",
  "empty",
];

/** Longest body, and longest prompt that is looked at, as in the filter; the rest of a longer prompt is not scored. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024;
export const MAX_PROMPT_BYTES = 1_310_720;

type Call = (...args: number[]) => number;

export class PromptReader {
  readonly #x: Record<string, Call>;
  readonly #memory: WebAssembly.Memory;

  private constructor(exports: WebAssembly.Exports) {
    this.#x = exports as Record<string, Call>;
    this.#memory = exports["memory"] as WebAssembly.Memory;
  }

  /** Loads the module. @throws when the build is missing. */
  static async create(): Promise<PromptReader> {
    const module = await WebAssembly.compile(await readFile(built("prompt.wasm")));
    const { exports } = await WebAssembly.instantiate(module, {});
    const reader = new PromptReader(exports);
    reader.#x["_initialize"]!();
    reader.#x.init!(MAX_BODY_BYTES, MAX_PROMPT_BYTES);
    return reader;
  }

  /** Takes the models section that gateways get; false when it cannot be read. */
  setModels(section: Uint8Array): boolean {
    return this.#put(section) && this.#x.readModels!(section.length) !== 0;
  }

  /** Reads a body of at most MAX_BODY_BYTES. */
  read(body: Uint8Array, api: PromptApi): ReadPrompt | PromptProblem {
    if (!this.#put(body)) return "malformed";
    const x = this.#x;
    const status = x.readPrompt!(body.length, PROMPT_API[api]);
    if (status !== 0) return PROBLEMS[status] ?? "unknown_model";
    const why = x.whyInexact!();
    return {
      text: this.#view(x.promptAt!(), x.promptSize!()),
      exact: x.promptExact!() !== 0,
      whole: x.promptWhole!() !== 0,
      reasons: reasonsOf(why),
      reasonsOfTokens: reasonsOf(why & ~OF_TEXT),
      root: BigInt.asUintN(64, x.root!() as unknown as bigint),
      salt: this.#view(x.saltAt!(), x.saltSize!()),
    };
  }

  #put(bytes: Uint8Array): boolean {
    if (bytes.length > MAX_BODY_BYTES) return false;
    new Uint8Array(this.#memory.buffer).set(bytes, this.#x.inputBuffer!() >>> 0);
    return true;
  }

  #view(at: number, size: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, at >>> 0, size >>> 0);
  }
}

function reasonsOf(bits: number): string[] {
  return REASONS.filter((_, bit) => (bits >> bit) & 1);
}
