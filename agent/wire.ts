// The one module that touches wasm memory: a typed face over build/wire.wasm, whose source is wasm/shared.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Decision, decodeDecision } from "./decisions/record.js";
import { writeTemplate } from "./model/turn-layout.js";
import type { TurnProgram } from "./model/turn-program.js";
import { packageRoot } from "./package-root.js";
import type { ProgramNumber, SchedulingProgram } from "./policy/program.js";

/** How a store went. `Orphan`: its parent is unknown on this pod. `UnknownToken`: blocks before the token are kept. */
export enum StoreStatus {
  Ok = 0,
  Orphan = 1,
  UnknownToken = 2,
  BadShape = 3,
}

export interface WireOptions {
  /** At least 32 random bytes; all keys are derived from the first 32. */
  secret: Uint8Array;
  /** Bytes of a text block: 64, 128 or 256. One value everywhere. */
  blockBytes: number;
  /** Most prefix entries that are published. */
  maxEntries: number;
  /** Identity of this agent process as leader. */
  leader: bigint;
  /** When it began to lead, ms since the epoch. */
  startMs: bigint;
}

/** Bytes of each token id: id i has bytes [offsets[i], offsets[i+1]) when known[i] is 1. */
export interface TokenBytes {
  offsets: Uint32Array;
  bytes: Uint8Array;
  known: Uint8Array;
}

/** Where an engine holds a block. A text is on a pod as long as one of its tiers has it. */
export enum Tier {
  Gpu = 0,
  Cpu = 1,
}

/** Consecutive KV blocks of one BlockStored event; tokens.length = hashes.length × blockSize. */
export interface StoredBlocks {
  hashes: BigUint64Array;
  parent: bigint | null;
  tokens: Uint32Array;
  /** Tokens per block. */
  blockSize: number;
  lora: string;
  salt: string;
}

export type Role = "decode" | "prefill" | "both";

export interface LoadRow {
  /** 0–1023. */
  slot: number;
  ready: boolean;
  waiting: number;
  running: number;
  /** 0–1. */
  kvUsage: number;
  /** Age of the load columns in ms; Infinity when they were never read. */
  loadAgeMs: number;
}

export interface PodRow extends LoadRow {
  name: string;
  /** ip:port, as the gateway's cluster names the host. */
  address: string;
  role: Role;
  /** Id from `addModel`. */
  model: number;
  kvBlockTokens: number;
  /** What it announces is not known or not believed: its prompts are matched approximately. */
  approximate?: boolean;
  capacityTokens: number;
  /** Uncached prefill rate in tokens per second. */
  prefillTokensPerSecond: number;
}

/** White space that the template strips from a content: Python's str.strip sets. */
export type Strip = "raw" | "both" | "left" | "right";

/** Kinds of a joint: 0 start, 1 system, 2 user, 3 assistant, 4 end, 5 end with a generation prompt. */
export interface TemplateProgram {
  /** [previous][next]: literal bytes, null = never seen, which makes a request inexact. */
  joints: (Uint8Array | null)[][];
  strip: { system: Strip; user: Strip; assistant: Strip };
  /** What the tokenizer puts before a raw prompt; null when raw prompts are not exact. */
  bos: Uint8Array | null;
  /** Lists of text parts are not exact. */
  partsUnknown: boolean;
  joinParts: "\n" | "";
  /** Roles whose empty texts are not exact. */
  emptyUnknown: { system: boolean; user: boolean; assistant: boolean };
  /** Assistant text with "</think>" in it is not exact. */
  thinkUnknown: boolean;
  /** What the joints above do not cover, for requests without tools and with them; null = not exact. */
  turns: { plain: TurnProgram | null; tools: TurnProgram | null };
  /** What `enable_thinking: false` adds to the generation prompt, where true adds nothing; null = not exact. */
  thinkingOff?: Uint8Array | null;
}

export interface ModelRow {
  /** What a request may call it: served name, alias or LoRA adapter. */
  name: string;
  model: number;
  lora: string;
  template: TemplateProgram | null;
  bytesPerToken: number;
}

/** What the policy's plugins need of one pod. */
export interface ColumnRow {
  slot: number;
  /** Bit i: the pod is taken by label selector i. */
  labels: bigint;
  /** Custom columns: a number (NaN = missing), or the text of a label whose hash counts (null = missing). */
  columns: (number | string | null)[];
  /** Adapters by name; those that run, those that are waited for. */
  activeAdapters: string[];
  waitingAdapters: string[];
  /** Adapters that the pod can run at once. */
  maxAdapters: number;
  /** Id from `addModel`. */
  model: number;
}

export interface TablePolicy {
  version: number;
  scheduling: SchedulingProgram;
  bodyReadBytes: number;
  debugHeaders: "none" | "trusted" | "all";
  reservedFields: "reject" | "allow";
  isolation: "none" | "salt";
  /** How long a table is used without the agent, ms. */
  staleMaxMs: number;
  /** Load columns older than this are not used, ms. */
  loadTtlMs: number;
}

/** Rules for requests, apart from how pods are ranked. Texts are at most 65,535 bytes, all of them 60 KiB. */
export interface RulesProgram {
  callers: {
    /** URI SANs or subjects of client certificates; a final "*" stands for any end. */
    principals: string[];
    claim: { header: string; values: string[] } | null;
    /** SHA-256 of each trusted credential. */
    tokens: Uint8Array[];
  };
  /** Caps; 0 ms: the client's wish is not honoured. */
  maxTimeoutMs: number;
  maxRetries: number;
  /** Priority by objective name; below zero is sheddable. */
  objectives: { name: string; priority: number }[];
  /** Models that trusted callers may ask for instead of the body's. */
  overrides: string[];
  rewrites: { model: string; targets: { model: string; weight: number }[] }[];
  saturation: {
    detector: "none" | "utilization-detector" | "concurrency-detector";
    queueDepthThreshold: number;
    /** 0–1. */
    kvCacheUtilThreshold: number;
    headroom: number;
    concurrencyMode: "requests" | "tokens" | "hybrid";
    maxConcurrency: number;
    maxTokenConcurrency: number;
  };
  /** Bounds are per gateway worker. */
  queue: { enabled: boolean; maxRequests: number; maxBytes: number; maxBodyBytes: number; ttlMs: number };
  /** Share of decisions that are recorded, 0–1. */
  sampleRate: number;
  /** Whether decisions are put into filter state, for access logs. */
  filterState: boolean;
  /** In-flight counts of other gateways that are older count as slow, ms. */
  slowSharingMs: number;
  /** Whether warm-until-busy decides also then. */
  keepWhenSlow: boolean;
  /** Whether the gateway's own filters may say in metadata which pods a request may go to. */
  subsetMetadata: boolean;
}

/** The disaggregation section: agent/policy/disaggregation.ts has the document's side. */
export interface DisaggregationProgram {
  mode: "none" | "pays" | "always";
  by: "gateway" | "sidecar";
  /** Uncached tokens above which a split is considered. */
  threshold: number;
  /** Tokens of the shortest prompt that is considered. */
  promptTokens: number;
  timeoutMs: number;
  onFailure: "local" | "error";
  maxConcurrent: number;
  maxBodyBytes: number;
  blocksExpireMs: number;
  transferTokensPerSecond: number;
  stallWeight: number;
}

export interface Hello {
  kind: "hello";
  formats: [number, number];
  mainThread: boolean;
  processId: bigint;
  vmId: bigint;
  build: bigint;
}

/** What a gateway worker promised decode pods, since its start. */
export interface Transfers {
  kind: "transfers";
  processId: bigint;
  vmId: bigint;
  /** wasm/filter/prefill-metrics.ts has their order. */
  counters: number[];
  pods: { address: string; transfers: number; tokens: number }[];
}

export interface ReportRow {
  address: string;
  inflightRequests: number;
  inflightTokens: number;
  requests: number;
  promptTokens: number;
  predictedTokens: number;
  firstTokens: number;
  firstTokenMicros: number;
  firstTokenUncached: number;
}

export interface Report {
  kind: "report";
  processId: bigint;
  vmId: bigint;
  lease: boolean;
  counters: number[];
  pods: ReportRow[];
}

/** What one gateway worker counted of a pod since its last message of this kind. */
export interface PredictionRow {
  address: string;
  /** Requests of which the prompt was looked up, and the tokens of them that the pod's announced blocks promised. */
  requests: number;
  promised: number;
  /** Answers that said how many tokens were cached; what was promised of these, and what they said. */
  answers: number;
  answersPromised: number;
  cached: number;
  /** Answers by which more than a block too much, or more than a text block too little, was promised. */
  over: number;
  under: number;
  tenants: { tag: number; requests: number; promised: number; answers: number; right: number }[];
}

export interface Predictions {
  kind: "predictions";
  rows: PredictionRow[];
}

/** Prompts that went to pods and are matched approximately, in the order they went. */
export interface Routed {
  kind: "routed";
  rows: { address: string; hashes: BigUint64Array; tokensPerBlock: number }[];
}

/** What one gateway worker has under way. */
export interface Share {
  kind: "share";
  processId: bigint;
  vmId: bigint;
  /** The sender's monotonic clock, ns. */
  stamp: bigint;
  /** Whether pods that are left out have nothing under way. */
  whole: boolean;
  /** Whether counts of other gateways come too late to it, so that token-aware stands in for warm-until-busy there. */
  slow: boolean;
  rows: ({ address: string } & UnderWay)[];
}

/** Counts of one pod; work and tokens are those of prefills. */
export interface UnderWay {
  requests: number;
  prefills: number;
  work: number;
  tokens: number;
}

/** The reader lost its place and wants a snapshot. */
export interface Resync {
  kind: "resync";
}

export interface WireStats {
  blocks: number;
  entries: number;
  sets: number;
  /** Memory of index and table in bytes. */
  bytes: number;
  refusedEntries: number;
  bytesSeen: number;
  tokensSeen: number;
}

/** What a pod holds of a text, from its beginning. */
export interface HeldPrefix {
  /** Whole text blocks. */
  blocks: number;
  /** Tokens up to the end of the last one, in units of 16, and up to the end of the one before it. */
  tokens: number;
  tokensBefore: number;
}

const DETECTORS = { none: 0, "utilization-detector": 1, "concurrency-detector": 2 } as const;
const CONCURRENCY_MODES = { requests: 0, tokens: 1, hybrid: 2 } as const;
const SPLITS = { none: 0, pays: 1, always: 2 } as const;
const DEBUG = { none: 0, trusted: 1, all: 2 } as const;
const ROLES = { decode: 1, prefill: 2, both: 3 } as const;

type Call = (...args: (number | bigint)[]) => number;

interface Model {
  id: number;
  name: string;
  tokens: { offsets: number; bytes: number; known: number; vocabulary: number } | null;
  roots: Map<string, bigint>;
}

const text = new TextEncoder();
const utf8 = new TextDecoder();

/** Index, table and frames of one agent. */
export class Wire {
  readonly #x: Record<string, Call>;
  readonly #globals: Record<string, WebAssembly.Global>;
  readonly #memory: WebAssembly.Memory;
  readonly #models: Model[] = [];
  readonly #pending = new Map<string, () => number>();
  #modelsVersion = 0;
  readonly #sections: {
    [kind in "policy" | "rules" | "disaggregation" | "models" | "pods" | "columns"]?: () => number;
  } = {};
  #loads: LoadRow[] = [];

  private constructor(exports: WebAssembly.Exports) {
    this.#x = exports as Record<string, Call>;
    this.#globals = exports as Record<string, WebAssembly.Global>;
    this.#memory = exports["memory"] as WebAssembly.Memory;
  }

  /** Loads the module. @throws when the options are out of range or the build is missing. */
  static async create(options: WireOptions): Promise<Wire> {
    if (options.secret.length < 32) throw new RangeError("the secret needs at least 32 bytes");
    if (![64, 128, 256].includes(options.blockBytes))
      throw new RangeError(`blockBytes must be 64, 128 or 256, not ${options.blockBytes}`);
    const file = join(packageRoot(), "build", "wire.wasm");
    const module = await WebAssembly.compile(await readFile(file));
    const instance = await WebAssembly.instantiate(module, {});
    const wire = new Wire(instance.exports);
    const x = wire.#x;
    x["_initialize"]!();
    const at = x.inputBuffer!(64);
    wire.#bytes().set(options.secret.subarray(0, 32), at);
    x.init!(options.blockBytes, options.maxEntries, options.leader, options.startMs);
    return wire;
  }

  #bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer);
  }

  #number(name: string): number {
    return Number(this.#globals[name]!.value) >>> 0;
  }

  #put(bytes: Uint8Array): number {
    const at = this.#x.inputBuffer!(bytes.length + 64) >>> 0;
    this.#bytes().set(bytes, at);
    return at;
  }

  #frame(length: number): Uint8Array {
    const at = this.#number("frameAt");
    return this.#bytes().slice(at, at + length);
  }

  /** Id of a model by its canonical name; the same name gives the same id. */
  addModel(name: string): number {
    const known = this.#models.find((m) => m.name === name);
    if (known) return known.id;
    if (this.#models.length === 256) throw new RangeError("more than 256 models");
    const model: Model = { id: this.#models.length, name, tokens: null, roots: new Map() };
    this.#models.push(model);
    return model.id;
  }

  /** Gives a model its token bytes; replaces an earlier table. */
  setTokenBytes(model: number, table: TokenBytes): void {
    const m = this.#models[model];
    if (!m) throw new RangeError(`no model ${model}`);
    if (m.tokens) {
      this.#x.release!(m.tokens.offsets);
      this.#x.release!(m.tokens.bytes);
      this.#x.release!(m.tokens.known);
    }
    const vocabulary = table.known.length;
    const offsets = this.#x.allocate!(table.offsets.byteLength) >>> 0;
    const bytes = this.#x.allocate!(Math.max(8, table.bytes.length)) >>> 0;
    const known = this.#x.allocate!(vocabulary) >>> 0;
    const memory = this.#bytes();
    memory.set(
      new Uint8Array(table.offsets.buffer, table.offsets.byteOffset, table.offsets.byteLength),
      offsets,
    );
    memory.set(table.bytes, bytes);
    memory.set(table.known, known);
    m.tokens = { offsets, bytes, known, vocabulary };
  }

  /** Root hash of a model's chains under a LoRA adapter and a cache salt ("" = none). */
  root(model: number, lora: string, salt: string): bigint {
    const m = this.#models[model];
    if (!m) throw new RangeError(`no model ${model}`);
    let root = m.roots.get(lora);
    if (root === undefined) {
      const name = text.encode(`${m.name}\0${lora}`);
      this.#put(name);
      root = BigInt.asUintN(64, this.#x.rootOf!(name.length) as unknown as bigint);
      m.roots.set(lora, root);
    }
    if (salt === "") return root;
    const bytes = text.encode(salt);
    this.#put(bytes);
    return BigInt.asUintN(64, this.#x.saltedRoot!(root, bytes.length) as unknown as bigint);
  }

  /** Stores the blocks of one event of pod slot `pod`. */
  store(pod: number, model: number, e: StoredBlocks, tier = Tier.Gpu): StoreStatus {
    const tokens = this.#models[model]?.tokens;
    if (!tokens) return StoreStatus.UnknownToken;
    const count = e.hashes.length;
    if (e.blockSize <= 0 || e.tokens.length !== count * e.blockSize) return StoreStatus.BadShape;
    const root = e.parent === null ? this.root(model, e.lora, e.salt) : 0n;
    const at = this.#x.inputBuffer!(count * 8 + e.tokens.byteLength) >>> 0;
    new BigUint64Array(this.#memory.buffer, at, count).set(e.hashes);
    new Uint32Array(this.#memory.buffer, at + count * 8, e.tokens.length).set(e.tokens);
    return this.#x.storeBlocks!(
      pod,
      tier,
      count,
      e.parent === null ? 0 : 1,
      e.parent ?? 0n,
      root,
      e.blockSize,
      tokens.offsets,
      tokens.bytes,
      tokens.known,
      tokens.vocabulary,
    );
  }

  /** Removes one physical copy of each block; returns how many of them were known. */
  remove(pod: number, hashes: BigUint64Array, tier = Tier.Gpu): number {
    this.#putHashes(hashes);
    return this.#x.removeBlocks!(pod, tier, hashes.length);
  }

  /** Stores blocks whose tokens the event does not tell: those that another tier of the pod holds. Returns how many. */
  storeKnown(pod: number, hashes: BigUint64Array, tier: Tier): number {
    this.#putHashes(hashes);
    return this.#x.storeKnownBlocks!(pod, tier, hashes.length);
  }

  #putHashes(hashes: BigUint64Array): void {
    const at = this.#x.inputBuffer!(hashes.byteLength) >>> 0;
    new BigUint64Array(this.#memory.buffer, at, hashes.length).set(hashes);
  }

  /**
   * A prompt went to a pod: of its blocks, hashed as gateways do for approximate matches, the pod is taken to hold as
   * many as `limit` and those that it got before allow. `seconds`: now, since the epoch.
   */
  useApproximate(
    pod: number,
    hashes: BigUint64Array,
    tokensPerBlock: number,
    limit: number,
    seconds: number,
  ): void {
    this.#putHashes(hashes);
    this.#x.useApproximate!(pod, hashes.length, tokensPerBlock, limit, seconds);
  }

  /** Forgets the approximate blocks of a pod, or only those that were not used since `seconds`. */
  dropApproximate(pod: number, seconds?: number): void {
    if (seconds === undefined) this.#x.approximateClear!(pod);
    else this.#x.approximateExpire!(pod, seconds);
  }

  /** Text blocks that a pod is taken to hold because it got them. */
  approximateBlocks(pod: number): number {
    return this.#x.approximateOf!(pod) >>> 0;
  }

  /** Forgets all announced blocks of a pod; returns how many there were. */
  clearPod(pod: number): number {
    return this.#x.indexClearPod!(pod);
  }

  /** Replaces the pod section. */
  setPods(rows: PodRow[]): void {
    for (const row of rows) this.#x.usePod!(row.slot);
    this.#loads = [];
    this.#sections.pods = () => {
      const x = this.#x;
      x.sectionBegin!();
      for (const r of rows) {
        const load = this.#loads.find((l) => l.slot === r.slot) ?? r;
        const name = text.encode(r.name).subarray(0, 255);
        const address = text.encode(r.address).subarray(0, 255);
        const at = this.#put(new Uint8Array([...name, ...address]));
        x.podRow!(
          r.slot,
          (load.ready ? 1 : 0) | (r.approximate ? 2 : 0),
          ROLES[r.role],
          r.model,
          r.kvBlockTokens,
          r.capacityTokens,
          load.waiting,
          load.running,
          Math.round(load.kvUsage * 1000),
          age(load.loadAgeMs),
          r.prefillTokensPerSecond,
          at,
          name.length,
          at + name.length,
          address.length,
        );
      }
      return x.sectionFrame!(this.#number("kindPods"), x.sectionEnd!());
    };
    this.#queue("pods", this.#sections.pods);
  }

  /** Refreshes load columns; cheap. */
  setLoads(rows: LoadRow[]): void {
    this.#loads = rows;
    this.#queue("loads", () => {
      const x = this.#x;
      x.sectionBegin!();
      for (const r of rows)
        x.loadRow!(
          r.slot,
          r.ready ? 1 : 0,
          r.waiting,
          r.running,
          Math.round(r.kvUsage * 1000),
          age(r.loadAgeMs),
        );
      return x.sectionFrame!(this.#number("kindLoads"), x.sectionEnd!());
    });
  }

  /** Replaces the models section: names, roots, templates. */
  setModels(rows: ModelRow[]): void {
    this.#modelsVersion++;
    this.#sections.models = () => {
      const x = this.#x;
      const roots = rows.map((r) => this.root(r.model, r.lora, ""));
      x.sectionBegin!();
      const templates = new Map<TemplateProgram, number>();
      rows.forEach((r, i) => {
        let index = 0xffff;
        if (r.template) {
          index = templates.get(r.template) ?? this.#template(r.template);
          templates.set(r.template, index);
        }
        const name = text.encode(r.name);
        x.modelRow!(r.model, index, roots[i]!, r.bytesPerToken, this.#put(name), name.length);
      });
      return x.sectionFrame!(this.#number("kindModels"), x.sectionEnd!());
    };
    this.#queue("models", this.#sections.models);
  }

  /** Grows with each `setModels`. */
  get modelsVersion(): number {
    return this.#modelsVersion;
  }

  /** The models section as gateways get it, without its frame; empty before the first `setModels`. */
  modelsSection(): Uint8Array {
    const build = this.#sections.models;
    return build ? this.#frame(build()).subarray(this.#number("headBytes")) : new Uint8Array(0);
  }

  #template(t: TemplateProgram): number {
    return writeTemplate(this.#x, (bytes) => this.#put(bytes), t);
  }

  /** Replaces the policy section, keys included. */
  setPolicy(p: TablePolicy): void {
    this.#sections.policy = () => {
      this.#program(p.scheduling);
      return this.#x.sectionFrame!(
        this.#number("kindPolicy"),
        this.#x.policySection!(
          p.version,
          p.bodyReadBytes,
          DEBUG[p.debugHeaders],
          p.staleMaxMs,
          p.loadTtlMs,
          p.reservedFields === "reject" ? 0 : 1,
          p.isolation === "salt" ? 1 : 0,
        ),
      );
    };
    this.#queue("policy", this.#sections.policy);
  }

  /** The program of the policy section, for `Picker.program`; none of the section's keys. Empty before `setPolicy`. */
  policyProgram(): Uint8Array {
    const build = this.#sections.policy;
    return build
      ? this.#frame(build()).slice(this.#number("headBytes") + this.#number("policyBytes"))
      : new Uint8Array(0);
  }

  /** Writes a program for the policy section. @throws RangeError when a part of it is unknown or beyond the limits. */
  #program(p: SchedulingProgram): void {
    const x = this.#x;
    const need = (room: number | undefined, what: string) => {
      if (!room) throw new RangeError(`the scheduling program has too many ${what}`);
    };
    x.programBegin!(
      this.#named(`Handler.${p.handler}`),
      p.main,
      p.prefill ?? this.#number("noProfile"),
      p.profileHeader,
    );
    for (const header of p.headers) {
      const name = text.encode(header);
      need(x.programHeader!(this.#put(name), name.length), "headers");
    }
    for (const profile of p.profiles) {
      const name = text.encode(profile.name);
      need(x.programProfile!(this.#put(name), name.length, ROLES[profile.role]), "profiles");
      for (const { op, flags, a, weight, p } of profile.ops)
        need(x.programOp!(this.#named(`Op.${op}`), flags, this.#numbered(a), weight, ...p), "plugins");
    }
    for (const { code, argument, constant } of p.code)
      need(x.programCode!(this.#named(`Code.${code}`), this.#numbered(argument), constant), "expressions");
  }

  /** A number that the module exports under a name. */
  #named(name: string): number {
    if (!this.#globals[name]) throw new RangeError(`the scheduling program knows no ${name}`);
    return this.#number(name);
  }

  #numbered(n: ProgramNumber): number {
    return typeof n === "number" ? n : this.#named(n);
  }

  /** Replaces what the policy's plugins need of pods; rows that are left out have nothing. */
  setColumns(rows: ColumnRow[]): void {
    const width = this.#number("maxColumns");
    const most = this.#number("maxAdapters");
    this.#sections.columns = () => {
      const x = this.#x;
      x.sectionBegin!();
      for (const r of rows) {
        const active = r.activeAdapters.slice(0, most);
        const waiting = r.waitingAdapters.slice(0, most - active.length);
        const roots = [...active, ...waiting].map((name) => this.root(r.model, name, ""));
        const values = new DataView(new ArrayBuffer(width * 4 + roots.length * 8));
        for (let i = 0; i < width; i++) {
          const v = r.columns[i] === undefined ? Number.NaN : r.columns[i]!;
          if (typeof v === "number") values.setFloat32(i * 4, v, true);
          else if (v === null) values.setUint32(i * 4, 0, true);
          else values.setUint32(i * 4, this.#labelHash(v), true);
        }
        for (const [i, root] of roots.entries()) values.setBigUint64(width * 4 + i * 8, root, true);
        x.columnRow!(
          r.slot,
          active.length,
          waiting.length,
          Math.min(r.maxAdapters, 0xffff),
          r.labels,
          this.#put(new Uint8Array(values.buffer)),
        );
      }
      return x.sectionFrame!(this.#number("kindColumns"), x.sectionEnd!());
    };
    // Behind the pods: a row counts for the pod that its slot has.
    this.#pending.delete("columns");
    this.#queue("columns", this.#sections.columns);
  }

  #labelHash(value: string): number {
    const bytes = text.encode(value);
    this.#put(bytes);
    return this.#x.labelHash!(bytes.length) >>> 0;
  }

  /** Replaces the rules section. */
  setRules(r: RulesProgram): void {
    this.#sections.rules = () => {
      const x = this.#x;
      const { saturation: s, queue: q } = r;
      x.rulesBegin!(
        (q.enabled ? 1 : 0) | (r.filterState ? 2 : 0) | (r.keepWhenSlow ? 4 : 0) | (r.subsetMetadata ? 8 : 0),
        r.maxTimeoutMs,
        r.maxRetries,
        DETECTORS[s.detector],
        CONCURRENCY_MODES[s.concurrencyMode],
        r.slowSharingMs,
        s.queueDepthThreshold,
        s.kvCacheUtilThreshold,
        s.headroom,
        s.maxConcurrency,
        s.maxTokenConcurrency,
        q.maxRequests,
        q.maxBytes,
        q.maxBodyBytes,
        q.ttlMs,
        Math.min(0xffffffff, Math.round(r.sampleRate * 0x100000000)),
      );
      const row = (kind: string, value: string | Uint8Array, number = 0) => {
        const bytes = typeof value === "string" ? text.encode(value) : value;
        x.ruleRow!(this.#number(kind), number, this.#put(bytes), bytes.length);
      };
      for (const principal of r.callers.principals) row("rulePrincipal", principal);
      if (r.callers.claim) {
        row("ruleClaimHeader", r.callers.claim.header);
        for (const value of r.callers.claim.values) row("ruleClaimValue", value);
      }
      for (const digest of r.callers.tokens) row("ruleToken", digest);
      for (const { name, priority } of r.objectives) row("ruleObjective", name, priority);
      for (const model of r.overrides) row("ruleOverride", model);
      for (const { model, targets } of r.rewrites) {
        row("ruleRewrite", model);
        for (const t of targets) row("ruleTarget", t.model, t.weight);
      }
      return x.sectionFrame!(this.#number("kindRules"), x.rulesEnd!());
    };
    this.#queue("rules", this.#sections.rules);
  }

  /** Replaces the disaggregation section. */
  setDisaggregation(d: DisaggregationProgram): void {
    this.#sections.disaggregation = () =>
      this.#x.sectionFrame!(
        this.#number("kindDisaggregation"),
        this.#x.disaggregationSection!(
          SPLITS[d.mode],
          d.threshold,
          d.timeoutMs,
          d.onFailure === "local" ? 0 : 1,
          d.maxConcurrent,
          d.maxBodyBytes,
          d.blocksExpireMs,
          d.promptTokens,
          d.transferTokensPerSecond,
          d.stallWeight,
          d.by === "gateway" ? 0 : 1,
        ),
      );
    this.#queue("disaggregation", this.#sections.disaggregation);
  }

  #queue(kind: string, build: () => number): void {
    this.#pending.set(kind, build);
  }

  /** Queues a frame that only says that the agent is alive. */
  heartbeat(): void {
    this.#queue("heartbeat", () =>
      this.#x.sectionFrame!(this.#number("kindHeartbeat"), this.#x.emptySection!()),
    );
  }

  /** Whether `drain` would return frames. */
  get dirty(): boolean {
    return this.#pending.size > 0 || this.#x.needsSnapshot!() !== 0 || this.#x.deltaBytes!() > 0;
  }

  /** Frames to broadcast since the last call, in order, each at most 1 MiB. A rebuilt table comes as a snapshot. */
  drain(): Uint8Array[] {
    const x = this.#x;
    const frames: Uint8Array[] = [];
    if (x.needsSnapshot!()) {
      x.nextSequence!();
      x.deltaClear!();
      x.snapshotMark!();
      frames.push(...this.#image([]));
    } else {
      for (let from = 0; ; ) {
        const length = x.deltaFrame!(from);
        if (length === 0) break;
        frames.push(this.#frame(length));
        from = this.#number("deltaNext");
      }
      x.deltaClear!();
    }
    for (const build of this.#pending.values()) {
      x.nextSequence!();
      frames.push(this.#frame(build()));
    }
    this.#pending.clear();
    return frames;
  }

  /** As `drain`, for nobody: whoever comes later begins with a snapshot. */
  discard(): void {
    const x = this.#x;
    x.nextSequence!();
    x.deltaClear!();
    x.snapshotMark!();
    this.#pending.clear();
  }

  /** All frames that a new subscriber needs. Later `drain` results follow on. @throws when changes wait for `drain`. */
  snapshot(): Uint8Array[] {
    if (this.dirty) throw new Error("changes wait: drain and broadcast before taking a snapshot");
    const { policy, rules, disaggregation, models, pods, columns } = this.#sections;
    return this.#image([policy, rules, disaggregation, models, pods, columns].filter((s) => s !== undefined));
  }

  #image(sections: (() => number)[]): Uint8Array[] {
    const x = this.#x;
    const frames = [this.#frame(x.snapshotBegin!())];
    for (const build of sections) frames.push(this.#frame(build()));
    for (let id = 0; ; id = this.#number("deltaNext")) {
      const length = x.snapshotSets!(id);
      if (length === 0) break;
      frames.push(this.#frame(length));
    }
    for (let from = 0; ; from = this.#number("deltaNext")) {
      const length = x.snapshotPiece!(from);
      if (length === 0) break;
      frames.push(this.#frame(length));
    }
    frames.push(this.#frame(x.snapshotEnd!()));
    return frames;
  }

  /** Reads a frame from a filter; null when it is damaged or of another format. */
  decodeUp(
    data: Uint8Array,
  ): Hello | Report | Resync | Decision | Share | Transfers | Predictions | Routed | null {
    this.#put(data);
    const kind = this.#x.frameKind!(data.length);
    const head = this.#number("headBytes");
    if (kind === 0 || data.length < head) return null;
    const view = new DataView(data.buffer, data.byteOffset + head, data.length - head);
    if (kind === this.#number("kindResync")) return { kind: "resync" };
    if (kind === this.#number("kindHello") && view.byteLength >= this.#number("helloBytes"))
      return {
        kind: "hello",
        formats: [view.getUint16(0, true), view.getUint16(2, true)],
        mainThread: (view.getUint32(4, true) & 1) === 1,
        processId: view.getBigUint64(8, true),
        vmId: view.getBigUint64(16, true),
        build: view.getBigUint64(24, true),
      };
    if (kind === this.#number("kindShare")) return this.#share(view, data);
    if (kind === this.#number("kindDecision")) return this.#decision(view, data);
    if (kind === this.#number("kindTransfers")) return this.#transfers(view);
    if (kind === this.#number("kindPredictions")) return this.#predictions(view);
    if (kind === this.#number("kindRouted")) return this.#routed(view);
    return kind === this.#number("kindReport") ? this.#report(view) : null;
  }

  #share(view: DataView, frame: Uint8Array): Share | null {
    const width = this.#number("shareRowBytes");
    let p = this.#number("shareHeadBytes");
    if (view.byteLength < p) return null;
    const rows: Share["rows"] = [];
    for (let left = view.getUint32(12, true); left > 0; left--) {
      if (p + width > view.byteLength) return null;
      const size = view.getUint32(p, true);
      if (p + width + size > view.byteLength) return null;
      rows.push({
        address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, size)),
        requests: view.getUint32(p + 4, true),
        prefills: view.getUint32(p + 8, true),
        work: Number(view.getBigUint64(p + 16, true)),
        tokens: Number(view.getBigUint64(p + 24, true)),
      });
      p += width + ((size + 7) & ~7);
    }
    const sender = new DataView(frame.buffer, frame.byteOffset);
    return {
      kind: "share",
      processId: sender.getBigUint64(8, true),
      vmId: sender.getBigUint64(16, true),
      stamp: view.getBigUint64(0, true),
      whole: (view.getUint32(8, true) & 1) !== 0,
      slow: (view.getUint32(8, true) & 2) !== 0,
      rows,
    };
  }

  /** A frame for one gateway: what `gateways` others have under way, by slot. `stamp`: of its own last share. */
  foreignFrame(stamp: bigint, gateways: number, rows: ({ slot: number } & UnderWay)[]): Uint8Array {
    const x = this.#x;
    x.foreignBegin!(stamp, gateways);
    for (const r of rows) x.foreignRow!(r.slot, r.requests, r.prefills, r.work, r.tokens);
    return this.#frame(x.sectionFrame!(this.#number("kindForeign"), x.foreignEnd!()));
  }

  #decision(view: DataView, frame: Uint8Array): Decision | null {
    const sender = new DataView(frame.buffer, frame.byteOffset);
    return decodeDecision(
      view,
      { head: this.#number("decisionHeadBytes"), row: this.#number("decisionRowBytes") },
      { processId: sender.getBigUint64(8, true), vmId: sender.getBigUint64(16, true) },
    );
  }

  #transfers(view: DataView): Transfers | null {
    const width = this.#number("transfersRowBytes");
    let p = this.#number("transfersHeadBytes");
    if (view.byteLength < p) return null;
    const at = this.#number("transfersCounters");
    const u64 = (offset: number) => Number(view.getBigUint64(offset, true));
    const pods: Transfers["pods"] = [];
    for (let left = view.getUint32(this.#number("transfersRows"), true); left > 0; left--) {
      if (p + width > view.byteLength) return null;
      const length = view.getUint32(p, true);
      if (p + width + length > view.byteLength) return null;
      const address = utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length));
      pods.push({ address, transfers: u64(p + 8), tokens: u64(p + 16) });
      p += width + ((length + 7) & ~7);
    }
    return {
      kind: "transfers",
      processId: view.getBigUint64(0, true),
      vmId: view.getBigUint64(8, true),
      counters: Array.from({ length: this.#number("transferCounterCount") }, (_, i) => u64(at + i * 8)),
      pods,
    };
  }

  #routed(view: DataView): Routed | null {
    const width = this.#number("routedRowBytes");
    let p = this.#number("routedHeadBytes");
    if (view.byteLength < p) return null;
    const rows: Routed["rows"] = [];
    for (let left = view.getUint32(0, true); left > 0; left--) {
      if (p + width > view.byteLength) return null;
      const length = view.getUint32(p, true);
      const count = view.getUint32(p + 4, true);
      const hashesAt = p + width + ((length + 7) & ~7);
      if (hashesAt + count * 8 > view.byteLength) return null;
      const hashes = new BigUint64Array(count);
      for (let i = 0; i < count; i++) hashes[i] = view.getBigUint64(hashesAt + i * 8, true);
      rows.push({
        address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length)),
        hashes,
        tokensPerBlock: view.getFloat64(p + 8, true),
      });
      p = hashesAt + count * 8;
    }
    return { kind: "routed", rows };
  }

  #predictions(view: DataView): Predictions | null {
    const width = this.#number("predictionsRowBytes");
    const tenantBytes = this.#number("predictionsTenantBytes");
    let p = this.#number("predictionsHeadBytes");
    if (view.byteLength < p) return null;
    const u64 = (at: number) => Number(view.getBigUint64(at, true));
    const rows: PredictionRow[] = [];
    for (let left = view.getUint32(0, true); left > 0; left--) {
      if (p + width > view.byteLength) return null;
      const length = view.getUint32(p, true);
      if (p + width + length > view.byteLength) return null;
      const tenants: PredictionRow["tenants"] = [];
      for (let i = 0, t = p + 64; i < this.#number("predictionsTenants"); i++, t += tenantBytes) {
        const tag = view.getUint32(t, true);
        if (tag === 0) continue;
        tenants.push({
          tag,
          requests: view.getUint32(t + 4, true),
          answers: view.getUint32(t + 8, true),
          right: view.getUint32(t + 12, true),
          promised: u64(t + 16),
        });
      }
      rows.push({
        address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length)),
        requests: u64(p + 8),
        promised: u64(p + 16),
        answers: u64(p + 24),
        answersPromised: u64(p + 32),
        cached: u64(p + 40),
        over: u64(p + 48),
        under: u64(p + 56),
        tenants,
      });
      p += width + ((length + 7) & ~7);
    }
    return { kind: "predictions", rows };
  }

  #report(view: DataView): Report | null {
    const head = this.#number("reportHeadBytes");
    const width = this.#number("reportRowBytes");
    if (view.byteLength < head) return null;
    const at = this.#number("reportCounters");
    const counters = Array.from({ length: this.#number("reportCounterCount") }, (_, i) =>
      Number(view.getBigUint64(at + i * 8, true)),
    );
    const pods: ReportRow[] = [];
    let p = head;
    for (let left = view.getUint32(20, true); left > 0; left--) {
      if (p + width > view.byteLength) return null;
      const length = view.getUint32(p, true);
      if (p + width + length > view.byteLength) return null;
      const row = p + 8;
      const u64 = (i: number) => Number(view.getBigUint64(row + i * 8, true));
      pods.push({
        address: utf8.decode(new Uint8Array(view.buffer, view.byteOffset + p + width, length)),
        inflightRequests: view.getUint32(p + 4, true),
        inflightTokens: u64(0),
        requests: u64(1),
        promptTokens: u64(2),
        predictedTokens: u64(3),
        firstTokens: u64(4),
        firstTokenMicros: u64(5),
        firstTokenUncached: u64(6),
      });
      p += width + ((length + 7) & ~7);
    }
    return {
      kind: "report",
      processId: view.getBigUint64(0, true),
      vmId: view.getBigUint64(8, true),
      lease: (view.getUint32(16, true) & 1) === 1,
      counters,
      pods,
    };
  }

  /** The whole index as bytes, for `restore` in a process with the same secret and block size. */
  checkpoint(): Uint8Array {
    const at = this.#x.checkpoint!() >>> 0;
    const bytes = this.#bytes().slice(at, at + this.#number("checkpointBytes"));
    this.#x.release!(at);
    return bytes;
  }

  /** Takes a checkpoint; false (and nothing changed) when it is damaged or of another key, block size or format. */
  restore(bytes: Uint8Array): boolean {
    this.#put(bytes);
    return this.#x.restore!(bytes.length) !== 0;
  }

  /** Text-block hashes of `bytes` under a root, as the filter computes them. */
  hashText(root: bigint, bytes: Uint8Array, blockBytes: number): BigUint64Array {
    this.#x.inputBuffer!(bytes.length * 2 + 64);
    this.#put(bytes);
    const at = this.#x.hashText!(root, bytes.length) >>> 0;
    return new BigUint64Array(this.#memory.buffer, at, Math.floor(bytes.length / blockBytes)).slice();
  }

  /** What each pod holds of a text under a root, by pod slot. */
  scoreText(root: bigint, bytes: Uint8Array): (slot: number) => HeldPrefix {
    this.#x.inputBuffer!(bytes.length * 2 + 64);
    this.#put(bytes);
    const at = this.#x.scoreText!(root, bytes.length) >>> 0;
    const width = this.#number("scoreBytes");
    const rows = new Uint32Array(this.#memory.buffer.slice(at, at + 1024 * width));
    return (slot) => {
      const row = (slot * width) >> 2;
      return { blocks: rows[row]!, tokens: rows[row + 1]!, tokensBefore: rows[row + 2]! };
    };
  }

  /** A root under the bytes of a cache salt. */
  saltedRoot(root: bigint, salt: Uint8Array): bigint {
    this.#put(salt);
    return BigInt.asUintN(64, this.#x.saltedRoot!(root, salt.length) as unknown as bigint);
  }

  /** How many of these engine hashes a pod holds, from the first on and without a hole. */
  heldRun(pod: number, hashes: BigUint64Array): number {
    this.#putHashes(hashes);
    return this.#x.heldRun!(pod, hashes.length);
  }

  /** KV blocks that a pod holds in GPU memory. */
  podBlocks(pod: number): number {
    return this.#x.statPodBlocks!(pod) >>> 0;
  }

  /** An engine's block hash under the installation's secret, 16 hex digits: the only form in which hashes are shown. */
  shownHash(hash: bigint): string {
    this.#x.inputBuffer!(64);
    const shown = BigInt.asUintN(64, this.#x.shownHash!(hash) as unknown as bigint);
    return shown.toString(16).padStart(16, "0");
  }

  /** How many of the held blocks differ by text; estimated from a sample where there are more than some thousands. */
  uniqueBlocks(): number {
    return this.#x.statUnique!();
  }

  stats(): WireStats {
    const x = this.#x;
    const big = (name: string) => Number(BigInt.asUintN(64, x[name]!() as unknown as bigint));
    return {
      blocks: x.statBlocks!(),
      entries: x.statEntries!(),
      sets: x.statSets!(),
      bytes: x.statBytes!(),
      refusedEntries: big("statRefused"),
      bytesSeen: big("statBytesSeen"),
      tokensSeen: big("statTokensSeen"),
    };
  }
}

function age(ms: number): number {
  return Number.isFinite(ms) ? Math.min(0xfffffffe, Math.max(0, Math.round(ms))) : 0xffffffff;
}
