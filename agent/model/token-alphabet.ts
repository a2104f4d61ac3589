// How the pieces of a vocabulary spell bytes, as a tokenizer.json's components state it.
import { StartError } from "../errors.js";

/** Bytes of a piece; null when it spells none, or nothing that a text could be turned back into. */
export type Alphabet = (piece: string) => Uint8Array | null;

/** The parts of a tokenizer.json that say how pieces spell bytes; of any shape, since the file is not ours. */
export interface TokenizerComponents {
  normalizer?: unknown;
  pre_tokenizer?: unknown;
  decoder?: unknown;
  model?: unknown;
}

interface Component {
  type?: unknown;
  [field: string]: unknown;
}

/** Sequences in sequences: no real file has more than two of them. */
const MAX_DEPTH = 8;
const MAX_COMPONENTS = 64;
/** What SentencePiece writes for a space. */
const SPACE_MARK = "▁";

const text = new TextEncoder();

/**
 * Alphabet of a tokenizer. The text that it spells is the normalized one: where a tokenizer puts a space before a text
 * (a Prepend normalizer, or Metaspace), the first piece has that space. The beginning of a prompt, as the template
 * prober learns it, ends with the space then; the decoder's Strip, which would take it away, plays no part.
 * @throws StartError when the tokens do not spell bytes one by one; `file` names it.
 */
export function alphabetOf(d: TokenizerComponents, file: string): Alphabet {
  const model = fields(d.model);
  const refuse = (why: string): never => {
    throw new StartError(`${file}: ${why}; prompts of this model cannot be matched by text`);
  };
  const decoder = componentsOf(d.decoder);
  const before = [...componentsOf(d.normalizer), ...componentsOf(d.pre_tokenizer)];
  for (const field of ["continuing_subword_prefix", "end_of_word_suffix"])
    if (typeof model[field] === "string" && model[field] !== "")
      refuse(`its pieces are marked as parts of words (model.${field})`);
  if ([...before, ...decoder].some((c) => c.type === "ByteLevel")) return byteLevel();
  const byteFallback = model["byte_fallback"] === true || decoder.some((c) => c.type === "ByteFallback");
  const metaspace = [...before, ...decoder].some((c) => c.type === "Metaspace");
  if (!byteFallback && !metaspace)
    refuse(
      `neither a byte-level BPE nor a SentencePiece tokenizer (model ${String(model["type"] ?? "unknown")})`,
    );
  const written = decoder.length > 0 ? decodedAs(decoder, refuse) : markOf(before);
  return (piece) => {
    const byte = byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(piece) : null;
    if (byte) return Uint8Array.of(Number.parseInt(byte[1]!, 16));
    let spelled = piece;
    for (const [from, to] of written) spelled = spelled.replaceAll(from, () => to);
    return isText(spelled) ? text.encode(spelled) : null;
  };
}

/** Whether a string is text that UTF-8 can write: no half of a surrogate pair. */
export function isText(s: string): boolean {
  return !/\p{Surrogate}/u.test(s);
}

/** What a decoder writes for parts of pieces, in its order. */
function decodedAs(decoder: Component[], refuse: (why: string) => never): [string, string][] {
  const written: [string, string][] = [];
  let fused = false;
  for (const c of decoder) {
    switch (c.type) {
      case "Replace": {
        const from = fields(c["pattern"])["String"];
        const to = c["content"];
        if (typeof from !== "string" || from === "" || typeof to !== "string")
          refuse("its decoder replaces by a pattern that is no plain string");
        written.push([from as string, to as string]);
        break;
      }
      case "Metaspace":
        written.push([replacementOf(c), " "]);
        break;
      case "Fuse":
        fused = true;
        break;
      case "Strip":
        // Of the whole text it takes the leading space; of each piece it would take what the piece spells.
        if (!fused) refuse("its decoder strips every piece");
        break;
      case "ByteFallback":
        break;
      default:
        refuse(`its decoder has a component of type ${String(c.type ?? "unknown")}`);
    }
  }
  return written;
}

/** Without a decoder the text's side says what stands for a space. */
function markOf(before: Component[]): [string, string][] {
  const marks: [string, string][] = [];
  for (const c of before) {
    if (c.type === "Metaspace") marks.push([replacementOf(c), " "]);
    if (c.type === "Replace" && fields(c["pattern"])["String"] === " " && typeof c["content"] === "string")
      marks.push([c["content"], " "]);
  }
  return marks.some(([mark]) => mark !== "") ? marks.filter(([mark]) => mark !== "") : [[SPACE_MARK, " "]];
}

function replacementOf(metaspace: Component): string {
  const { replacement } = metaspace;
  return typeof replacement === "string" && replacement !== "" ? replacement : SPACE_MARK;
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** The components of a Sequence in their order, or the one that is given. */
function componentsOf(component: unknown, depth = 0, into: Component[] = []): Component[] {
  if (typeof component !== "object" || component === null || Array.isArray(component)) return into;
  if (depth > MAX_DEPTH || into.length >= MAX_COMPONENTS) return into;
  const c = component as Component;
  if (c.type !== "Sequence") {
    into.push(c);
    return into;
  }
  for (const list of [c["decoders"], c["pretokenizers"], c["normalizers"]])
    if (Array.isArray(list))
      for (const inner of list.slice(0, MAX_COMPONENTS)) componentsOf(inner, depth + 1, into);
  return into;
}

/** GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up. */
function byteLevel(): Alphabet {
  const byteOf = new Map<number, number>();
  let next = 256;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    byteOf.set(printable ? b : next++, b);
  }
  return (piece) => {
    const out = new Uint8Array(piece.length);
    for (let i = 0; i < piece.length; i++) {
      const byte = byteOf.get(piece.charCodeAt(i));
      if (byte === undefined) return null;
      out[i] = byte;
    }
    return out;
  };
}
