// What the agent takes from an engine's /metrics (vLLM's names, old and new).
import { type Sample, samplesOf } from "./prometheus-text.js";

export interface EngineMetrics {
  waiting: number;
  running: number;
  /** 0–1. */
  kvUsage: number;
  /** Tokens per KV block, 0 when the engine does not say. */
  blockTokens: number;
  /** Tokens that the KV cache holds, 0 when the engine does not say. */
  capacityTokens: number;
  /** Tokens looked up in and found in the prefix cache since the engine's start. */
  prefixQueries: number;
  prefixHits: number;
  promptTokens: number;
  generationTokens: number;
  /** When the server's process began, seconds since the epoch; null when it does not say, or is several. */
  startTime: number | null;
}

const WAITING = "vllm:num_requests_waiting";
const RUNNING = "vllm:num_requests_running";
const USAGE = ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];
const CONFIG = "vllm:cache_config_info";
const START = "process_start_time_seconds";
const COUNTERS = {
  prefixQueries: ["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"],
  prefixHits: ["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"],
  promptTokens: ["vllm:prompt_tokens_total"],
  generationTokens: ["vllm:generation_tokens_total"],
} as const;

const WANTED: ReadonlySet<string> = new Set([
  WAITING,
  RUNNING,
  CONFIG,
  START,
  ...USAGE,
  ...Object.values(COUNTERS).flat(),
]);

/** Reads an engine's metrics; null when they hold no sign of a vLLM. Engines of one server are added up. */
export function engineMetrics(text: string): EngineMetrics | null {
  const byName = new Map<string, Sample[]>();
  for (const sample of samplesOf(text, WANTED)) {
    const list = byName.get(sample.name);
    if (list) list.push(sample);
    else byName.set(sample.name, [sample]);
  }
  if (!byName.has(RUNNING)) return null;
  const values = (names: readonly string[]): number[] => {
    for (const name of names) {
      const list = byName.get(name);
      if (list) return list.map((s) => s.value).filter(Number.isFinite);
    }
    return [];
  };
  const sum = (names: readonly string[]) => values(names).reduce((a, b) => a + b, 0);
  const usage = values(USAGE);
  let blockTokens = 0;
  let capacityTokens = 0;
  for (const { labels } of byName.get(CONFIG) ?? []) {
    const size = Number(labels.block_size);
    const blocks = Number(labels.num_gpu_blocks);
    if (!(size > 0)) continue;
    blockTokens = size;
    if (blocks > 0) capacityTokens += size * blocks;
  }
  const starts = values([START]);
  return {
    startTime: starts.length === 1 ? starts[0]! : null,
    waiting: sum([WAITING]),
    running: sum([RUNNING]),
    kvUsage: usage.length === 0 ? 0 : usage.reduce((a, b) => a + b, 0) / usage.length,
    blockTokens,
    capacityTokens,
    prefixQueries: sum(COUNTERS.prefixQueries),
    prefixHits: sum(COUNTERS.prefixHits),
    promptTokens: sum(COUNTERS.promptTokens),
    generationTokens: sum(COUNTERS.generationTokens),
  };
}
