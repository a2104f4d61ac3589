// Hands the table's frames to every subscriber: deltas soon after a change, a snapshot to whoever begins or lost track.
import { isApproximate, type PodRegistry } from "../load/pod-registry.js";
import type { ColumnRow, Wire } from "../wire.js";

/** Where frames go. */
export interface FrameSink {
  send(frame: Uint8Array): void;
  /** Bytes handed over and not yet taken by the peer. */
  readonly pendingBytes: number;
}

/** Shortest time between two flushes, ms: changes in between share a frame. A change after a calm goes out at once. */
const DRAIN_MS = 4;
/** And so much longer for each subscriber: a message costs the same however much is in it. */
const DRAIN_MS_EACH = 0.15;
const MAX_DRAIN_MS = 25;
/** Load columns are sent no more often than this, ms; scrapes of many pods share a frame. */
const LOADS_MS = 50;
/** Workers hear something at least this often, ms. */
export const HEARTBEAT_MS = 1000;
/** A subscriber with more than this waiting gets no deltas; when it has caught up it gets a snapshot. */
const LAGGING_BYTES = 64 * 1024 * 1024;

interface Subscriber {
  sink: FrameSink;
  lagging: boolean;
}

export class Publisher {
  readonly #wire: Wire;
  readonly #pods: PodRegistry;
  readonly #subscribers = new Map<FrameSink, Subscriber>();
  /** Takes back the flush that is due; null when none is. */
  #drain: (() => void) | null = null;
  #loads: NodeJS.Timeout | null = null;
  #heartbeat: NodeJS.Timeout | null = null;
  #podFacts = "";
  #sentAt = 0;
  /** Held back until what a restart lost is here again, so that no worker swaps a full table for an empty one. */
  #opened = false;
  /** What the policy needs of pods beside load at a time of `performance.now()`; null = nothing. */
  columns: ((now: number) => ColumnRow[]) | null = null;
  readonly counts = { frames: 0, bytes: 0, snapshots: 0, lagged: 0 };

  constructor(wire: Wire, pods: PodRegistry) {
    this.#wire = wire;
    this.#pods = pods;
  }

  get subscribers(): number {
    return this.#subscribers.size;
  }

  get opened(): boolean {
    return this.#opened;
  }

  /** Begins to serve: those who wait get their snapshot. */
  open(): void {
    if (this.#opened) return;
    this.#opened = true;
    this.podsChanged();
    // None is sent what the others' snapshots flush before it has its own: that is a snapshot, too.
    const waiting = [...this.#subscribers.values()];
    this.#subscribers.clear();
    for (const subscriber of waiting) this.#snapshot(subscriber);
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  stop(): void {
    this.#drain?.();
    for (const timer of [this.#loads, this.#heartbeat]) if (timer) clearTimeout(timer);
    this.#drain = this.#loads = this.#heartbeat = null;
    this.#opened = false;
    this.#subscribers.clear();
  }

  add(sink: FrameSink): void {
    const subscriber = { sink, lagging: false };
    this.#subscribers.set(sink, subscriber);
    if (this.#opened) this.#snapshot(subscriber);
  }

  remove(sink: FrameSink): void {
    this.#subscribers.delete(sink);
  }

  /** A subscriber lost its place. */
  resync(sink: FrameSink): void {
    const subscriber = this.#subscribers.get(sink);
    if (subscriber && this.#opened) this.#snapshot(subscriber);
  }

  /** The index or a section changed. */
  touch(): void {
    if (!this.#opened || this.#drain) return;
    const interval = Math.min(MAX_DRAIN_MS, DRAIN_MS + DRAIN_MS_EACH * this.#subscribers.size);
    const wait = interval - (performance.now() - this.#sentAt);
    if (wait > 0) {
      const timer = setTimeout(() => this.flush(), wait);
      this.#drain = () => clearTimeout(timer);
    } else {
      // Not by a timer: none is shorter than a millisecond, and a client's next turn may be sooner here.
      const next = setImmediate(() => this.flush());
      this.#drain = () => clearImmediate(next);
    }
  }

  /** Load columns changed. */
  loadsChanged(): void {
    if (this.#loads || !this.#opened) return;
    this.#loads = setTimeout(() => {
      this.#loads = null;
      this.podsChanged();
    }, LOADS_MS);
  }

  /** Sends load columns, or the whole pod section when a fact besides load changed. */
  podsChanged(): void {
    const now = performance.now();
    const facts = this.#pods.pods
      .map(
        (p) =>
          `${p.slot}:${isApproximate(p)}:${this.#pods.blockTokens(p)}:${p.metrics?.capacityTokens}:${coarse(p.rate.value)}`,
      )
      .join();
    if (facts !== this.#podFacts) {
      this.#podFacts = facts;
      this.#wire.setPods(this.#pods.podRows(now));
    }
    this.#wire.setLoads(this.#pods.loadRows(now));
    if (this.columns) this.#wire.setColumns(this.columns(now));
    this.touch();
  }

  /** Sends what changed. */
  flush(): void {
    this.#drain?.();
    this.#drain = null;
    if (!this.#opened || !this.#wire.dirty) return;
    this.#sentAt = performance.now();
    if (this.#subscribers.size === 0) {
      this.#wire.discard();
      return;
    }
    const frames = this.#wire.drain();
    for (const subscriber of this.#subscribers.values()) {
      if (subscriber.lagging) this.#recover(subscriber);
      else if (subscriber.sink.pendingBytes > LAGGING_BYTES) {
        subscriber.lagging = true;
        this.counts.lagged++;
      } else this.#send(subscriber, frames);
    }
  }

  #recover(subscriber: Subscriber): void {
    if (subscriber.sink.pendingBytes > 0) return;
    subscriber.lagging = false;
    this.#send(subscriber, this.#wire.snapshot());
  }

  #snapshot(subscriber: Subscriber): void {
    // What others have not seen yet goes to them first: a snapshot stands at the current sequence.
    this.#subscribers.delete(subscriber.sink);
    this.#wire.setLoads(this.#pods.loadRows(performance.now()));
    this.flush();
    this.#subscribers.set(subscriber.sink, subscriber);
    subscriber.lagging = false;
    this.counts.snapshots++;
    this.#send(subscriber, this.#wire.snapshot());
  }

  #send(subscriber: Subscriber, frames: Uint8Array[]): void {
    for (const frame of frames) {
      this.counts.frames++;
      this.counts.bytes += frame.length;
      subscriber.sink.send(frame);
    }
  }

  #beat(): void {
    if (performance.now() - this.#sentAt < HEARTBEAT_MS) return;
    this.#wire.heartbeat();
    this.touch();
  }
}

/** A rate to within a tenth, so that small moves do not resend the pod section. */
function coarse(rate: number): number {
  return Math.round(Math.log(rate) * 10);
}
