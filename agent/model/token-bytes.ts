// tokenizer.json → the bytes that each token id stands for.
import { open } from "node:fs/promises";
import { StartError } from "../errors.js";
import type { TokenBytes } from "../wire.js";
import { alphabetOf, isText, type TokenizerComponents } from "./token-alphabet.js";

/** Longest file, bytes: the largest vocabularies of today take 35 MB. */
export const MAX_TOKENIZER_BYTES = 128 * 1024 * 1024;
/** Ids from this on are refused; the largest vocabularies of today have 262,144. */
const MAX_IDS = 4 * 1024 * 1024;

/**
 * Reads a tokenizer.json.
 * @throws StartError when it cannot be read or is of a kind whose tokens are not plain bytes.
 */
export async function loadTokenBytes(file: string): Promise<TokenBytes> {
  return tokenBytes(await readTokenizer(file), file);
}

/** @throws StartError when the file is too long or no JSON. */
async function readTokenizer(file: string): Promise<unknown> {
  try {
    const handle = await open(file);
    try {
      const { size } = await handle.stat();
      if (size > MAX_TOKENIZER_BYTES)
        throw new RangeError(`${size} bytes, at most ${MAX_TOKENIZER_BYTES} are read`);
      return JSON.parse(await handle.readFile("utf8"));
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new StartError(`${file}: not a readable tokenizer.json (${(error as Error).message})`);
  }
}

/**
 * As `loadTokenBytes`, from the parsed document; `file` names it in errors. A token is unknown, so that blocks with it
 * are not indexed, when it spells no bytes, when two tokens claim its id, or when it is what the tokenizer writes for
 * all that it cannot tell.
 */
export function tokenBytes(document: unknown, file: string): TokenBytes {
  const d = (isObject(document) ? document : {}) as TokenizerComponents & { added_tokens?: unknown };
  const model = isObject(d.model) ? d.model : {};
  const entries = vocabularyOf(model["vocab"], file);
  const added = addedTokens(d.added_tokens, file);
  const alphabet = alphabetOf(d, file);
  let size = 0;
  for (const [, id] of entries) if (id >= size) size = id + 1;
  for (const { id } of added) if (id >= size) size = id + 1;

  const parts: (Uint8Array | null | undefined)[] = new Array(size).fill(undefined);
  for (const [piece, id] of entries) parts[id] = parts[id] === undefined ? alphabet(piece) : null;
  const lost = lostToken(model, entries);
  if (lost !== null && lost < size) parts[lost] = null;
  // Added tokens stand for their own text, whatever the alphabet. One that is no special token and also a piece of the
  // vocabulary comes from the text that the piece spells, too, which is the usual one: Gemma has runs of spaces so.
  const pieces = new Map(entries.map(([piece, id]) => [id, piece]));
  for (const { content, id, special } of added) {
    if (!special && pieces.get(id) === content && parts[id]) continue;
    parts[id] = isText(content) ? text.encode(content) : null;
  }
  return tableOf(parts);
}

/** The table of tokens whose bytes are `parts`, by id; null or empty ones are unknown. */
export function tableOf(parts: (Uint8Array | null | undefined)[]): TokenBytes {
  const size = parts.length;
  const offsets = new Uint32Array(size + 1);
  const known = new Uint8Array(size);
  let total = 0;
  for (let id = 0; id < size; id++) {
    offsets[id] = total;
    // A token without a text could stand anywhere unseen.
    const length = parts[id]?.length ?? 0;
    total += length;
    if (length > 0) known[id] = 1;
  }
  offsets[size] = total;
  const bytes = new Uint8Array(total);
  for (let id = 0; id < size; id++) {
    const part = parts[id];
    if (part) bytes.set(part, offsets[id]);
  }
  return { offsets, bytes, known };
}

type Entry = [piece: string, id: number];

/** A BPE's map of pieces to ids, or a Unigram's list of pieces and scores. */
function vocabularyOf(vocab: unknown, file: string): Entry[] {
  if (Array.isArray(vocab))
    return vocab.map((row: unknown, id): Entry => {
      const piece: unknown = Array.isArray(row) ? row[0] : undefined;
      if (typeof piece !== "string") throw new StartError(`${file}: model.vocab[${id}] has no piece`);
      return [piece, checkedId(id, `model.vocab[${id}]`, file)];
    });
  if (!isObject(vocab)) throw new StartError(`${file}: has no model.vocab`);
  return Object.entries(vocab).map(([piece, id]) => [piece, checkedId(id, "an id in model.vocab", file)]);
}

interface AddedToken {
  content: string;
  id: number;
  special: boolean;
}

function addedTokens(added: unknown, file: string): AddedToken[] {
  if (added === undefined || added === null) return [];
  if (!Array.isArray(added)) throw new StartError(`${file}: added_tokens is no list`);
  return added.map((row: unknown, i): AddedToken => {
    const { content, id, special } = isObject(row) ? row : {};
    if (typeof content !== "string") throw new StartError(`${file}: added_tokens[${i}].content is no string`);
    return { content, id: checkedId(id, `added_tokens[${i}].id`, file), special: special !== false };
  });
}

function checkedId(id: unknown, where: string, file: string): number {
  if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < MAX_IDS) return id;
  throw new StartError(`${file}: ${where} is no whole number from 0 to ${MAX_IDS - 1}`);
}

/** Id of the token that stands for all the tokenizer cannot tell: it has no text of its own. */
function lostToken(model: Record<string, unknown>, entries: Entry[]): number | null {
  const { unk_id, unk_token } = model;
  if (typeof unk_id === "number" && Number.isInteger(unk_id) && unk_id >= 0) return unk_id;
  if (typeof unk_token !== "string") return null;
  return entries.find(([piece]) => piece === unk_token)?.[1] ?? null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const text = new TextEncoder();

/** Bytes of a run of token ids, the first `most` of them; null when an id has none, or is no id at all. */
export function bytesOfTokens(
  table: TokenBytes,
  ids: ArrayLike<unknown>,
  most = Number.POSITIVE_INFINITY,
): Uint8Array | null {
  let total = 0;
  let count = 0;
  for (; count < ids.length && total < most; count++) {
    const id = ids[count];
    if (typeof id !== "number" || !table.known[id]) return null;
    total += table.offsets[id + 1]! - table.offsets[id]!;
  }
  const out = new Uint8Array(total);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const id = ids[i] as number;
    const from = table.offsets[id]!;
    const to = table.offsets[id + 1]!;
    out.set(table.bytes.subarray(from, to), at);
    at += to - from;
  }
  return total > most ? out.subarray(0, most) : out;
}
