// What GET /metrics shows, under vLLM's names (vllm/v1/metrics/loggers.py). Times are real seconds: who scrapes lives in
// real time and sees a pod that is `timeScale` times as fast.

const TIME_BUCKETS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640,
  2560,
];
const TOKEN_GAP_BUCKETS = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const REQUEST_BUCKETS = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
];
const LENGTH_BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000];
const STEP_BUCKETS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

/** Labels of one series. */
export type Labels = Record<string, string>;

function labelText(labels: Labels): string {
  const parts = Object.keys(labels)
    .sort()
    .map(
      (name) =>
        `${name}="${(labels[name] as string).replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`))}"`,
    );
  return `{${parts.join(",")}}`;
}

/** Python prints whole floats with ".0". */
function number(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** A cumulative histogram with fixed buckets. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Array(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > (this.#bounds[bucket] as number)) bucket++;
    (this.#counts[bucket] as number)++;
    this.#sum += value;
  }

  lines(name: string, labels: Labels): string {
    let total = 0;
    let text = "";
    for (let i = 0; i <= this.#bounds.length; i++) {
      total += this.#counts[i] as number;
      const le = i < this.#bounds.length ? number(this.#bounds[i] as number) : "+Inf";
      text += `${name}_bucket${labelText({ ...labels, le })} ${number(total)}\n`;
    }
    const own = labelText(labels);
    return `${text}${name}_count${own} ${number(total)}\n${name}_sum${own} ${number(this.#sum)}\n`;
  }
}

/** What is true at the moment of a scrape. */
export interface GaugeValues {
  running: number;
  waiting: number;
  /** 0 to 1. */
  kvCacheUsage: number;
  cacheQueries: number;
  cacheHits: number;
  preemptions: number;
  /** Prefills whose blocks nobody pulled in time. */
  expiredTransfers: number;
}

/** Counters and histograms of one pod. */
export class PodMetrics {
  readonly #labels: Labels;
  readonly #cacheConfig: Labels;
  promptTokens = 0;
  cachedPromptTokens = 0;
  externalPromptTokens = 0;
  transfers = 0;
  failedTransfers = 0;
  generationTokens = 0;
  readonly finished = { stop: 0, length: 0, abort: 0, error: 0 };
  readonly ttft = new Histogram(TIME_BUCKETS);
  readonly interToken = new Histogram(TOKEN_GAP_BUCKETS);
  readonly perOutputToken = new Histogram(TOKEN_GAP_BUCKETS);
  readonly endToEnd = new Histogram(REQUEST_BUCKETS);
  readonly queueTime = new Histogram(REQUEST_BUCKETS);
  readonly inferenceTime = new Histogram(REQUEST_BUCKETS);
  readonly prefillTime = new Histogram(REQUEST_BUCKETS);
  readonly decodeTime = new Histogram(REQUEST_BUCKETS);
  readonly requestPromptTokens = new Histogram(LENGTH_BUCKETS);
  readonly requestGenerationTokens = new Histogram(LENGTH_BUCKETS);
  readonly requestMaxTokens = new Histogram(LENGTH_BUCKETS);
  readonly prefillComputedTokens = new Histogram(LENGTH_BUCKETS);
  readonly iterationTokens = new Histogram(STEP_BUCKETS);

  constructor(model: string, blocks: number, blockSize: number) {
    this.#labels = { engine: "0", model_name: model };
    this.#cacheConfig = {
      block_size: String(blockSize),
      cache_dtype: "auto",
      enable_prefix_caching: "True",
      engine: "0",
      gpu_memory_utilization: "0.92",
      kv_cache_size_tokens: String(blocks * blockSize),
      num_cpu_blocks: "None",
      num_gpu_blocks: String(blocks),
      num_gpu_blocks_override: String(blocks),
      prefix_caching_hash_algo: "sha256",
      sliding_window: "None",
    };
  }

  /** The page that Prometheus reads. */
  page(now: GaugeValues): string {
    const computed = this.promptTokens - this.cachedPromptTokens - this.externalPromptTokens;
    return [
      this.#gauge("num_requests_running", "Number of requests in model execution batches.", now.running),
      this.#gauge("num_requests_waiting", "Number of requests waiting to be processed.", now.waiting),
      this.#many(
        "num_requests_waiting_by_reason",
        "gauge",
        "Number of waiting requests by reason.",
        "reason",
        {
          capacity: now.waiting,
          deferred: 0,
        },
      ),
      this.#many("engine_sleep_state", "gauge", "Engine sleep state.", "sleep_state", {
        awake: 1,
        weights_offloaded: 0,
        discard_all: 0,
      }),
      this.#gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", now.kvCacheUsage),
      this.#counter("prefix_cache_queries", "Prefix cache queries, in tokens.", now.cacheQueries),
      this.#counter("prefix_cache_hits", "Prefix cache hits, in tokens.", now.cacheHits),
      this.#counter(
        "external_prefix_cache_queries",
        "External prefix cache queries, in tokens.",
        this.externalPromptTokens,
      ),
      this.#counter(
        "external_prefix_cache_hits",
        "External prefix cache hits, in tokens.",
        this.externalPromptTokens,
      ),
      this.#transfers(now.expiredTransfers),
      this.#counter("num_preemptions", "Cumulative number of preemption from the engine.", now.preemptions),
      this.#counter("prompt_tokens", "Number of prefill tokens processed.", this.promptTokens),
      this.#many("prompt_tokens_by_source_total", "counter", "Number of prompt tokens by source.", "source", {
        local_compute: computed,
        local_cache_hit: this.cachedPromptTokens,
        external_kv_transfer: this.externalPromptTokens,
      }),
      this.#counter("prompt_tokens_cached", "Number of cached prompt tokens.", this.cachedPromptTokens),
      this.#counter("generation_tokens", "Number of generation tokens processed.", this.generationTokens),
      this.#many(
        "request_success_total",
        "counter",
        "Count of processed requests.",
        "finished_reason",
        this.finished,
      ),
      this.#histogram(
        "request_prompt_tokens",
        "Number of prefill tokens processed.",
        this.requestPromptTokens,
      ),
      this.#histogram(
        "request_generation_tokens",
        "Number of generation tokens processed.",
        this.requestGenerationTokens,
      ),
      this.#histogram(
        "request_params_max_tokens",
        "The max_tokens request parameter.",
        this.requestMaxTokens,
      ),
      this.#histogram(
        "request_prefill_kv_computed_tokens",
        "New KV tokens of prefill.",
        this.prefillComputedTokens,
      ),
      this.#histogram("iteration_tokens_total", "Number of tokens per engine_step.", this.iterationTokens),
      this.#histogram("time_to_first_token_seconds", "Time to first token in seconds.", this.ttft),
      this.#histogram("inter_token_latency_seconds", "Inter-token latency in seconds.", this.interToken),
      this.#histogram(
        "request_time_per_output_token_seconds",
        "Seconds per token per request.",
        this.perOutputToken,
      ),
      this.#histogram("e2e_request_latency_seconds", "End to end latency in seconds.", this.endToEnd),
      this.#histogram("request_queue_time_seconds", "Time in WAITING phase.", this.queueTime),
      this.#histogram("request_inference_time_seconds", "Time in RUNNING phase.", this.inferenceTime),
      this.#histogram("request_prefill_time_seconds", "Time in PREFILL phase.", this.prefillTime),
      this.#histogram("request_decode_time_seconds", "Time in DECODE phase.", this.decodeTime),
      "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig\n# TYPE vllm:cache_config_info gauge\n",
      `vllm:cache_config_info${labelText(this.#cacheConfig)} 1.0\n`,
    ].join("");
  }

  /** vLLM shows these only where a connector is set up; here, where transfers were tried. */
  #transfers(expired: number): string {
    if (this.transfers + this.failedTransfers + expired === 0) return "";
    const expiry = "Number of requests whose KV expired before it was pulled.";
    return (
      this.#counter("nixl_num_failed_transfers", "Number of failed KV transfers.", this.failedTransfers) +
      this.#counter("nixl_num_kv_expired_reqs", expiry, expired)
    );
  }

  #head(name: string, type: string, help: string): string {
    return `# HELP vllm:${name} ${help}\n# TYPE vllm:${name} ${type}\n`;
  }

  #gauge(name: string, help: string, value: number): string {
    return `${this.#head(name, "gauge", help)}vllm:${name}${labelText(this.#labels)} ${number(value)}\n`;
  }

  #counter(name: string, help: string, value: number): string {
    const total = `${name}_total`;
    return `${this.#head(total, "counter", help)}vllm:${total}${labelText(this.#labels)} ${number(value)}\n`;
  }

  #many(name: string, type: string, help: string, label: string, values: Record<string, number>): string {
    let text = this.#head(name, type, help);
    for (const key in values)
      text += `vllm:${name}${labelText({ ...this.#labels, [label]: key })} ${number(values[key] as number)}\n`;
    return text;
  }

  #histogram(name: string, help: string, histogram: Histogram): string {
    return this.#head(name, "histogram", help) + histogram.lines(`vllm:${name}`, this.#labels);
  }
}
