// Whether sampled tokens are those that their own text is tokenized into. An engine caches what was sampled; the next
// turn's prompt is tokenized afresh, and where the two differ there is no hit although the text is the same.
import type { Encode } from "../model/canonical-encoder.js";
import { bytesOfTokens } from "../model/token-bytes.js";
import type { TokenBytes } from "../wire.js";
import { TokenTails } from "./token-tails.js";

/** Remembered pairs; a power of two. 9 bytes each. */
const PAIRS = 1 << 18;
const VALID = 1;
const DOUBTFUL = 2;
/** What the text before and after a window changes: so many tokens at its ends are not judged by it. */
const LOOSE = 3;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Judges runs of tokens of one model. */
export class CanonicalCheck {
  readonly counts = {
    /** Blocks judged. */
    checked: 0,
    /** Of these, blocks whose text had to be tokenized again. */
    encoded: 0,
    /** Blocks whose tokens differ from those of their text. */
    different: 0,
  };
  /** Context of the blocks to come. */
  readonly tails = new TokenTails();
  readonly #encode: Encode;
  readonly #table: TokenBytes;
  readonly #pairs = new Float64Array(PAIRS).fill(-1);
  readonly #verdicts = new Uint8Array(PAIRS);

  constructor(encode: Encode, table: TokenBytes) {
    this.#encode = encode;
    this.#table = table;
  }

  /**
   * Whether a block's tokens are not those of its text. `before` are the tokens that precede it: none when
   * `atStart`, else as many as are known.
   *
   * A run of BPE tokens is the encoding of its text just when each two neighbours are the encoding of theirs
   * (https://github.com/github/rust-gems/tree/main/crates/bpe). What splits text before merging can disagree with
   * that, so a doubtful pair is decided by tokenizing the window. The last tokens of a block may yet be changed by what
   * follows: they are judged with the next block.
   */
  differs(before: ArrayLike<number>, block: ArrayLike<number>, atStart: boolean): boolean {
    this.counts.checked++;
    const window = [...Array.from(before), ...Array.from(block)];
    const from = Math.max(0, before.length - LOOSE - 1);
    let doubtful = false;
    for (let i = from; i + 1 < window.length && !doubtful; i++)
      doubtful = !this.#pairValid(window[i]!, window[i + 1]!);
    if (!doubtful) return false;
    this.counts.encoded++;
    const different = this.#windowDiffers(window, from, atStart && before.length === 0);
    if (different) this.counts.different++;
    return different;
  }

  #pairValid(a: number, b: number): boolean {
    const key = a * 0x1000000 + b;
    const slot = (Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b)) >>> (32 - 18);
    if (this.#pairs[slot] !== key) {
      this.#pairs[slot] = key;
      const ids = this.#encodeTokens([a, b]);
      this.#verdicts[slot] = ids?.length === 2 && ids[0] === a && ids[1] === b ? VALID : DOUBTFUL;
    }
    return this.#verdicts[slot] === VALID;
  }

  /** Tokens of the text of `tokens`; null when they have no text of their own. */
  #encodeTokens(tokens: number[]): readonly number[] | null {
    const bytes = bytesOfTokens(this.#table, tokens);
    if (!bytes) return null;
    try {
      return this.#encode(utf8.decode(bytes));
    } catch {
      return null;
    }
  }

  #windowDiffers(window: number[], from: number, atStart: boolean): boolean {
    const bytes = bytesOfTokens(this.#table, window);
    // Unknown tokens are the index's to refuse.
    if (!bytes) return false;
    const begin = atStart ? 0 : continuation(bytes);
    const end = bytes.length - incomplete(bytes);
    let text: string;
    try {
      text = utf8.decode(bytes.subarray(begin, end));
    } catch {
      // Not text: no request can hold it.
      return true;
    }
    const real = new Set<number>([begin]);
    let at = begin;
    for (const id of this.#encode(text)) {
      at += this.#size(id);
      real.add(at);
    }
    // The tokenizer adds or folds something: it cannot be laid beside the sampled tokens.
    if (at !== end) return false;
    const last = window.length - LOOSE;
    let offset = 0;
    for (let i = 0; i < last; i++) {
      offset += this.#size(window[i]!);
      const judged = atStart || i >= Math.max(from, LOOSE);
      if (judged && offset < end && !real.has(offset)) return true;
    }
    return false;
  }

  #size(id: number): number {
    return (this.#table.offsets[id + 1] ?? 0) - (this.#table.offsets[id] ?? 0);
  }
}

/** Leading bytes that continue a character of the text before. */
function continuation(bytes: Uint8Array): number {
  let n = 0;
  while (n < 3 && n < bytes.length && (bytes[n]! & 0xc0) === 0x80) n++;
  return n;
}

/** Trailing bytes of a character that the text after completes. */
function incomplete(bytes: Uint8Array): number {
  for (let n = 1; n <= 3 && n <= bytes.length; n++) {
    const byte = bytes[bytes.length - n]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > n ? n : 0;
  }
  return 0;
}
