// Prefill/decode over NIXL as vLLM does it (vllm/distributed/kv_transfer/kv_connector/v1/nixl): a prefill request leaves
// its blocks held and says where they are; a decode request that is told so pulls them; what nobody pulls expires. The
// side channel is HTTP on the pod's own port here.
import { randomBytes, randomUUID } from "node:crypto";
import { request as httpRequest } from "node:http";
import { badRequest } from "./http-errors.js";

/** One H200's 8B model keeps 128 KiB of KV a token. */
const KV_BITS_PER_TOKEN = 131_072 * 8;
/** Handshake and notification, simulated ms. */
const TRANSFER_LATENCY_MS = 3;
/** How long a decode pod waits for the side channel, real ms; NIXL gives up after as long. */
const READ_TIMEOUT_MS = 5000;

/** What `kv_transfer_params` of a request asks for. */
export type TransferRequest =
  | { kind: "none" }
  /** Prefill here, decode elsewhere. */
  | { kind: "prefill" }
  | ({ kind: "decode" } & RemoteBlocks);

/** Where a decode request's blocks are. */
export interface RemoteBlocks {
  host: string;
  port: number;
  engineId: string;
  requestId: string;
  blocks: number;
}

/** What a decode pod read. */
export interface ReadBlocks {
  tokens: number;
  /** Digest of the prompt that the blocks are of. */
  hash: number;
}

/** Reads a request's `kv_transfer_params`. @throws ApiError 400 when a decode's parameters do not name its blocks. */
export function readTransfer(value: unknown): TransferRequest {
  if (value === null || value === undefined) return { kind: "none" };
  const name = "kv_transfer_params";
  if (typeof value !== "object" || Array.isArray(value)) throw badRequest(`${name} must be an object`, name);
  const fields = value as Record<string, unknown>;
  if (fields.do_remote_decode === true) return { kind: "prefill" };
  if (fields.do_remote_prefill !== true) return { kind: "none" };
  const { remote_host: host, remote_port: port, remote_engine_id: engineId } = fields;
  const { remote_request_id: requestId, remote_block_ids: groups } = fields;
  if (
    typeof host !== "string" ||
    !Number.isInteger(port) ||
    typeof engineId !== "string" ||
    typeof requestId !== "string" ||
    !Array.isArray(groups)
  )
    throw badRequest(`${name} of a remote prefill must name host, port, engine, request and blocks`, name);
  const blocks = groups.flat().length;
  return { kind: "decode", host, port: port as number, engineId, requestId, blocks };
}

interface Held {
  blocks: Int32Array;
  tokens: number;
  hash: number;
  timer: NodeJS.Timeout;
}

/** Blocks that finished prefills hold until they are pulled or expire. */
export class KvHolds {
  readonly engineId = randomUUID();
  /** Of the side channel; 0 before the pod listens. */
  port = 0;
  /** Requests whose blocks nobody pulled in time. */
  expired = 0;
  readonly #held = new Map<string, Held>();
  readonly #release: (blocks: Int32Array) => void;
  readonly #holdMs: number;

  /** @param holdMs real ms until blocks that nobody pulled expire. */
  constructor(holdMs: number, release: (blocks: Int32Array) => void) {
    this.#holdMs = holdMs;
    this.#release = release;
  }

  /** Blocks held now. */
  get blocks(): number {
    let sum = 0;
    for (const { blocks } of this.#held.values()) sum += blocks.length;
    return sum;
  }

  /** Holds the blocks of a finished prefill. @returns the answer's `kv_transfer_params`. */
  hold(blocks: Int32Array, tokens: number, hash: number, cachedTokens: number): object {
    const requestId = `cmpl-${randomBytes(8).toString("hex")}`;
    const timer = setTimeout(() => {
      this.expired++;
      this.#drop(requestId);
    }, this.#holdMs);
    timer.unref();
    this.#held.set(requestId, { blocks, tokens, hash, timer });
    return {
      do_remote_prefill: true,
      do_remote_decode: false,
      remote_block_ids: [Array.from(blocks)],
      remote_engine_id: this.engineId,
      remote_request_id: requestId,
      remote_host: "127.0.0.1",
      remote_port: this.port,
      tp_size: 1,
      dcp_size: 1,
      pp_size: 1,
      remote_num_tokens: tokens,
      remote_blocks_expiry_time: null,
      transfer_mode: "pull",
      remote_prefill_cached_tokens: cachedTokens,
    };
  }

  /** What a request's blocks hold, null when they are not (or no longer) here. */
  find(engineId: string, requestId: string): ReadBlocks | null {
    const held = engineId === this.engineId ? this.#held.get(requestId) : undefined;
    return held ? { tokens: held.tokens, hash: held.hash } : null;
  }

  /** The blocks were pulled. */
  pulled(requestId: string): void {
    this.#drop(requestId);
  }

  stop(): void {
    for (const { timer } of this.#held.values()) clearTimeout(timer);
    this.#held.clear();
  }

  #drop(requestId: string): void {
    const held = this.#held.get(requestId);
    if (!held) return;
    clearTimeout(held.timer);
    this.#held.delete(requestId);
    this.#release(held.blocks);
  }
}

/** Simulated ms that pulling `tokens` takes over a link of `gbps` gigabits a second. */
export function transferMs(tokens: number, gbps: number): number {
  return TRANSFER_LATENCY_MS + (tokens * KV_BITS_PER_TOKEN) / (gbps * 1e6);
}

/** Pulls blocks from another pod; resolves null when they are not there or it does not answer. */
export function pullBlocks(remote: RemoteBlocks): { result: Promise<ReadBlocks | null>; cancel(): void } {
  const body = JSON.stringify({ engine_id: remote.engineId, request_id: remote.requestId });
  const request = httpRequest({
    host: remote.host,
    port: remote.port,
    path: "/sim/kv/pull",
    method: "POST",
    timeout: READ_TIMEOUT_MS,
  });
  const result = new Promise<ReadBlocks | null>((resolve) => {
    request.on("error", () => resolve(null));
    request.on("timeout", () => request.destroy());
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("error", () => resolve(null));
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        if (response.statusCode !== 200) return resolve(null);
        resolve(JSON.parse(Buffer.concat(chunks).toString()) as ReadBlocks);
      });
    });
    request.end(body);
  });
  return { result, cancel: () => request.destroy() };
}
