// Answers of engines as JSON, of a bounded size: what a pod sends must not fill the agent's memory.
import type { Dispatcher } from "undici";

/** The answer is longer than it may be. */
export class AnswerTooLong extends Error {
  override readonly name = "AnswerTooLong";
}

/**
 * Reads a body of at most `most` bytes.
 * @throws AnswerTooLong, SyntaxError when it is no JSON, and what the connection throws.
 */
export async function boundedJson(body: Dispatcher.ResponseData["body"], most: number): Promise<unknown> {
  const parts: Uint8Array[] = [];
  let total = 0;
  for await (const part of body as AsyncIterable<Uint8Array>) {
    total += part.length;
    if (total > most) throw new AnswerTooLong(`an answer of more than ${most} bytes`);
    parts.push(part);
  }
  return JSON.parse(Buffer.concat(parts).toString());
}
