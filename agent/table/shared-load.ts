// What all gateways have under way, told to each as the others' sum, within milliseconds: so that replicas of the
// gateway act as one.
import type { Share, UnderWay, Wire } from "../wire.js";
import type { FrameSink } from "./publisher.js";

/** Changes within this time share a frame, ms. A change after a calm goes out at once. */
const BATCH_MS = 5;
/** Without changes everything is told again this often, ms: readers forget what is not confirmed for 2 s. */
const REFRESH_MS = 500;
/** A worker tells everything once a second; one that is silent for so long is gone, ms. */
const GONE_MS = 3000;

interface Worker {
  process: bigint;
  sink: FrameSink;
  at: number;
  /** Of its last share that an answer is due to, 0 for none. */
  stamp: bigint;
  slow: boolean;
  pods: Map<string, UnderWay>;
}

export class SharedLoad {
  readonly #wire: Wire;
  readonly #slotOf: (address: string) => number | undefined;
  readonly #workers = new Map<string, Worker>();
  #timer: NodeJS.Timeout | null = null;
  readonly #refresh: NodeJS.Timeout;
  #sentAt = 0;
  readonly #since = performance.now();

  /** `slotOf`: slot of a pod in the table by its address, undefined for an unknown one. */
  constructor(wire: Wire, slotOf: (address: string) => number | undefined) {
    this.#wire = wire;
    this.#slotOf = slotOf;
    this.#refresh = setInterval(() => this.#send(), REFRESH_MS);
    this.#refresh.unref();
  }

  stop(): void {
    clearInterval(this.#refresh);
    if (this.#timer) clearTimeout(this.#timer);
    this.#workers.clear();
  }

  /** Gateways (Envoy processes) heard of lately. */
  get gateways(): number {
    return new Set([...this.#workers.values()].map((w) => w.process)).size;
  }

  /** Gateways that hear of the others too late, and so decide by token-aware where warm-until-busy is asked for. */
  get slowGateways(): number {
    return new Set([...this.#workers.values()].filter((w) => w.slow).map((w) => w.process)).size;
  }

  /** Takes a worker's share; `sink` leads back to it, `now` is a monotonic time in ms. */
  take(share: Share, sink: FrameSink, now: number): void {
    const key = `${share.processId}/${share.vmId}`;
    const known = this.#workers.get(key);
    const pods = known && !share.whole ? known.pods : new Map<string, UnderWay>();
    for (const { address, ...counts } of share.rows) pods.set(address, counts);
    const { processId: process, slow } = share;
    this.#workers.set(key, { process, sink, at: now, stamp: 0n, slow, pods });
    // A gateway alone gets no answer to each share, and so must not be answered late to one when another comes.
    if (this.gateways < 2) return;
    this.#workers.get(key)!.stamp = share.stamp;
    if (this.#timer) return;
    const wait = Math.max(0, BATCH_MS - (now - this.#sentAt));
    this.#timer = setTimeout(() => this.#send(), wait);
  }

  /** A worker's stream ended; its requests go on, so what it has counts until it is silent too long. */
  #sweep(now: number): void {
    for (const [key, { at }] of this.#workers) if (now - at > GONE_MS) this.#workers.delete(key);
  }

  #send(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const now = performance.now();
    this.#sweep(now);
    // After a start gateways come one by one: who is the first may not be alone.
    if (this.gateways < 2 && now - this.#since < GONE_MS) return;
    this.#sentAt = now;
    const byProcess = new Map<bigint, Map<number, UnderWay>>();
    const all = new Map<number, UnderWay>();
    for (const { process, pods } of this.#workers.values()) {
      const own = byProcess.get(process) ?? new Map<number, UnderWay>();
      byProcess.set(process, own);
      for (const [address, counts] of pods) {
        const slot = this.#slotOf(address);
        if (slot === undefined) continue;
        add(own, slot, counts);
        add(all, slot, counts);
      }
    }
    const others = new Map<bigint, ({ slot: number } & UnderWay)[]>();
    for (const [process, own] of byProcess) {
      const rows = [...all].map(([slot, total]) => ({ slot, ...less(total, own.get(slot)) }));
      others.set(
        process,
        rows.filter(({ requests, prefills }) => requests > 0 || prefills > 0),
      );
    }
    for (const { process, sink, stamp } of this.#workers.values())
      sink.send(this.#wire.foreignFrame(stamp, byProcess.size - 1, others.get(process) ?? []));
  }
}

function add(sums: Map<number, UnderWay>, slot: number, by: UnderWay): void {
  const sum = sums.get(slot) ?? { requests: 0, prefills: 0, work: 0, tokens: 0 };
  sums.set(slot, {
    requests: sum.requests + by.requests,
    prefills: sum.prefills + by.prefills,
    work: sum.work + by.work,
    tokens: sum.tokens + by.tokens,
  });
}

function less(total: UnderWay, own: UnderWay | undefined): UnderWay {
  if (!own) return total;
  return {
    requests: total.requests - own.requests,
    prefills: total.prefills - own.prefills,
    work: total.work - own.work,
    tokens: total.tokens - own.tokens,
  };
}

/** What it means that gateways hear of each other too late. */
export function slowSharing(gateways: number): string {
  return `${gateways === 1 ? "a gateway hears" : `${gateways} gateways hear`} of the others' requests later than sharing.slowAfter; unless sharing.whenSlow is keep, warm-until-busy decides there as llm-d-token-aware until they come in time`;
}
