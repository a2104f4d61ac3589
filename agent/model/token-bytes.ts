// tokenizer.json → the bytes that each token id stands for.
import { readFile } from "node:fs/promises";
import { StartError } from "../errors.js";
import type { TokenBytes } from "../wire.js";

interface AddedToken {
  id: number;
  content: string;
}

interface TokenizerDocument {
  added_tokens?: AddedToken[];
  pre_tokenizer?: unknown;
  decoder?: unknown;
  model?: { type?: string; vocab?: Record<string, number> | [string, number][]; byte_fallback?: boolean };
}

type Alphabet = (token: string) => Uint8Array | null;

const text = new TextEncoder();

/**
 * Reads a tokenizer.json.
 * @throws StartError when it cannot be read or is of a kind whose tokens are not plain bytes.
 */
export async function loadTokenBytes(file: string): Promise<TokenBytes> {
  let document: TokenizerDocument;
  try {
    document = JSON.parse(await readFile(file, "utf8")) as TokenizerDocument;
  } catch (error) {
    throw new StartError(`${file}: not a readable tokenizer.json (${(error as Error).message})`);
  }
  return tokenBytes(document, file);
}

/** As `loadTokenBytes`, from the parsed document; `file` names it in errors. */
export function tokenBytes(document: unknown, file: string): TokenBytes {
  const d = document as TokenizerDocument;
  const vocab = d.model?.vocab;
  if (!vocab) throw new StartError(`${file}: has no model.vocab`);
  const entries: [string, number][] = Array.isArray(vocab)
    ? vocab.map(([token], id) => [token, id])
    : Object.entries(vocab);
  const alphabet = alphabetOf(d, file);
  const added = d.added_tokens ?? [];
  let size = 0;
  for (const [, id] of entries) if (id >= size) size = id + 1;
  for (const { id } of added) if (id >= size) size = id + 1;

  const parts: (Uint8Array | undefined)[] = new Array(size);
  for (const [token, id] of entries) parts[id] = alphabet(token) ?? undefined;
  // Added tokens stand for their own text, whatever the alphabet.
  for (const { id, content } of added) parts[id] = text.encode(content);

  const offsets = new Uint32Array(size + 1);
  const known = new Uint8Array(size);
  let total = 0;
  for (let id = 0; id < size; id++) {
    offsets[id] = total;
    total += parts[id]?.length ?? 0;
    if (parts[id]) known[id] = 1;
  }
  offsets[size] = total;
  const bytes = new Uint8Array(total);
  for (let id = 0; id < size; id++) {
    const part = parts[id];
    if (part) bytes.set(part, offsets[id]);
  }
  return { offsets, bytes, known };
}

/** Bytes of a run of token ids, null when one has none. */
export function bytesOfTokens(table: TokenBytes, ids: ArrayLike<number>): Uint8Array | null {
  let total = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (!table.known[id]) return null;
    total += table.offsets[id + 1]! - table.offsets[id]!;
  }
  const out = new Uint8Array(total);
  let at = 0;
  for (let i = 0; i < ids.length; i++) {
    const from = table.offsets[ids[i]!]!;
    const to = table.offsets[ids[i]! + 1]!;
    out.set(table.bytes.subarray(from, to), at);
    at += to - from;
  }
  return out;
}

function alphabetOf(d: TokenizerDocument, file: string): Alphabet {
  if (mentions(d.decoder, "ByteLevel") || mentions(d.pre_tokenizer, "ByteLevel")) return byteLevel();
  if (d.model?.byte_fallback || mentions(d.decoder, "ByteFallback") || mentions(d.decoder, "Metaspace"))
    return sentencePiece;
  throw new StartError(
    `${file}: neither a byte-level BPE nor a SentencePiece tokenizer (model ${d.model?.type ?? "unknown"}); ` +
      "prompts of this model cannot be matched by text",
  );
}

/** Whether a (possibly nested) component of the pipeline is of this type. */
function mentions(component: unknown, type: string): boolean {
  if (typeof component !== "object" || component === null) return false;
  if ((component as { type?: string }).type === type) return true;
  return Object.values(component).some((inner) =>
    Array.isArray(inner) ? inner.some((i) => mentions(i, type)) : mentions(inner, type),
  );
}

/** GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up. */
function byteLevel(): Alphabet {
  const byteOf = new Map<number, number>();
  let next = 256;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    byteOf.set(printable ? b : next++, b);
  }
  return (token) => {
    const out = new Uint8Array(token.length);
    for (let i = 0; i < token.length; i++) {
      const byte = byteOf.get(token.charCodeAt(i));
      if (byte === undefined) return null;
      out[i] = byte;
    }
    return out;
  };
}

function sentencePiece(token: string): Uint8Array {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
  if (byte) return Uint8Array.of(Number.parseInt(byte[1]!, 16));
  return text.encode(token.replaceAll("▁", " "));
}
