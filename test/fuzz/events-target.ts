// Fuzzes the event decoder: batches of every dialect in random encodings, and what is left of them when bytes are
// changed, lost or doubled. Each payload must be read as a slow second reading has it, event by event up to the first
// fault, and a fault must be a MsgpackError.
import { decodeBatch, type EventSink } from "../../agent/kv/event-decoder.js";
import { MsgpackError } from "../../agent/kv/msgpack-reader.js";
import { NOTHING, type PlainEvent, type Reading, readPayload } from "./events-oracle.js";
import { MsgpackWriter, type Value } from "./msgpack-writer.js";
import { Random } from "./random.js";
import { Fault, printable, type Target } from "./target.js";

const BROKEN = 12;
const TAGS = ["BlockStored", "BlockStored", "BlockStored", "BlockRemoved", "AllBlocksCleared", "BlockMoved"];
const TEXTS = [
  "GPU",
  "CPU",
  "",
  "adapter",
  "salt\ud83d\ude42",
  "\ufeffx",
  "full_attention",
  "mamba",
  "k".repeat(40),
];
const JUNK: Value[] = [
  null,
  true,
  -1,
  2 ** 40,
  (1n << 64n) - 1n,
  { float: 0.5 },
  { float: 3 },
  { float: Number.NaN },
  "x",
  new Uint8Array(9),
  new Uint8Array(260),
  [],
  [[null]],
  { pairs: [] },
  { pairs: [[{ pairs: [] }, 1]] },
  { pairs: [[[1, [2]], 1]] },
  { extension: new Uint8Array(5), type: 7 },
  { extension: new Uint8Array(4), type: 1 },
];

/** A sink that keeps plain copies. */
class Kept implements EventSink {
  events: PlainEvent[] = [];

  stored(e: Parameters<EventSink["stored"]>[0]): void {
    this.events.push({
      ...e,
      tag: "BlockStored",
      hashes: [...e.hashes],
      tokens: [...e.tokens],
      extraKeys: e.extraKeys as PlainEvent["extraKeys"],
    });
  }
  removed({ hashes, medium, group }: Parameters<EventSink["removed"]>[0]): void {
    this.events.push({ ...NOTHING, tag: "BlockRemoved", hashes: [...hashes], medium, group });
  }
  cleared(): void {
    this.events.push({ ...NOTHING, tag: "AllBlocksCleared" });
  }
  unknown(tag: string): void {
    this.events.push({ ...NOTHING, tag });
  }
}

export class EventsTarget implements Target {
  readonly name = "events";
  /** Payloads that were read to their end. */
  whole = 0;
  readonly #random = new Random();
  readonly #writer = new MsgpackWriter(this.#random);

  run(seed: number): number {
    const r = this.#random;
    r.seed(seed);
    const payload = this.#writer.write(this.#batch());
    // Most payloads are refused, and where the stack stood at that time is of no interest.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    try {
      this.#compare(payload, seed);
      for (let i = 0; i < BROKEN; i++) this.#compare(this.#broken(payload), seed);
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
    return BROKEN + 1;
  }

  #compare(payload: Uint8Array, seed: number): void {
    const want = readPayload(payload);
    const kept = new Kept();
    const say = (what: string): never => {
      throw new Fault(this.name, seed, what, printable(payload));
    };
    let problem: unknown = null;
    let head = { time: 0, rank: null as number | null };
    try {
      head = decodeBatch(payload, kept);
    } catch (error) {
      problem = error;
    }
    if (problem !== null && !(problem instanceof MsgpackError)) say(`${problem}`);
    // A value that is nested deeper than any engine's is refused though it is right.
    const deep = problem instanceof MsgpackError && problem.message.includes("too deep");
    if (deep) return;
    if ((problem !== null) !== (want.wrong !== null))
      say(problem ? `refused (${problem}) though it is right` : `taken though it is wrong: ${want.wrong}`);
    // A count that cannot be true is refused before the events that it counts.
    const missing = want.events.length - kept.events.length;
    if (missing < 0 || (missing > 0 && problem === null))
      say(`${kept.events.length} events instead of ${want.events.length}`);
    for (const [i, event] of kept.events.entries()) {
      const wanted = reduced(want.events[i]!);
      if (!same(event, wanted)) say(`event ${i} is ${show(event)} instead of ${show(wanted)}`);
    }
    if (problem) return;
    this.whole++;
    if (!Object.is(head.time, want.time) || !Object.is(head.rank, want.rank)) say(differentHead(head, want));
  }

  #batch(): Value {
    const r = this.#random;
    const events = Array.from({ length: 1 + r.below(3) }, () => this.#event());
    const time: Value = { float: r.word() / 7 };
    const rank: Value = r.oneIn(3) ? null : r.below(4);
    if (r.oneIn(4)) {
      const pairs: [Value, Value][] = [
        ["ts", time],
        ["events", events],
        ["data_parallel_rank", rank],
      ];
      if (r.oneIn(2)) pairs.splice(r.below(4), 0, ["later", r.pick(JUNK)]);
      return { pairs };
    }
    const batch: Value[] = [time, events];
    if (!r.oneIn(4)) batch.push(rank);
    if (r.oneIn(6)) batch.push(rank, r.pick(JUNK));
    return batch;
  }

  #event(): Value {
    const r = this.#random;
    const tag = r.pick(TAGS);
    const count = r.below(4);
    const blockSize = r.pick([1, 4, 16]);
    const fields: [string, Value][] =
      tag === "BlockStored"
        ? [
            ["block_hashes", Array.from({ length: count }, () => this.#hash())],
            ["parent_block_hash", r.oneIn(2) ? null : this.#hash()],
            ["token_ids", Array.from({ length: count * blockSize }, () => this.#token())],
            ["block_size", blockSize],
            ["lora_id", r.oneIn(4) ? r.below(9) : null],
            ["medium", r.oneIn(4) ? null : r.pick(TEXTS)],
            ["lora_name", this.#lora()],
            ["extra_keys", this.#keys(count)],
            ["group_idx", r.oneIn(2) ? null : r.below(3)],
            ["kv_cache_spec_kind", r.oneIn(2) ? null : r.pick(TEXTS)],
          ]
        : tag === "AllBlocksCleared"
          ? []
          : [
              ["block_hashes", Array.from({ length: count }, () => this.#hash())],
              ["medium", r.oneIn(4) ? null : r.pick(TEXTS)],
              ["group_idx", r.oneIn(2) ? null : r.below(3)],
            ];
    if (fields.length > 0 && (r.oneIn(12) || tag === "BlockMoved")) r.pick(fields)[1] = r.pick(JUNK);
    if (r.oneIn(2)) {
      const values = fields.map(([, value]) => value);
      if (r.oneIn(3)) values.length = r.below(values.length + 1);
      if (r.oneIn(6)) values.push(r.pick(JUNK));
      return [tag, ...values];
    }
    const pairs: [Value, Value][] = fields.filter(() => !r.oneIn(12));
    for (let n = r.below(3); n > 0; n--) pairs.splice(r.below(pairs.length + 1), 0, ["more", r.pick(JUNK)]);
    if (r.oneIn(8) && pairs.length > 1) pairs.reverse();
    pairs.splice(r.oneIn(4) ? r.below(pairs.length + 1) : 0, 0, ["type", tag]);
    return { pairs };
  }

  #hash(): Value {
    const r = this.#random;
    const word = (BigInt(r.word()) << 32n) | BigInt(r.word());
    if (r.oneIn(3)) {
      const digest = new Uint8Array(r.pick([8, 16, 32]));
      r.fill(digest);
      return digest;
    }
    return r.oneIn(3) ? BigInt.asIntN(64, word) : r.oneIn(4) ? word >> 40n : word;
  }

  #token(): Value {
    const r = this.#random;
    return r.word() >>> r.pick([0, 14, 16, 25]);
  }

  #lora(): Value {
    const r = this.#random;
    if (r.oneIn(5))
      return {
        pairs: [
          ["cache_salt", r.oneIn(3) ? null : r.pick(TEXTS)],
          ["more", r.pick(JUNK)],
        ],
      };
    return r.oneIn(3) ? r.pick(TEXTS) : null;
  }

  #keys(count: number): Value {
    const r = this.#random;
    if (r.oneIn(2)) return null;
    return Array.from({ length: count }, () =>
      r.oneIn(3) ? null : r.oneIn(6) ? r.pick(JUNK) : [r.pick(TEXTS), ...(r.oneIn(3) ? [r.pick(JUNK)] : [])],
    );
  }

  /** A payload with bytes changed, lost or doubled. */
  #broken(payload: Uint8Array): Uint8Array {
    const r = this.#random;
    let bytes = payload.slice();
    for (let n = 1 + r.below(3); n > 0; n--) {
      const at = r.below(bytes.length);
      const to = Math.min(bytes.length, at + r.below(12));
      switch (r.below(6)) {
        case 0:
          bytes = bytes.slice(0, at + 1);
          break;
        case 1:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(to), bytes.subarray(at, at + 1)]);
          break;
        case 2:
          bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
          break;
        case 3:
          // The codes of the format's own types do more harm than noise.
          bytes[at] = 0xc0 + r.below(64);
          break;
        case 4:
          bytes[at] = bytes[at]! ^ (1 << r.below(8));
          break;
        default:
          bytes[at] = r.below(256);
      }
    }
    return bytes;
  }
}

/** What a sink is told of an event. */
function reduced(event: PlainEvent): PlainEvent {
  const { tag, hashes, medium, group } = event;
  if (tag === "BlockStored") return event;
  return tag === "BlockRemoved" ? { ...NOTHING, tag, hashes, medium, group } : { ...NOTHING, tag };
}

function same(a: PlainEvent, b: PlainEvent): boolean {
  return (
    a.tag === b.tag &&
    a.hashes.length === b.hashes.length &&
    a.hashes.every((hash, i) => hash === b.hashes[i]) &&
    a.parent === b.parent &&
    a.tokens.length === b.tokens.length &&
    a.tokens.every((id, i) => id === b.tokens[i]) &&
    Object.is(a.blockSize, b.blockSize) &&
    Object.is(a.loraId, b.loraId) &&
    a.loraName === b.loraName &&
    a.medium === b.medium &&
    Object.is(a.group, b.group) &&
    a.specKind === b.specKind &&
    sameKeys(a.extraKeys, b.extraKeys)
  );
}

/** What an index makes of extra keys: which blocks have any, how many, and those that are texts. */
function sameKeys(a: PlainEvent["extraKeys"], b: PlainEvent["extraKeys"]): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.length === b.length &&
    a.every((own, i) => {
      const other = b[i]!;
      if (own === null || other === null) return own === other;
      return (
        own.length === other.length &&
        own.every((key, k) => (typeof key === "string" ? key === other[k] : typeof other[k] !== "string"))
      );
    })
  );
}

function differentHead(head: { time: number; rank: number | null }, want: Reading): string {
  return `time ${head.time} and rank ${head.rank} instead of ${want.time} and ${want.rank}`;
}

function show(event: PlainEvent): string {
  return JSON.stringify(event, (_, value) => (typeof value === "bigint" ? `${value}` : value)).slice(0, 600);
}
