// One sequence in the engine: tokens, block hashes, blocks held, and when things happened.
import { hashBlocks, rootHash } from "./block-hash.js";
import type { AnswerState } from "./generated-text.js";

/** What a sequence asks for. */
export interface SequenceOptions {
  prompt: Uint32Array;
  /** Tokens to generate, all of them. */
  maxTokens: number;
  /** Close the answer with the end-of-turn token, counted in `maxTokens`; needs two tokens or more. */
  endsTurn: boolean;
  salt: string;
  /** Published with stored blocks when not empty. */
  sessionId: string;
  /** Tokens between two calls of `progressed` after the first token. */
  progressInterval: number;
  /** Simulated ms. */
  arrivedAt: number;
  /** Called when tokens are due and at the end; `finished` comes once, last. */
  progressed(sequence: Sequence, finished: boolean): void;
}

/** A request's tokens and their way through the scheduler. Times are simulated ms, 0 = not yet. */
export class Sequence {
  readonly promptLength: number;
  readonly maxTokens: number;
  readonly endsTurn: boolean;
  readonly salt: string;
  readonly sessionId: string;
  readonly arrivedAt: number;
  readonly progressInterval: number;
  readonly progressed: (sequence: Sequence, finished: boolean) => void;
  /** Prompt and answer. */
  readonly tokens: Uint32Array;
  /** Low and high lane of each full block. */
  readonly hashes: Int32Array;
  readonly blocks: Int32Array;
  answer: AnswerState | null = null;
  length: number;
  blockCount = 0;
  /** Leading blocks whose hashes are in the pool's table. */
  cachedBlocks = 0;
  /** Tokens whose KV is there. */
  computed = 0;
  /** Tokens in the step under way. */
  scheduled = 0;
  /** Prompt tokens found in the cache at first admission; -1 before. */
  cachedTokens = -1;
  /** Prompt tokens whose KV another pod computed; taken into account at the first admission. */
  remoteTokens = 0;
  /** Digest of the prompt that such KV is of; what is generated depends on it. */
  remoteHash: number | null = null;
  /** Of `remoteTokens`, those that were not in the own cache. */
  externalTokens = 0;
  /** Keeps the blocks of the finished sequence for another pod; null gives them back. */
  handOver: ((blocks: Int32Array) => void) | null = null;
  generated = 0;
  /** Value of `generated` at which `progressed` is called next. */
  nextProgress = 1;
  /** When the scheduler may see the request. */
  readyAt = 0;
  admittedAt = 0;
  firstTokenAt = 0;
  lastTokenAt = 0;
  preemptions = 0;
  readonly #root: readonly [number, number];
  readonly #blockSize: number;
  #hashed = 0;

  constructor(options: SequenceOptions, blockSize: number) {
    const most = options.prompt.length + options.maxTokens;
    this.promptLength = options.prompt.length;
    this.maxTokens = options.maxTokens;
    this.endsTurn = options.endsTurn;
    this.salt = options.salt;
    this.sessionId = options.sessionId;
    this.arrivedAt = options.arrivedAt;
    this.progressInterval = options.progressInterval;
    this.progressed = options.progressed;
    this.tokens = new Uint32Array(most);
    this.tokens.set(options.prompt);
    this.length = options.prompt.length;
    this.hashes = new Int32Array(2 * Math.ceil(most / blockSize));
    this.blocks = new Int32Array(Math.ceil(most / blockSize));
    this.#root = rootHash(options.salt);
    this.#blockSize = blockSize;
  }

  /** Hashes every block that is full now. @returns number of full blocks. */
  hashFullBlocks(): number {
    const full = Math.floor(this.length / this.#blockSize);
    if (full > this.#hashed) {
      hashBlocks(this.tokens, this.#blockSize, this.#hashed, full, this.#root, this.hashes);
      this.#hashed = full;
    }
    return full;
  }

  /** A 32-bit digest of the prompt. */
  promptHash(): number {
    if (this.remoteHash !== null) return this.remoteHash;
    const full = Math.floor(this.promptLength / this.#blockSize);
    let hash = this.#root[0] ^ (full > 0 ? (this.hashes[2 * full - 2] as number) : 0);
    for (let i = full * this.#blockSize; i < this.promptLength; i++)
      hash = Math.imul(hash ^ (this.tokens[i] as number), 0x01000193);
    return hash;
  }

  /** Answer tokens `from` to `to` (exclusive). */
  answerTokens(from: number, to: number): Uint32Array {
    return this.tokens.subarray(this.promptLength + from, this.promptLength + to);
  }
}
