// Fuzzes the reader of tokenizer.json: small files, right ones and broken ones. Whatever is in them, the reader answers
// with a table or a StartError; of a table, what each piece spells is told by a second reading of the file, character by
// character.
import { StartError } from "../../agent/errors.js";
import { bytesOfTokens, tokenBytes } from "../../agent/model/token-bytes.js";
import { Random } from "./random.js";
import { Fault, type Target } from "./target.js";

const PIECES = [
  "a",
  "▁",
  "▁the",
  "<0x0A>",
  "<0xff>",
  "<0xZZ>",
  "<unk>",
  "</s>",
  "é",
  "🙂",
  "$&",
  "_",
  "__proto__",
  "",
];
const NO_TEXT = ["\ud800", "x\udc00"];
const JUNK: unknown[] = [null, 0, -1, 1.5, 1e300, "", "x", [], {}, [[]], { type: "Sequence" }, true];
const KEYS = ["model", "added_tokens", "normalizer", "pre_tokenizer", "decoder"];
const MARKS = ["▁", "_"];

/** A file that is right, and what it says in the target's own words. */
interface Made {
  document: Record<string, unknown>;
  pieces: string[];
  added: Map<number, string>;
  mark: string;
  unknown: number | null;
}

export class TokenizerTarget implements Target {
  readonly name = "tokenizer";
  readonly #random = new Random();

  run(seed: number): number {
    const r = this.#random;
    r.seed(seed);
    const made = this.#make();
    const right = this.#read(made.document, seed);
    if (right === null)
      throw new Fault(this.name, seed, "a right file is refused", JSON.stringify(made.document));
    this.#compare(made, right, seed);
    const broken = this.#broken(structuredClone(made.document), 0);
    this.#read(broken, seed);
    this.#read(r.oneIn(4) ? deep(r.below(20_000)) : r.pick(JUNK), seed);
    return 3;
  }

  #make(): Made {
    const r = this.#random;
    const pieces = [
      ...new Set(Array.from({ length: r.below(12) }, () => r.pick(r.oneIn(9) ? NO_TEXT : PIECES))),
    ];
    const mark = r.pick(MARKS);
    const unigram = r.oneIn(3);
    const unknown = r.oneIn(2) && pieces.includes("<unk>") ? pieces.indexOf("<unk>") : null;
    const added = new Map<number, string>();
    for (let n = r.below(3); n > 0; n--) added.set(r.below(20), r.pick(["</s>", "<|x|>", "▁", "<0x0A>"]));
    const replace = { type: "Replace", pattern: { String: mark }, content: " " };
    const metaspace = {
      type: "Metaspace",
      replacement: mark,
      prepend_scheme: r.pick(["first", "always", "never"]),
    };
    const fallback = { type: "ByteFallback" };
    const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
    const decoders = r.oneIn(2) ? [replace, fallback, { type: "Fuse" }, strip] : [metaspace, fallback];
    const model: Record<string, unknown> = {
      type: unigram ? "Unigram" : "BPE",
      byte_fallback: true,
      vocab: unigram ? pieces.map((p) => [p, -1.5]) : Object.fromEntries(pieces.map((p, id) => [p, id])),
    };
    if (unknown !== null) Object.assign(model, unigram ? { unk_id: unknown } : { unk_token: "<unk>" });
    return {
      document: {
        model,
        added_tokens: [...added].map(([id, content]) => ({ id, content, special: true })),
        decoder: { type: "Sequence", decoders },
      },
      pieces,
      added,
      mark,
      unknown,
    };
  }

  #read(document: unknown, seed: number): ReturnType<typeof tokenBytes> | null {
    try {
      return tokenBytes(document, "t.json");
    } catch (error) {
      if (error instanceof StartError) return null;
      throw new Fault(this.name, seed, `${error}`, (JSON.stringify(document) ?? "").slice(0, 2000));
    }
  }

  #compare(made: Made, table: ReturnType<typeof tokenBytes>, seed: number): void {
    for (let id = 0; id < 24; id++) {
      const want = spelled(made, id);
      const real = bytesOfTokens(table, [id]);
      if ((real === null) !== (want === null) || (real && want && Buffer.compare(real, want) !== 0))
        throw new Fault(
          this.name,
          seed,
          `token ${id} is ${JSON.stringify(real && [...real])}, not ${JSON.stringify(want && [...want])}`,
          JSON.stringify(made.document),
        );
    }
  }

  /** Some part of the document replaced, renamed or nested. */
  #broken(value: unknown, depth: number): unknown {
    const r = this.#random;
    if (typeof value !== "object" || value === null || depth > 5 || r.oneIn(6)) return r.pick(JUNK);
    const object = value as Record<string, unknown>;
    const keys = Object.keys(object);
    const key = keys.length === 0 ? r.pick(KEYS) : r.pick(keys);
    if (r.oneIn(8)) object[r.pick(KEYS)] = deep(r.below(3000));
    object[key] = this.#broken(object[key], depth + 1);
    return object;
  }
}

/** What token `id` spells; null when it must be unknown. */
function spelled({ pieces, added, mark, unknown }: Made, id: number): Uint8Array | null {
  const own = added.get(id);
  if (own !== undefined) return Buffer.from(own);
  const piece = pieces[id];
  if (piece === undefined || piece === "" || id === unknown || NO_TEXT.includes(piece)) return null;
  if (piece === "<0x0A>") return Uint8Array.of(10);
  if (piece === "<0xff>") return Uint8Array.of(255);
  let out = "";
  for (const c of piece) out += c === mark ? " " : c;
  return Buffer.from(out);
}

/** Sequences in sequences. */
function deep(levels: number): unknown {
  let value: unknown = { type: "ByteFallback" };
  for (let i = 0; i < levels; i++) value = { type: "Sequence", decoders: [value] };
  return value;
}
