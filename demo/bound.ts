// The pooled-cache bound: what one cache with the pods' summed capacity would have hit on the same requests in the
// same order. No router can do better than a pool without duplicates.
import { renderChat } from "../simulator/chat-template.js";
import type { Tokenizer } from "../simulator/tokenizer.js";
import type { Played } from "./play.js";
import { BLOCK, promptBlocks } from "./prompt-blocks.js";

/** A set of the most recently used keys. The queue holds every use; a use that was not the key's last is skipped. */
class BlockLru {
  readonly #lastUse = new Map<number, number>();
  #queue: number[] = [];
  #head = 0;
  #firstUse = 0;

  constructor(readonly capacity: number) {}

  has(key: number): boolean {
    return this.#lastUse.has(key);
  }

  touch(key: number): void {
    this.#lastUse.set(key, this.#firstUse + this.#queue.length);
    this.#queue.push(key);
    while (this.#lastUse.size > this.capacity) {
      const oldest = this.#queue[this.#head]!;
      if (this.#lastUse.get(oldest) === this.#firstUse + this.#head) this.#lastUse.delete(oldest);
      this.#head++;
    }
    if (this.#head > 1_000_000) {
      this.#queue = this.#queue.slice(this.#head);
      this.#firstUse += this.#head;
      this.#head = 0;
    }
  }
}

/** Hit rate (cached tokens / prompt tokens) of one LRU of `blocks` KV blocks over `played`. */
export function pooledBound(
  played: Played[],
  warmUp: Played[],
  tokenizer: Tokenizer,
  blocks: number,
): number {
  const lru = new BlockLru(blocks);
  let prompt = 0;
  let cached = 0;
  for (const [list, counts] of [
    [warmUp, false],
    [played, true],
  ] as const) {
    for (const p of list) {
      if (!p.answer || p.error) continue;
      const { keys } = promptBlocks(tokenizer, renderChat(p.messages, true) + p.answer.text);
      // An engine always computes at least the last token.
      const usable = Math.floor((p.answer.promptTokens - 1) / BLOCK);
      let hit = 0;
      while (hit < usable && lru.has(keys[hit]!)) hit++;
      if (counts) {
        prompt += p.answer.promptTokens;
        cached += hit * BLOCK;
      }
      // The end of a chain is touched first, so that it is evicted first.
      for (let i = keys.length - 1; i >= 0; i--) lru.touch(keys[i]!);
    }
  }
  return prompt ? cached / prompt : 0;
}
