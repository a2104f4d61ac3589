// The first NIXL protocol (deprecated): the transfer's fields stand at the top of request and answer.
import { lastMember, scanObject } from "../json-edit.js";
import type { Connector, Exchange, Transfer } from "./connector.js";
import { countBlocks } from "./nixlv2.js";

const REMOTE = ["remote_block_ids", "remote_engine_id", "remote_host", "remote_port"] as const;
const NAMES = new Set<string>(REMOTE);

const EXCHANGE: Exchange = {
  prefill: new Map([["do_remote_decode", "true"]]),
  prefillHeaders: [],
  transferFrom: transferOf,
};

export const nixl: Connector = {
  order: "serial",
  oneToken: true,
  localPrefill: true,
  ownFields: ["do_remote_decode", "do_remote_prefill", ...REMOTE],
  clientFields: [],
  exchange: () => EXCHANGE,
};

function transferOf(answer: Buffer): Transfer | null {
  const scan = scanObject(answer, NAMES);
  const changes = new Map<string, string | Buffer>([["do_remote_prefill", "true"]]);
  let blocks = 0;
  for (const name of REMOTE) {
    const member = lastMember(scan, name);
    if (!member) return null;
    const raw = answer.subarray(member.valueStart, member.valueEnd);
    const value: unknown = JSON.parse(raw.toString("utf8"));
    if (value === null) return null;
    if (name === "remote_block_ids") blocks = countBlocks(value);
    changes.set(name, raw);
  }
  return { changes, blocks, tokens: 0 };
}
