// A small agent for filter tests: a real Wire with pods, one model whose tokens are bytes, and a ChatML template.
import { checkPolicy } from "../../agent/policy/check.js";
import type { SchedulingProgram } from "../../agent/policy/program.js";
import {
  type Callers,
  compileRules,
  completedRules,
  DEFAULT_CALLERS,
  type RuleInput,
} from "../../agent/policy/request-rules.js";
import type { DisaggregationProgram, PodRow, TablePolicy, TemplateProgram, Wire } from "../../agent/wire.js";
import { byteTokens, newWire, podRow } from "./wire-for-test.js";

const text = new TextEncoder();

/** The rest of a template whose plain chats are exact, and nothing else is. */
export const PLAIN_ONLY = {
  partsUnknown: false,
  joinParts: "\n",
  emptyUnknown: { system: false, user: false, assistant: false },
  thinkUnknown: false,
  turns: { plain: null, tools: null },
} as const;

/** ChatML with its literals as joints. */
export const chatml: TemplateProgram = {
  joints: Array.from({ length: 6 }, (_, previous) =>
    Array.from({ length: 6 }, (_, next) => {
      const role = ["", "system", "user", "assistant"][next];
      const close = previous === 0 ? "" : "<|im_end|>\n";
      if (next === 0) return null;
      if (next === 4) return text.encode(close);
      return text.encode(`${close}<|im_start|>${next === 5 ? "assistant" : role}\n`);
    }),
  ),
  strip: { system: "raw", user: "raw", assistant: "raw" },
  bos: new Uint8Array(),
  ...PLAIN_ONLY,
};

/** Body of a chat with one message. */
export const chat = <Content>(content: Content, more: object = {}) => ({
  model: "m",
  messages: [{ role: "user", content }],
  ...more,
});

/** What a ChatML server renders. */
export function renderChatml(messages: { role: string; content: string }[]): Uint8Array {
  return text.encode(
    `${messages.map((m) => `<|im_start|>${m.role}\n${m.content}<|im_end|>\n`).join("")}<|im_start|>assistant\n`,
  );
}

/** The program of a policy's `scheduling`. */
export function schedulingOf(scheduling: object, modules: string[] = []): SchedulingProgram {
  const checked = checkPolicy({ scheduling }, modules);
  if (!checked.right) throw new Error(JSON.stringify(checked.mistakes));
  return checked.program.scheduling;
}

/** What gateways run of a policy's `disaggregation`, beside its `scheduling`. */
export function disaggregationOf(disaggregation: object, scheduling: object): DisaggregationProgram {
  const checked = checkPolicy({ disaggregation, scheduling });
  if (!checked.right) throw new Error(JSON.stringify(checked.mistakes));
  return checked.program.disaggregation;
}

export const policy: TablePolicy = {
  version: 1,
  scheduling: schedulingOf({}),
  bodyReadBytes: 524288,
  debugHeaders: "all",
  reservedFields: "reject",
  isolation: "none",
  staleMaxMs: 600_000,
  loadTtlMs: 30_000,
};

export class TestAgent {
  #next = 1n;
  private constructor(
    readonly wire: Wire,
    readonly model: number,
    readonly pods: PodRow[],
  ) {}

  static async create(pods = 3, options: Partial<TablePolicy> = {}): Promise<TestAgent> {
    const wire = await newWire({ leader: BigInt(Math.floor(Math.random() * 1e9)) });
    const model = wire.addModel("m");
    wire.setTokenBytes(model, byteTokens());
    const rows = Array.from({ length: pods }, (_, slot) => podRow(slot, model));
    wire.setPods(rows);
    wire.setModels([{ name: "m", model, lora: "", template: chatml, bytesPerToken: 1 }]);
    wire.setPolicy({ ...policy, ...options });
    wire.drain();
    return new TestAgent(wire, model, rows);
  }

  /** Makes a pod hold the KV blocks of a rendered prompt. */
  cache(pod: number, prompt: Uint8Array, salt = ""): void {
    const tokens = Uint32Array.from(prompt.subarray(0, prompt.length - (prompt.length % 16)));
    const hashes = BigUint64Array.from({ length: tokens.length / 16 }, () => this.#next++);
    this.wire.store(pod, this.model, { hashes, parent: null, tokens, blockSize: 16, lora: "", salt });
  }

  /** Frames that bring rules: what is left out has its default. */
  rules(input: RuleInput, callers: Partial<Callers> = {}): Uint8Array[] {
    this.wire.setRules(compileRules(completedRules(input), { ...DEFAULT_CALLERS, ...callers }));
    return this.wire.drain();
  }

  /** Frames that bring load columns. */
  loads(change: (row: PodRow) => Partial<PodRow>): Uint8Array[] {
    this.wire.setLoads(this.pods.map((row) => ({ ...row, ...change(row) })));
    return this.wire.drain();
  }

  snapshot(): Uint8Array[] {
    this.wire.drain();
    return this.wire.snapshot();
  }
}
