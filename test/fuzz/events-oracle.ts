// What a payload on an event endpoint says, read slowly and in the open: a tree by the msgpack specification first, then
// the events by name and position. Shares nothing with the decoder under test.
import type { Value } from "./msgpack-writer.js";

/** One event in plain values; hashes and the parent as 64-bit integers. */
export interface PlainEvent {
  tag: string;
  hashes: bigint[];
  parent: bigint | null;
  tokens: number[];
  blockSize: number;
  loraId: number | null;
  loraName: string | null;
  medium: string | null;
  extraKeys: (Value[] | null)[] | null;
  group: number | null;
  specKind: string | null;
}

export interface Reading {
  events: PlainEvent[];
  time: number;
  rank: number | null;
  /** Why it went no further; null when the payload is whole. */
  wrong: string | null;
}

/** An event that says nothing. */
export const NOTHING: PlainEvent = {
  tag: "",
  hashes: [],
  parent: null,
  tokens: [],
  blockSize: 0,
  loraId: null,
  loraName: null,
  medium: null,
  extraKeys: null,
  group: null,
  specKind: null,
};

class Wrong extends Error {}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const STORED =
  "block_hashes parent_block_hash token_ids block_size lora_id medium lora_name extra_keys group_idx kv_cache_spec_kind".split(
    " ",
  );
const REMOVED = ["block_hashes", "medium", "group_idx"];
const FIELDS: Record<string, string[]> = { BlockStored: STORED, BlockRemoved: REMOVED, AllBlocksCleared: [] };

/** Reads a payload as far as it is right. */
export function readPayload(bytes: Uint8Array): Reading {
  const reading: Reading = { events: [], time: 0, rank: null, wrong: null };
  const tree = new Tree(bytes);
  try {
    const { kind, count } = tree.head();
    if (kind === "array") for (let i = 0; i < count; i++) member(["ts", "events", "data_parallel_rank"][i]);
    else for (let i = 0; i < count; i++) member(text(tree.value()));
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    reading.wrong = error.message;
  }
  return reading;

  function member(name: string | undefined): void {
    if (name === "ts") reading.time = number(tree.value());
    else if (name === "data_parallel_rank") reading.rank = nullable(number)(tree.value());
    else if (name === "events") {
      const { kind, count } = tree.head();
      if (kind !== "array") throw new Wrong("events");
      for (let i = 0; i < count; i++) reading.events.push(event(tree.value()));
    } else tree.value();
  }
}

/** The tree of a payload, value by value. */
class Tree {
  #at = 0;

  constructor(readonly bytes: Uint8Array) {}

  #take(n: number): Uint8Array {
    if (this.#at + n > this.bytes.length) throw new Wrong("cut");
    this.#at += n;
    return this.bytes.subarray(this.#at - n, this.#at);
  }

  #unsigned(width: number): bigint {
    return this.#take(width).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  }

  #signed(width: number): bigint {
    return BigInt.asIntN(8 * width, this.#unsigned(width));
  }

  /** The head of an array or a map. */
  head(): { kind: "array" | "map"; count: number } {
    const code = this.#take(1)[0]!;
    if (code >= 0x80 && code < 0x90) return { kind: "map", count: code - 0x80 };
    if (code >= 0x90 && code < 0xa0) return { kind: "array", count: code - 0x90 };
    if (code < 0xdc || code > 0xdf) throw new Wrong("no container");
    const count = Number(this.#unsigned(code & 1 ? 4 : 2));
    return { kind: code < 0xde ? "array" : "map", count };
  }

  value(): Value {
    const code = this.#take(1)[0]!;
    if (code < 0x80) return BigInt(code);
    if (code >= 0xe0) return BigInt(code - 256);
    if (code >= 0xa0 && code < 0xc0) return utf8.decode(this.#take(code - 0xa0));
    if ((code >= 0x80 && code < 0xa0) || code >= 0xdc) {
      this.#at--;
      const { kind, count } = this.head();
      if (kind === "array") return this.#list(count, () => this.value());
      return { pairs: this.#list(count, () => [this.value(), this.value()] as [Value, Value]) };
    }
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return code === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(Number(this.#unsigned(1 << (code - 0xc4)))).slice();
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(Number(this.#unsigned(1 << (code - 0xc7))));
      case 0xca:
        return { float: Buffer.from(this.#take(4)).readFloatBE() };
      case 0xcb:
        return { float: Buffer.from(this.#take(8)).readDoubleBE() };
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return this.#unsigned(1 << (code - 0xcc));
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        return this.#signed(1 << (code - 0xd0));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return utf8.decode(this.#take(Number(this.#unsigned(1 << (code - 0xd9)))));
      case 0xc1:
        throw new Wrong("0xc1 is never used");
      default:
        return this.#extension(1 << (code - 0xd4));
    }
  }

  #extension(n: number): Value {
    const type = this.#take(1)[0]!;
    return { extension: this.#take(n).slice(), type };
  }

  #list<T>(count: number, item: () => T): T[] {
    const out: T[] = [];
    for (let i = 0; i < count; i++) out.push(item());
    return out;
  }
}

function event(value: Value): PlainEvent {
  const seen: PlainEvent & { salt: string | null } = { ...NOTHING, salt: null };
  if (Array.isArray(value)) {
    if (value.length > 0) seen.tag = text(value[0]!);
    const names = FIELDS[seen.tag] ?? [];
    for (const [i, name] of names.entries()) if (i + 1 < value.length) field(seen, name, value[i + 1]!);
  } else if (value !== null && typeof value === "object" && "pairs" in value) {
    for (const [key, own] of value.pairs) field(seen, text(key), own);
  } else throw new Wrong("an event is neither an array nor a map");
  const { salt, ...event } = seen;
  if (event.extraKeys === null && salt !== null && event.parent === null) event.extraKeys = [[salt]];
  return event;
}

function field(seen: PlainEvent & { salt: string | null }, name: string, value: Value): void {
  if (name === "type") {
    seen.tag = text(value);
    return;
  }
  if (seen.tag !== "" && !(seen.tag in FIELDS)) return;
  switch (name) {
    case "block_hashes":
      seen.hashes = list(value).map(hash);
      break;
    case "parent_block_hash":
      seen.parent = nullable(hash)(value);
      break;
    case "token_ids":
      seen.tokens = list(value).map((id) => {
        const n = number(id);
        if (!Number.isInteger(n) || n < 0 || n >= 2 ** 32) throw new Wrong("a token id");
        return n;
      });
      break;
    case "block_size":
      seen.blockSize = number(value);
      break;
    case "lora_id":
      seen.loraId = nullable(number)(value);
      break;
    case "lora_name":
      if (value !== null && typeof value === "object" && "pairs" in value) {
        for (const [key, own] of value.pairs) if (text(key) === "cache_salt") seen.salt = nullable(text)(own);
      } else seen.loraName = nullable(text)(value);
      break;
    case "medium":
      seen.medium = nullable(text)(value);
      break;
    case "group_idx":
      seen.group = nullable(number)(value);
      break;
    case "kv_cache_spec_kind":
      seen.specKind = nullable(text)(value);
      break;
    case "extra_keys": {
      if (value === null) {
        seen.extraKeys = null;
        break;
      }
      const keys = list(value).map((own) => (own === null ? null : Array.isArray(own) ? own : [own]));
      seen.extraKeys = keys.every((own) => own === null) ? null : keys;
    }
  }
}

function list(value: Value): Value[] {
  if (!Array.isArray(value)) throw new Wrong("no list");
  return value;
}

function number(value: Value): number {
  if (typeof value === "bigint") return Number(value);
  if (value !== null && typeof value === "object" && "float" in value) return value.float;
  throw new Wrong("no number");
}

/** A text, or bytes that stand for one. */
function text(value: Value): string {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return utf8.decode(value);
  throw new Wrong("no text");
}

function hash(value: Value): bigint {
  if (typeof value === "bigint") return BigInt.asUintN(64, value);
  if (value instanceof Uint8Array) {
    if (value.length < 8) throw new Wrong("a digest");
    return Buffer.from(value).readBigUInt64BE(value.length - 8);
  }
  const n = number(value);
  if (!Number.isSafeInteger(n)) throw new Wrong("a hash");
  return BigInt.asUintN(64, BigInt(n));
}

function nullable<T>(read: (value: Value) => T): (value: Value) => T | null {
  return (value) => (value === null ? null : read(value));
}
