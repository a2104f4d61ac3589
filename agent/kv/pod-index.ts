// One pod's events, sorted out and put into the index: what can be told from text alone is stored, the rest is counted.
import { type StoredBlocks, StoreStatus, Tier, type Wire } from "../wire.js";
import { BlockUses } from "./block-uses.js";
import type { CanonicalCheck } from "./canonical-check.js";
import { type BlockRemoved, type BlockStored, decodeBatch, type EventSink } from "./event-decoder.js";
import { Orphans } from "./orphans.js";
import { SampledBlocks } from "./sampled-blocks.js";
import { StoreOnlyTier } from "./store-only-tier.js";
import { WindowRate } from "./window-rate.js";

/** Why blocks of an event are not in the index. */
export type SkipReason =
  | "tier"
  | "group"
  | "adapter"
  | "extra_keys"
  | "unknown_token"
  | "shape"
  /** Sampled tokens, or blocks after such, that no prompt is tokenized into. */
  | "sampled";

export interface IndexCounts {
  stored: number;
  removed: number;
  cleared: number;
  unknown: number;
  /** Events that were not, or not wholly, indexed. */
  skipped: Record<SkipReason, number>;
  orphansHeld: number;
}

/** Attention kinds whose cached prefix can be used block by block. Others need state that events do not tell. */
const PREFIX_KINDS = new Set(["full_attention", "mla_attention", "sink_full_attention"]);

/** Bounds of what waits for a parent, per pod; 60 s is longer than any replay takes. */
const ORPHAN_LIMITS = { count: 1024, bytes: 4 * 1024 * 1024, ageMs: 60_000 };

/** After this many blocks since a gap the exact counts are no longer worth their memory. */
const MAX_CONFIRMED = 262_144;

/** Events of one pod (one data-parallel rank) into one slot of the index. */
export class PodIndex implements EventSink {
  readonly slot: number;
  readonly counts: IndexCounts = {
    stored: 0,
    removed: 0,
    cleared: 0,
    unknown: 0,
    skipped: { tier: 0, group: 0, adapter: 0, extra_keys: 0, unknown_token: 0, shape: 0, sampled: 0 },
    orphansHeld: 0,
  };
  /** Tokens per block as last seen in an event; 0 before the first. */
  blockSize = 0;
  readonly orphans = new Orphans(ORPHAN_LIMITS);
  /** Blocks that prompts go on from. */
  readonly uses = new BlockUses();
  /** Blocks removed. */
  readonly evictions = new WindowRate();
  readonly #wire: Wire;
  readonly #model: number;
  /** KV cache groups that are not full attention; removals name only the group. */
  readonly #otherGroups = new Set<number>();
  /** Null = every count is exact; else the blocks whose copies are exact since the gap. */
  #confirmed: Set<bigint> | null = null;
  readonly #sampled: SampledBlocks | null;
  readonly #cpu: StoreOnlyTier;

  /** Without `check` sampled tokens are taken as if a prompt held them. */
  constructor(
    wire: Wire,
    slot: number,
    model: number,
    check: CanonicalCheck | null = null,
    cpu = new StoreOnlyTier(),
  ) {
    this.#cpu = cpu;
    this.#wire = wire;
    this.slot = slot;
    this.#model = model;
    this.#sampled = check && new SampledBlocks(check, slot);
  }

  /** Whether batches were missed, so that some blocks may be gone without our knowing. */
  get suspect(): boolean {
    return this.#confirmed !== null;
  }

  /** Applies a batch. @throws MsgpackError when it is damaged. */
  apply(payload: Uint8Array): number {
    return decodeBatch(payload, this).time;
  }

  /**
   * Batches were missed. What is held is kept: the engine evicts its coldest blocks, so most of it is still true, and
   * a block that is gone is put right when the engine computes it again. Until a block is heard of again its count of
   * copies is taken as unknown, so that a second announcement does not leave a copy behind for ever.
   */
  markSuspect(): void {
    this.#confirmed = new Set();
  }

  /** The pod lost its cache: restarted, or cleared it. */
  wipe(): void {
    this.#wire.clearPod(this.slot);
    this.#wire.dropApproximate(this.slot);
    this.orphans.clear();
    this.uses.clear();
    this.#sampled?.clear();
    this.#cpu.clear();
    this.#confirmed = null;
  }

  /** Gives up orphans that have waited too long. */
  expire(now: number): void {
    this.orphans.expire(now);
  }

  cleared(): void {
    this.counts.cleared++;
    this.wipe();
  }

  unknown(): void {
    this.counts.unknown++;
  }

  stored(e: BlockStored): void {
    this.counts.stored++;
    const tier = tierOf(e.medium);
    if (tier !== null && tier !== Tier.Gpu && e.tokens.length === 0 && this.#scored(e.group)) {
      // Offloading tells hashes alone; what they say is known while another tier has the block.
      if (this.#wire.storeKnown(this.slot, e.hashes, tier) < e.hashes.length) this.counts.skipped.tier++;
      this.#giveUp(this.#cpu.stored(e.hashes));
      return;
    }
    const reason = this.#unusable(e, tier);
    if (reason) {
      this.counts.skipped[reason]++;
      return;
    }
    // Another tier's blocks may be longer: LMCache's are of 256 tokens.
    if (tier === Tier.Gpu) this.blockSize = e.blockSize;
    const lora = e.loraName ?? "";
    let { hashes, tokens } = e;
    let salt = "";
    if (e.extraKeys) {
      const tellable = textOnly(e, lora);
      salt = tellable.salt;
      if (tellable.blocks < hashes.length) {
        this.counts.skipped.extra_keys++;
        if (tellable.blocks === 0) return;
        hashes = hashes.subarray(0, tellable.blocks);
        tokens = tokens.subarray(0, tellable.blocks * e.blockSize);
      }
    }
    if (this.#sampled) {
      const usable = this.#sampled.usable(hashes, e.parent, tokens, e.blockSize);
      if (usable < hashes.length) {
        this.counts.skipped.sampled++;
        this.#dropWaiting(hashes.slice(usable));
        if (usable === 0) return;
        hashes = hashes.subarray(0, usable);
        tokens = tokens.subarray(0, usable * e.blockSize);
      }
    }
    // A block alone may come from a decode step, which says nothing of reuse.
    if (e.parent !== null && hashes.length > 1) this.uses.add(e.parent, Date.now());
    if (this.#confirmed && tier === Tier.Gpu) this.#confirm(hashes);
    this.#store({ hashes, parent: e.parent, tokens, blockSize: e.blockSize, lora, salt }, tier!);
  }

  removed(e: BlockRemoved): void {
    this.counts.removed++;
    const tier = tierOf(e.medium);
    if (tier === null || !this.#scored(e.group)) {
      this.counts.skipped[tier === null ? "tier" : "group"]++;
      return;
    }
    if (tier !== Tier.Gpu) {
      this.#cpu.removed();
      this.#wire.remove(this.slot, e.hashes, tier);
      return;
    }
    this.evictions.add(e.hashes.length, performance.now());
    if (this.#confirmed) this.#confirmRemoval(e.hashes);
    else this.#wire.remove(this.slot, e.hashes);
    if (this.orphans.size > 0) {
      const now = performance.now();
      for (const hash of e.hashes) this.orphans.remove(hash, now);
    }
  }

  /** Why an event can say nothing about text, null when it can. */
  #unusable(e: BlockStored, tier: Tier | null): SkipReason | null {
    if (tier === null) return "tier";
    if (e.specKind !== null && !PREFIX_KINDS.has(e.specKind)) {
      if (e.group !== null) this.#otherGroups.add(e.group);
      return "group";
    }
    if (e.group !== null && (this.#otherGroups.has(e.group) || (e.specKind === null && e.group !== 0)))
      return "group";
    const whole = Number.isInteger(e.blockSize) && e.blockSize > 0;
    if (!whole || e.tokens.length !== e.hashes.length * e.blockSize) return "shape";
    return e.loraId !== null && e.loraName === null ? "adapter" : null;
  }

  /** Whether a group is full attention, as far as events said. */
  #scored(group: number | null): boolean {
    return group === null || !this.#otherGroups.has(group);
  }

  #store(e: StoredBlocks, tier: Tier): void {
    const status = this.#wire.store(this.slot, this.#model, e, tier);
    if (status === StoreStatus.Orphan) {
      if (e.parent === null) return;
      this.counts.orphansHeld++;
      this.orphans.hold(
        {
          hashes: e.hashes.slice(),
          parent: e.parent,
          tokens: e.tokens.slice(),
          blockSize: e.blockSize,
          lora: e.lora,
          salt: e.salt,
          tier,
        },
        performance.now(),
      );
      return;
    }
    if (tier !== Tier.Gpu) this.#giveUp(this.#cpu.stored(e.hashes));
    if (status === StoreStatus.UnknownToken) this.counts.skipped.unknown_token++;
    if (status === StoreStatus.BadShape) this.counts.skipped.shape++;
    if (this.orphans.size === 0) return;
    for (const hash of e.hashes.slice())
      for (const run of this.orphans.take(hash)) this.#store(run, run.tier);
  }

  /** Forgets blocks of CPU memory, all their copies. */
  #giveUp(hashes: bigint[]): void {
    for (const hash of hashes) while (this.#wire.remove(this.slot, BigUint64Array.of(hash), Tier.Cpu) > 0);
  }

  /** What waits for blocks that are left out is left out with them. */
  #dropWaiting(hashes: BigUint64Array): void {
    for (const hash of hashes)
      for (const run of this.orphans.take(hash)) {
        for (const own of run.hashes) this.#sampled!.leaveOut(own);
        this.#dropWaiting(run.hashes);
      }
  }

  /** Makes the count of copies start anew for blocks first heard of since the gap. */
  #confirm(hashes: BigUint64Array): void {
    const confirmed = this.#confirmed!;
    const fresh = hashes.filter((hash) => !confirmed.has(hash));
    this.#forget(fresh);
    for (const hash of fresh) confirmed.add(hash);
    if (confirmed.size > MAX_CONFIRMED) this.#confirmed = null;
  }

  /** A removal of a block not confirmed ends all its copies: a subset of the truth, never a superset. */
  #confirmRemoval(hashes: BigUint64Array): void {
    const confirmed = this.#confirmed!;
    this.#forget(hashes.filter((hash) => !confirmed.has(hash)));
    const exact = hashes.filter((hash) => confirmed.has(hash));
    if (exact.length > 0) this.#wire.remove(this.slot, exact);
  }

  #forget(hashes: BigUint64Array): void {
    while (hashes.length > 0 && this.#wire.remove(this.slot, hashes) > 0);
  }
}

/** Null = a tier that is not followed. Old releases name none and have one. */
function tierOf(medium: string | null): Tier | null {
  if (medium === null) return Tier.Gpu;
  const name = medium.toUpperCase();
  return name === "GPU" ? Tier.Gpu : name === "CPU" || name === "CPU_PINNED" ? Tier.Cpu : null;
}

/**
 * How many leading blocks of an event depend on nothing but text, adapter and cache salt, and the salt. vLLM's extra
 * keys are [adapter name?, multimodal items..., cache salt (first block only)?]; anything else changes the hash in a way
 * that text does not show.
 */
function textOnly(e: BlockStored, lora: string): { blocks: number; salt: string } {
  const keys = e.extraKeys ?? [];
  let salt = "";
  for (let i = 0; i < e.hashes.length; i++) {
    let own = keys[i] ?? [];
    if (lora !== "" && own[0] === lora) own = own.slice(1);
    if (own.length === 0) continue;
    if (i > 0 || e.parent !== null || own.length > 1 || typeof own[0] !== "string")
      return { blocks: i, salt };
    salt = own[0];
  }
  return { blocks: e.hashes.length, salt };
}
