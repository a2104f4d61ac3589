import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { loadTokenBytes } from "../../agent/model/token-bytes.js";
import { fetchTokenizer, hubFile, parseHubAddress } from "../../agent/model/tokenizer-hub.js";

const TOKENIZER = JSON.stringify({ model: { byte_fallback: true, vocab: { "▁a": 0 } } });
const MODEL = { id: "owner/name", revision: "v1" };
const servers: Server[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((done) => server.close(done));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

interface Seen {
  url: string;
  authorization: string | undefined;
}

async function serve(answer: RequestListener): Promise<{ base: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    seen.push({ url: request.url ?? "", authorization: request.headers.authorization });
    response.setHeader("connection", "close");
    answer(request, response);
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return { base: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-hub-"));
  folders.push(folder);
  return folder;
}

describe("a tokenizer of the hub", () => {
  test("is named by owner, name and revision, and by nothing that leads elsewhere", () => {
    expect(parseHubAddress("hf://owner/name")).toEqual({ id: "owner/name", revision: "main" });
    expect(parseHubAddress("hf://owner/na.me@v1")).toEqual({ id: "owner/na.me", revision: "v1" });
    for (const wrong of ["hf://name", "hf://../x", "hf://a/b/c", "hf://a/b@../c", "hf://a/b?c", "a/b"])
      expect(parseHubAddress(wrong), wrong).toBeNull();
  });

  test("is downloaded once, with the token, and kept", async () => {
    const { base, seen } = await serve((_, response) => response.end(TOKENIZER));
    const file = hubFile(freshFolder(), MODEL);
    const env = { HF_ENDPOINT: `${base}/`, HF_TOKEN: "secret-token" };
    await fetchTokenizer(MODEL, file, env);
    await fetchTokenizer(MODEL, file, env);
    expect(seen).toEqual([
      { url: "/owner/name/resolve/v1/tokenizer.json", authorization: "Bearer secret-token" },
    ]);
    expect(readFileSync(file, "utf8")).toBe(TOKENIZER);
    expect(readdirSync(dirname(file))).toHaveLength(1);
    expect((await loadTokenBytes(file)).known).toEqual(Uint8Array.of(1));
  });

  test("takes the token from the file of the hub's client, and shows it to no other host", async () => {
    const store = await serve((_, response) => response.end(TOKENIZER));
    const hub = await serve((_, response) =>
      response.writeHead(302, { location: `${store.base}/blob` }).end(),
    );
    const folder = freshFolder();
    writeFileSync(join(folder, "token"), "from-file\n");
    await fetchTokenizer(MODEL, hubFile(folder, MODEL), { HF_ENDPOINT: hub.base, HF_HOME: folder });
    expect(hub.seen.map((s) => s.authorization)).toEqual(["Bearer from-file"]);
    expect(store.seen).toEqual([{ url: "/blob", authorization: undefined }]);
  });

  test.each<[string, RequestListener, RegExp]>([
    ["a refusal", (_, r) => r.writeHead(401).end(), /answers 401: the token has no access/],
    ["an unknown model", (_, r) => r.writeHead(404).end(), /answers 404: no such model/],
    ["an answer that is no JSON", (_, r) => r.end("<html>"), /JSON/],
    ["redirects without an end", (_, r) => r.writeHead(302, { location: "/again" }).end(), /redirects/],
    [
      "a redirect to a file",
      (_, r) => r.writeHead(302, { location: "file:///x" }).end(),
      /redirect to nowhere/,
    ],
    [
      "a cut answer",
      (_, r) => r.writeHead(200, { "content-length": 99 }).write("{}", () => r.destroy()),
      /./,
    ],
  ])("is not kept after %s, and the error says why without the token", async (_, answer, message) => {
    const { base } = await serve(answer);
    const file = hubFile(freshFolder(), MODEL);
    const error = await fetchTokenizer(MODEL, file, { HF_ENDPOINT: base, HF_TOKEN: "secret-token" }).then(
      () => null,
      (e: Error) => e,
    );
    expect(error?.name).toBe("StartError");
    expect(error?.message).toMatch(message);
    expect(error?.message).toContain("hf://owner/name@v1");
    expect(error?.message).not.toContain("secret-token");
    expect(existsSync(file)).toBe(false);
  });

  test("is not asked for when the hub is switched off", async () => {
    const { base, seen } = await serve((_, response) => response.end(TOKENIZER));
    const env = { HF_ENDPOINT: base, HF_HUB_OFFLINE: "1" };
    await expect(fetchTokenizer(MODEL, hubFile(freshFolder(), MODEL), env)).rejects.toThrow(/HF_HUB_OFFLINE/);
    expect(seen).toEqual([]);
  });
});
