// Tokens learned from engines: the simulated one's, and ones that tell too little or something else.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  learnTokenBytes,
  readLearned,
  stillTold,
  TokenizerNotTold,
  writeLearned,
} from "../../agent/model/pod-tokenizer.js";
import type { TokenBytes } from "../../agent/wire.js";
import { Tokenizer } from "../../simulator/tokenizer.js";

const text = new TextEncoder();
const tokenizer = Tokenizer.load();
const servers: Server[] = [];
let base: string;
let learned: TokenBytes;

interface Answers {
  tokenize: (prompt: string) => { tokens: number[]; token_strs: string[] | null };
  detokenize: (ids: number[]) => string | null;
}

const honest: Answers = {
  tokenize: (prompt) => {
    const tokens = Array.from(tokenizer.encode(prompt));
    return { tokens, token_strs: tokens.map((id) => tokenizer.vocabulary.symbols(id)) };
  },
  detokenize: (ids) => {
    try {
      return tokenizer.decode(ids);
    } catch {
      return null;
    }
  },
};

/** An engine's two routes; ids that it does not have are answered 400. */
async function engine(answers: Partial<Answers> = {}): Promise<string> {
  const { tokenize, detokenize } = { ...honest, ...answers };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(chunks).toString("utf8"));
      const answer =
        request.url === "/tokenize" ? tokenize(body.prompt) : { prompt: detokenize(body.tokens) };
      response.statusCode = "prompt" in answer && answer.prompt === null ? 400 : 200;
      response.end(JSON.stringify(answer));
    });
  });
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const bytesOf = (table: TokenBytes, id: number) =>
  table.bytes.subarray(table.offsets[id], table.offsets[id + 1]);

beforeAll(async () => {
  base = await engine();
  learned = await learnTokenBytes(base);
}, 120_000);
afterAll(() => {
  for (const server of servers) server.close();
});

test("a vocabulary is learned from an engine, and what is known of a token is what it spells", () => {
  const { size } = tokenizer.vocabulary;
  expect(learned.known.length).toBe(size);
  let known = 0;
  for (let id = 0; id < size; id++) {
    if (!learned.known[id]) continue;
    known++;
    const real = Buffer.from(tokenizer.vocabulary.bytes(id), "latin1");
    if (!real.equals(bytesOf(learned, id)))
      expect.fail(`token ${id} is not ${JSON.stringify(real.toString())}`);
  }
  expect(known / size).toBeGreaterThan(0.97);
});

test("texts of many scripts, with parts of characters as tokens, are known whole", () => {
  for (const sample of [
    "Größe — “x”",
    "日本語のテキスト、線形代数。",
    "🙂👩‍👩‍👧 ok",
    "Здравствуй, мир",
    "مرحبا",
    "कुछ हिन्दी",
    "𝔘𝔫𝔦",
  ]) {
    const ids = tokenizer.encode(sample);
    expect(Buffer.concat(Array.from(ids, (id) => bytesOf(learned, id))).equals(text.encode(sample))).toBe(
      true,
    );
  }
});

test("what was learned is kept, and an engine with other tokens is noticed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-tokens-"));
  try {
    const file = join(folder, "tokenizers", "m.json");
    expect(await readLearned(file)).toBeNull();
    await writeLearned(file, learned);
    const kept = (await readLearned(file))!;
    expect(kept.known).toEqual(learned.known);
    expect(Buffer.compare(kept.bytes, learned.bytes)).toBe(0);
    expect(await stillTold(base, kept)).toBe(true);
    const other = await engine({
      tokenize: (prompt) => ({ tokens: honest.tokenize(prompt).tokens.map((id) => id + 1), token_strs: [] }),
    });
    expect(await stillTold(other, kept)).toBe(false);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("an engine that tidies up what it writes, or does not spell tokens, is refused", async () => {
  const tidy = await engine({ detokenize: (ids) => honest.detokenize(ids)?.replaceAll(" .", ".") ?? null });
  await expect(learnTokenBytes(tidy)).rejects.toThrow(TokenizerNotTold);
  const silent = await engine({
    tokenize: (prompt) => ({ ...honest.tokenize(prompt), token_strs: null }),
  });
  await expect(learnTokenBytes(silent)).rejects.toThrow("does not say how its tokens are spelled");
});
