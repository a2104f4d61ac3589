// Publishes event batches and replays past ones, as vLLM's ZmqEventPublisher does.
import { Publisher, Router } from "zeromq";

/** Marks the end of a replay in the place of the sequence number. */
const END = Buffer.alloc(8, 0xff);
const EMPTY = Buffer.alloc(0);

/** Where and how to publish. */
export interface EventPublisherOptions {
  /** Port of the PUB socket, 0 = a free one. */
  port: number;
  /** Port of the replay ROUTER, 0 = a free one. */
  replayPort: number;
  /** Batches kept for replay. */
  bufferSteps: number;
  /** Replay answers carry a topic frame, as in vLLM 0.26 and newer. */
  replayTopic: boolean;
  /** Makes the topic once the event port is known. */
  topic(port: number): string;
}

function boundPort(endpoint: string | null): number {
  return Number(endpoint?.slice(endpoint.lastIndexOf(":") + 1));
}

/** A PUB socket with a numbered message per batch, and a ROUTER that gives the last ones again. */
export class EventPublisher {
  readonly topic: string;
  readonly port: number;
  readonly replayPort: number;
  readonly #publisher: Publisher;
  readonly #router: Router;
  readonly #bufferSteps: number;
  readonly #replayTopic: boolean;
  readonly #topicFrame: Buffer;
  readonly #buffer: { sequence: Buffer; payload: Buffer }[] = [];
  /** Place of the oldest batch once the buffer is full. */
  #oldest = 0;
  #published = 0;
  /** What is published is lost, also to replays, and leaves no hole in the numbers. */
  losing = false;
  readonly #queue: Buffer[][] = [];
  #sending = false;
  #closed = false;

  private constructor(publisher: Publisher, router: Router, options: EventPublisherOptions) {
    this.#publisher = publisher;
    this.#router = router;
    this.#bufferSteps = options.bufferSteps;
    this.#replayTopic = options.replayTopic;
    this.port = boundPort(publisher.lastEndpoint);
    this.replayPort = boundPort(router.lastEndpoint);
    this.topic = options.topic(this.port);
    this.#topicFrame = Buffer.from(this.topic, "utf8");
  }

  /** Binds both sockets on loopback. @throws when a port is taken. */
  static async open(options: EventPublisherOptions): Promise<EventPublisher> {
    const publisher = new Publisher({ sendHighWaterMark: 100_000, linger: 0 });
    const router = new Router({ linger: 0, sendHighWaterMark: 0 });
    await publisher.bind(`tcp://127.0.0.1:${options.port || "*"}`);
    await router.bind(`tcp://127.0.0.1:${options.replayPort || "*"}`);
    const opened = new EventPublisher(publisher, router, options);
    void opened.#serveReplays();
    return opened;
  }

  /** Sends a batch to every subscriber and keeps it for replay. */
  publish(payload: Buffer): void {
    if (this.#closed || this.losing) return;
    const sequence = Buffer.allocUnsafe(8);
    sequence.writeUInt32BE(Math.floor(this.#published / 0x1_0000_0000), 0);
    sequence.writeUInt32BE(this.#published >>> 0, 4);
    this.#published++;
    if (this.#buffer.length < this.#bufferSteps) this.#buffer.push({ sequence, payload });
    else if (this.#bufferSteps > 0) {
      this.#buffer[this.#oldest] = { sequence, payload };
      this.#oldest = (this.#oldest + 1) % this.#bufferSteps;
    }
    this.#queue.push([this.#topicFrame, sequence, payload]);
    if (!this.#sending) void this.#drain();
  }

  close(): void {
    this.#closed = true;
    this.#publisher.close();
    this.#router.close();
  }

  async #drain(): Promise<void> {
    this.#sending = true;
    try {
      for (let message = this.#queue.shift(); message; message = this.#queue.shift())
        await this.#publisher.send(message);
    } catch (error) {
      if (!this.#closed) throw error;
    } finally {
      this.#sending = false;
    }
  }

  async #serveReplays(): Promise<void> {
    try {
      for await (const frames of this.#router) {
        const [peer, delimiter, start] = frames;
        if (frames.length !== 3 || !peer || delimiter?.length !== 0 || start?.length !== 8) continue;
        await this.#replay(peer, Number(start.readBigUInt64BE(0)));
      }
    } catch (error) {
      if (!this.#closed) throw error;
    }
  }

  /** A start older than the buffer gives what the buffer has, without an error, as vLLM does. */
  async #replay(peer: Buffer, start: number): Promise<void> {
    const kept = this.#buffer.length;
    const first = this.#published - kept;
    const batches = [];
    for (let i = Math.max(0, start - first); i < kept; i++)
      batches.push(this.#buffer[(this.#oldest + i) % kept] as { sequence: Buffer; payload: Buffer });
    for (const { sequence, payload } of batches)
      await this.#router.send(
        this.#replayTopic
          ? [peer, EMPTY, this.#topicFrame, sequence, payload]
          : [peer, EMPTY, sequence, payload],
      );
    await this.#router.send(this.#replayTopic ? [peer, EMPTY, EMPTY, END, EMPTY] : [peer, EMPTY, END, EMPTY]);
  }
}
