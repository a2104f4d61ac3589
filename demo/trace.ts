// Replays a trace in Mooncake's format: one JSON object a line with `timestamp` (ms), `input_length`,
// `output_length` and `hash_ids` (blocks of 512 tokens). A hash becomes the same text every time.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { seeded } from "../simulate/random.js";
import type { Words, Workload } from "./workload.js";

/** Tokens that one hash id stands for in Mooncake's traces. */
const BLOCK_TOKENS = 512;
/** Trace times are rounded to this many ms; requests of one instant are spread over it. */
const BUCKET_MS = 3000;

interface Row {
  timestamp: number;
  input_length: number;
  output_length: number;
  hash_ids: number[];
}

export interface TraceOptions {
  file: string;
  /** Rows taken from the start. */
  limit: number;
  /** Requests per second in trace time; undefined keeps the trace's own pace. */
  rate: number | undefined;
  seed: number;
}

/** @throws Error naming the line when the file is not such a trace. */
export function traceWorkload(words: Words, options: TraceOptions): Workload {
  const raw = readFileSync(options.file);
  const text = (raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw).toString("utf8");
  const rows: Row[] = [];
  for (const line of text.split("\n")) {
    if (rows.length === options.limit) break;
    if (line.trim() === "") continue;
    const row = JSON.parse(line) as Row;
    if (!Array.isArray(row.hash_ids) || !(row.input_length > 0) || !Number.isFinite(row.timestamp))
      throw new Error(`${options.file}: line ${rows.length + 1} has no timestamp, input_length and hash_ids`);
    rows.push(row);
  }
  if (rows.length === 0) throw new Error(`${options.file}: the trace is empty`);
  const texts = new Map<number, string>();
  const textOf = (hash: number) => {
    let t = texts.get(hash);
    if (t === undefined) {
      t = words.text(BLOCK_TOKENS, seeded(hash * 2654435761 + 1));
      texts.set(hash, t);
    }
    return t;
  };
  const random = seeded(options.seed);
  const spread = rows.map((row) => row.timestamp + random() * BUCKET_MS).sort((a, b) => a - b);
  const first = spread[0]!;
  const spanS = (spread.at(-1)! - first) / 1000 || 1;
  const stretch = options.rate === undefined ? 1 : rows.length / options.rate / spanS;
  return {
    name: "trace",
    warmUp: [],
    conversations: rows.map((row, i) => {
      const blocks = row.hash_ids.map(textOf);
      const lastTokens = row.input_length - BLOCK_TOKENS * (row.hash_ids.length - 1);
      const last = blocks.length - 1;
      // The last block is only partly there; its words are lines of 24.
      if (lastTokens < BLOCK_TOKENS) blocks[last] = cutWords(blocks[last]!, Math.max(1, lastTokens));
      return {
        startS: ((spread[i]! - first) / 1000) * stretch,
        system: null,
        grows: false,
        // All prompts of a service may begin alike; the second block tells conversations apart.
        session: `conversation-${row.hash_ids[1] ?? row.hash_ids[0] ?? 0}`,
        turns: [{ text: blocks.join(""), outputTokens: Math.max(1, row.output_length), thinkS: 0 }],
      };
    }),
  };
}

function cutWords(text: string, tokens: number): string {
  let at = 0;
  for (let i = 0; i < tokens && at >= 0; i++) {
    const next = /[ \n]/.exec(text.slice(at + 1));
    if (!next) return text;
    at += 1 + next.index;
  }
  return `${text.slice(0, at)}\n`;
}
