// One engine: first come first served, chunked prefill behind decodes, blocks taken on demand, preemption by recompute.
import { BlockCache, type CachedBlock } from "./block-cache.js";
import { type Engine, stepSeconds } from "./engine.js";
import type { SimRequest } from "./request.js";

/** What a pod tells of its requests, at the end of a step. */
interface PodListener<T> {
  /** The prompt's first admission: how many of its tokens were cached. */
  admitted(tag: T, cachedTokens: number): void;
  firstToken(tag: T, now: number): void;
  done(tag: T, now: number): void;
}

interface Sequence<T> {
  request: SimRequest;
  tag: T;
  /** Blocks of the prompt that can be shared: the full ones. */
  shareable: number;
  /** Tokens whose KV is there. */
  computed: number;
  generated: number;
  /** Tokens of the step under way. */
  chunk: number;
  shared: CachedBlock[];
  /** Blocks of the prompt looked at for sharing; those that others had published stay private. */
  published: number;
  own: number;
  admitted: boolean;
}

export class SimPod<T> {
  readonly cache: BlockCache;
  readonly #engine: Engine;
  readonly #blockTokens: number;
  readonly #listener: PodListener<T>;
  readonly #waiting: Sequence<T>[] = [];
  #running: Sequence<T>[] = [];
  /** Prompt tokens computed, recomputed ones included. */
  prefilledTokens = 0;
  preemptions = 0;

  constructor(engine: Engine, blockTokens: number, listener: PodListener<T>) {
    this.#engine = engine;
    this.#blockTokens = blockTokens;
    this.#listener = listener;
    this.cache = new BlockCache(Math.floor(engine.capacity / blockTokens));
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running.length;
  }

  /** Queues a request; the pod must be able to hold its prompt and output. */
  enqueue(request: SimRequest, tag: T): void {
    this.#waiting.push({
      request,
      tag,
      shareable: Math.min(request.blocks.length, Math.floor(request.prompt / this.#blockTokens)),
      computed: 0,
      generated: 0,
      chunk: 0,
      shared: [],
      published: 0,
      own: 0,
      admitted: false,
    });
  }

  /** Plans the next step; returns its seconds, 0 when there is nothing to do. */
  begin(): number {
    const running = this.#running;
    let budget = this.#engine.budget;
    const before = this.preemptions;
    for (const s of running) s.chunk = 0;
    // A preemption shortens the list from its end while it is gone through.
    for (let i = 0; i < running.length && budget > 0; i++) {
      const s = running[i]!;
      if (s.generated > 0 && left(s) === 1 && this.#grow(s, 1)) budget--;
    }
    for (let i = 0; i < running.length && budget > 0; i++) {
      const s = running[i]!;
      if (s.chunk > 0) continue;
      const chunk = Math.min(left(s), budget);
      if (this.#grow(s, chunk)) budget -= chunk;
    }
    if (this.preemptions === before) budget = this.#admit(budget);
    return this.#seconds();
  }

  #seconds(): number {
    let requests = 0;
    let tokens = 0;
    let pairs = 0;
    let decodes = 0;
    let context = 0;
    for (const s of this.#running) {
      const { chunk, computed } = s;
      if (chunk === 0) continue;
      requests++;
      tokens += chunk;
      if (chunk === 1 && s.generated > 0) {
        decodes++;
        context += computed + 1;
      } else pairs += chunk * (computed + chunk / 2);
    }
    return requests === 0 ? 0 : stepSeconds(this.#engine, { requests, tokens, pairs, decodes, context });
  }

  /** Ends the step under way. */
  end(now: number): void {
    let ended = false;
    for (const s of this.#running) {
      if (s.chunk === 0) continue;
      s.computed += s.chunk;
      if (s.generated === 0 || s.chunk > 1) this.prefilledTokens += s.chunk;
      this.#publish(s);
      if (left(s) > 0) continue;
      s.generated++;
      if (s.generated === 1) this.#listener.firstToken(s.tag, now);
      if (s.generated < s.request.output) continue;
      this.#release(s);
      ended = true;
      this.#listener.done(s.tag, now);
    }
    if (ended) this.#running = this.#running.filter((s) => s.generated < s.request.output);
  }

  /** Gives a running sequence the blocks for a chunk, at the cost of those that came last; false when it is gone itself. */
  #grow(s: Sequence<T>, chunk: number): boolean {
    const need = Math.ceil((s.computed + chunk) / this.#blockTokens) - s.shared.length - s.own;
    while (need > 0 && !this.cache.take(need)) {
      const victim = this.#running.pop()!;
      this.#preempt(victim);
      if (victim === s) return false;
    }
    s.own += Math.max(need, 0);
    s.chunk = chunk;
    return true;
  }

  #preempt(s: Sequence<T>): void {
    this.preemptions++;
    this.#release(s);
    s.computed = 0;
    s.chunk = 0;
    this.#waiting.unshift(s);
  }

  #admit(given: number): number {
    let budget = given;
    while (budget > 0 && this.#waiting.length > 0 && this.#running.length < this.#engine.sequences) {
      const s = this.#waiting[0]!;
      const target = s.request.prompt + s.generated;
      // An engine computes at least the last token.
      const limit = Math.min(s.shareable, Math.floor((target - 1) / this.#blockTokens));
      const n = this.cache.match(s.request.blocks, limit);
      for (let i = 0; i < n; i++) s.shared.push(this.cache.use(s.request.blocks[i]!));
      const cached = n * this.#blockTokens;
      const chunk = Math.min(target - cached, budget);
      const need = Math.ceil((cached + chunk) / this.#blockTokens) - n;
      if (!this.cache.take(need)) {
        this.#release(s);
        break;
      }
      this.#waiting.shift();
      s.own = need;
      s.computed = cached;
      s.published = n;
      s.chunk = chunk;
      budget -= chunk;
      if (!s.admitted) this.#listener.admitted(s.tag, cached);
      s.admitted = true;
      this.#running.push(s);
    }
    return budget;
  }

  #publish(s: Sequence<T>): void {
    const full = Math.min(s.shareable, Math.floor(s.computed / this.#blockTokens));
    for (; s.published < full; s.published++) {
      const block = this.cache.publish(s.request.blocks[s.published]!);
      if (!block) continue;
      s.shared.push(block);
      s.own--;
    }
  }

  /** Tail blocks go first, so that they are evicted first. */
  #release(s: Sequence<T>): void {
    this.cache.free(s.own);
    s.own = 0;
    for (let i = s.shared.length - 1; i >= 0; i--) this.cache.release(s.shared[i]!);
    s.shared.length = 0;
    s.published = 0;
  }
}

/** Tokens to compute before the next one comes out. */
function left<T>(s: Sequence<T>): number {
  return s.request.prompt + s.generated - s.computed;
}
