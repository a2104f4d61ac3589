// Traces of the field: Mooncake's (JSON lines with block hashes) and Azure's (CSV of lengths), gzipped or not.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { ConfigError } from "../agent/errors.js";
import type { Random } from "./random.js";
import type { Load, SimRequest } from "./request.js";

/** Tokens that one hash id stands for in Mooncake's traces. */
const MOONCAKE_BLOCK = 512;
/** Mooncake's times are rounded to this many seconds; requests of one instant are spread over it. */
const MOONCAKE_BUCKET_S = 3;
/** Azure's traces tell no blocks: each prompt is of its own ones. */
const AZURE_BLOCK = 256;
const AZURE_HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens";

export interface TraceOptions {
  /** Requests per second on average, by stretching time; undefined keeps the trace's pace. */
  rate: number | undefined;
  /** Requests taken from the start. */
  limit: number;
}

/** @throws ConfigError that names file and line when the file is no such trace. */
export function readTrace(file: string, options: TraceOptions, random: Random): Load {
  const lines = textOf(file).split("\n");
  const wrong = (line: number, message: string) => new ConfigError(`${file}: line ${line + 1}: ${message}`);
  const azure = lines[0]?.trim() === AZURE_HEADER;
  const requests: SimRequest[] = [];
  let nextBlock = 0;
  for (let i = azure ? 1 : 0; i < lines.length && requests.length < options.limit; i++) {
    const line = lines[i]!.trim();
    if (line === "") continue;
    const request = azure ? azureRow(line, nextBlock) : mooncakeRow(line, random);
    if (typeof request === "string") throw wrong(i, request);
    if (azure) nextBlock += request.blocks.length;
    requests.push(request);
  }
  if (requests.length === 0) throw new ConfigError(`${file}: has no requests`);
  paced(requests, options.rate);
  return { name: file, stages: [requests], pause: 0, blockTokens: azure ? AZURE_BLOCK : MOONCAKE_BLOCK };
}

function textOf(file: string): string {
  try {
    const raw = readFileSync(file);
    return (raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw).toString("utf8");
  } catch (error) {
    throw new ConfigError(`--trace ${file}: cannot be read: ${(error as Error).message}`);
  }
}

const whole = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;

function mooncakeRow(line: string, random: Random): SimRequest | string {
  let row: Record<string, unknown>;
  try {
    row = JSON.parse(line);
  } catch {
    return `is neither JSON (Mooncake's format) nor is the first line ${AZURE_HEADER} (Azure's)`;
  }
  const { timestamp, input_length: prompt, output_length: output, hash_ids: blocks } = row ?? {};
  if (typeof timestamp !== "number" || !Number.isFinite(timestamp)) return "timestamp must be a number of ms";
  if (!whole(prompt) || prompt === 0) return "input_length must be a whole number above 0";
  if (!whole(output)) return "output_length must be a whole number";
  if (!Array.isArray(blocks) || !blocks.every(whole)) return "hash_ids must be whole numbers";
  if (blocks.length !== Math.ceil(prompt / MOONCAKE_BLOCK))
    return `has ${blocks.length} hash_ids, ${prompt} tokens are ${Math.ceil(prompt / MOONCAKE_BLOCK)} blocks of ${MOONCAKE_BLOCK}`;
  return {
    arrival: timestamp / 1000 + random.unit() * MOONCAKE_BUCKET_S,
    prompt,
    output: Math.max(1, output),
    blocks,
    // All prompts of a service may begin alike; the second block tells conversations apart.
    session: 1 + (blocks[1] ?? blocks[0] ?? 0),
  };
}

function azureRow(line: string, firstBlock: number): SimRequest | string {
  const [time = "", prompt, output] = line.split(",");
  const [, seconds, fraction = ""] = /^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?$/.exec(time) ?? [];
  const at = Date.parse(`${seconds?.replace(" ", "T")}Z`) / 1000;
  if (!Number.isFinite(at)) return "TIMESTAMP must be like 2023-11-16 18:17:03.9799600";
  const tokens = [Number(prompt), Number(output)] as const;
  if (!tokens.every(whole)) return "ContextTokens and GeneratedTokens must be whole numbers";
  const length = Math.max(1, tokens[0]);
  return {
    arrival: at + Number(`0${fraction}`),
    prompt: length,
    output: Math.max(1, tokens[1]),
    blocks: Array.from({ length: Math.ceil(length / AZURE_BLOCK) }, (_, i) => firstBlock + i),
    session: 0,
  };
}

/** Orders by arrival, lets the first request come at 0, and stretches time to the rate. */
function paced(requests: SimRequest[], rate: number | undefined): void {
  requests.sort((a, b) => a.arrival - b.arrival);
  const first = requests[0]!.arrival;
  const span = requests.at(-1)!.arrival - first;
  const stretch = rate === undefined || span === 0 ? 1 : requests.length / rate / span;
  for (const request of requests) request.arrival = (request.arrival - first) * stretch;
}
