// All pods with everything known of them. Plugins write their part, routes and the table read.
import type { PodConfig, PoolConfig } from "../config/load.js";
import type { EventFeed } from "../kv/event-feed.js";
import type { PodIndex } from "../kv/pod-index.js";
import { PredictionWatch } from "../kv/prediction-watch.js";
import type { LoadRow, PodRow } from "../wire.js";
import type { EngineMetrics } from "./engine-metrics.js";
import { PrefillRate } from "./prefill-rate.js";

/** Tokens per KV block until the engine or its events say otherwise; vLLM's default. */
const DEFAULT_BLOCK_TOKENS = 16;

/** A value that a scraper or a plugin module gave a pod. */
export interface Attribute {
  value: number;
  /** Monotonic time in ms. */
  at: number;
  /** How long it may be used. */
  ttlMs: number;
}

export interface Pod {
  readonly config: PodConfig;
  readonly pool: PoolConfig;
  /** Row of the table, 0–1023; stays with the pod over restarts of the agent. */
  readonly slot: number;
  /** Id of its model in the index. */
  readonly model: number;
  readonly index: PodIndex;
  feed: EventFeed | null;
  /** Whether it answers; the gateway leaves out pods that do not. */
  ready: boolean;
  /** Why it is not ready. */
  problem: string;
  metrics: EngineMetrics | null;
  /** Monotonic time of `metrics` in ms. */
  metricsAt: number;
  /** Prompt tokens of the engine's run as last read, also by an earlier agent. */
  promptTokens: number;
  /** When that run's process began (`EngineMetrics.startTime`). */
  startTime: number | null;
  /** Restarts that the feed had noticed at that time. */
  restartsKnown: number;
  readonly rate: PrefillRate;
  readonly predictions: PredictionWatch;
  /** Custom columns by name. */
  readonly attributes: Map<string, Attribute>;
  scrapes: { ok: number; refused: number; timeout: number; failed: number };
}

/** The pods of the configuration, in slot order. */
export class PodRegistry {
  readonly pods: Pod[];
  readonly #byAddress: Map<string, Pod>;
  readonly #byName: Map<string, Pod>;
  /** Null = several pods are there. */
  readonly #byHost = new Map<string, Pod | null>();

  constructor(pods: Pod[]) {
    this.pods = [...pods].sort((a, b) => a.slot - b.slot);
    this.#byAddress = new Map(pods.map((pod) => [pod.config.address, pod]));
    this.#byName = new Map(pods.map((pod) => [pod.config.name, pod]));
    for (const pod of pods) {
      const host = pod.config.address.slice(0, pod.config.address.lastIndexOf(":"));
      this.#byHost.set(host, this.#byHost.has(host) ? null : pod);
    }
  }

  byAddress(address: string): Pod | undefined {
    return this.#byAddress.get(address);
  }

  /** A pod by its name, its address, or the host of its address where no other pod has it. */
  find(id: string): Pod | undefined {
    return this.#byAddress.get(id) ?? this.#byName.get(id) ?? this.#byHost.get(id) ?? undefined;
  }

  inPool(pool: PoolConfig): Pod[] {
    return this.pods.filter((pod) => pod.pool === pool);
  }

  /** Tokens per KV block of a pod: events tell what hits are counted in, else the engine's configuration. */
  blockTokens(pod: Pod): number {
    return pod.index.blockSize || pod.metrics?.blockTokens || DEFAULT_BLOCK_TOKENS;
  }

  podRows(now: number): PodRow[] {
    return this.pods.map((pod) => ({
      ...this.#load(pod, now),
      name: pod.config.name,
      address: pod.config.address,
      role: pod.config.role,
      model: pod.model,
      kvBlockTokens: this.blockTokens(pod),
      approximate: isApproximate(pod),
      capacityTokens: pod.metrics?.capacityTokens ?? 0,
      // The configured rate: the filter corrects all pods by one observed figure, so that the pod that was measured
      // first does not look faster than the others.
      prefillTokensPerSecond: pod.config.prefillTokensPerSecond,
    }));
  }

  loadRows(now: number): LoadRow[] {
    return this.pods.map((pod) => this.#load(pod, now));
  }

  #load(pod: Pod, now: number): LoadRow {
    return {
      slot: pod.slot,
      ready: pod.ready,
      waiting: pod.metrics?.waiting ?? 0,
      running: pod.metrics?.running ?? 0,
      kvUsage: Math.min(1, Math.max(0, pod.metrics?.kvUsage ?? 0)),
      loadAgeMs: pod.metrics ? now - pod.metricsAt : Number.POSITIVE_INFINITY,
    };
  }
}

/** A pod that nothing is known of yet. */
export function newPod(given: Pick<Pod, "config" | "pool" | "slot" | "model" | "index">): Pod {
  return {
    ...given,
    feed: null,
    ready: false,
    problem: "it was not asked yet",
    metrics: null,
    metricsAt: 0,
    promptTokens: 0,
    startTime: null,
    restartsKnown: 0,
    attributes: new Map(),
    rate: new PrefillRate(given.config.prefillTokensPerSecond),
    predictions: new PredictionWatch(),
    scrapes: { ok: 0, refused: 0, timeout: 0, failed: 0 },
  };
}

/** Whether a pod announces nothing, or nothing that is believed: what it holds is then guessed from what it got. */
export function isApproximate(pod: Pod): boolean {
  return pod.feed === null || pod.predictions.fallen !== null;
}
