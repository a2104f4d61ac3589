// vLLM's NixlConnector today: the prefill pod's kv_transfer_params go to the decode pod as they are.
import { lastMember, scanObject } from "../json-edit.js";
import type { Connector, Exchange, Transfer } from "./connector.js";

const FIELD = "kv_transfer_params";
const NAMES = new Set([FIELD]);

const EXCHANGE: Exchange = {
  prefill: new Map([
    [
      FIELD,
      '{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}',
    ],
  ]),
  prefillHeaders: [],
  transferFrom: transferOf,
};

export const nixlv2: Connector = {
  order: "serial",
  oneToken: true,
  localPrefill: true,
  ownFields: [],
  clientFields: [],
  exchange: () => EXCHANGE,
};

/** The `kv_transfer_params` of a prefill answer, byte for byte; null when there is none. */
function transferOf(answer: Buffer): Transfer | null {
  const member = lastMember(scanObject(answer, NAMES), FIELD);
  if (!member) return null;
  const raw = answer.subarray(member.valueStart, member.valueEnd);
  // Parsed to see that it is whole, and to count; what travels on is the raw text.
  const params: unknown = JSON.parse(raw.toString("utf8"));
  if (params === null) return null;
  if (typeof params !== "object" || Array.isArray(params)) throw new SyntaxError(`${FIELD} is not an object`);
  const { remote_block_ids: blocks, remote_num_tokens: tokens } = params as Record<string, unknown>;
  return {
    changes: new Map([[FIELD, raw]]),
    blocks: countBlocks(blocks),
    tokens: typeof tokens === "number" && tokens > 0 ? tokens : 0,
  };
}

/** Block ids are a list, or since vLLM has several cache groups, a list per group. */
export function countBlocks(ids: unknown): number {
  if (!Array.isArray(ids)) return 0;
  let count = 0;
  for (const id of ids) count += Array.isArray(id) ? id.length : 1;
  return count;
}
