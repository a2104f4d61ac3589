// Cache events of one engine step, encoded as vLLM publishes them (vllm/distributed/kv_events.py).
import { MsgpackWriter } from "./msgpack-writer.js";
import type { Sequence } from "./sequence.js";

/** `map` is vLLM 0.26 and newer; `array` is 0.22's positional form. */
export type EventFormat = "map" | "array";
/** `int` is the low 64 bits of the digest; `bytes` the digest (VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0). */
export type HashFormat = "int" | "bytes";

const MEDIUM = "GPU";
const SPEC_KIND = "full_attention";
/** The only KV cache group of a model without hybrid attention. */
const GROUP = 0;

/** Collects events between two publications. */
export class EventBatch {
  readonly #events = new MsgpackWriter();
  readonly #message = new MsgpackWriter();
  readonly #format: EventFormat;
  readonly #hashFormat: HashFormat;
  readonly #blockSize: number;
  #count = 0;

  constructor(format: EventFormat, hashFormat: HashFormat, blockSize: number) {
    this.#format = format;
    this.#hashFormat = hashFormat;
    this.#blockSize = blockSize;
  }

  get empty(): boolean {
    return this.#count === 0;
  }

  /** Blocks `from` to `to` (exclusive) of a sequence became full and cached. */
  stored(sequence: Sequence, from: number, to: number): void {
    this.#count++;
    const out = this.#events;
    const map = this.#format === "map";
    const session = map ? sequence.sessionId : "";
    if (map) out.map(session ? 12 : 11);
    else out.array(12);
    this.#tag("BlockStored");
    this.#key("block_hashes");
    out.array(to - from);
    for (let block = from; block < to; block++) this.#hash(sequence.hashes, block);
    this.#key("parent_block_hash");
    if (from === 0) out.nil();
    else this.#hash(sequence.hashes, from - 1);
    this.#key("token_ids");
    out.uints(sequence.tokens, from * this.#blockSize, to * this.#blockSize);
    this.#key("block_size");
    out.uint(this.#blockSize);
    this.#key("lora_id");
    out.nil();
    this.#key("medium");
    out.text(MEDIUM);
    this.#key("lora_name");
    out.nil();
    this.#key("extra_keys");
    this.#extraKeys(sequence.salt, from, to);
    this.#key("group_idx");
    out.uint(GROUP);
    this.#key("kv_cache_spec_kind");
    out.text(SPEC_KIND);
    if (!map) out.nil();
    if (session) {
      this.#key("session_id");
      out.text(session);
    }
  }

  /** One physical block was given up. */
  removed(low: number, high: number): void {
    this.#count++;
    const out = this.#events;
    if (this.#format === "map") out.map(4);
    else out.array(4);
    this.#tag("BlockRemoved");
    this.#key("block_hashes");
    out.array(1);
    this.#writeHash(low, high);
    this.#key("medium");
    out.text(MEDIUM);
    this.#key("group_idx");
    out.uint(GROUP);
  }

  /** The whole cache was dropped. */
  cleared(): void {
    this.#count++;
    if (this.#format === "map") this.#events.map(1);
    else this.#events.array(1);
    this.#tag("AllBlocksCleared");
  }

  /** The batch as a message, which empties it. @param timeSeconds since the epoch. */
  take(timeSeconds: number): Buffer {
    const message = this.#message;
    message.clear();
    message.array(3);
    message.float(timeSeconds);
    message.array(this.#count);
    message.raw(this.#events.view());
    message.uint(0);
    this.#events.clear();
    this.#count = 0;
    return message.copy();
  }

  #tag(name: string): void {
    if (this.#format === "map") this.#events.text("type");
    this.#events.text(name);
  }

  #key(name: string): void {
    if (this.#format === "map") this.#events.text(name);
  }

  #hash(lanes: Int32Array, block: number): void {
    this.#writeHash(lanes[2 * block] as number, lanes[2 * block + 1] as number);
  }

  #writeHash(low: number, high: number): void {
    if (this.#hashFormat === "int") this.#events.uint64(low, high);
    else this.#events.digest(low, high);
  }

  /** A cache salt is an extra key of block 0 alone. */
  #extraKeys(salt: string, from: number, to: number): void {
    this.#events.array(to - from);
    for (let block = from; block < to; block++) {
      if (block > 0 || salt === "") {
        this.#events.nil();
        continue;
      }
      this.#events.array(1);
      this.#events.text(salt);
    }
  }
}
