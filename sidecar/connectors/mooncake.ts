// vLLM's MooncakeConnector: both pods at once, with a transfer id; the decode pod needs the prefill engine's id.
import { randomInt, randomUUID } from "node:crypto";
import type { PoolCache } from "../pools.js";
import type { Target } from "../prefiller.js";
import { collect, UpstreamFailure } from "../upstream.js";
import type { Connector, Exchange } from "./connector.js";

const QUERY_TIMEOUT_MS = 5000;
const QUERY_LIMIT = 1 << 20;
/** Engine ids change when a prefill pod restarts, so what was learned does not stay for ever. */
const ENGINES_TTL_MS = 30_000;
/** Prefill pods whose engine ids are remembered. */
const MOST_PODS = 1024;

interface Engines {
  /** [data-parallel rank, engine id] */
  ranks: [string, string][];
  learnedAt: number;
}

/** @param bootstrapPort of the prefill pods' bootstrap server, asked at `/query`. */
export function mooncake(bootstrapPort: number, pools: PoolCache): Connector {
  const known = new Map<string, Engines>();
  const bootstrapOf = (target: Target) =>
    `${target.host.includes(":") ? `[${target.host}]` : target.host}:${bootstrapPort}`;

  async function enginesOf(target: Target): Promise<Engines> {
    const bootstrap = bootstrapOf(target);
    const remembered = known.get(bootstrap);
    if (remembered && performance.now() - remembered.learnedAt < ENGINES_TTL_MS) return remembered;
    const request = { method: "GET", path: "/query", headers: ["accept", "application/json"], body: null };
    const { status, body } = await collect(pools.get(bootstrap), request, QUERY_TIMEOUT_MS, QUERY_LIMIT)
      .answer;
    const ranks = status === 200 ? readRanks(body) : [];
    if (ranks.length === 0) {
      throw new UpstreamFailure(
        "unreachable",
        `bootstrap server ${bootstrap} named no engine (status ${status})`,
      );
    }
    const engines = { ranks, learnedAt: performance.now() };
    known.delete(bootstrap);
    if (known.size >= MOST_PODS) known.delete(known.keys().next().value!);
    known.set(bootstrap, engines);
    return engines;
  }

  return {
    order: "concurrent",
    oneToken: true,
    localPrefill: true,
    ownFields: [],
    clientFields: [],
    failed: (target) => known.delete(bootstrapOf(target)),
    async exchange(target): Promise<Exchange> {
      const { ranks } = await enginesOf(target);
      const [rank, engineId] = ranks[randomInt(ranks.length)]!;
      const transferId = `xfer-${randomUUID()}`;
      const prefill = { do_remote_prefill: false, do_remote_decode: true, transfer_id: transferId };
      const decode = {
        do_remote_prefill: true,
        do_remote_decode: false,
        transfer_id: transferId,
        remote_bootstrap_addr: `http://${bootstrapOf(target)}`,
        remote_engine_id: engineId,
      };
      return {
        prefill: new Map([["kv_transfer_params", JSON.stringify(prefill)]]),
        prefillHeaders: ["x-data-parallel-rank", rank],
        transfer: {
          changes: new Map([["kv_transfer_params", JSON.stringify(decode)]]),
          blocks: 0,
          tokens: 0,
        },
      };
    },
  };
}

function readRanks(body: Buffer): [string, string][] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body.toString("utf8"));
  } catch {
    return [];
  }
  if (typeof parsed !== "object" || parsed === null) return [];
  return Object.entries(parsed).flatMap(([rank, engine]): [string, string][] => {
    const id = (engine as { engine_id?: unknown } | null)?.engine_id;
    return /^\d{1,6}$/.test(rank) && typeof id === "string" ? [[rank, id]] : [];
  });
}
