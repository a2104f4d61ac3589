// Bind mode: engines connect to us and publish under topics that name their pod.
import type { Logger } from "pino";
import { Subscriber } from "zeromq";
import { StartError } from "../errors.js";
import { RECEIVE_HIGH_WATER_MARK } from "./replay.js";

/** Takes a message's frames. */
export type Deliver = (frames: Uint8Array[]) => void;

export interface BoundEventsOptions {
  /** Where to bind, such as tcp://0.0.0.0:5555. */
  address: string;
  /** Who takes the messages of a pod; null when the pod is not known. */
  receiver: (podId: string) => Deliver | null;
  /** Takes messages in the JSON form, which name their pods themselves. */
  onJson: (payload: Uint8Array) => void;
  log: Logger;
}

const utf8 = new TextDecoder();

/** The pod that a topic names: `kv@<pod>@<model>`; with another number of parts the topic is the pod's name. */
export function podOfTopic(topic: string): string {
  const parts = topic.split("@");
  return parts.length === 3 && parts[0] === "kv" ? parts[1]! : topic;
}

export class BoundEvents {
  readonly counts = { messages: 0, unknownPod: 0 };
  readonly #o: BoundEventsOptions;
  readonly #socket: Subscriber;
  #reader: Promise<void> | null = null;
  #stopped = false;

  constructor(options: BoundEventsOptions) {
    this.#o = options;
    this.#socket = new Subscriber({ linger: 0, receiveHighWaterMark: RECEIVE_HIGH_WATER_MARK });
  }

  /** Binds; returns the endpoint. @throws StartError when the address cannot be bound. */
  async start(): Promise<string> {
    this.#socket.subscribe();
    try {
      await this.#socket.bind(this.#o.address);
    } catch (error) {
      throw new StartError(`ZMQ_BIND_ADDRESS ${this.#o.address}: ${(error as Error).message}`);
    }
    this.#reader = this.#read();
    return this.#socket.lastEndpoint!;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#socket.close();
    await this.#reader;
  }

  async #read(): Promise<void> {
    try {
      for await (const frames of this.#socket) this.#take(frames);
    } catch (error) {
      if (!this.#stopped) this.#o.log.error({ err: error }, "the bound event socket failed");
    }
  }

  #take(frames: Uint8Array[]): void {
    this.counts.messages++;
    const payload = frames.at(-1);
    if (payload?.[0] === 0x7b) {
      this.#o.onJson(payload);
      return;
    }
    const podId = podOfTopic(utf8.decode(frames[0]));
    const deliver = this.#o.receiver(podId);
    if (deliver) {
      deliver(frames);
      return;
    }
    // Said once for each power of two: a stranger must not fill the log.
    const n = ++this.counts.unknownPod;
    if ((n & (n - 1)) === 0)
      this.#o.log.warn(
        { event_type: "unknown_pod", pod_id: podId.slice(0, 255), messages: n },
        "events came of a pod that is not configured; its topic must be kv@<pod name or address>@<model>",
      );
  }
}
