// vLLM's and SGLang's KV event batches: array and map encoding, integer and digest hashes, unknown fields and tags passed
// over. SGLang has vLLM's arrays, signed hashes, and a map of metadata where vLLM has the adapter's name.
import { MsgpackReader } from "./msgpack-reader.js";

/** A run of consecutive full blocks that the engine holds. Arrays are views that the next event overwrites. */
export interface BlockStored {
  hashes: BigUint64Array;
  /** Hash of the block before the first one, null at the start of a sequence. */
  parent: bigint | null;
  tokens: Uint32Array;
  /** Tokens per block. */
  blockSize: number;
  loraId: number | null;
  loraName: string | null;
  /** Tier, such as "GPU" or "CPU"; null in old releases, which have one tier. */
  medium: string | null;
  /** One entry per block (null or a list), or null when no block has any. */
  extraKeys: (unknown[] | null)[] | null;
  /** KV cache group of hybrid models; null = the only one. */
  group: number | null;
  /** Such as "full_attention"; null = full attention. */
  specKind: string | null;
}

/** Physical blocks that the engine gave up; one entry per copy. The array is a view. */
export interface BlockRemoved {
  hashes: BigUint64Array;
  medium: string | null;
  group: number | null;
}

/** Takes the events of a batch in order. */
export interface EventSink {
  stored(event: BlockStored): void;
  removed(event: BlockRemoved): void;
  cleared(): void;
  /** An event with a tag that this release does not know. */
  unknown(tag: string): void;
}

export interface BatchHead {
  /** Engine's clock, seconds. */
  time: number;
  /** Data-parallel rank, null in old releases. */
  rank: number | null;
}

const reader = new MsgpackReader();
const parentWords = new BigUint64Array(1);
const parentHalves = new Uint32Array(parentWords.buffer);
let hashWords = new BigUint64Array(1024);
let hashHalves = new Uint32Array(hashWords.buffer);
let tokenIds = new Uint32Array(16384);

/** Fields of the event being read; reused so that a batch allocates little. */
class Fields {
  tag = "";
  hashCount = 0;
  parent: bigint | null = null;
  tokenCount = 0;
  blockSize = 0;
  loraId: number | null = null;
  loraName: string | null = null;
  medium: string | null = null;
  extraKeys: (unknown[] | null)[] | null = null;
  group: number | null = null;
  specKind: string | null = null;
  salt: string | null = null;

  clear(): void {
    this.tag = "";
    this.hashCount = 0;
    this.parent = null;
    this.tokenCount = 0;
    this.blockSize = 0;
    this.loraId = null;
    this.loraName = null;
    this.medium = null;
    this.extraKeys = null;
    this.group = null;
    this.specKind = null;
    this.salt = null;
  }
}

const fields = new Fields();

const STORED = [
  "block_hashes",
  "parent_block_hash",
  "token_ids",
  "block_size",
  "lora_id",
  "medium",
  "lora_name",
  "extra_keys",
  "group_idx",
  "kv_cache_spec_kind",
];
const REMOVED = ["block_hashes", "medium", "group_idx"];
/** By tag: the fields of the array form, in their order. */
const TAGS = new Map([
  ["BlockStored", STORED],
  ["BlockRemoved", REMOVED],
  ["AllBlocksCleared", []],
]);

/**
 * Decodes a batch payload and hands its events to `sink` as they are read.
 * @throws MsgpackError when the payload is damaged; events before the damage have been handed over.
 */
export function decodeBatch(payload: Uint8Array, sink: EventSink): BatchHead {
  reader.reset(payload);
  const head: BatchHead = { time: 0, rank: null };
  if (reader.isMap()) {
    for (let n = reader.mapHead(); n > 0; n--) {
      const key = reader.text();
      if (key === "ts") head.time = reader.number();
      else if (key === "events") decodeEvents(sink);
      else if (key === "data_parallel_rank") head.rank = reader.numberOrNil();
      else reader.skip();
    }
    return head;
  }
  const length = reader.arrayHead();
  for (let i = 0; i < length; i++) {
    if (i === 0) head.time = reader.number();
    else if (i === 1) decodeEvents(sink);
    else if (i === 2) head.rank = reader.numberOrNil();
    else reader.skip();
  }
  return head;
}

function decodeEvents(sink: EventSink): void {
  for (let n = reader.arrayHead(); n > 0; n--) {
    fields.clear();
    if (reader.isMap()) {
      for (let k = reader.mapHead(); k > 0; k--) field(reader.text());
    } else {
      const length = reader.arrayHead();
      if (length > 0) fields.tag = reader.text();
      const names = TAGS.get(fields.tag) ?? [];
      for (let k = 1; k < length; k++) {
        const name = names[k - 1];
        if (name === undefined) reader.skip();
        else field(name);
      }
    }
    deliver(sink);
  }
}

function field(name: string): void {
  // What a tag of another release means by a name may be of another shape.
  if (fields.tag !== "" && name !== "type" && !TAGS.has(fields.tag)) {
    reader.skip();
    return;
  }
  switch (name) {
    case "type":
      fields.tag = reader.text();
      return;
    case "block_hashes":
      fields.hashCount = readHashes();
      return;
    case "parent_block_hash":
      if (reader.nil()) fields.parent = null;
      else {
        reader.hashInto(parentWords, parentHalves, 0);
        fields.parent = parentWords[0]!;
      }
      return;
    case "token_ids":
      fields.tokenCount = readTokens();
      return;
    case "block_size":
      fields.blockSize = reader.number();
      return;
    case "lora_id":
      fields.loraId = reader.numberOrNil();
      return;
    case "lora_name":
      if (reader.isMap()) metadata();
      else fields.loraName = reader.textOrNil();
      return;
    case "medium":
      fields.medium = reader.textOrNil();
      return;
    case "group_idx":
      fields.group = reader.numberOrNil();
      return;
    case "kv_cache_spec_kind":
      fields.specKind = reader.textOrNil();
      return;
    case "extra_keys":
      fields.extraKeys = readExtraKeys();
      return;
    default:
      reader.skip();
  }
}

/** What SGLang says besides; the cache salt is in its hashes, and so it is in ours. */
function metadata(): void {
  for (let n = reader.mapHead(); n > 0; n--) {
    if (reader.text() === "cache_salt") fields.salt = reader.textOrNil();
    else reader.skip();
  }
}

function readHashes(): number {
  const n = reader.arrayHead();
  if (n > hashWords.length) {
    hashWords = new BigUint64Array(n * 2);
    hashHalves = new Uint32Array(hashWords.buffer);
  }
  for (let i = 0; i < n; i++) reader.hashInto(hashWords, hashHalves, i);
  return n;
}

function readTokens(): number {
  const n = reader.tokensInto(tokenIds);
  if (n >= 0) return n;
  tokenIds = new Uint32Array(reader.peekArray() * 2);
  return reader.tokensInto(tokenIds);
}

function readExtraKeys(): (unknown[] | null)[] | null {
  if (reader.nil()) return null;
  let keys: (unknown[] | null)[] | null = null;
  const n = reader.arrayHead();
  for (let i = 0; i < n; i++) {
    if (reader.nil()) continue;
    keys ??= new Array(n).fill(null);
    const value = reader.value();
    keys[i] = Array.isArray(value) ? value : [value];
  }
  return keys;
}

function deliver(sink: EventSink): void {
  const f = fields;
  if (f.tag === "BlockStored") {
    sink.stored({
      hashes: hashWords.subarray(0, f.hashCount),
      parent: f.parent,
      tokens: tokenIds.subarray(0, f.tokenCount),
      blockSize: f.blockSize,
      loraId: f.loraId,
      loraName: f.loraName,
      medium: f.medium,
      extraKeys: f.extraKeys ?? (f.salt !== null && f.parent === null ? [[f.salt]] : null),
      group: f.group,
      specKind: f.specKind,
    });
  } else if (f.tag === "BlockRemoved") {
    sink.removed({ hashes: hashWords.subarray(0, f.hashCount), medium: f.medium, group: f.group });
  } else if (f.tag === "AllBlocksCleared") sink.cleared();
  else sink.unknown(f.tag);
}
