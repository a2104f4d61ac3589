// Tokenizes prompts one after the other in slices, so that a long one does not stop the engine's timers.
import type { Encoding, Tokenizer } from "./tokenizer.js";

const SLICE_MS = 3;

interface Job {
  encoding: Encoding;
  done(tokens: Uint32Array): void;
}

/** First come, first served; `done` may be called before `submit` returns. */
export class TokenizingQueue {
  readonly #tokenizer: Tokenizer;
  readonly #jobs: Job[] = [];
  #scheduled = false;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Calls `done` with the tokens of `text`. */
  submit(text: string, done: (tokens: Uint32Array) => void): void {
    this.#jobs.push({ encoding: this.#tokenizer.start(text), done });
    if (!this.#scheduled) this.#run();
  }

  #run(): void {
    this.#scheduled = false;
    const stop = performance.now() + SLICE_MS;
    for (let job = this.#jobs[0]; job; job = this.#jobs[0]) {
      const left = stop - performance.now();
      if (left <= 0 || !job.encoding.advance(left)) break;
      this.#jobs.shift();
      job.done(job.encoding.tokens());
    }
    if (this.#jobs.length === 0 || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#run());
  }
}
