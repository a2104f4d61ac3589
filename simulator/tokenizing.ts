// Tokenizes prompts one after the other in slices, so that a long one does not stop the engine's timers.
import type { Encoding, Tokenizer } from "./tokenizer.js";

/** Longest stay in the tokenizer, real ms. */
const SLICE_MS = 2;
/** A request is handed on in a turn of its own when tokenizing took longer than this, real ms. */
const SHORT_MS = 1;

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
    const start = performance.now();
    for (let job = this.#jobs[0]; job; job = this.#jobs[0]) {
      const complete = job.encoding.advance(start + SLICE_MS - performance.now());
      if (!complete || performance.now() - start > SHORT_MS) break;
      this.#jobs.shift();
      job.done(job.encoding.tokens());
    }
    if (this.#jobs.length === 0 || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#run());
  }
}
