// What the simulated model says: plain words, the same for the same prompt on every pod.
import { END_OF_TURN } from "./chat-template.js";
import type { Vocabulary } from "./vocabulary.js";

/** Ids above this are rare words. */
const COMMON = 12_000;

/** Place in an answer. */
export interface AnswerState {
  random: number;
  /** Tokens given so far. */
  given: number;
  /** Words until the sentence ends. */
  wordsLeft: number;
  /** The prompt ends in white space or has no text, so the first word takes no space before it. */
  freshLine: boolean;
}

/**
 * Writes answers whose tokens are the tokenizer's own for their text: every word is one token that is a whole pretoken,
 * and the answer neither starts nor ends with white space, which the template would strip from the next prompt.
 */
export class AnswerWriter {
  readonly #vocabulary: Vocabulary;
  readonly #seed: number;
  readonly #words: number[] = [];
  readonly #openers: number[] = [];
  readonly #capitals: number[] = [];
  readonly #period: number;
  /** Token that ends the turn. */
  readonly endOfTurn: number;

  constructor(vocabulary: Vocabulary, seed: number) {
    this.#vocabulary = vocabulary;
    this.#seed = seed;
    this.#period = vocabulary.id(".") as number;
    this.endOfTurn = vocabulary.special(END_OF_TURN) as number;
    for (let id = 0; id < COMMON; id++) {
      const word = vocabulary.bytes(id);
      if (!/^ [a-z]{2,10}$/.test(word)) continue;
      const title = (word[1] as string).toUpperCase() + word.slice(2);
      const capital = vocabulary.id(title);
      const opener = vocabulary.id(` ${title}`);
      if (capital === undefined || opener === undefined) continue;
      this.#words.push(id);
      this.#capitals.push(capital);
      this.#openers.push(opener);
    }
  }

  /** Start of the answer to a prompt with this hash and last token. */
  start(promptHash: number, lastToken: number): AnswerState {
    const freshLine = /(?:\s|\|>)$/.test(this.#vocabulary.bytes(lastToken));
    const random = (promptHash ^ Math.imul(this.#seed + 1, 0x9e3779b1)) | 0 || 1;
    return { random, given: 0, wordsLeft: 7, freshLine };
  }

  /** Next token of an answer. */
  next(state: AnswerState): number {
    let x = state.random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    state.random = x;
    const choice = (x >>> 0) % this.#words.length;
    const first = state.given++ === 0;
    if (first && state.freshLine) return this.#capitals[choice] as number;
    if (state.wordsLeft === 0) {
      state.wordsLeft = -1;
      return this.#period;
    }
    if (state.wordsLeft < 0) {
      state.wordsLeft = 5 + ((x >>> 16) & 15);
      return this.#openers[choice] as number;
    }
    state.wordsLeft--;
    return this.#words[choice] as number;
  }
}
