// Exact Llama 3 tokenizing, fast by remembering words and pieces of text.
import { pieceEnd, pretokenEnd } from "./pretokens.js";
import { Vocabulary } from "./vocabulary.js";

/** Remembered words; beyond it the memory starts anew. */
const WORDS = 300_000;
/** Code units of text in each of the two generations of remembered pieces. */
const PIECE_UNITS = 12_000_000;

const NOT_ASCII = /[^\0-\x7f]/;

/** A growing list of token ids. */
class TokenList {
  ids: Uint32Array;
  length = 0;

  /** @param expected tokens to have room for at first. */
  constructor(expected: number) {
    this.ids = new Uint32Array(expected);
  }

  push(id: number): void {
    if (this.length === this.ids.length) this.#grow(this.length + 1);
    this.ids[this.length++] = id;
  }

  append(ids: Uint32Array): void {
    if (this.length + ids.length > this.ids.length) this.#grow(this.length + ids.length);
    this.ids.set(ids, this.length);
    this.length += ids.length;
  }

  #grow(least: number): void {
    const grown = new Uint32Array(Math.max(least, this.ids.length * 2));
    grown.set(this.ids.subarray(0, this.length));
    this.ids = grown;
  }
}

/** A text being tokenized, some pieces at a time. */
export interface Encoding {
  /** Goes on for about `budgetMs`; true when the whole text is done. */
  advance(budgetMs: number): boolean;
  /** Tokens so far. */
  tokens(): Uint32Array;
}

/** Tokenizes as Hugging Face tokenizers do with Llama 3's tokenizer.json. */
export class Tokenizer {
  readonly vocabulary: Vocabulary;
  #words = new Map<string, number | number[]>();
  #young = new Map<string, Uint32Array>();
  #old = new Map<string, Uint32Array>();
  #youngUnits = 0;
  readonly #scratch = new TokenList(1024);

  constructor(vocabulary: Vocabulary) {
    this.vocabulary = vocabulary;
  }

  /** Reads the installed vocabulary. */
  static load(): Tokenizer {
    return new Tokenizer(Vocabulary.load());
  }

  /** Tokens of a text; special tokens spelled out in it are taken as such, nothing is added. */
  encode(text: string): Uint32Array {
    const encoding = this.start(text);
    encoding.advance(Number.POSITIVE_INFINITY);
    return encoding.tokens();
  }

  /** As `encode`, in slices, so that a long text does not block the event loop. */
  start(text: string): Encoding {
    // English has a little over four code units a token, most code fewer.
    const out = new TokenList(64 + Math.ceil(text.length / 3));
    let at = 0;
    let plainEnd = 0;
    let special = -1;
    return {
      advance: (budgetMs: number) => {
        const stop = performance.now() + budgetMs;
        for (let pieces = 1; at < text.length || special >= 0; pieces++) {
          if (at === plainEnd && special >= 0) {
            out.push(special);
            at += this.vocabulary.bytes(special).length;
            special = -1;
            plainEnd = at;
            continue;
          }
          if (at === plainEnd) {
            const found = this.#nextSpecial(text, at);
            plainEnd = found.at;
            special = found.id;
            continue;
          }
          const end = pieceEnd(text, at, plainEnd);
          out.append(this.#piece(text, at, end));
          at = end;
          if ((pieces & 7) === 0 && performance.now() >= stop) return at >= text.length && special < 0;
        }
        return true;
      },
      tokens: () => out.ids.subarray(0, out.length),
    };
  }

  /** Text of tokens; bytes that are not UTF-8 become U+FFFD. @throws RangeError for an unknown id. */
  decode(ids: ArrayLike<number>): string {
    let bytes = "";
    for (let i = 0; i < ids.length; i++) bytes += this.vocabulary.bytes(ids[i] as number);
    return NOT_ASCII.test(bytes) ? Buffer.from(bytes, "latin1").toString("utf8") : bytes;
  }

  /** Every special token is written `<|name|>`, and none holds either bracket inside. */
  #nextSpecial(text: string, from: number): { at: number; id: number } {
    for (let open = text.indexOf("<|", from); open >= 0; open = text.indexOf("<|", open + 1)) {
      const close = text.indexOf("|>", open + 2);
      if (close < 0) break;
      const id = close - open < 40 ? this.vocabulary.special(text.slice(open, close + 2)) : undefined;
      if (id !== undefined) return { at: open, id };
    }
    return { at: text.length, id: -1 };
  }

  #piece(text: string, at: number, end: number): Uint32Array {
    const piece = text.slice(at, end);
    const known = this.#young.get(piece);
    if (known !== undefined) return known;
    let tokens = this.#old.get(piece);
    if (tokens === undefined) {
      const fresh = this.#scratch;
      fresh.length = 0;
      for (let from = 0; from < piece.length; ) {
        const stop = pretokenEnd(piece, from, piece.length);
        this.#word(piece.slice(from, stop), fresh);
        from = stop;
      }
      tokens = fresh.ids.slice(0, fresh.length);
    }
    this.#youngUnits += piece.length;
    if (this.#youngUnits > PIECE_UNITS) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngUnits = piece.length;
    }
    this.#young.set(ownCopy(piece), tokens);
    return tokens;
  }

  #word(word: string, out: TokenList): void {
    const known = this.#words.get(word);
    if (typeof known === "number") {
      out.push(known);
      return;
    }
    const ids = known ?? this.#newWord(word);
    for (let i = 0; i < ids.length; i++) out.push(ids[i] as number);
  }

  #newWord(word: string): number[] {
    const ids = this.vocabulary.encode(
      NOT_ASCII.test(word) ? Buffer.from(word, "utf8").toString("latin1") : word,
    );
    if (word.length > 64) return ids;
    if (this.#words.size >= WORDS) this.#words.clear();
    this.#words.set(ownCopy(word), ids.length === 1 ? (ids[0] as number) : ids);
    return ids;
  }
}

/** A copy that does not keep alive the prompt that the text is a slice of. */
function ownCopy(text: string): string {
  const encoding = NOT_ASCII.test(text) ? "utf16le" : "latin1";
  return Buffer.from(text, encoding).toString(encoding);
}
