// The bytes of tokens as an engine tells them, where no tokenizer.json is at hand. POST /tokenize spells the tokens of a
// text in the vocabulary's own letters (`return_token_strs`), which is exact for every token that a text can be made to
// have; POST /detokenize says the text of any other, unless it is a part of a character. A token of which neither says
// enough, or of which they differ, is unknown: blocks with it are not indexed.
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { request } from "undici";
import type { TokenBytes } from "../wire.js";
import { type Alphabet, alphabetOf } from "./token-alphabet.js";
import { bytesOfTokens, tableOf } from "./token-bytes.js";

/** Characters of a text that is tokenized; at most four tokens each, which the shortest context has room for. */
const TEXT_CHARACTERS = 256;
/** Ids that are detokenized at once, each between two separators. */
const BATCH_IDS = 500;
/** Requests under way. */
const PARALLEL = 4;
const MAX_IDS = 4 * 1024 * 1024;
const TIMEOUT_MS = 10_000;
/** Texts by which the finished table is tested. */
const TESTED = 40;
/** Of so many tokens one may be told in two ways; more means that the engine's texts are not those of its tokens. */
const ONE_ODD_IN = 1000;
const FORMAT = 1;

/**
 * First and last code point, and how far they are apart: every letter and sign in use, and some of every block beyond,
 * so that each byte that a character begins with comes up. Then once more behind spaces, for tokens that begin so.
 */
const CHARACTERS: [number, number, number][] = [
  [0x20, 0x2fff, 1],
  [0x3000, 0x9fff, 1],
  [0xa000, 0xabff, 16],
  [0xac00, 0xd7a3, 1],
  [0xe000, 0xf8ff, 64],
  [0xf900, 0xffef, 1],
  [0x10000, 0x1efff, 64],
  [0x1f000, 0x1faff, 1],
  [0x20000, 0x3ffff, 64],
  [0x40000, 0x10ffff, 2048],
];
/** From the second on only each so many-th is put behind a space: dashes and quotes stand there, ideographs hardly. */
const OFTEN_SPACED = 0x3000;
const SPACED = 7;
/** Marks that no piece of a vocabulary has inside, or hardly any. */
const SEPARATORS = ["§", "¶", "¬", "~", "|", "^"];
/** What a decoder that tidies up would write without the spaces. */
const UNTIDY = "x . y ? z ! a , b do n't I 'm it 's we 've you 're";
const LOST = "\ufffd";

const utf8 = new TextEncoder();

/** What an engine says of its tokens is not enough, or not consistent. */
export class TokenizerNotTold extends Error {}

interface Told {
  ids: number[];
  pieces: string[];
}

/** An engine's two routes. */
class Engine {
  constructor(readonly base: string) {}

  async tokenize(prompt: string): Promise<Told> {
    const answer = (await this.#post("/tokenize", {
      prompt,
      add_special_tokens: false,
      return_token_strs: true,
    })) as { tokens?: number[]; token_strs?: string[] | null } | null;
    const { tokens: ids, token_strs: pieces } = answer ?? {};
    if (!Array.isArray(ids) || !Array.isArray(pieces) || ids.length !== pieces.length)
      throw new TokenizerNotTold(`${this.base}/tokenize does not say how its tokens are spelled`);
    return { ids, pieces };
  }

  /** Null: refused, as for an id that the vocabulary does not have. */
  async detokenize(tokens: number[]): Promise<string | null> {
    const answer = (await this.#post("/detokenize", { tokens })) as { prompt?: string } | null;
    if (answer === null) return null;
    if (typeof answer.prompt !== "string")
      throw new TokenizerNotTold(`${this.base}/detokenize answers without a text`);
    return answer.prompt;
  }

  async #post(path: string, body: object, tries = 3): Promise<unknown> {
    const response = await request(this.base + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
    }).catch((error: Error) => {
      // A busy server may have closed the connection just when it was used again.
      if (tries === 1) throw error;
      return null;
    });
    if (response === null) return this.#post(path, body, tries - 1);
    if (response.statusCode === 200) return response.body.json();
    await response.body.dump();
    if (response.statusCode === 404 || response.statusCode === 405)
      throw new TokenizerNotTold(`${this.base}${path} answers ${response.statusCode}`);
    // vLLM answers 400 or 500 for ids that it does not have.
    if (response.statusCode === 400 || response.statusCode === 422 || response.statusCode === 500)
      return null;
    throw new Error(`${this.base}${path} answers ${response.statusCode}`);
  }
}

/**
 * Learns the bytes of an engine's tokens at `base` (such as http://10.0.0.7:8000); some hundred requests.
 * @throws TokenizerNotTold when the engine does not say them, Error when it does not answer.
 */
export async function learnTokenBytes(base: string): Promise<TokenBytes> {
  const engine = new Engine(base);
  const alphabet = await alphabetOfEngine(engine);
  const spelled = new Map<number, Uint8Array>();
  const lost = new Set<number>();
  await each(texts(), (text) => spell(engine, alphabet, text, spelled, lost));
  const said = await detokenized(engine, separators(spelled));
  let odd = 0;
  const parts: (Uint8Array | null)[] = [];
  for (let id = 0; id < said.length || spelled.size > 0; id++) {
    const own = spelled.get(id);
    spelled.delete(id);
    if (id >= said.length && !own) continue;
    const text = said[id];
    const bytes = text && !text.includes(LOST) ? utf8.encode(text) : null;
    const differ = own && bytes && Buffer.compare(own, bytes) !== 0;
    if (differ) odd++;
    parts[id] = differ || lost.has(id) ? null : (own ?? bytes);
  }
  if (odd * ONE_ODD_IN > said.length)
    throw new TokenizerNotTold(`${base}/detokenize and /tokenize do not agree on ${odd} tokens`);
  const table = tableOf(Array.from(parts, (part) => part ?? null));
  await test(engine, table);
  return table;
}

/** How pieces spell bytes: two families are told by what stands for a space. */
async function alphabetOfEngine(engine: Engine): Promise<Alphabet> {
  const { pieces } = await engine.tokenize("a b");
  const spelled = pieces.join("");
  if (spelled.includes("Ġ")) return alphabetOf({ decoder: { type: "ByteLevel" } }, engine.base);
  if (spelled.includes("▁"))
    return alphabetOf({ decoder: { type: "Metaspace" }, model: { byte_fallback: true } }, engine.base);
  throw new TokenizerNotTold(`${engine.base}: its tokens are of no kind that is known`);
}

function* texts(): Generator<string> {
  yield UNTIDY;
  for (const [first, last, step] of CHARACTERS)
    for (let at = first; at <= last; at += step * TEXT_CHARACTERS) {
      let text = "";
      for (let i = 0; i < TEXT_CHARACTERS && at + i * step <= last; i++)
        text += String.fromCodePoint(at + i * step);
      yield text;
    }
  for (const [first, last, step] of CHARACTERS) {
    const apart = step * (first < OFTEN_SPACED ? 1 : SPACED);
    for (let at = first; at <= last; at += (apart * TEXT_CHARACTERS) / 2) {
      let text = "";
      for (let i = 0; i < TEXT_CHARACTERS / 2 && at + i * apart <= last; i++)
        text += ` ${String.fromCodePoint(at + i * apart)}`;
      yield text;
    }
  }
}

/** Takes the tokens of a text if they spell it; else those of its halves. Of one character that is lost, nothing. */
async function spell(
  engine: Engine,
  alphabet: Alphabet,
  text: string,
  into: Map<number, Uint8Array>,
  lost: Set<number>,
): Promise<void> {
  const { ids, pieces } = await engine.tokenize(text);
  const parts = pieces.map(alphabet);
  if (parts.every((part) => part !== null) && spells(Buffer.concat(parts as Uint8Array[]), text)) {
    for (const [i, id] of ids.entries()) into.set(id, parts[i]!);
    return;
  }
  const characters = [...text];
  if (characters.length === 1) {
    for (const id of ids) lost.add(id);
    return;
  }
  const half = characters.length >> 1;
  await spell(engine, alphabet, characters.slice(0, half).join(""), into, lost);
  await spell(engine, alphabet, characters.slice(half).join(""), into, lost);
}

/** Whether bytes are a text as a tokenizer may see it: normalized, or behind a space. */
function spells(bytes: Buffer, text: string): boolean {
  return [text, text.normalize("NFC")].some(
    (t) => bytes.equals(utf8.encode(t)) || bytes.equals(utf8.encode(` ${t}`)),
  );
}

/** Tokens that are a separator and nothing else. */
function separators(spelled: Map<number, Uint8Array>): { id: number; text: string }[] {
  return SEPARATORS.flatMap((text) => {
    const bytes = utf8.encode(text);
    for (const [id, own] of spelled) if (Buffer.compare(own, bytes) === 0) return [{ id, text }];
    return [];
  });
}

/** Texts of all ids from 0 on, undefined where none can be told. */
async function detokenized(
  engine: Engine,
  marks: { id: number; text: string }[],
): Promise<(string | undefined)[]> {
  const said: (string | undefined)[] = [];
  const untidy = await engine.detokenize((await engine.tokenize(UNTIDY)).ids);
  if (marks.length === 0 || untidy?.trimStart() !== UNTIDY)
    throw new TokenizerNotTold(`${engine.base}/detokenize does not write tokens as they are`);
  /** Whether any id of the batch has a text. */
  const batch = async (from: number, count: number, mark = 0): Promise<boolean> => {
    const { id, text } = marks[mark]!;
    const tokens = [id];
    for (let i = 0; i < count; i++) tokens.push(from + i, id);
    const answer = await engine.detokenize(tokens);
    const parts = answer?.split(text) ?? [];
    if (parts.length === count + 2) {
      for (let i = 0; i < count; i++) said[from + i] = parts[i + 1]!;
      return parts.slice(1, -1).some((part) => part !== "");
    }
    // Ids are dense: where the first is refused, so are all.
    if (answer === null && (count === 1 || (await engine.detokenize([id, from, id])) === null)) return false;
    if (count > 1) {
      const half = count >> 1;
      const first = await batch(from, half, mark);
      return (await batch(from + half, count - half, mark)) || first;
    }
    // The token has the separator inside.
    if (mark + 1 === marks.length) return false;
    return batch(from, count, mark + 1);
  };
  for (let from = 0; from < MAX_IDS; from += BATCH_IDS * PARALLEL) {
    const any = await Promise.all(
      Array.from({ length: PARALLEL }, (_, i) => batch(from + i * BATCH_IDS, BATCH_IDS)),
    );
    if (!any.includes(true)) break;
  }
  while (said.length > 0 && !said.at(-1)) said.pop();
  return said;
}

/** @throws TokenizerNotTold when tokens of a text have other bytes than the text. */
async function test(engine: Engine, table: TokenBytes): Promise<void> {
  let known = 0;
  const ids = Array.from(table.known.keys()).filter((id) => table.known[id]);
  for (let i = 0; i < TESTED; i++) {
    const picked = Array.from({ length: 24 }, () => ids[Math.floor(Math.random() * ids.length)]!);
    const text = Buffer.from(bytesOfTokens(table, picked)!)
      .toString("utf8")
      .replaceAll(LOST, "")
      .normalize("NFC");
    const bytes = bytesOfTokens(table, (await engine.tokenize(text)).ids);
    if (bytes === null) continue;
    known++;
    if (!spells(Buffer.from(bytes), text))
      throw new TokenizerNotTold(`${engine.base}: tokens of a text do not spell it`);
  }
  if (known * 2 < TESTED) throw new TokenizerNotTold(`${engine.base}: too few of its tokens are told`);
}

async function each<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items[Symbol.iterator]();
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (let next = queue.next(); !next.done; next = queue.next()) await work(next.value);
    }),
  );
}

/** A table that was learned before; null when there is none that can be read. */
export async function readLearned(file: string): Promise<TokenBytes | null> {
  try {
    const { format, tokens } = JSON.parse(await readFile(file, "utf8")) as {
      format: number;
      tokens: string[];
    };
    return format === FORMAT
      ? tableOf(tokens.map((t) => (t === "" ? null : Buffer.from(t, "base64"))))
      : null;
  } catch {
    return null;
  }
}

/** @throws Error of the file system. */
export async function writeLearned(file: string, table: TokenBytes): Promise<void> {
  const tokens = Array.from(table.known, (known, id) =>
    known
      ? Buffer.from(table.bytes.subarray(table.offsets[id], table.offsets[id + 1])).toString("base64")
      : "",
  );
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.next`, JSON.stringify({ format: FORMAT, tokens }), { mode: 0o600 });
  await rename(`${file}.next`, file);
}

/** Whether an engine still has the tokens of a table. @throws Error when it does not answer. */
export async function stillTold(base: string, table: TokenBytes): Promise<boolean> {
  try {
    await test(new Engine(base), table);
    return true;
  } catch (error) {
    if (error instanceof TokenizerNotTold) return false;
    throw error;
  }
}
