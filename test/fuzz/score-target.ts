// Fuzzes the score API and the index behind it: pods announce, remove and clear blocks, some of their events hostile, and
// every question (a prompt as text in any spelling, token ids, block hashes) must be answered as a slow model of the
// pods answers it. Bodies with bytes changed must be refused or answered, whatever they are.
import { Compile } from "typebox/compile";
import { parseConfig } from "../../agent/config/load.js";
import { AnnouncedBlocks } from "../../agent/kv/announced-blocks.js";
import type { BlockStored } from "../../agent/kv/event-decoder.js";
import { PodIndex } from "../../agent/kv/pod-index.js";
import { type PromptScore, PromptScorer } from "../../agent/kv/prompt-score.js";
import { scoredOf } from "../../agent/kv/score-request.js";
import { newPod, type Pod, PodRegistry } from "../../agent/load/pod-registry.js";
import type { PoolModel } from "../../agent/model/model-service.js";
import { PromptReader } from "../../agent/prompt-reader.js";
import { ScoreRequestSchema } from "../../agent/schemas/cache.js";
import type { TemplateProgram, TokenBytes, Wire } from "../../agent/wire.js";
import { fixturePath } from "../agent/fixtures.js";
import { newWire } from "../wasm/wire-for-test.js";
import { IndexOracle } from "./index-oracle.js";
import { Random } from "./random.js";
import { Fault, printable, type Target } from "./target.js";

const BLOCK_BYTES = 64;
const PODS = 3;
const STEPS = 24;
const QUESTIONS = 12;
const BROKEN = 12;
/** What token ids spell; the last spells nothing. */
const PIECES = Array.from({ length: 24 }, (_, id) => "abc"[id % 3]!.repeat(1 + ((id * 7) % 13)));
const UNKNOWN = PIECES.length;
const NAMES = ["m", "ad"] as const;
const SALTS = ["", "", "s", "s\u00e9", 'q"\\'];
/** Fields of a request that cannot change its prompt, and fields that may. */
const INERT = ['"temperature":0.5', '"stream":true', '"max_tokens":1e2', '"user":"\\ud800"'];
const OTHERS = ['"truncate_prompt_tokens":5', '"nobody_knows":[[1]]', '"echo":true'];
const JUNK: unknown[] = [null, 0, -1, 1e300, 2 ** 60, "", "x", [], {}, [[]], true, { prompt: "a" }];

/** Prompts are their own text; a chat is its texts between marks. */
const TEMPLATE: TemplateProgram = {
  joints: Array.from({ length: 6 }, (_, previous) =>
    Array.from({ length: 6 }, (_, next) => Buffer.from(`<${previous}${next}>`)),
  ),
  strip: { system: "raw", user: "raw", assistant: "raw" },
  bos: new Uint8Array(0),
  partsUnknown: false,
  joinParts: "\n",
  emptyUnknown: { system: false, user: false, assistant: false },
  thinkUnknown: false,
  turns: { plain: null, tools: null },
};

function vocabulary(): TokenBytes {
  const offsets = new Uint32Array(PIECES.length + 2);
  for (const [id, piece] of PIECES.entries()) offsets[id + 1] = offsets[id]! + piece.length;
  offsets[UNKNOWN + 1] = offsets[UNKNOWN]!;
  const known = new Uint8Array(UNKNOWN + 1).fill(1);
  known[UNKNOWN] = 0;
  return { offsets, bytes: Buffer.from(PIECES.join("")), known };
}

const rootOf = (name: string, salt: string) => `${name === "ad" ? "ad" : ""}\0${salt}`;

interface Question {
  body: Buffer;
  /** By pod; null when nothing may be claimed. */
  present: number[] | null;
}

export class ScoreTarget implements Target {
  readonly name = "score";
  /** Answers of which some pod held a part. */
  hits = 0;
  readonly #random = new Random();
  readonly #check = Compile(ScoreRequestSchema);
  readonly #pods: Pod[];
  readonly #model: PoolModel;
  readonly #scorer: PromptScorer;
  #oracle = new IndexOracle(BLOCK_BYTES);
  /** Token ids of prompts from their beginnings: what later ones share. */
  #prompts: number[][] = [];

  private constructor(wire: Wire, reader: PromptReader) {
    const id = wire.addModel("m");
    const table = vocabulary();
    wire.setTokenBytes(id, table);
    wire.setModels(
      NAMES.map((name) => ({
        name,
        model: id,
        lora: name === "ad" ? "ad" : "",
        template: TEMPLATE,
        bytesPerToken: 4,
      })),
    );
    const rows = Array.from({ length: PODS }, (_, i) => `{name: pod-${i}, address: "127.0.0.1:${9000 + i}"}`);
    const config = parseConfig(
      `pools: [{name: p, model: {name: m, tokenizer: ${fixturePath("model-chatml")}}, pods: [${rows.join(", ")}]}]`,
      "fuzz.yaml",
    );
    const pool = config.pools[0]!;
    this.#pods = pool.pods.map((pod, slot) =>
      newPod({ config: pod, pool, slot, model: id, index: new PodIndex(wire, slot, id) }),
    );
    this.#model = { pool, id, table, template: { kind: "off" }, names: new Map([["m", ""]]) };
    const registry = new PodRegistry(this.#pods);
    const announced = new AnnouncedBlocks({ ttlMs: 1000, maxBlocks: 10 });
    this.#scorer = new PromptScorer(wire, registry, announced, reader, BLOCK_BYTES);
  }

  static async create(): Promise<ScoreTarget> {
    const wire = await newWire({ blockBytes: BLOCK_BYTES });
    return new ScoreTarget(wire, await PromptReader.create());
  }

  run(seed: number): number {
    const r = this.#random;
    r.seed(seed);
    for (const { index } of this.#pods) index.wipe();
    this.#oracle = new IndexOracle(BLOCK_BYTES);
    this.#prompts = [];
    const say = (what: string, body: Uint8Array): never => {
      throw new Fault(this.name, seed, what, printable(body));
    };
    for (let i = 0; i < STEPS; i++) this.#event();
    for (let i = 0; i < QUESTIONS; i++) {
      const { body, present } = this.#question();
      const answer = this.#ask(body, say);
      if (typeof answer === "string") say(`refused: ${answer}`, body);
      else this.#compare(answer, present, body, say);
    }
    for (let i = 0; i < BROKEN; i++) {
      const body = this.#broken(this.#question().body);
      const answer = this.#ask(body, say);
      if (typeof answer !== "string") this.#bounds(answer, body, say);
    }
    return STEPS + QUESTIONS + BROKEN;
  }

  /** As the route does, without HTTP: a refusal's words, or the answer. */
  #ask(body: Buffer, say: (what: string, body: Uint8Array) => never): PromptScore | string {
    let document: unknown;
    try {
      document = JSON.parse(body.toString());
    } catch {
      return "no JSON";
    }
    try {
      if (!this.#check.Check(document)) return "not of the schema";
      const scored = scoredOf(document, body, "m");
      return typeof scored === "string" ? scored : this.#scorer.score(scored, this.#model, this.#pods);
    } catch (error) {
      return say(`${error}`, body);
    }
  }

  #bounds({ scores }: PromptScore, body: Uint8Array, say: (what: string, body: Uint8Array) => never): void {
    for (const { present, total, cachedTokens } of scores)
      if (!(present >= 0 && present <= total && (cachedTokens === null || cachedTokens >= 0)))
        say(`${present} of ${total} blocks, ${cachedTokens} tokens`, body);
  }

  #compare(
    answer: PromptScore,
    present: number[] | null,
    body: Uint8Array,
    say: (what: string, body: Uint8Array) => never,
  ): void {
    this.#bounds(answer, body, say);
    if (answer.exact !== (present !== null)) say(`exact is ${answer.exact} (${answer.reasons})`, body);
    for (const { pod, present: real } of answer.scores) {
      const want = present?.[pod.slot] ?? 0;
      if (real !== want) say(`pod ${pod.slot} holds ${real} blocks, not ${want}`, body);
      if (real > 0) this.hits++;
    }
  }

  #event(): void {
    const r = this.#random;
    const pod = r.below(PODS);
    const { index } = this.#pods[pod]!;
    const held = this.#oracle.held(pod);
    if (r.oneIn(40)) {
      index.cleared();
      this.#oracle.clear(pod);
      return;
    }
    if (held.length > 0 && r.oneIn(4)) {
      const hashes = Array.from({ length: 1 + r.below(3) }, () =>
        r.oneIn(8) ? BigInt(r.word()) : r.pick(held)[0],
      );
      const tier = r.oneIn(3) ? 1 : 0;
      const medium = tier ? "CPU" : r.pick([null, "GPU", "gpu"]);
      index.removed({ hashes: BigUint64Array.from(hashes), medium, group: null });
      this.#oracle.remove(pod, tier, hashes);
      return;
    }
    this.#store(
      pod,
      index,
      held.map(([hash]) => hash),
    );
  }

  #store(pod: number, index: PodIndex, held: bigint[]): void {
    const r = this.#random;
    const blockSize = r.pick([4, 8, 16]);
    const count = 1 + r.below(4);
    const parent = held.length > 0 && r.oneIn(2) ? (r.oneIn(8) ? BigInt(r.word()) : r.pick(held)) : null;
    const tokens = this.#tokens(count * blockSize);
    if (parent === null) this.#prompts.push(tokens);
    if (r.oneIn(12)) tokens[r.below(tokens.length)] = r.pick([UNKNOWN, UNKNOWN + 1, 0xffffffff]);
    // The same hash may come again, with the same text or another.
    const hashes = Array.from({ length: count }, () =>
      held.length > 0 && r.oneIn(6) ? r.pick(held) : (BigInt(r.word()) << 32n) | BigInt(r.word()),
    );
    const lora = r.oneIn(4) ? "ad" : null;
    const salt = parent === null ? r.pick(SALTS) : "";
    const tier = r.oneIn(4) ? 1 : 0;
    const first = [...(lora === null ? [] : [lora]), ...(salt === "" ? [] : [salt])];
    const event: BlockStored = {
      hashes: BigUint64Array.from(hashes),
      parent,
      tokens: Uint32Array.from(tokens),
      blockSize,
      loraId: lora === null ? null : 1,
      loraName: lora,
      medium: tier ? "CPU" : "GPU",
      extraKeys:
        first.length === 0 ? null : hashes.map((_, i) => (i === 0 ? first : lora === null ? null : [lora])),
      group: null,
      specKind: r.oneIn(2) ? null : "full_attention",
    };
    if (r.oneIn(6)) {
      const harm = this.#hostile(event);
      index.stored(event);
      if (!harm) return;
    } else index.stored(event);
    const texts = hashes.map((_, b) => {
      const own = tokens.slice(b * blockSize, (b + 1) * blockSize);
      return own.every((id) => id < UNKNOWN) ? own.map((id) => PIECES[id]).join("") : null;
    });
    this.#oracle.store(pod, tier, { hashes, parent, texts, root: rootOf(lora ?? "", salt) });
  }

  /** Makes an event one that says nothing of text; true when it still does. */
  #hostile(event: BlockStored): boolean {
    const r = this.#random;
    switch (r.below(6)) {
      case 0:
        event.blockSize = r.pick([0, -16, 0.5, Number.NaN, 1e300, 2 ** 32, event.blockSize * 2]);
        return false;
      case 1:
        event.tokens = event.tokens.subarray(0, -1);
        return false;
      case 2:
        event.loraId = 3;
        if (event.loraName !== null) event.extraKeys = null;
        event.loraName = null;
        return false;
      case 3:
        event.extraKeys = [...event.hashes].map(() => [["image", 4]]);
        return false;
      case 4:
        event.specKind = "mamba";
        return false;
      default:
        event.medium = "NVME";
        return false;
    }
  }

  /** A prompt that begins as another one did. */
  #tokens(count: number): number[] {
    const r = this.#random;
    const from = this.#prompts.length > 0 && !r.oneIn(3) ? r.pick(this.#prompts) : [];
    const shared = from.slice(0, from.length > 0 ? r.below(Math.min(count, from.length) + 1) : 0);
    return [...shared, ...Array.from({ length: count - shared.length }, () => r.below(UNKNOWN))];
  }

  #question(): Question {
    const r = this.#random;
    const name = r.pick(NAMES);
    const salt = r.pick(SALTS);
    const fields = [`"model":"${name}"`];
    if (salt !== "" || r.oneIn(4)) fields.push(`"cache_salt":${spelled(r, salt)}`);
    if (r.oneIn(3)) fields.push(r.pick(INERT));
    if (r.oneIn(6)) fields.push('"candidate_pods":["pod-1"]');
    const inexact = r.oneIn(8);
    if (inexact) fields.push(r.pick(OTHERS));
    const ask = (prompt: string, present: number[] | null): Question => {
      fields.splice(r.below(fields.length + 1), 0, prompt);
      const space = r.oneIn(3) ? " \n" : "";
      return { body: Buffer.from(`{${fields.join(`,${space}`)}}`), present };
    };
    const pods = (answer: (pod: number) => number) => this.#pods.map(({ slot }) => answer(slot));
    const some = this.#pods.flatMap(({ slot }) => this.#oracle.held(slot));
    if (r.oneIn(5)) {
      const hashes = Array.from({ length: 1 + r.below(4) }, () =>
        some.length > 0 && !r.oneIn(4) ? r.pick(some)[0] : BigInt(r.word()),
      );
      const texts = hashes.map((hash) => (r.oneIn(2) ? `"${hash}"` : `"0x${hash.toString(16)}"`));
      return ask(
        `"prompt_blocks":[${texts}]`,
        pods((pod) => this.#oracle.run(pod, hashes)),
      );
    }
    const root = rootOf(name, salt);
    if (r.oneIn(3)) {
      const ids = this.#tokens(1 + r.below(60));
      if (r.oneIn(9)) ids.push(r.pick([UNKNOWN, -1, 2 ** 31]));
      const unknown = ids.some((id) => PIECES[id] === undefined);
      const text = ids.map((id) => PIECES[id]).join("");
      return ask(
        `"prompt":[${ids}]`,
        unknown || inexact ? null : pods((pod) => this.#oracle.present(pod, root, text)),
      );
    }
    let text = some.length > 0 && !r.oneIn(6) ? r.pick(some)[1].text : "abc";
    text += "abc"[r.below(3)]!.repeat(r.below(100));
    if (r.oneIn(4)) text = text.slice(0, r.below(text.length) + 1);
    const present = inexact ? null : pods((pod) => this.#oracle.present(pod, root, text));
    return ask(`"prompt":${r.oneIn(6) ? `[${spelled(r, text)}]` : spelled(r, text)}`, present);
  }

  /** A body with bytes changed, lost or doubled, with a part replaced, or nested deep. */
  #broken(body: Buffer): Buffer {
    const r = this.#random;
    if (r.oneIn(3)) {
      const document = JSON.parse(body.toString()) as Record<string, unknown>;
      const key = r.pick([...Object.keys(document), "messages", "prompt", "prompt_blocks", "__proto__"]);
      const junk = r.oneIn(40) ? "[".repeat(5000) + "]".repeat(5000) : JSON.stringify(r.pick(JUNK));
      return Buffer.from(`${body.toString().slice(0, -1)},${JSON.stringify(key)}:${junk}}`);
    }
    let bytes = Buffer.from(body);
    for (let n = 1 + r.below(3); n > 0; n--) {
      const at = r.below(bytes.length);
      const piece = bytes.subarray(at, at + r.below(30));
      if (r.oneIn(3)) bytes[at] = r.pick([0x22, 0x5c, 0x7b, 0x5d, 0x2c, 0x2d, 0xff, 0]);
      else if (r.oneIn(2)) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + piece.length)]);
      else bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
      if (bytes.length === 0) return bytes;
    }
    return bytes;
  }
}

/** A text as JSON, some of its characters escaped. */
function spelled(r: Random, text: string): string {
  const json = JSON.stringify(text);
  if (!r.oneIn(3)) return json;
  return json.replace(/[a-c]/g, (c) => (r.oneIn(9) ? `\\u00${c.charCodeAt(0).toString(16)}` : c));
}
