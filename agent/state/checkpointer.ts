// Writes checkpoints while the agent runs: often while they are cheap, seldom when they are large.
import type { Logger } from "pino";
import { type Checkpoint, writeCheckpoint } from "./state-folder.js";

/**
 * Shortest and longest time between two checkpoints, ms. An engine replays only its newest batches, so what a crash
 * loses should be little; a checkpoint of some MB takes a few ms.
 */
const MIN_MS = 1000;
const MAX_MS = 300_000;
/**
 * Share of the event loop's time that checkpoints may take. Of an index of many millions of blocks one takes some tenths
 * of a second, in which events wait: fewer than one in a hundred of them.
 */
const SHARE = 0.004;
/** What they may write, bytes per ms. */
const RATE = 10_000;

export class Checkpointer {
  readonly #folder: string;
  readonly #take: () => Checkpoint;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> | null = null;
  #dirty = false;
  #stopped = false;
  readonly counts = { written: 0, failed: 0, bytes: 0, blockedMs: 0, writtenAt: 0 };

  /** `take` gives index and positions of one moment. */
  constructor(folder: string, take: () => Checkpoint, log: Logger) {
    this.#folder = folder;
    this.#take = take;
    this.#log = log;
  }

  /** Something changed that a checkpoint should have. */
  touch(): void {
    this.#dirty = true;
    if (!this.#timer && !this.#stopped) this.#schedule();
  }

  #schedule(): void {
    const { blockedMs, bytes } = this.counts;
    const wait = Math.min(MAX_MS, Math.max(MIN_MS, blockedMs / SHARE, bytes / RATE));
    this.#timer = setTimeout(() => {
      void this.#write().then(() => {
        this.#timer = null;
        if (this.#dirty && !this.#stopped) this.#schedule();
      });
    }, wait);
  }

  /** Writes a last one. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    await this.#writing;
    if (this.#dirty) await this.#write();
  }

  async #write(): Promise<void> {
    if (this.#writing) await this.#writing;
    this.#writing = this.#writeOne();
    await this.#writing;
    this.#writing = null;
  }

  async #writeOne(): Promise<void> {
    this.#dirty = false;
    try {
      const before = performance.now();
      const checkpoint = this.#take();
      this.counts.blockedMs = performance.now() - before;
      await writeCheckpoint(this.#folder, checkpoint);
      this.counts.written++;
      this.counts.bytes = checkpoint.index.length;
      this.counts.writtenAt = Date.now();
    } catch (error) {
      this.#dirty = true;
      this.counts.failed++;
      this.#log.error({ err: error }, "the checkpoint could not be written");
    }
  }
}
