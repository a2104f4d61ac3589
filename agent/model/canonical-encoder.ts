// Text → token ids as a request's prompt would be tokenized, for judging tokens that were sampled.
import { readFile } from "node:fs/promises";
import { Tokenizer } from "@huggingface/tokenizers";

/** Token ids of a text, without what a tokenizer puts around a prompt. */
export type Encode = (text: string) => readonly number[];

/**
 * Loads the encoder of a tokenizer.json.
 * @throws when the file cannot be read or holds a component that the tokenizer library does not know; sampled tokens
 * of such a model cannot be judged.
 */
export async function loadEncoder(file: string): Promise<Encode> {
  const tokenizer = new Tokenizer(JSON.parse(await readFile(file, "utf8")), {});
  return (text) => tokenizer.encode(text, { add_special_tokens: false }).ids;
}
