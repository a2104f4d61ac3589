// What a score request asks, out of its body. The prompt's part goes on as the bytes that were sent: numbers keep their
// spelling, which a template may print.
import type { Static } from "typebox";
import { applyEdits, editsOf, JsonSyntaxError, scanObject } from "../../sidecar/json-edit.js";
import type { ScoreRequestSchema } from "../schemas/cache.js";
import { blockHash } from "./announced-blocks.js";
import type { Scored } from "./prompt-score.js";

/** Ours, not an engine's: as fields of a request they would make it inexact. */
const OWN_FIELDS = ["candidate_pods", "prompt_blocks"];
const PROMPTS = ["prompt", "messages", "prompt_blocks"];

/**
 * What a body that fits the schema asks to score, or what is wrong with it.
 * @param raw the same body as it came; `model` is who is asked for where it names nobody.
 */
export function scoredOf(
  body: Static<typeof ScoreRequestSchema>,
  raw: Buffer,
  model: string,
): Scored | string {
  const given = PROMPTS.filter((key) => Object.hasOwn(body, key));
  if (given.length !== 1)
    return given.length === 0
      ? "give one of prompt, messages or prompt_blocks"
      : `give one of ${given.join(" and ")}`;
  const { prompt, prompt_blocks: blocks } = body;
  if (blocks) {
    const hashes = new BigUint64Array(blocks.length);
    for (const [i, block] of blocks.entries()) {
      const hash = blockHash(block);
      if (hash === null)
        return `prompt_blocks[${i}]: ${JSON.stringify(block)} is more than JSON numbers hold; give it as text`;
      hashes[i] = hash;
    }
    return { kind: "blocks", hashes };
  }
  try {
    const scan = scanObject(raw, new Set([...OWN_FIELDS, "model"]));
    const named = scan.members.some(({ name }) => name === "model");
    const changes = new Map<string, string | null>(OWN_FIELDS.map((field) => [field, null]));
    if (!named) changes.set("model", JSON.stringify(model));
    const api = given[0] === "messages" ? "chat" : "completions";
    const request = { api, body: applyEdits(raw, editsOf(scan, changes)) } as const;
    return Array.isArray(prompt) && typeof prompt[0] === "number"
      ? { kind: "tokens", ...request, ids: prompt as number[] }
      : { kind: "request", ...request };
  } catch (error) {
    if (error instanceof JsonSyntaxError) return error.message;
    throw error;
  }
}
