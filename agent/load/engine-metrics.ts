// What the agent takes from an engine's /metrics: vLLM's names, old and new, the older documents' aliases of them, and
// those of SGLang and TensorRT-LLM (llm-d-router, docs/plugin-metric-protocol.md).
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
  /** Whether it has these counters; without them the two are 0 and say nothing. */
  countsPrefixes: boolean;
  promptTokens: number;
  generationTokens: number;
  /** Prompt tokens whose KV came from another pod, since the engine's start; null when the engine does not say. */
  externalTokens: number | null;
  adapters: Adapters;
  /** When the server's process began, seconds since the epoch; null when it does not say, or is several. */
  startTime: number | null;
}

/** LoRA adapters by name. */
export interface Adapters {
  active: string[];
  waiting: string[];
  /** How many the engine runs at once, 0 when it does not say. */
  most: number;
}

/** A metric by its name, alone or with one label's value; `per` is what 1 is told as. */
interface Named {
  name: string;
  label?: [name: string, value: string];
  per?: number;
}

const triton = (type: string): Named => ({
  name: "nv_trt_llm_request_metrics",
  label: ["request_type", type],
});
const WAITING: Named[] = [
  { name: "vllm:num_requests_waiting" },
  { name: "vllm_queue_length" },
  { name: "sglang:num_queue_reqs" },
  { name: "trtllm_num_requests_waiting" },
  triton("waiting"),
];
const RUNNING: Named[] = [
  { name: "vllm:num_requests_running" },
  { name: "vllm_active_requests" },
  { name: "sglang:num_running_reqs" },
  { name: "trtllm_num_requests_running" },
  triton("scheduled"),
];
const USAGE: Named[] = [
  { name: "vllm:kv_cache_usage_perc" },
  { name: "vllm:gpu_cache_usage_perc" },
  { name: "vllm_kv_cache_usage_percent", per: 100 },
  { name: "sglang:token_usage" },
  { name: "trtllm_kv_cache_utilization" },
  { name: "nv_trt_llm_kv_cache_block_metrics", label: ["kv_cache_block_type", "fraction"] },
];
/** Facts of the cache as labels of a metric: its name, the label of a block's tokens and that of the blocks. */
const CONFIGS: [name: string, blockTokens: string, blocks: string][] = [
  ["vllm:cache_config_info", "block_size", "num_gpu_blocks"],
  ["sglang:cache_config_info", "page_size", "num_pages"],
];
/** The same as values. */
const BLOCK_TOKENS: Named[] = [
  { name: "trtllm_kv_cache_tokens_per_block" },
  { name: "nv_trt_llm_kv_cache_block_metrics", label: ["kv_cache_block_type", "tokens_per"] },
];
const BLOCKS: Named[] = [
  { name: "trtllm_kv_cache_max_blocks" },
  { name: "nv_trt_llm_kv_cache_block_metrics", label: ["kv_cache_block_type", "max"] },
];
const LORA = "vllm:lora_requests_info";
const START = "process_start_time_seconds";
const SOURCES = "vllm:prompt_tokens_by_source_total";
const COUNTERS = {
  prefixQueries: ["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"],
  prefixHits: ["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"],
  promptTokens: ["vllm:prompt_tokens_total"],
  generationTokens: ["vllm:generation_tokens_total"],
} as const;

const WANTED: ReadonlySet<string> = new Set([
  ...[WAITING, RUNNING, USAGE, BLOCK_TOKENS, BLOCKS].flat().map(({ name }) => name),
  ...CONFIGS.map(([name]) => name),
  LORA,
  START,
  SOURCES,
  ...Object.values(COUNTERS).flat(),
]);

/** Reads an engine's metrics; null when they hold no sign of one. Engines of one server are added up. */
export function engineMetrics(text: string): EngineMetrics | null {
  const byName = new Map<string, Sample[]>();
  for (const sample of samplesOf(text, WANTED)) {
    const list = byName.get(sample.name);
    if (list) list.push(sample);
    else byName.set(sample.name, [sample]);
  }
  /** Values of the first of the metrics that is there. */
  const values = (named: readonly Named[]): number[] => {
    for (const { name, label, per = 1 } of named) {
      const found = (byName.get(name) ?? []).filter((s) => !label || s.labels[label[0]] === label[1]);
      if (found.length > 0) return found.map((s) => s.value / per).filter(Number.isFinite);
    }
    return [];
  };
  const sum = (named: readonly Named[]) => values(named).reduce((a, b) => a + b, 0);
  const counter = (names: readonly string[]) => sum(names.map((name) => ({ name })));
  if (values(RUNNING).length === 0 && values(WAITING).length === 0) return null;
  const usage = values(USAGE);
  const starts = values([{ name: START }]);
  const external = byName.get(SOURCES)?.filter((s) => s.labels["source"] === "external_kv_transfer");
  return {
    startTime: starts.length === 1 ? starts[0]! : null,
    waiting: sum(WAITING),
    running: sum(RUNNING),
    kvUsage: usage.length === 0 ? 0 : usage.reduce((a, b) => a + b, 0) / usage.length,
    ...cacheSize(byName, values(BLOCK_TOKENS)[0] ?? 0, sum(BLOCKS)),
    prefixQueries: counter(COUNTERS.prefixQueries),
    prefixHits: counter(COUNTERS.prefixHits),
    countsPrefixes: COUNTERS.prefixHits.some((name) => byName.has(name)),
    promptTokens: counter(COUNTERS.promptTokens),
    generationTokens: counter(COUNTERS.generationTokens),
    externalTokens: external?.length ? external.reduce((n, s) => n + s.value, 0) : null,
    adapters: adaptersOf(byName.get(LORA) ?? []),
  };
}

function cacheSize(
  byName: ReadonlyMap<string, Sample[]>,
  tokensPerBlock: number,
  blocks: number,
): Pick<EngineMetrics, "blockTokens" | "capacityTokens"> {
  let blockTokens = tokensPerBlock;
  let capacityTokens = tokensPerBlock * blocks;
  for (const [name, tokensLabel, blocksLabel] of CONFIGS)
    for (const { labels } of byName.get(name) ?? []) {
      const size = Number(labels[tokensLabel]);
      const count = Number(labels[blocksLabel]);
      if (!(size > 0)) continue;
      blockTokens = size;
      if (count > 0) capacityTokens += size * count;
    }
  return { blockTokens, capacityTokens };
}

/** The value of vLLM's metric is a time; the latest sample counts. */
function adaptersOf(samples: readonly Sample[]): Adapters {
  let latest: Sample | null = null;
  for (const sample of samples) if (!latest || sample.value >= latest.value) latest = sample;
  const names = (list: string | undefined) =>
    (list ?? "")
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "");
  return {
    active: names(latest?.labels["running_lora_adapters"]),
    waiting: names(latest?.labels["waiting_lora_adapters"]),
    most: Number(latest?.labels["max_lora"]) || 0,
  };
}
