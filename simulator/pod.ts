// One simulated vLLM: tokenizer, engine, KV cache, events and metrics, without HTTP.

import type { CostModel } from "../simulate/cost-model.js";
import { BlockPool } from "./block-pool.js";
import { Engine } from "./engine.js";
import { EventBatch, type EventFormat, type HashFormat } from "./event-batch.js";
import { EventLoopLag, LagHistogram } from "./event-loop-lag.js";
import { EventPublisher } from "./events.js";
import { AnswerWriter } from "./generated-text.js";
import type { GenerationRequest } from "./generation-request.js";
import { badRequest, transferFailed } from "./http-errors.js";
import { KvHolds, pullBlocks, type ReadBlocks, type RemoteBlocks, transferMs } from "./kv-transfer.js";
import { PodMetrics } from "./metrics.js";
import { Scheduler } from "./scheduler.js";
import { Sequence } from "./sequence.js";
import { SimClock } from "./sim-clock.js";
import { PodStats } from "./stats.js";
import type { Tokenizer } from "./tokenizer.js";
import { TokenizingQueue } from "./tokenizing.js";

/** Settings of a pod; the command line documents them. */
export interface PodOptions {
  name: string;
  model: string;
  blocks: number;
  blockSize: number;
  maxModelLen: number;
  eventsPort: number;
  replayPort: number;
  bufferSteps: number;
  eventFormat: EventFormat;
  hashFormat: HashFormat;
  timeScale: number;
  maxNumSeqs: number;
  maxBatchedTokens: number;
  streamInterval: number;
  seed: number;
  /** Real ms until the blocks of a prefill that nobody pulls expire. */
  kvHoldMs: number;
  /** Gigabits a second of KV transfers. */
  kvLinkGbps: number;
  /** What a decode does when it cannot read the remote blocks. */
  kvLoadFailure: "fail" | "recompute";
  costModel: CostModel;
}

/** Token counts of a request as its answer reports them. */
export interface Usage {
  promptTokens: number;
  completionTokens: number;
  cachedTokens: number;
}

/** Takes what a request produces. After `failed` or `done` nothing comes. */
export interface GenerationSink {
  /** The prompts are tokenized and queued. */
  accepted(prompts: Uint32Array[]): void;
  /** More of answer `index`; `finishReason` comes with its last part. */
  part(index: number, text: string, tokens: Uint32Array, finishReason: "stop" | "length" | null): void;
  /** `transfer`: what a prefill for another pod answers, else null. */
  done(usage: Usage, transfer: object | null): void;
  failed(error: unknown): void;
}

/** Told how pulling remote blocks went. */
interface PullSink {
  accepted(): void;
  failed(error: unknown): void;
}

/** Stops a request whose client has gone. */
export type Cancel = () => void;

/** Runs requests as a vLLM server with one engine does. */
export class Pod {
  readonly options: PodOptions;
  readonly clock: SimClock;
  readonly tokenizer: Tokenizer;
  readonly publisher: EventPublisher;
  readonly metrics: PodMetrics;
  readonly stats = new PodStats();
  readonly lag = new EventLoopLag();
  /** Cached tokens that answers say in place of the truth; null = they say the truth. */
  saysCached: number | null = null;
  readonly firstTokenLag = new LagHistogram();
  /** Longest prompt and answer together, tokens: what the model takes or the cache holds. */
  readonly maxModelLen: number;
  readonly holds: KvHolds;
  readonly #pool: BlockPool;
  readonly #events: EventBatch;
  readonly #engine: Engine;
  readonly #tokenizing: TokenizingQueue;

  private constructor(options: PodOptions, tokenizer: Tokenizer, publisher: EventPublisher) {
    this.options = options;
    this.tokenizer = tokenizer;
    this.publisher = publisher;
    this.clock = new SimClock(options.timeScale);
    this.maxModelLen = Math.min(options.maxModelLen, (options.blocks - 1) * options.blockSize);
    this.metrics = new PodMetrics(options.model, options.blocks, options.blockSize);
    this.#events = new EventBatch(options.eventFormat, options.hashFormat, options.blockSize);
    this.#pool = new BlockPool(options.blocks, { evicted: (low, high) => this.#events.removed(low, high) });
    this.holds = new KvHolds(options.kvHoldMs, (blocks) => {
      this.#pool.release(blocks, blocks.length);
      this.#engine.advance();
    });
    const scheduler = new Scheduler(this.#pool, this.#events, options);
    const writer = new AnswerWriter(tokenizer.vocabulary, options.seed);
    this.#tokenizing = new TokenizingQueue(tokenizer);
    const seconds = (ms: number): number => ms / 1000 / options.timeScale;
    this.#engine = new Engine(scheduler, this.clock, options.costModel, writer, {
      planned: () => this.#publish(),
      stepped: (tokens) => this.metrics.iterationTokens.observe(tokens),
      firstToken: (sequence, lateMs) => {
        this.firstTokenLag.record(lateMs);
        this.stats.firstToken(sequence.firstTokenAt - sequence.arrivedAt);
        this.metrics.ttft.observe(seconds(sequence.firstTokenAt - sequence.arrivedAt));
        this.metrics.promptTokens += sequence.promptLength;
        this.metrics.cachedPromptTokens += sequence.cachedTokens;
        this.metrics.externalPromptTokens += sequence.externalTokens;
        this.metrics.generationTokens++;
      },
      nextToken: (gap) => {
        this.metrics.generationTokens++;
        this.metrics.interToken.observe(seconds(gap));
      },
      finished: (sequence) => this.#observe(sequence, seconds),
    });
  }

  /** Opens the event sockets and starts. @throws when a port is taken. */
  static async start(options: PodOptions, tokenizer: Tokenizer): Promise<Pod> {
    const publisher = await EventPublisher.open({
      port: options.eventsPort,
      replayPort: options.replayPort,
      bufferSteps: options.bufferSteps,
      replayTopic: options.eventFormat === "map",
      topic: (port) => `kv@127.0.0.1:${port}@${options.model}`,
    });
    return new Pod(options, tokenizer, publisher);
  }

  /** Runs a request that arrived at `arrivedAt` (simulated ms). */
  generate(request: GenerationRequest, arrivedAt: number, sessionId: string, sink: GenerationSink): Cancel {
    const readyAt = this.#engine.expect(arrivedAt);
    const prompts: Uint32Array[] = [];
    let sequences: Sequence[] = [];
    let over = false;
    let stopPulling = () => {};
    const tokenized = (): void => {
      try {
        if (!over) {
          for (const prompt of prompts) this.#checkLength(prompt.length, request.maxTokens);
          sequences = this.#sequences(request, prompts, arrivedAt, sessionId, sink);
          const { transfer } = request;
          if (transfer.kind === "decode") {
            stopPulling = this.#pull(transfer, sequences, {
              accepted: () => sink.accepted(prompts),
              failed: (error) => sink.failed(error),
            });
          } else {
            for (const sequence of sequences) this.#engine.add(sequence, readyAt);
            sink.accepted(prompts);
          }
        }
      } catch (error) {
        sink.failed(error);
      } finally {
        this.#engine.unexpect();
      }
    };
    request.prompts.forEach((prompt, i) => {
      const last = i === request.prompts.length - 1;
      // Token ids queue as an empty text, which keeps the order of arrival.
      this.#tokenizing.submit(typeof prompt === "string" ? prompt : "", (tokens) => {
        prompts.push(typeof prompt === "string" ? tokens : prompt);
        if (last) tokenized();
      });
    });
    return () => {
      over = true;
      stopPulling();
      for (const sequence of sequences) this.#engine.abort(sequence);
      if (sequences.length > 0) this.metrics.finished.abort++;
      this.#engine.advance();
    };
  }

  /** Pulls the remote blocks and queues the sequences once they are here. @returns how to stop. */
  #pull(remote: RemoteBlocks, sequences: Sequence[], sink: PullSink): () => void {
    let stopped = false;
    const pull = pullBlocks(remote);
    pull.result.then((read) => {
      if (stopped) return;
      if (read) this.metrics.transfers++;
      else this.metrics.failedTransfers++;
      if (!read && this.options.kvLoadFailure === "fail") {
        sink.failed(transferFailed());
        return;
      }
      sink.accepted();
      for (const sequence of sequences) {
        sequence.remoteTokens = read ? Math.min(read.tokens, sequence.promptLength) : 0;
        // The own digest needs the hashes that `add` computes, so a wrong one shows in the text and nowhere else.
        sequence.remoteHash = read?.hash ?? null;
        this.#engine.add(sequence, this.clock.now());
      }
      this.#engine.advance();
    });
    return () => {
      stopped = true;
      pull.cancel();
    };
  }

  /**
   * Serves another pod's pull: calls back when simulated time for the transfer has passed, with null when the blocks
   * are not here. @returns how to stop when the other pod has gone; the blocks are held on then.
   */
  servePull(engineId: string, requestId: string, done: (read: ReadBlocks | null) => void): Cancel {
    const read = this.holds.find(engineId, requestId);
    if (!read) {
      done(null);
      return () => {};
    }
    const wait = transferMs(read.tokens, this.options.kvLinkGbps) / this.clock.scale;
    const timer = setTimeout(() => {
      this.holds.pulled(requestId);
      done(read);
    }, wait);
    return () => clearTimeout(timer);
  }

  /** The Prometheus page as of now. */
  metricsPage(): string {
    this.#engine.advance();
    const { running, waiting, counts } = this.#engine.scheduler;
    return this.metrics.page({
      running: running.length,
      waiting: waiting.length,
      kvCacheUsage: this.#pool.usage,
      ...counts,
      expiredTransfers: this.holds.expired,
    });
  }

  /** Sequences in the engine. */
  load(): { running: number; waiting: number } {
    this.#engine.advance();
    return { running: this.#engine.scheduler.running.length, waiting: this.#engine.scheduler.waiting.length };
  }

  /**
   * Forgets the prefix cache; false while sequences run. The clear is published with the next step that has events,
   * ahead of its stores, as vLLM does.
   */
  resetPrefixCache(): boolean {
    this.#engine.advance();
    const done = this.#pool.reset();
    if (done) this.#events.cleared();
    return done;
  }

  /** Closes sockets and timers. */
  stop(): void {
    this.#engine.stop();
    this.holds.stop();
    this.lag.stop();
    this.publisher.close();
  }

  #publish(): void {
    if (!this.#events.empty) this.publisher.publish(this.#events.take(Date.now() / 1000));
  }

  #checkLength(prompt: number, answer: number): void {
    const limit = this.maxModelLen;
    if (prompt === 0) throw badRequest("The prompt is empty; give at least one token.", "prompt");
    if (prompt + answer <= limit) return;
    const what =
      prompt >= limit
        ? `your prompt contains ${prompt} input tokens`
        : `you asked for ${answer} output tokens and your prompt contains ${prompt} input tokens`;
    throw badRequest(
      `This model's maximum context length is ${limit} tokens. However, ${what}. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=${prompt})`,
      "input_tokens",
    );
  }

  #sequences(
    request: GenerationRequest,
    prompts: Uint32Array[],
    arrivedAt: number,
    sessionId: string,
    sink: GenerationSink,
  ): Sequence[] {
    const endsTurn = request.endsTurn && request.maxTokens > 1;
    const total = prompts.length * request.answers;
    const usage: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
    for (const prompt of prompts) usage.promptTokens += prompt.length;
    let left = total;
    let transfer: object | null = null;
    return Array.from({ length: total }, (_, index) => {
      let told = 0;
      const progressed = (sequence: Sequence, finished: boolean): void => {
        const tokens = sequence.answerTokens(told, sequence.generated);
        told = sequence.generated;
        const silent = finished && endsTurn ? 1 : 0;
        const text = this.tokenizer.decode(tokens.subarray(0, tokens.length - silent));
        sink.part(index, text, tokens, finished ? (endsTurn ? "stop" : "length") : null);
        if (!finished) return;
        usage.completionTokens += sequence.generated;
        // vLLM reports no cached tokens for a batch of prompts.
        if (total === 1) usage.cachedTokens = sequence.cachedTokens;
        if (--left > 0) return;
        this.stats.finished(usage);
        sink.done(usage, transfer);
      };
      const progressInterval = request.stream ? this.options.streamInterval : Number.POSITIVE_INFINITY;
      const sequence = new Sequence(
        {
          prompt: prompts[Math.floor(index / request.answers)] as Uint32Array,
          maxTokens: request.maxTokens,
          endsTurn,
          salt: request.salt,
          sessionId,
          progressInterval,
          arrivedAt,
          progressed,
        },
        this.options.blockSize,
      );
      // As vLLM: only a request that its token limit ends leaves blocks for another pod.
      if (request.transfer.kind === "prefill" && !endsTurn && total === 1 && !request.stream)
        sequence.handOver = (blocks) => {
          transfer = this.holds.hold(
            blocks,
            sequence.promptLength,
            sequence.promptHash(),
            sequence.cachedTokens,
          );
        };
      if (!request.stream) sequence.nextProgress = Number.POSITIVE_INFINITY;
      return sequence;
    });
  }

  #observe(sequence: Sequence, seconds: (ms: number) => number): void {
    const { metrics } = this;
    metrics.finished[sequence.endsTurn ? "stop" : "length"]++;
    metrics.requestPromptTokens.observe(sequence.promptLength);
    metrics.requestGenerationTokens.observe(sequence.generated);
    metrics.requestMaxTokens.observe(sequence.maxTokens);
    metrics.prefillComputedTokens.observe(sequence.promptLength - sequence.cachedTokens);
    metrics.endToEnd.observe(seconds(sequence.lastTokenAt - sequence.arrivedAt));
    metrics.queueTime.observe(seconds(sequence.admittedAt - sequence.arrivedAt));
    metrics.inferenceTime.observe(seconds(sequence.lastTokenAt - sequence.admittedAt));
    metrics.prefillTime.observe(seconds(sequence.firstTokenAt - sequence.admittedAt));
    metrics.decodeTime.observe(seconds(sequence.lastTokenAt - sequence.firstTokenAt));
    if (sequence.generated > 1)
      metrics.perOutputToken.observe(
        seconds((sequence.lastTokenAt - sequence.firstTokenAt) / (sequence.generated - 1)),
      );
  }
}
