// A recorded life of an agent: every frame it broadcast, snapshots taken on the way, and what was true after each frame.
// Made once per process by the real writers (agent/wire.ts); the same in every run.
import { readFileSync } from "node:fs";
import { built } from "../../agent/package-root.js";
import type { PodRow } from "../../agent/wire.js";
import { chatml, policy, renderChatml } from "../wasm/table.js";
import { byteTokens, newWire, podRow } from "../wasm/wire-for-test.js";
import { Random } from "./random.js";

/** Slots of the pods: the last one needs a second word of the pod masks. */
export const SLOTS = [0, 1, 2, 70];
const PROMPTS = 24;
const STEPS = 150;
const HEAD_SEQUENCE = 24;

export const KIND = {
  begin: 1,
  piece: 2,
  end: 3,
  delta: 4,
  pods: 5,
  loads: 6,
  models: 7,
  policy: 8,
} as const;

/** Body of a chat request about prompt `i`, and what it renders to. */
export interface Probe {
  body: string;
  prompt: Uint8Array;
  /** Tokens that a pod which holds the prompt has cached, as the filter counts them. */
  tokens: number;
}

export interface History {
  probes: Probe[];
  pods: PodRow[];
  /** Broadcast frames; number i has sequence `firstSequence` + i. */
  frames: Uint8Array[];
  firstSequence: number;
  /** Snapshots with the sequence they carry. */
  snapshots: { sequence: number; frames: Uint8Array[] }[];
  /** Names of the pods that hold prompt `probe` after the frame of sequence `sequence`. */
  holders(probe: number, sequence: number): ReadonlySet<string>;
}

export const sequenceOf = (frame: Uint8Array): number =>
  Number(new DataView(frame.buffer, frame.byteOffset).getBigUint64(HEAD_SEQUENCE, true));
/** Kind of a frame, without the bit that says it is inside a snapshot. */
export const kindOf = (frame: Uint8Array): number => frame[6]!;

function probe(i: number): Probe {
  for (let bytes = 500 + i * 37; ; bytes++) {
    const messages = [{ role: "user", content: `prompt number ${i} `.repeat(200).slice(0, bytes) }];
    const prompt = renderChatml(messages);
    // A prompt that ends where a block ends counts one block less; that rule is tested elsewhere.
    if (prompt.length % 128 < 16) continue;
    return {
      body: JSON.stringify({ model: "m", messages }),
      prompt,
      tokens: Math.floor(prompt.length / 128) * 128,
    };
  }
}

/** Records the history. */
export async function recordHistory(): Promise<History> {
  const r = new Random();
  r.seed(20_26);
  const wire = await newWire({ maxEntries: 4000, leader: 77n });
  const model = wire.addModel("m");
  wire.setTokenBytes(model, byteTokens());
  // Slow enough that a cached prompt always outweighs everything else.
  const pods = SLOTS.map((slot) => podRow(slot, model, { prefillTokensPerSecond: 100 }));
  const models = [
    { name: "m", model, lora: "", template: chatml, bytesPerToken: 1 },
    { name: "alias", model, lora: "", template: chatml, bytesPerToken: 4 },
    { name: "bare", model, lora: "adapter", template: null, bytesPerToken: 4 },
  ];
  const program = { ...policy, staleMaxMs: 4_000_000_000, bodyReadBytes: 524_288 };
  wire.setPods(pods);
  wire.setModels(models);
  wire.setPolicy(program);
  wire.drain();

  const probes = Array.from({ length: PROMPTS }, (_, i) => probe(i));
  const held = probes.map(() => new Map<number, BigUint64Array>());
  const frames: Uint8Array[] = [];
  const truth: ReadonlySet<string>[][] = [];
  const snapshots: History["snapshots"] = [];
  const state = () => held.map((pods) => new Set([...pods.keys()].map((slot) => `pod-${slot}`)));
  let next = 1n;
  const store = (p: number, slot: number) => {
    const { prompt } = probes[p]!;
    const tokens = Uint32Array.from(prompt.subarray(0, prompt.length - (prompt.length % 16)));
    const hashes = BigUint64Array.from({ length: tokens.length / 16 }, () => next++);
    wire.store(slot, model, { hashes, parent: null, tokens, blockSize: 16, lora: "", salt: "" });
    held[p]!.set(slot, hashes);
  };
  for (let i = 0; i < PROMPTS; i += 2) store(i, r.pick(SLOTS));
  wire.heartbeat();
  let sequence = sequenceOf(wire.drain().at(-1)!);
  const firstSequence = sequence + 1;
  snapshots.push({ sequence, frames: wire.snapshot() });
  truth.push(state());
  for (let step = 0; step < STEPS; step++) {
    for (let n = r.below(3); n >= 0; n--) {
      const p = r.below(PROMPTS);
      const slot = r.pick(SLOTS);
      const has = held[p]!.get(slot);
      if (!has) store(p, slot);
      else {
        wire.remove(slot, has);
        held[p]!.delete(slot);
      }
    }
    if (r.oneIn(6))
      wire.setLoads(pods.map((pod) => ({ ...pod, waiting: r.below(5), kvUsage: r.below(100) / 100 })));
    if (r.oneIn(8)) wire.heartbeat();
    if (r.oneIn(12)) wire.setPolicy({ ...program, version: step + 2 });
    if (r.oneIn(20)) wire.setModels(models);
    if (r.oneIn(20)) wire.setPods(pods);
    for (const frame of wire.drain()) {
      if (sequenceOf(frame) !== ++sequence) throw new Error("the agent left a sequence number out");
      frames.push(frame);
      truth.push(state());
    }
    if (step % 8 === 7) snapshots.push({ sequence, frames: wire.snapshot() });
  }
  return {
    probes,
    pods,
    frames,
    firstSequence,
    snapshots,
    holders: (p, s) => truth[s - firstSequence + 1]![p]!,
  };
}

/** Seals frames with the checksum they should have, in the agent's own module. */
export class Sealer {
  readonly #x: Record<string, (n: number) => number | bigint>;
  readonly #memory: WebAssembly.Memory;

  constructor() {
    const module = new WebAssembly.Module(readFileSync(built("wire.wasm")));
    const exports = new WebAssembly.Instance(module, {}).exports;
    this.#x = exports as never;
    this.#memory = exports["memory"] as WebAssembly.Memory;
    (exports["_initialize"] as () => void)();
  }

  /** Writes length and checksum of a whole frame into its head. */
  seal(frame: Uint8Array): void {
    const at = Number(this.#x["inputBuffer"]!(frame.length)) >>> 0;
    new Uint8Array(this.#memory.buffer).set(frame, at);
    this.#x["reseal"]!(frame.length);
    frame.set(new Uint8Array(this.#memory.buffer, at, 48));
  }
}
