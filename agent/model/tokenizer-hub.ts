// A model's tokenizer.json from a model hub, kept in the state folder.
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { request } from "undici";
import { StartError } from "../errors.js";
import { MAX_TOKENIZER_BYTES } from "./token-bytes.js";

/** Variables that are read, under the names of the hub's own client. */
export interface HubEnvironment {
  HF_ENDPOINT?: string;
  HF_TOKEN?: string;
  HF_TOKEN_PATH?: string;
  HF_HOME?: string;
  HF_HUB_OFFLINE?: string;
}

/** A model on the hub. */
export interface HubModel {
  /** owner/name */
  id: string;
  /** Branch, tag or commit. */
  revision: string;
}

const PREFIX = "hf://";
const WORD = "[A-Za-z0-9][A-Za-z0-9._-]{0,95}";
const ADDRESS = new RegExp(`^${PREFIX}(${WORD}/${WORD})(?:@(${WORD}))?$`);
const DEFAULT_ENDPOINT = "https://huggingface.co";
const MAX_REDIRECTS = 5;
const ANSWER_MS = 15_000;
const WHOLE_MS = 180_000;

/** Whether `model.tokenizer` means a model on the hub. */
export function isHubAddress(given: string): boolean {
  return given.startsWith(PREFIX);
}

/** Reads `hf://owner/name` or `hf://owner/name@revision`; null when it is none. */
export function parseHubAddress(given: string): HubModel | null {
  const parts = ADDRESS.exec(given);
  return parts ? { id: parts[1]!, revision: parts[2] ?? "main" } : null;
}

/** Where a model's tokenizer.json is kept. */
export function hubFile(stateFolder: string, { id, revision }: HubModel): string {
  return join(stateFolder, "tokenizers", `${encodeURIComponent(`${id}@${revision}`)}.json`);
}

/**
 * Downloads tokenizer.json into `file` unless it is there; no other file of the model is asked for.
 * @throws StartError saying what the hub answered and what to do.
 */
export async function fetchTokenizer(model: HubModel, file: string, env: HubEnvironment): Promise<void> {
  if (existsSync(file)) return;
  const fail = (why: string): never => {
    throw new StartError(
      `the tokenizer.json of ${PREFIX}${model.id}@${model.revision} cannot be had: ${why}; ` +
        "or set model.tokenizer to a file",
    );
  };
  if (env.HF_HUB_OFFLINE && env.HF_HUB_OFFLINE !== "0")
    fail(`HF_HUB_OFFLINE is set and ${file} is not there`);
  const endpoint = env.HF_ENDPOINT || DEFAULT_ENDPOINT;
  if (!httpUrl(endpoint)) fail("HF_ENDPOINT is no http or https address");
  const token = await hubToken(env);
  let bytes: Buffer;
  try {
    bytes = await download(
      new URL(`${endpoint.replace(/\/+$/, "")}/${model.id}/resolve/${model.revision}/tokenizer.json`),
      token,
    );
    JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    return fail((error as Error).message);
  }
  try {
    await mkdir(dirname(file), { recursive: true });
    const next = `${file}.${process.pid}.next`;
    await writeFile(next, bytes, { mode: 0o600 });
    await rename(next, file);
  } catch (error) {
    fail(`${dirname(file)} cannot be written (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** The token of the environment, or of the file where the hub's client keeps it; null without one. */
async function hubToken(env: HubEnvironment): Promise<string | null> {
  const given = env.HF_TOKEN?.trim();
  if (given) return given;
  const file = env.HF_TOKEN_PATH || join(env.HF_HOME || join(homedir(), ".cache", "huggingface"), "token");
  try {
    return (await readFile(file, "utf8")).trim() || null;
  } catch {
    return null;
  }
}

/** @throws Error that tells the answer; never the token, nor where a redirect led, which may hold a signature. */
async function download(from: URL, token: string | null): Promise<Buffer> {
  const signal = AbortSignal.timeout(WHOLE_MS);
  let url = from;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    // Large files are served by other hosts, which must not see the token.
    const mayKnow = token !== null && url.origin === from.origin;
    const response = await request(url, {
      headers: mayKnow ? { authorization: `Bearer ${token}` } : {},
      headersTimeout: ANSWER_MS,
      bodyTimeout: ANSWER_MS,
      signal,
    });
    const { statusCode, headers, body } = response;
    if (statusCode >= 300 && statusCode < 400) {
      // The rest of a redirect is of no use: the connection may go.
      body.on("error", () => {}).destroy();
      const next = typeof headers.location === "string" ? httpUrl(headers.location, url) : null;
      if (!next) throw new Error("a redirect to nowhere");
      url = next;
      continue;
    }
    if (statusCode !== 200) {
      body.on("error", () => {}).destroy();
      throw new Error(refusal(from.host, statusCode, token !== null));
    }
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_TOKENIZER_BYTES) throw new Error(`it is longer than ${MAX_TOKENIZER_BYTES} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }
  throw new Error(`more than ${MAX_REDIRECTS} redirects`);
}

function httpUrl(given: string, base?: URL): URL | null {
  if (!URL.canParse(given, base?.href)) return null;
  const url = new URL(given, base);
  return url.protocol === "http:" || url.protocol === "https:" ? url : null;
}

function refusal(host: string, status: number, hadToken: boolean): string {
  const answer = `${host} answers ${status}`;
  if (status === 401 || status === 403)
    return hadToken
      ? `${answer}: the token has no access to it`
      : `${answer}: set HF_TOKEN, it is not public`;
  if (status === 404) return `${answer}: no such model or revision, or it has no tokenizer.json`;
  return answer;
}
