// Which sequences run in a step and with how many tokens, as vLLM V1 decides it (vllm/v1/core/sched/scheduler.py):
// running sequences first in order of admission, then waiting ones first come first served, within a token budget.

import type { StepWork } from "../simulate/cost-model.js";
import type { BlockPool } from "./block-pool.js";
import type { EventBatch } from "./event-batch.js";
import type { Sequence } from "./sequence.js";

/** Limits of the scheduler. */
export interface SchedulerLimits {
  blockSize: number;
  maxNumSeqs: number;
  /** Tokens of one step. */
  maxBatchedTokens: number;
}

/** Counts since the start; tokens unless said otherwise. */
export interface SchedulerCounts {
  cacheQueries: number;
  cacheHits: number;
  /** Number of preemptions. */
  preemptions: number;
}

/** Admits, grows, preempts and frees sequences. */
export class Scheduler {
  readonly running: Sequence[] = [];
  readonly waiting: Sequence[] = [];
  readonly counts: SchedulerCounts = { cacheQueries: 0, cacheHits: 0, preemptions: 0 };
  readonly #pool: BlockPool;
  readonly #events: EventBatch;
  readonly #limits: SchedulerLimits;
  readonly #hits: Int32Array;

  constructor(pool: BlockPool, events: EventBatch, limits: SchedulerLimits) {
    this.#pool = pool;
    this.#events = events;
    this.#limits = limits;
    this.#hits = new Int32Array(pool.size);
  }

  /**
   * Plans a step that starts at `now`: sets `scheduled` of the sequences in it and adds their work. Requests ready after
   * `cutoff` are not seen yet. @returns tokens in the step; 0 = nothing can run.
   */
  plan(now: number, cutoff: number, work: StepWork): number {
    let budget = this.#limits.maxBatchedTokens;
    let preempted = false;
    for (let i = 0; i < this.running.length && budget > 0; i++) {
      const sequence = this.running[i] as Sequence;
      const tokens = Math.min(sequence.length - sequence.computed, budget);
      while (!this.#grow(sequence, tokens)) {
        preempted = true;
        if (this.#preemptLast() === sequence) break;
      }
      if (this.running[i] !== sequence) break;
      this.#schedule(sequence, tokens, work);
      budget -= tokens;
    }
    while (!preempted && budget > 0 && this.running.length < this.#limits.maxNumSeqs) {
      const sequence = this.waiting[0];
      if (sequence === undefined || sequence.readyAt > cutoff) break;
      const tokens = this.#admit(sequence, budget);
      if (tokens === 0) break;
      this.waiting.shift();
      this.running.push(sequence);
      if (sequence.admittedAt === 0) sequence.admittedAt = now;
      work.lookup(sequence.computed);
      this.#schedule(sequence, tokens, work);
      budget -= tokens;
    }
    return this.#limits.maxBatchedTokens - budget;
  }

  /** Takes a sequence out, wherever it is, and gives its blocks back. */
  remove(sequence: Sequence): void {
    for (const list of [this.running, this.waiting]) {
      const at = list.indexOf(sequence);
      if (at >= 0) list.splice(at, 1);
    }
    this.#release(sequence);
  }

  /** Takes a finished sequence out and leaves its blocks in use. @returns them. */
  detach(sequence: Sequence): Int32Array {
    const blocks = sequence.blocks.slice(0, sequence.blockCount);
    sequence.blockCount = 0;
    this.remove(sequence);
    return blocks;
  }

  #schedule(sequence: Sequence, tokens: number, work: StepWork): void {
    sequence.scheduled = tokens;
    const decodes = sequence.computed >= sequence.promptLength && tokens === 1;
    if (decodes) work.decode(sequence.computed);
    else work.prefill(tokens, sequence.computed);
    const full = Math.floor((sequence.computed + tokens) / this.#limits.blockSize);
    if (full <= sequence.cachedBlocks) return;
    sequence.hashFullBlocks();
    for (let block = sequence.cachedBlocks; block < full; block++)
      this.#pool.cache(
        sequence.blocks[block] as number,
        sequence.hashes[2 * block] as number,
        sequence.hashes[2 * block + 1] as number,
      );
    this.#events.stored(sequence, sequence.cachedBlocks, full);
    sequence.cachedBlocks = full;
  }

  /** Looks the sequence up in the cache and takes its blocks. @returns tokens to schedule, 0 = no room. */
  #admit(sequence: Sequence, budget: number): number {
    const { blockSize } = this.#limits;
    sequence.hashFullBlocks();
    // The last token is always computed, for its logits: a hit never covers the whole sequence.
    const most = Math.floor((sequence.length - 1) / blockSize);
    let hits = 0;
    let freeHits = 0;
    for (; hits < most; hits++) {
      const block = this.#pool.find(
        sequence.hashes[2 * hits] as number,
        sequence.hashes[2 * hits + 1] as number,
      );
      if (block < 0) break;
      this.#hits[hits] = block;
      if (this.#pool.isFree(block)) freeHits++;
    }
    const cached = hits * blockSize;
    // What another pod computed needs blocks here and no work; the last token is computed in any case.
    const there = Math.max(cached, Math.min(sequence.remoteTokens, sequence.length - 1));
    const tokens = Math.min(sequence.length - there, budget);
    const needed = Math.ceil((there + tokens) / blockSize) - hits;
    if (needed > this.#pool.free - freeHits) return 0;
    for (let i = 0; i < hits; i++) {
      const block = this.#hits[i] as number;
      this.#pool.touch(block);
      sequence.blocks[i] = block;
    }
    sequence.blockCount = hits;
    sequence.cachedBlocks = hits;
    sequence.computed = there;
    this.#grow(sequence, tokens);
    if (sequence.cachedTokens < 0) {
      sequence.cachedTokens = cached;
      sequence.externalTokens = Math.max(0, sequence.remoteTokens - cached);
      this.counts.cacheQueries += sequence.promptLength;
      this.counts.cacheHits += cached;
    }
    // After a preemption all of it is computed here.
    sequence.remoteTokens = 0;
    return tokens;
  }

  #grow(sequence: Sequence, tokens: number): boolean {
    const blocks = Math.ceil((sequence.computed + tokens) / this.#limits.blockSize);
    if (blocks - sequence.blockCount > this.#pool.free) return false;
    while (sequence.blockCount < blocks) sequence.blocks[sequence.blockCount++] = this.#pool.take();
    return true;
  }

  #preemptLast(): Sequence {
    const victim = this.running.pop() as Sequence;
    this.#release(victim);
    victim.computed = 0;
    victim.preemptions++;
    this.counts.preemptions++;
    this.waiting.unshift(victim);
    return victim;
  }

  #release(sequence: Sequence): void {
    this.#pool.release(sequence.blocks, sequence.blockCount);
    sequence.blockCount = 0;
    sequence.cachedBlocks = 0;
    sequence.scheduled = 0;
  }
}
