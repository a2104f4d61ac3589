// Stored blocks whose parent is not known yet wait here: after a reconnect or a gap a child can come first.
import type { Tier } from "../wire.js";

/** Consecutive blocks of one event, copied; a held run owns its arrays. */
export interface HeldRun {
  hashes: BigUint64Array;
  parent: bigint;
  tokens: Uint32Array;
  blockSize: number;
  lora: string;
  salt: string;
  tier: Tier;
}

export interface OrphanLimits {
  /** Most runs held. */
  count: number;
  /** Most bytes of hashes and tokens held. */
  bytes: number;
  /** How long a run waits, ms. */
  ageMs: number;
}

interface Entry {
  run: HeldRun;
  bytes: number;
  since: number;
}

/** Bounded, oldest first out. One per pod. */
export class Orphans {
  readonly #limits: OrphanLimits;
  /** Insertion order is age order. */
  readonly #entries = new Set<Entry>();
  readonly #byParent = new Map<bigint, Set<Entry>>();
  readonly #byHash = new Map<bigint, Entry>();
  #bytes = 0;
  /** Runs given up, by age or for room. */
  dropped = 0;

  constructor(limits: OrphanLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Holds a run (its arrays are kept, so pass copies); `now` is a monotonic time in ms. */
  hold(run: HeldRun, now: number): void {
    const bytes = run.hashes.byteLength + run.tokens.byteLength;
    if (bytes > this.#limits.bytes) {
      this.dropped++;
      return;
    }
    const entry: Entry = { run, bytes, since: now };
    this.#entries.add(entry);
    this.#bytes += bytes;
    const siblings = this.#byParent.get(run.parent);
    if (siblings) siblings.add(entry);
    else this.#byParent.set(run.parent, new Set([entry]));
    for (const hash of run.hashes) this.#byHash.set(hash, entry);
    for (const oldest of this.#entries) {
      if (this.#entries.size <= this.#limits.count && this.#bytes <= this.#limits.bytes) break;
      this.#drop(oldest);
      this.dropped++;
    }
  }

  /** Takes out the runs that wait for `parent`. */
  take(parent: bigint): HeldRun[] {
    const waiting = this.#byParent.get(parent);
    if (!waiting) return [];
    const runs = [...waiting];
    for (const entry of runs) this.#drop(entry);
    return runs.map((entry) => entry.run);
  }

  /** A block was removed while it waited: it and what follows it in its run are forgotten. */
  remove(hash: bigint, now: number): void {
    const entry = this.#byHash.get(hash);
    if (!entry) return;
    this.#drop(entry);
    const keep = entry.run.hashes.indexOf(hash);
    if (keep === 0) return;
    this.hold(
      {
        ...entry.run,
        hashes: entry.run.hashes.slice(0, keep),
        tokens: entry.run.tokens.slice(0, keep * entry.run.blockSize),
      },
      now,
    );
  }

  /** Gives up what has waited too long; returns how many runs. */
  expire(now: number): number {
    let n = 0;
    for (const entry of this.#entries) {
      if (now - entry.since < this.#limits.ageMs) break;
      this.#drop(entry);
      n++;
    }
    this.dropped += n;
    return n;
  }

  clear(): void {
    this.#entries.clear();
    this.#byParent.clear();
    this.#byHash.clear();
    this.#bytes = 0;
  }

  #drop(entry: Entry): void {
    if (!this.#entries.delete(entry)) return;
    this.#bytes -= entry.bytes;
    const siblings = this.#byParent.get(entry.run.parent);
    siblings?.delete(entry);
    if (siblings?.size === 0) this.#byParent.delete(entry.run.parent);
    for (const hash of entry.run.hashes) if (this.#byHash.get(hash) === entry) this.#byHash.delete(hash);
  }
}
