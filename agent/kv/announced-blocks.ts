// Blocks that were announced in the JSON form: a hash per pod and nothing of what it stands for. They answer score
// requests by block hashes and never reach the table of gateways.
import { createHash } from "node:crypto";

export interface AnnouncedLimits {
  /** How long a block is believed without being heard of again, ms. */
  ttlMs: number;
  /** Most blocks of all pods together; the one not heard of for the longest time goes first. */
  maxBlocks: number;
}

export type JsonEventType = "BLOCK_CREATED" | "BLOCK_EVICTED" | "BLOCK_UPDATED";

/** An event in the JSON form. */
export interface JsonEvent {
  type: JsonEventType;
  podId: string;
  hash: bigint;
}

const TYPES: readonly string[] = ["BLOCK_CREATED", "BLOCK_EVICTED", "BLOCK_UPDATED"];
const MAX_EVENTS = 65_536;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The 64 bits by which a block hash is known: a digest counts with its last 8 bytes, as vLLM publishes it; a text that
 * is no number, with 8 bytes of its SHA-256. Null for a number that JSON cannot hold.
 */
export function blockHash(given: string | number): bigint | null {
  if (typeof given === "number")
    return Number.isSafeInteger(given) ? BigInt.asUintN(64, BigInt(given)) : null;
  if (/^\d{1,20}$/.test(given)) return BigInt.asUintN(64, BigInt(given));
  const hex = /^(?:0x([0-9a-f]{1,64})|([0-9a-f]{32}|[0-9a-f]{64}))$/i.exec(given);
  if (hex) return BigInt.asUintN(64, BigInt(`0x${hex[1] ?? hex[2]}`));
  return createHash("sha256").update(given).digest().readBigUInt64BE(0);
}

/**
 * Reads a JSON message: one event, or a list of them as `{"events": [...]}`. The type stands at `event_type` or `type`.
 * @throws SyntaxError, TypeError or RangeError when it is none.
 */
export function jsonEvents(payload: Uint8Array): JsonEvent[] {
  const document = JSON.parse(utf8.decode(payload)) as { events?: unknown };
  const list = Array.isArray(document.events) ? document.events : [document];
  if (list.length > MAX_EVENTS) throw new RangeError(`${list.length} events in a message`);
  return list.map((event: Record<string, unknown>) => {
    const type = event["event_type"] ?? event["type"];
    const { pod_id: podId, block_hash: given } = event;
    if (typeof type !== "string" || !TYPES.includes(type) || typeof podId !== "string")
      throw new TypeError("an event without type or pod_id");
    const hash = typeof given === "string" || typeof given === "number" ? blockHash(given) : null;
    if (hash === null) throw new TypeError("an event without a block_hash");
    return { type: type as JsonEventType, podId, hash };
  });
}

export class AnnouncedBlocks {
  readonly counts: Record<JsonEventType, number> = { BLOCK_CREATED: 0, BLOCK_EVICTED: 0, BLOCK_UPDATED: 0 };
  readonly #limits: AnnouncedLimits;
  /** Per pod slot: hash → when it was last heard of. Insertion order is age order. */
  readonly #pods = new Map<number, Map<bigint, number>>();
  #size = 0;

  constructor(limits: AnnouncedLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#size;
  }

  /** Takes an event of pod slot `pod`; `now` is a monotonic time in ms. */
  take(pod: number, { type, hash }: JsonEvent, now: number): void {
    this.counts[type]++;
    let blocks = this.#pods.get(pod);
    if (!blocks) {
      blocks = new Map();
      this.#pods.set(pod, blocks);
    }
    if (blocks.delete(hash)) this.#size--;
    if (type === "BLOCK_EVICTED") return;
    blocks.set(hash, now);
    this.#size++;
    if (this.#size > this.#limits.maxBlocks) this.#dropOldest();
  }

  has(pod: number, hash: bigint, now: number): boolean {
    const at = this.#pods.get(pod)?.get(hash);
    return at !== undefined && now - at < this.#limits.ttlMs;
  }

  /** Forgets what was not heard of for too long. */
  expire(now: number): void {
    for (const blocks of this.#pods.values())
      for (const [hash, at] of blocks) {
        if (now - at < this.#limits.ttlMs) break;
        blocks.delete(hash);
        this.#size--;
      }
  }

  #dropOldest(): void {
    let oldest: Map<bigint, number> | null = null;
    let since = Number.POSITIVE_INFINITY;
    for (const blocks of this.#pods.values()) {
      const first = blocks.values().next();
      if (!first.done && first.value < since) {
        since = first.value;
        oldest = blocks;
      }
    }
    const hash = oldest?.keys().next();
    if (!oldest || !hash || hash.done) return;
    oldest.delete(hash.value);
    this.#size--;
  }
}
