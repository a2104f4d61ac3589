// What is known of the pods' caches as a whole, for the cache routes and metrics.
import type { Pod, PodRegistry } from "../load/pod-registry.js";
import type { Wire } from "../wire.js";

export type PodCacheStatus = "ok" | "catching_up" | "suspect" | "fallen" | "no_events" | "not_ready";

const TOP_BLOCKS = 20;

/** Cached share of the prompt tokens that an engine looked up since its start, null before the first. */
export function hitRate({ metrics }: Pod): number | null {
  return metrics?.prefixQueries ? metrics.prefixHits / metrics.prefixQueries : null;
}

export class CacheFacts {
  /** Score requests by how they ended. */
  readonly scored = { exact: 0, inexact: 0, refused: 0 };
  /** Observer of a score's milliseconds. */
  onScore: (ms: number) => void = () => {};
  /** When the last batch of events was applied, ms since the epoch; 0 before the first. */
  updatedAt = 0;
  readonly #wire: Wire;
  readonly #pods: PodRegistry;

  constructor(wire: Wire, pods: PodRegistry) {
    this.#wire = wire;
    this.#pods = pods;
  }

  /** Bytes of GPU memory of the blocks that a pod holds; null when a token's size is not told. */
  cacheBytes(pod: Pod): number | null {
    const { kvBytesPerToken } = pod.pool.model;
    if (kvBytesPerToken === null) return null;
    return this.#wire.podBlocks(pod.slot) * this.#pods.blockTokens(pod) * kvBytesPerToken;
  }

  globalHitRate(): number | null {
    let hits = 0;
    let queries = 0;
    for (const { metrics } of this.#pods.pods) {
      hits += metrics?.prefixHits ?? 0;
      queries += metrics?.prefixQueries ?? 0;
    }
    return queries > 0 ? hits / queries : null;
  }

  /** All pods together. */
  state() {
    const { blocks } = this.#wire.stats();
    const pods = this.#pods.pods;
    const usages = pods.flatMap((pod) => (pod.metrics ? [pod.metrics.kvUsage] : []));
    const sizes = pods.map((pod) => this.cacheBytes(pod));
    return {
      total_blocks: blocks,
      unique_blocks: this.#wire.uniqueBlocks(),
      total_pods: pods.length,
      average_cache_utilization: usages.length > 0 ? usages.reduce((a, b) => a + b, 0) / usages.length : null,
      global_hit_rate: this.globalHitRate(),
      cache_size_total_gb: sizes.some((size) => size === null)
        ? null
        : sizes.reduce<number>((sum, size) => sum + size!, 0) / 1e9,
      last_updated: this.updatedAt > 0 ? new Date(this.updatedAt).toISOString() : null,
    };
  }

  pod(pod: Pod) {
    const bytes = this.cacheBytes(pod);
    const held = (hash: bigint) => this.#wire.heldRun(pod.slot, BigUint64Array.of(hash)) === 1;
    return {
      pod_id: pod.config.name,
      blocks_cached: this.#wire.podBlocks(pod.slot),
      cache_utilization: pod.metrics?.kvUsage ?? null,
      cache_size_gb: bytes === null ? null : bytes / 1e9,
      hit_rate: hitRate(pod),
      eviction_rate_per_sec: pod.index.evictions.perSecond(performance.now()),
      top_blocks: pod.index.uses.top(TOP_BLOCKS, held).map(({ hash, count, last }) => ({
        block_hash: this.#wire.shownHash(hash),
        access_count: count,
        last_access: new Date(last).toISOString(),
      })),
      status: statusOf(pod),
    };
  }
}

function statusOf(pod: Pod): PodCacheStatus {
  if (!pod.ready) return "not_ready";
  if (!pod.feed) return "no_events";
  if (pod.predictions.fallen !== null) return "fallen";
  if (pod.index.suspect || pod.feed.partial) return "suspect";
  return pod.feed.state === "live" ? "ok" : "catching_up";
}
