// Knows which blocks a pod held at any time, from its events alone and without any of the agent's code: it matches by
// token ids, where the agent matches by text. Tells which pod was the best choice, and whether a wrong prediction came
// from the events or from us.
import { decode } from "@msgpack/msgpack";
import { Subscriber } from "zeromq";
import { KV_BLOCK } from "./engine.js";

interface Event {
  type: string;
  block_hashes?: bigint[];
  parent_block_hash?: bigint | null;
  token_ids?: number[];
  extra_keys?: (unknown[] | null)[] | null;
}

interface Held {
  /** Copies, and when the last one went and the first one came, as pairs of times in ms. */
  copies: number;
  spans: { from: number; to: number }[];
}

export class Witness {
  readonly #socket = new Subscriber({ linger: 0, receiveHighWaterMark: 0, reconnectInterval: 100 });
  /** Content of a block (parent, salt, tokens) → its hash. */
  readonly #byContent = new Map<string, bigint>();
  readonly #held = new Map<bigint, Held>();
  readonly #record: boolean;
  #reader: Promise<void> | null = null;
  stored = 0;
  removed = 0;
  /** Every message as it came, with its time in ms, for a look at a run that is over. */
  readonly messages: { at: number; payload: string }[] = [];

  /** `record` keeps the messages. */
  constructor(endpoint: string, record: boolean) {
    this.#record = record;
    this.#socket.subscribe();
    this.#socket.connect(endpoint);
    this.#reader = this.#read();
  }

  async stop(): Promise<void> {
    this.#socket.close();
    await this.#reader?.catch(() => {});
  }

  /** The pod's process ended: it holds nothing any more. */
  forget(): void {
    const now = performance.now();
    for (const held of this.#held.values()) end(held, now);
  }

  /** How many leading tokens of a prompt the pod held at `time` (performance.now()), in whole blocks. */
  cachedTokens(prompt: number[], salt: string, time: number): number {
    let parent: bigint | null = null;
    let at = 0;
    for (; at + KV_BLOCK <= prompt.length; at += KV_BLOCK) {
      const hash = this.#byContent.get(
        content(parent, at === 0 ? salt : "", prompt.slice(at, at + KV_BLOCK)),
      );
      if (hash === undefined) break;
      const spans: Held["spans"] = this.#held.get(hash)?.spans ?? [];
      if (!spans.some(({ from, to }) => from <= time && time < to)) break;
      parent = hash;
    }
    return at;
  }

  async #read(): Promise<void> {
    for await (const frames of this.#socket) {
      const batch = decode(frames.at(-1)!, { useBigInt64: true }) as [number, Event[]];
      const now = performance.now();
      if (this.#record)
        this.messages.push({ at: now, payload: Buffer.from(frames.at(-1)!).toString("base64") });
      for (const event of batch[1]) this.#apply(event, now);
    }
  }

  #apply(event: Event, now: number): void {
    if (event.type === "AllBlocksCleared") {
      this.forget();
      return;
    }
    const hashes = event.block_hashes ?? [];
    if (event.type === "BlockRemoved") {
      this.removed += hashes.length;
      for (const hash of hashes) {
        const held = this.#held.get(BigInt(hash));
        if (held && held.copies > 0 && --held.copies === 0) end(held, now);
      }
      return;
    }
    if (event.type !== "BlockStored") return;
    this.stored += hashes.length;
    let parent = event.parent_block_hash == null ? null : BigInt(event.parent_block_hash);
    for (const [i, raw] of hashes.entries()) {
      const hash = BigInt(raw);
      const tokens = event.token_ids!.slice(i * KV_BLOCK, (i + 1) * KV_BLOCK);
      const salt = (event.extra_keys?.[i] ?? []).find((key) => typeof key === "string") as string | undefined;
      this.#byContent.set(content(parent, salt ?? "", tokens), hash);
      const held = this.#held.get(hash) ?? { copies: 0, spans: [] };
      if (held.copies++ === 0) held.spans.push({ from: now, to: Number.POSITIVE_INFINITY });
      this.#held.set(hash, held);
      parent = hash;
    }
  }
}

function end(held: Held, now: number): void {
  held.copies = 0;
  const last = held.spans.at(-1);
  if (last && last.to === Number.POSITIVE_INFINITY) last.to = now;
}

function content(parent: bigint | null, salt: string, tokens: ArrayLike<number | bigint>): string {
  return `${parent ?? ""}|${salt}|${Array.from(tokens, Number).join(",")}`;
}
