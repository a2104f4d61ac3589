// Keeps one pod's index in step with its event stream: order, gaps, replay, restarts, lost connections.
import type { Logger } from "pino";
import { Subscriber } from "zeromq";
import { MsgpackError } from "./msgpack-reader.js";
import type { PodIndex } from "./pod-index.js";
import { type Batch, parseFrames, RECEIVE_HIGH_WATER_MARK, ReplayClient } from "./replay.js";

/** Where a feed stands: the last batch applied, and the engine's time in it, which tells one run from the next. */
export interface FeedPosition {
  sequence: number;
  /** Seconds of the engine's clock; compared for equality only. */
  time: number;
}

export interface FeedOptions {
  /** The engine's endpoint; null when it connects to us and its messages come by `deliver`. */
  events: string | null;
  /** Null when the engine keeps nothing to replay. */
  replay: string | null;
  index: PodIndex;
  log: Logger;
  /** From a checkpoint that the index was restored from. */
  position: FeedPosition | null;
  /** Called after each batch that was applied and each wipe, with the milliseconds it took. */
  onChange: (ms: number) => void;
  /** The engine's socket went away. */
  onDisconnect?: () => void;
  /** A message in the JSON form, which says nothing of text. */
  onJson?: (payload: Uint8Array) => void;
  /** How long a replay may be silent, ms. */
  replayTimeoutMs?: number;
  /** How often an idle stream is asked for a lost last batch, ms. */
  probeMs?: number;
}

export type FeedState = "connecting" | "resuming" | "live";

export interface FeedCounts {
  batches: number;
  replayed: number;
  gaps: number;
  /** Batches that no replay could bring back. */
  missed: number;
  restarts: number;
  malformed: number;
  replayFailures: number;
  /** Last batches of a burst that were lost and found by asking. */
  tails: number;
}

/** After this many failed replays the gap is accepted. */
const MAX_REPLAY_FAILURES = 5;
/** Live messages held during a replay. */
const MAX_QUEUE = 100_000;
const MAX_QUEUE_BYTES = 256 * 1024 * 1024;
/** A subscription reaches the publisher some time after the connection; a second look finds what fell in between. */
const SECOND_LOOK_MS = 500;
/** A batch that was lost at the end of a burst leaves no gap to see: an idle engine is asked whether it has more. */
const PROBE_MS = 1000;

/** Follows one engine's event endpoint. */
export class EventFeed {
  readonly counts: FeedCounts = {
    batches: 0,
    replayed: 0,
    gaps: 0,
    missed: 0,
    restarts: 0,
    malformed: 0,
    replayFailures: 0,
    tails: 0,
  };
  state: FeedState = "connecting";
  /** Whether the engine had batches before the first that we saw: older prefixes are unknown until seen again. */
  partial = false;
  readonly #o: FeedOptions;
  readonly #socket: Subscriber | null;
  readonly #replay: ReplayClient | null;
  #last: number;
  #lastTime: number;
  /** Newest live sequence on this connection: an older one after it means that the engine began anew. */
  #newestLive = -1;
  #queue: Batch[] = [];
  #resuming: Promise<void> | null = null;
  /** Grows at each wipe and reconnect; a replay of an older era is abandoned. */
  #era = 0;
  #secondLook: NodeJS.Timeout | null = null;
  #probe: NodeJS.Timeout | null = null;
  #liveAt = 0;
  #queueBytes = 0;
  #stopped = false;
  #reader: Promise<void> | null = null;

  constructor(options: FeedOptions) {
    this.#o = options;
    this.#last = options.position?.sequence ?? -1;
    this.#lastTime = options.position?.time ?? Number.NaN;
    this.#replay =
      options.replay === null ? null : new ReplayClient(options.replay, options.replayTimeoutMs ?? 3000);
    this.#socket =
      options.events === null
        ? null
        : new Subscriber({
            linger: 0,
            receiveHighWaterMark: RECEIVE_HIGH_WATER_MARK,
            reconnectInterval: 100,
            reconnectMaxInterval: 1000,
            heartbeatInterval: 2000,
            heartbeatTimeout: 6000,
          });
  }

  /** Where events come from, for people. */
  get endpoint(): string {
    return this.#o.events ?? "the pod";
  }

  /** Last batch applied, null before the first. */
  get position(): FeedPosition | null {
    return this.#last < 0 ? null : { sequence: this.#last, time: this.#lastTime };
  }

  start(): void {
    this.#probe = setInterval(() => this.#probeTail(), this.#o.probeMs ?? PROBE_MS);
    const socket = this.#socket;
    if (!socket) {
      this.#connected();
      return;
    }
    socket.events.on("handshake", () => this.#connected());
    socket.events.on("disconnect", () => {
      if (this.#stopped) return;
      this.state = "connecting";
      this.#o.onDisconnect?.();
    });
    socket.subscribe();
    socket.connect(this.#o.events!);
    this.#reader = this.#read(socket);
  }

  /** Takes a message's frames: topic, sequence number, payload. */
  deliver(frames: Uint8Array[]): void {
    const payload = frames.at(-1);
    // No msgpack batch begins like an object in JSON.
    if (payload?.[0] === 0x7b && this.#o.onJson) {
      this.#o.onJson(payload);
      return;
    }
    try {
      const batch = parseFrames(frames);
      if (batch) this.#live(batch);
    } catch (error) {
      this.counts.malformed++;
      this.#o.log.warn(
        { event_type: "frames", err: error },
        "a message on the event endpoint was not an event batch",
      );
    }
  }

  /** Says from outside that another run of the engine is at the address: wipes, and replays what there is. */
  begunAnew(why: string): void {
    if (!this.#stopped) this.#restarted(why);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#era++;
    if (this.#secondLook) clearTimeout(this.#secondLook);
    if (this.#probe) clearInterval(this.#probe);
    this.#socket?.close();
    this.#replay?.close();
    await this.#reader;
    await this.#resuming;
    this.#replay?.close();
  }

  async #read(socket: Subscriber): Promise<void> {
    try {
      for await (const frames of socket) this.deliver(frames);
    } catch (error) {
      if (!this.#stopped) this.#o.log.error({ err: error }, "the event socket failed");
    }
  }

  /** A new connection may be a new engine, and misses what was published before it. */
  #connected(): void {
    if (this.#stopped) return;
    this.#newestLive = -1;
    if (this.#o.replay === null) {
      this.state = "live";
      return;
    }
    this.#era++;
    this.#emptyQueue();
    this.#resume();
    if (this.#secondLook) clearTimeout(this.#secondLook);
    this.#secondLook = setTimeout(() => this.#resume(), SECOND_LOOK_MS);
  }

  #live(batch: Batch): void {
    this.#liveAt = performance.now();
    const wentBack = batch.sequence <= this.#newestLive;
    this.#newestLive = batch.sequence;
    if (wentBack) this.#restarted("its sequence numbers went back");
    if (this.#resuming) {
      this.#queue.push(batch);
      this.#queueBytes += batch.payload.length;
      if (this.#queue.length > MAX_QUEUE || this.#queueBytes > MAX_QUEUE_BYTES)
        this.#acceptGap("too many batches came during a replay");
      return;
    }
    this.#take(batch);
  }

  /** Applies a live batch if it is the next one, else sees to what is missing. */
  #take(batch: Batch): void {
    if (batch.sequence === this.#last + 1) {
      this.#apply(batch);
      return;
    }
    if (this.#o.replay === null) {
      if (batch.sequence <= this.#last) this.#restarted("its sequence numbers went back");
      this.#missed(this.#last + 1, batch.sequence);
      this.#apply(batch);
      return;
    }
    // A replay brought this one already.
    if (batch.sequence <= this.#last) return;
    this.counts.gaps++;
    this.#queue.push(batch);
    this.#queueBytes += batch.payload.length;
    this.#resume();
  }

  #emptyQueue(): Batch[] {
    const queue = this.#queue;
    this.#queue = [];
    this.#queueBytes = 0;
    return queue;
  }

  #probeTail(): void {
    if (this.state !== "live" || this.#resuming || this.#stopped || !this.#replay) return;
    if (performance.now() - this.#liveAt < (this.#o.probeMs ?? PROBE_MS)) return;
    this.#run(async () => {
      const before = this.counts.replayed;
      const era = this.#era;
      let done = true;
      try {
        done = (await this.#replayOnce(era, false, true)) === "done";
      } catch (error) {
        // Nothing is known to be lost, and the next probe is near.
        this.counts.replayFailures++;
        this.#o.log.debug({ event_type: "replay" }, (error as Error).message);
      }
      this.counts.tails += this.counts.replayed - before;
      if (!done || era !== this.#era) await this.#catchUp();
    });
  }

  #apply(batch: Batch): void {
    this.counts.batches++;
    const before = performance.now();
    try {
      this.#lastTime = this.#o.index.apply(batch.payload);
    } catch (error) {
      if (!(error instanceof MsgpackError)) throw error;
      this.counts.malformed++;
      this.#o.index.markSuspect();
      this.#o.log.warn(
        { event_type: "batch", sequence: batch.sequence, err: error },
        "a KV event batch is damaged",
      );
    }
    this.#last = batch.sequence;
    this.#o.onChange(performance.now() - before);
  }

  #restarted(why: string): void {
    this.#o.log.warn({ event_type: "restart", last: this.#last }, `the engine began anew: ${why}`);
    this.counts.restarts++;
    this.#era++;
    this.#emptyQueue();
    this.#last = -1;
    this.#lastTime = Number.NaN;
    this.partial = false;
    const before = performance.now();
    this.#o.index.wipe();
    this.#o.onChange(performance.now() - before);
    if (this.#o.replay !== null) this.#resume();
  }

  /** Batches from `from` up to but not `to` are gone. */
  #missed(from: number, to: number): void {
    if (from >= to) return;
    if (this.#last < 0) {
      this.partial = true;
      return;
    }
    this.counts.missed += to - from;
    this.#o.index.markSuspect();
    this.#o.log.warn(
      { event_type: "gap", from, to: to - 1 },
      "KV event batches are lost; the pod's index is suspect",
    );
  }

  /** Gives up on a replay: goes on with the live batches that are here. */
  #acceptGap(why: string): void {
    this.#era++;
    this.#o.log.warn({ event_type: "replay" }, `going on without replay: ${why}`);
    for (const batch of this.#emptyQueue()) {
      if (batch.sequence <= this.#last) continue;
      this.#missed(this.#last + 1, batch.sequence);
      this.#apply(batch);
    }
  }

  #resume(): void {
    if (this.#stopped) return;
    if (this.state !== "live") this.state = "resuming";
    if (this.#resuming) return;
    this.#run(() => this.#catchUp());
  }

  /** Runs a replay; live batches wait until it is over. */
  #run(replay: () => Promise<void>): void {
    this.#resuming = replay()
      .catch((error: unknown) => {
        if (!this.#stopped) this.#o.log.error({ err: error }, "replay failed");
      })
      .finally(() => {
        this.#resuming = null;
        if (this.#stopped) return;
        const queue = this.#emptyQueue();
        if (this.state === "resuming") this.state = "live";
        for (const batch of queue) {
          // A further hole starts a new replay; what follows waits for it.
          if (this.#resuming) {
            this.#queue.push(batch);
            this.#queueBytes += batch.payload.length;
          } else this.#take(batch);
        }
      });
  }

  async #catchUp(): Promise<void> {
    for (let failures = 0, stuckAt = -2; !this.#stopped; ) {
      const era = this.#era;
      const from = this.#last;
      try {
        const outcome = await this.#replayOnce(era, stuckAt === from);
        if (outcome === "done") return;
        if (outcome === "hole") stuckAt = this.#last;
        failures = 0;
      } catch (error) {
        this.counts.replayFailures++;
        failures++;
        if (this.#stopped) return;
        this.#o.log.warn({ event_type: "replay", failures }, (error as Error).message);
        if (failures >= MAX_REPLAY_FAILURES && this.#queue.length > 0) {
          this.#acceptGap("the engine does not answer");
          return;
        }
        await new Promise((wake) => setTimeout(wake, Math.min(2000, 100 * 2 ** failures)));
      }
    }
  }

  /**
   * One replay, from the last batch applied (inclusive: its time shows whether the engine is still the same run).
   * `onlyNew`: from the one after it, which shows no more than whether there is one.
   * "done": in step; "again": the engine began anew or the connection did; "hole": batches were dropped on the way.
   */
  async #replayOnce(era: number, acceptHole: boolean, onlyNew = false): Promise<"done" | "again" | "hole"> {
    const wanted = this.#last;
    let seen = 0;
    for await (const batch of this.#replay!.from(onlyNew ? wanted + 1 : Math.max(0, wanted))) {
      if (this.#stopped) return "done";
      if (era !== this.#era) return "again";
      seen++;
      if (batch.sequence === wanted && seen === 1) {
        const time = batchTime(batch.payload);
        if (time === this.#lastTime || Number.isNaN(time) || Number.isNaN(this.#lastTime)) continue;
        this.#restarted("another run has this sequence number");
        return "again";
      }
      if (batch.sequence <= this.#last) continue;
      if (batch.sequence > this.#last + 1) {
        // In the middle of a replay the socket may have dropped batches: ask again before they are given up.
        if (seen > 1 && !acceptHole) return "hole";
        this.#missed(this.#last + 1, batch.sequence);
      }
      this.counts.replayed++;
      this.#apply(batch);
    }
    if (era !== this.#era) return "again";
    if (seen === 0 && wanted >= 0 && !onlyNew) {
      this.#restarted("it no longer knows the last batch");
      return "again";
    }
    return "done";
  }
}

/** The time of a batch without its events: the float64 that opens the array form; NaN for other forms. */
function batchTime(payload: Uint8Array): number {
  if (payload[1] !== 0xcb || payload.length < 10) return Number.NaN;
  return new DataView(payload.buffer, payload.byteOffset).getFloat64(2);
}
