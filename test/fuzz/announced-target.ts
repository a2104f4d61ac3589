// Fuzzes the JSON form of events: messages right and wrong, and what is believed of them, by a list of what was said last.
import { AnnouncedBlocks, type JsonEvent, jsonEvents } from "../../agent/kv/announced-blocks.js";
import { Random } from "./random.js";
import { Fault, printable, type Target } from "./target.js";

const MESSAGES = 24;
const PODS = ["a", "b", "kv@x", ""];
const TYPES = ["BLOCK_CREATED", "BLOCK_EVICTED", "BLOCK_UPDATED"];
const LIMITS = { ttlMs: 50, maxBlocks: 6 };
/** A block hash in a message, and the 64 bits that it stands for; null = refused. */
const HASHES: [unknown, bigint | null][] = [
  [7, 7n],
  ["7", 7n],
  ["0x07", 7n],
  [-1, 0xffff_ffff_ffff_ffffn],
  ["18446744073709551615", 0xffff_ffff_ffff_ffffn],
  ["0xffffffffffffffff", 0xffff_ffff_ffff_ffffn],
  [`${"ab".repeat(28)}0000000000000009`.slice(-64).padStart(64, "0"), 9n],
  [`0x${"1".repeat(48)}0000000000000009`, 9n],
  [2 ** 53, null],
  [1.5, null],
  [null, null],
  [{}, null],
  [["7"], null],
  [true, null],
];
const JUNK: unknown[] = [
  null,
  0,
  "x",
  [],
  {},
  [[]],
  true,
  { events: null },
  { events: [null] },
  { events: {} },
];

export class AnnouncedTarget implements Target {
  readonly name = "announced";
  readonly #random = new Random();

  run(seed: number): number {
    const r = this.#random;
    r.seed(seed);
    const blocks = new AnnouncedBlocks(LIMITS);
    /** What was said of which block, the oldest first. */
    let said: { pod: number; hash: bigint; at: number }[] = [];
    let now = 0;
    for (let i = 0; i < MESSAGES; i++) {
      now += r.below(30);
      const { payload, events } = this.#message();
      const real = this.#read(payload, seed);
      if (events !== undefined && !same(real, events))
        throw new Fault(
          this.name,
          seed,
          `read as ${show(real)} instead of ${show(events)}`,
          printable(payload),
        );
      for (const event of real ?? []) {
        const pod = PODS.indexOf(event.podId);
        if (pod < 0) continue;
        // No two at one time: which of them is the older could not be told.
        now += 0.001;
        blocks.take(pod, event, now);
        said = said.filter((own) => own.pod !== pod || own.hash !== event.hash);
        if (event.type !== "BLOCK_EVICTED") said.push({ pod, hash: event.hash, at: now });
        if (said.length > LIMITS.maxBlocks) said.shift();
      }
      if (r.oneIn(4)) {
        blocks.expire(now);
        said = said.filter(({ at }) => now - at < LIMITS.ttlMs);
      }
      if (blocks.size !== said.length)
        throw new Fault(this.name, seed, `${blocks.size} blocks, not ${said.length}`, printable(payload));
      for (const pod of PODS.keys())
        for (const hash of [7n, 9n, 0xffff_ffff_ffff_ffffn]) {
          const own = said.find((one) => one.pod === pod && one.hash === hash);
          const want = own !== undefined && now - own.at < LIMITS.ttlMs;
          if (blocks.has(pod, hash, now) !== want)
            throw new Fault(this.name, seed, `pod ${pod}: ${hash} is not ${want}`, printable(payload));
        }
    }
    return MESSAGES;
  }

  #read(payload: Uint8Array, seed: number): JsonEvent[] | null {
    try {
      return jsonEvents(payload);
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError)
        return null;
      throw new Fault(this.name, seed, `${error}`, printable(payload));
    }
  }

  /** A message, and what is in it: null when it must be refused, undefined when nobody can say. */
  #message(): { payload: Uint8Array; events: JsonEvent[] | null | undefined } {
    const r = this.#random;
    const events: (JsonEvent | null)[] = [];
    const list = Array.from({ length: 1 + r.below(3) }, () => {
      const type = r.oneIn(20) ? "BLOCK_MOVED" : r.pick(TYPES);
      const podId = r.pick(PODS);
      const [given, hash] = r.pick(HASHES);
      const known = TYPES.includes(type) && hash !== null;
      events.push(known ? { type: type as JsonEvent["type"], podId, hash } : null);
      return { [r.oneIn(2) ? "type" : "event_type"]: type, pod_id: podId, block_hash: given, more: [1] };
    });
    const one = list.length === 1 && r.oneIn(2);
    const right = events.every((event) => event !== null) ? (events as JsonEvent[]) : null;
    const payload = Buffer.from(JSON.stringify(one ? list[0] : { events: list }));
    if (!r.oneIn(3)) return { payload, events: right };
    if (r.oneIn(4)) return { payload: Buffer.from(JSON.stringify(r.pick(JUNK))), events: null };
    const at = r.below(payload.length);
    if (r.oneIn(2)) payload[at] = r.below(256);
    return { payload: r.oneIn(2) ? payload.subarray(0, at) : payload, events: undefined };
  }
}

function same(a: JsonEvent[] | null, b: JsonEvent[] | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.length === b.length &&
    a.every(({ type, podId, hash }, i) => {
      const other = b[i]!;
      return type === other.type && podId === other.podId && hash === other.hash;
    })
  );
}

function show(events: JsonEvent[] | null): string {
  return JSON.stringify(events, (_, value) => (typeof value === "bigint" ? `${value}` : value));
}
