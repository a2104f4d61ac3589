import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { packageRoot } from "../../agent/package-root.js";

export function fixturePath(name: string): string {
  return join(packageRoot(), "test", "fixtures", "vllm", name);
}

/** Messages recorded from a running vLLM: u32be frame count, then per frame u32be length and bytes. */
export function recordedMessages(name: string): Uint8Array[][] {
  const file = readFileSync(fixturePath(name));
  const messages: Uint8Array[][] = [];
  for (let at = 0; at < file.length; ) {
    const frames: Uint8Array[] = [];
    let count = file.readUInt32BE(at);
    at += 4;
    for (; count > 0; count--) {
      const length = file.readUInt32BE(at);
      frames.push(file.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    messages.push(frames);
  }
  return messages;
}

/** A decoded copy of a recording, with 64-bit integers kept as text before they are parsed. */
export function recordedJson(
  name: string,
): { topic: string; seq: number; batch: [number, unknown[], number] | null }[] {
  const text = readFileSync(fixturePath(name), "utf8").replace(/([[,:] ?)(\d{16,20})(?=[,\]} ])/g, '$1"$2"');
  return JSON.parse(text);
}

/** What answers hold of which tests look at something. */
interface RecordedAnswer {
  tokens?: number[];
  token_ids?: number[];
  prompt?: string;
  usage?: { prompt_tokens: number; prompt_tokens_details?: { cached_tokens: number } };
  kv_transfer_params?: Record<string, unknown> | null;
}

/** A request to a running vLLM and its answer. */
export interface Recorded {
  name: string;
  path: string;
  request: Record<string, unknown> | null;
  status: number;
  response: RecordedAnswer;
  /** Messages of events.bin before the request, and after its answer. */
  event_msgs: [number, number];
}

export function recordedHttp(name: string): Recorded[] {
  return JSON.parse(readFileSync(fixturePath(name), "utf8"));
}

let tokenizer: Tokenizer | undefined;

/** `count` tokens of the ChatML fixture as its tokenizer gives them for a text that differs by `n`. */
export function promptTokens(n: number, count: number): number[] {
  tokenizer ??= new Tokenizer(
    JSON.parse(readFileSync(fixturePath("model-chatml/tokenizer.json"), "utf8")),
    {},
  );
  const text = `order ${n} of the parser: ${"the socket of the server is read by it. ".repeat(count)}`;
  return tokenizer.encode(text, { add_special_tokens: false }).ids.slice(0, count);
}
