// An engine's POST /tokenize as a renderer: token ids, turned into bytes by our own table.
import { request } from "undici";
import { boundedJson } from "../bounded-json.js";
import type { TokenBytes } from "../wire.js";
import { type Conversation, tokenizeBody } from "./conversation.js";
import type { PromptRenderer } from "./template-prober.js";
import { bytesOfTokens } from "./token-bytes.js";

const TIMEOUT_MS = 10_000;
/** The longest conversation that is asked for has some thousand tokens. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/**
 * Renders at `base` (such as http://10.0.0.7:8000). A token without bytes is an error: the table is then of another
 * model than the engine's. With `partial` the table may lack some, and such a prompt counts as refused.
 */
export function engineRenderer(base: string, table: TokenBytes, partial = false): PromptRenderer {
  const tokenize = async (body: string): Promise<Uint8Array | null> => {
    const response = await request(`${base}/tokenize`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
    });
    if (response.statusCode >= 400 && response.statusCode < 500 && response.statusCode !== 429) {
      await response.body.dump();
      if (response.statusCode === 404 || response.statusCode === 405)
        throw new Error(`${base}/tokenize answers ${response.statusCode}`);
      return null;
    }
    if (response.statusCode !== 200) {
      await response.body.dump();
      throw new Error(`${base}/tokenize answers ${response.statusCode}`);
    }
    const answer = (await boundedJson(response.body, MAX_ANSWER_BYTES)) as { tokens?: unknown } | null;
    const tokens = answer?.tokens;
    if (!Array.isArray(tokens)) throw new Error(`${base}/tokenize answers without tokens`);
    const bytes = bytesOfTokens(table, tokens);
    if (!bytes && !partial)
      throw new Error(`${base} uses tokens that the configured tokenizer does not have`);
    return bytes;
  };
  return {
    chat: (conversation: Conversation) => tokenize(tokenizeBody(conversation)),
    raw: (prompt: string) => tokenize(JSON.stringify({ prompt })),
  };
}
