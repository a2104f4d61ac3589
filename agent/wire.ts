// Index, table and frames of one agent: a typed face over build/wire.wasm. agent/wire/memory.ts alone touches its memory.
import { type GatewayFrame, readGatewayFrame, type UnderWay } from "./wire/gateway-frames.js";
import { WireMemory } from "./wire/memory.js";
import {
  type ColumnRow,
  type DisaggregationProgram,
  type HeldPrefix,
  type LoadRow,
  type ModelRow,
  type PodRow,
  type RulesProgram,
  type StoredBlocks,
  StoreStatus,
  type TablePolicy,
  Tier,
  type TokenBytes,
  type WireOptions,
  type WireStats,
} from "./wire/rows.js";
import {
  columnsFrame,
  disaggregationFrame,
  loadsFrame,
  modelsFrame,
  podsFrame,
  policyFrame,
  type RootOf,
  rulesFrame,
} from "./wire/sections.js";

export * from "./wire/gateway-frames.js";
export * from "./wire/rows.js";

interface Model {
  id: number;
  name: string;
  tokens: { offsets: number; bytes: number; known: number; vocabulary: number } | null;
  roots: Map<string, bigint>;
}

const text = new TextEncoder();

/** Index, table and frames of one agent. */
export class Wire {
  readonly #m: WireMemory;
  readonly #models: Model[] = [];
  readonly #pending = new Map<string, () => number>();
  #modelsVersion = 0;
  readonly #sections: {
    [kind in "policy" | "rules" | "disaggregation" | "models" | "pods" | "columns"]?: () => number;
  } = {};
  #loads: LoadRow[] = [];
  readonly #root: RootOf = (model, lora, salt) => this.root(model, lora, salt);

  private constructor(memory: WireMemory) {
    this.#m = memory;
  }

  /** Loads the module. @throws when the options are out of range or the build is missing. */
  static async create(options: WireOptions): Promise<Wire> {
    if (options.secret.length < 32) throw new RangeError("the secret needs at least 32 bytes");
    if (![64, 128, 256].includes(options.blockBytes))
      throw new RangeError(`blockBytes must be 64, 128 or 256, not ${options.blockBytes}`);
    const m = await WireMemory.load();
    const at = m.x.inputBuffer!(64);
    m.write(at, options.secret.subarray(0, 32));
    m.x.init!(options.blockBytes, options.maxEntries, options.leader, options.startMs);
    return new Wire(m);
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
      this.#m.x.release!(m.tokens.offsets);
      this.#m.x.release!(m.tokens.bytes);
      this.#m.x.release!(m.tokens.known);
    }
    const vocabulary = table.known.length;
    const offsets = this.#m.x.allocate!(table.offsets.byteLength) >>> 0;
    const bytes = this.#m.x.allocate!(Math.max(8, table.bytes.length)) >>> 0;
    const known = this.#m.x.allocate!(vocabulary) >>> 0;
    this.#m.write(offsets, table.offsets);
    this.#m.write(bytes, table.bytes);
    this.#m.write(known, table.known);
    m.tokens = { offsets, bytes, known, vocabulary };
  }

  /** Root hash of a model's chains under a LoRA adapter and a cache salt ("" = none). */
  root(model: number, lora: string, salt: string): bigint {
    const m = this.#models[model];
    if (!m) throw new RangeError(`no model ${model}`);
    let root = m.roots.get(lora);
    if (root === undefined) {
      const name = text.encode(`${m.name}\0${lora}`);
      this.#m.put(name);
      root = BigInt.asUintN(64, this.#m.x.rootOf!(name.length) as unknown as bigint);
      m.roots.set(lora, root);
    }
    if (salt === "") return root;
    const bytes = text.encode(salt);
    this.#m.put(bytes);
    return BigInt.asUintN(64, this.#m.x.saltedRoot!(root, bytes.length) as unknown as bigint);
  }

  /** Stores the blocks of one event of pod slot `pod`. */
  store(pod: number, model: number, e: StoredBlocks, tier = Tier.Gpu): StoreStatus {
    const tokens = this.#models[model]?.tokens;
    if (!tokens) return StoreStatus.UnknownToken;
    const count = e.hashes.length;
    if (e.blockSize <= 0 || e.tokens.length !== count * e.blockSize) return StoreStatus.BadShape;
    const root = e.parent === null ? this.root(model, e.lora, e.salt) : 0n;
    const at = this.#m.x.inputBuffer!(count * 8 + e.tokens.byteLength) >>> 0;
    this.#m.write(at, e.hashes);
    this.#m.write(at + count * 8, e.tokens);
    return this.#m.x.storeBlocks!(
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
    return this.#m.x.removeBlocks!(pod, tier, hashes.length);
  }

  /** Stores blocks whose tokens the event does not tell: those that another tier of the pod holds. Returns how many. */
  storeKnown(pod: number, hashes: BigUint64Array, tier: Tier): number {
    this.#putHashes(hashes);
    return this.#m.x.storeKnownBlocks!(pod, tier, hashes.length);
  }

  #putHashes(hashes: BigUint64Array): void {
    this.#m.write(this.#m.x.inputBuffer!(hashes.byteLength) >>> 0, hashes);
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
    this.#m.x.useApproximate!(pod, hashes.length, tokensPerBlock, limit, seconds);
  }

  /** Forgets the approximate blocks of a pod, or only those that were not used since `seconds`. */
  dropApproximate(pod: number, seconds?: number): void {
    if (seconds === undefined) this.#m.x.approximateClear!(pod);
    else this.#m.x.approximateExpire!(pod, seconds);
  }

  /** Text blocks that a pod is taken to hold because it got them. */
  approximateBlocks(pod: number): number {
    return this.#m.x.approximateOf!(pod) >>> 0;
  }

  /** Forgets all announced blocks of a pod; returns how many there were. */
  clearPod(pod: number): number {
    return this.#m.x.indexClearPod!(pod);
  }

  /** Replaces the pod section. */
  setPods(rows: PodRow[]): void {
    for (const row of rows) this.#m.x.usePod!(row.slot);
    this.#loads = [];
    this.#sections.pods = () => podsFrame(this.#m, rows, this.#loads);
    this.#queue("pods", this.#sections.pods);
  }

  /** Refreshes load columns; cheap. */
  setLoads(rows: LoadRow[]): void {
    this.#loads = rows;
    this.#queue("loads", () => loadsFrame(this.#m, rows));
  }

  /** Replaces the models section: names, roots, templates. */
  setModels(rows: ModelRow[]): void {
    this.#modelsVersion++;
    this.#sections.models = () => modelsFrame(this.#m, rows, this.#root);
    this.#queue("models", this.#sections.models);
  }

  /** Grows with each `setModels`. */
  get modelsVersion(): number {
    return this.#modelsVersion;
  }

  /** The models section as gateways get it, without its frame; empty before the first `setModels`. */
  modelsSection(): Uint8Array {
    const build = this.#sections.models;
    return build ? this.#m.frame(build()).subarray(this.#m.number("headBytes")) : new Uint8Array(0);
  }

  /** Replaces the policy section, keys included. */
  setPolicy(p: TablePolicy): void {
    this.#sections.policy = () => policyFrame(this.#m, p);
    this.#queue("policy", this.#sections.policy);
  }

  /** The program of the policy section, for `Picker.program`; none of the section's keys. Empty before `setPolicy`. */
  policyProgram(): Uint8Array {
    const build = this.#sections.policy;
    return build
      ? this.#m.frame(build()).slice(this.#m.number("headBytes") + this.#m.number("policyBytes"))
      : new Uint8Array(0);
  }

  /** Replaces what the policy's plugins need of pods; rows that are left out have nothing. */
  setColumns(rows: ColumnRow[]): void {
    this.#sections.columns = () => columnsFrame(this.#m, rows, this.#root);
    // Behind the pods: a row counts for the pod that its slot has.
    this.#pending.delete("columns");
    this.#queue("columns", this.#sections.columns);
  }

  /** Replaces the rules section. */
  setRules(r: RulesProgram): void {
    this.#sections.rules = () => rulesFrame(this.#m, r);
    this.#queue("rules", this.#sections.rules);
  }

  /** Replaces the disaggregation section. */
  setDisaggregation(d: DisaggregationProgram): void {
    this.#sections.disaggregation = () => disaggregationFrame(this.#m, d);
    this.#queue("disaggregation", this.#sections.disaggregation);
  }

  #queue(kind: string, build: () => number): void {
    this.#pending.set(kind, build);
  }

  /** Queues a frame that only says that the agent is alive. */
  heartbeat(): void {
    this.#queue("heartbeat", () =>
      this.#m.x.sectionFrame!(this.#m.number("kindHeartbeat"), this.#m.x.emptySection!()),
    );
  }

  /** Whether `drain` would return frames. */
  get dirty(): boolean {
    return this.#pending.size > 0 || this.#m.x.needsSnapshot!() !== 0 || this.#m.x.deltaBytes!() > 0;
  }

  /** Frames to broadcast since the last call, in order, each at most 1 MiB. A rebuilt table comes as a snapshot. */
  drain(): Uint8Array[] {
    const { x } = this.#m;
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
        frames.push(this.#m.frame(length));
        from = this.#m.number("deltaNext");
      }
      x.deltaClear!();
    }
    for (const build of this.#pending.values()) {
      x.nextSequence!();
      frames.push(this.#m.frame(build()));
    }
    this.#pending.clear();
    return frames;
  }

  /** As `drain`, for nobody: whoever comes later begins with a snapshot. */
  discard(): void {
    const { x } = this.#m;
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
    const { x } = this.#m;
    const frames = [this.#m.frame(x.snapshotBegin!())];
    for (const build of sections) frames.push(this.#m.frame(build()));
    for (let id = 0; ; id = this.#m.number("deltaNext")) {
      const length = x.snapshotSets!(id);
      if (length === 0) break;
      frames.push(this.#m.frame(length));
    }
    for (let from = 0; ; from = this.#m.number("deltaNext")) {
      const length = x.snapshotPiece!(from);
      if (length === 0) break;
      frames.push(this.#m.frame(length));
    }
    frames.push(this.#m.frame(x.snapshotEnd!()));
    return frames;
  }

  /** Reads a frame from a filter; null when it is damaged or of another format. */
  decodeUp(data: Uint8Array): GatewayFrame | null {
    this.#m.put(data);
    return readGatewayFrame(this.#m.x.frameKind!(data.length), data, (name) => this.#m.number(name));
  }

  /** A frame for one gateway: what `gateways` others have under way, by slot. `stamp`: of its own last share. */
  foreignFrame(stamp: bigint, gateways: number, rows: ({ slot: number } & UnderWay)[]): Uint8Array {
    const { x } = this.#m;
    x.foreignBegin!(stamp, gateways);
    for (const r of rows) x.foreignRow!(r.slot, r.requests, r.prefills, r.work, r.tokens);
    return this.#m.frame(x.sectionFrame!(this.#m.number("kindForeign"), x.foreignEnd!()));
  }

  /** The whole index as bytes, for `restore` in a process with the same secret and block size. */
  checkpoint(): Uint8Array {
    const at = this.#m.x.checkpoint!() >>> 0;
    const bytes = this.#m.read(at, this.#m.number("checkpointBytes"));
    this.#m.x.release!(at);
    return bytes;
  }

  /** Takes a checkpoint; false (and nothing changed) when it is damaged or of another key, block size or format. */
  restore(bytes: Uint8Array): boolean {
    this.#m.put(bytes);
    return this.#m.x.restore!(bytes.length) !== 0;
  }

  /** Text-block hashes of `bytes` under a root, as the filter computes them. */
  hashText(root: bigint, bytes: Uint8Array, blockBytes: number): BigUint64Array {
    this.#m.x.inputBuffer!(bytes.length * 2 + 64);
    this.#m.put(bytes);
    const at = this.#m.x.hashText!(root, bytes.length) >>> 0;
    return new BigUint64Array(this.#m.read(at, Math.floor(bytes.length / blockBytes) * 8).buffer);
  }

  /** What each pod holds of a text under a root, by pod slot. */
  scoreText(root: bigint, bytes: Uint8Array): (slot: number) => HeldPrefix {
    this.#m.x.inputBuffer!(bytes.length * 2 + 64);
    this.#m.put(bytes);
    const at = this.#m.x.scoreText!(root, bytes.length) >>> 0;
    const width = this.#m.number("scoreBytes");
    const rows = new Uint32Array(this.#m.read(at, 1024 * width).buffer);
    return (slot) => {
      const row = (slot * width) >> 2;
      return { blocks: rows[row]!, tokens: rows[row + 1]!, tokensBefore: rows[row + 2]! };
    };
  }

  /** A root under the bytes of a cache salt. */
  saltedRoot(root: bigint, salt: Uint8Array): bigint {
    this.#m.put(salt);
    return BigInt.asUintN(64, this.#m.x.saltedRoot!(root, salt.length) as unknown as bigint);
  }

  /** How many of these engine hashes a pod holds, from the first on and without a hole. */
  heldRun(pod: number, hashes: BigUint64Array): number {
    this.#putHashes(hashes);
    return this.#m.x.heldRun!(pod, hashes.length);
  }

  /** KV blocks that a pod holds in GPU memory. */
  podBlocks(pod: number): number {
    return this.#m.x.statPodBlocks!(pod) >>> 0;
  }

  /** An engine's block hash under the installation's secret, 16 hex digits: the only form in which hashes are shown. */
  shownHash(hash: bigint): string {
    this.#m.x.inputBuffer!(64);
    const shown = BigInt.asUintN(64, this.#m.x.shownHash!(hash) as unknown as bigint);
    return shown.toString(16).padStart(16, "0");
  }

  /** How many of the held blocks differ by text; estimated from a sample where there are more than some thousands. */
  uniqueBlocks(): number {
    return this.#m.x.statUnique!();
  }

  stats(): WireStats {
    const { x } = this.#m;
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
