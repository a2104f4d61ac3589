// An engine's event side as vLLM has it: PUB with sequence numbers, ROUTER that replays the newest batches.
import { encode } from "@msgpack/msgpack";
import { Publisher, Router } from "zeromq";

interface StoredEvent {
  hashes: bigint[];
  parent: bigint | null;
  tokens: number[];
  blockSize?: number;
}

/** A map-form BlockStored as vLLM 0.32 writes it. */
export function stored({ hashes, parent, tokens, blockSize = 4 }: StoredEvent): Record<string, unknown> {
  return {
    type: "BlockStored",
    block_hashes: hashes,
    parent_block_hash: parent,
    token_ids: tokens,
    block_size: blockSize,
    lora_id: null,
    medium: "GPU",
    lora_name: null,
    extra_keys: hashes.map(() => null),
    group_idx: 0,
    kv_cache_spec_kind: "full_attention",
  };
}

export function removed(hashes: bigint[]): Record<string, unknown> {
  return { type: "BlockRemoved", block_hashes: hashes, medium: "GPU", group_idx: 0 };
}

export class EventPublisher {
  #pub = new Publisher({ linger: 0, sendHighWaterMark: 0 });
  #router = new Router({ linger: 0, sendHighWaterMark: 0 });
  #buffer: { sequence: number; payload: Uint8Array }[] = [];
  #sequence = 0;
  #loop: Promise<void> | null = null;
  readonly topicFrame: boolean;
  readonly steps: number;
  events = "";
  replay = "";
  replays = 0;

  constructor(options: { steps?: number; topicFrame?: boolean } = {}) {
    this.steps = options.steps ?? 10_000;
    this.topicFrame = options.topicFrame ?? true;
  }

  async bind(events = "tcp://127.0.0.1:*", replay = "tcp://127.0.0.1:*"): Promise<void> {
    await bindSoon(this.#pub, events);
    await bindSoon(this.#router, replay);
    this.events = this.#pub.lastEndpoint!;
    this.replay = this.#router.lastEndpoint!;
    this.#loop = this.#serve();
  }

  /** Publishes a batch; `send: false` puts it in the buffer only, as if the subscriber's pipe had dropped it. */
  async publish(events: unknown[], { send = true } = {}): Promise<void> {
    const payload = encode([1_790_000_000 + Math.random() * 1000, events, 0], { useBigInt64: true });
    await this.publishPayload(payload, { send });
  }

  /** Publishes an encoded batch, which is kept. */
  async publishPayload(payload: Uint8Array, { send = true } = {}): Promise<void> {
    const sequence = this.#sequence++;
    this.#buffer.push({ sequence, payload });
    if (this.#buffer.length > this.steps) this.#buffer.shift();
    if (send) await this.#pub.send(["", be64(BigInt(sequence)), payload]);
  }

  async close(): Promise<void> {
    this.#pub.close();
    this.#router.close();
    await this.#loop;
  }

  async #serve(): Promise<void> {
    try {
      for await (const [peer, , start] of this.#router) {
        this.replays++;
        const from = Number((start as Buffer).readBigUInt64BE());
        const lead = this.topicFrame ? [peer!, "", "topic"] : [peer!, ""];
        for (const { sequence, payload } of [...this.#buffer])
          if (sequence >= from) await this.#router.send([...lead, be64(BigInt(sequence)), payload]);
        await this.#router.send([...lead, Buffer.alloc(8, 0xff), ""]);
      }
    } catch {
      // closed
    }
  }
}

/** A socket closed just now may hold its port a little longer. */
async function bindSoon(socket: { bind(endpoint: string): Promise<void> }, endpoint: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await socket.bind(endpoint);
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((wake) => setTimeout(wake, 20));
    }
  }
}

function be64(n: bigint): Buffer {
  const b = Buffer.alloc(8);
  b.writeBigUInt64BE(n);
  return b;
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 1500; i++) {
    if (condition()) return;
    await new Promise((wake) => setTimeout(wake, 10));
  }
  throw new Error(`never: ${what}`);
}
