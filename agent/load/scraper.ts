// Asks every pod for its metrics: load columns, readiness, cache facts.
import { Agent, request } from "undici";
import type { AgentConfig } from "../config/load.js";
import type { ScrapeTarget } from "../policy/scrapers.js";
import { type EngineMetrics, engineMetrics } from "./engine-metrics.js";
import type { Pod } from "./pod-registry.js";

/** So many timeouts in a row make a pod not ready; a refused connection does at once. */
const TIMEOUTS_TO_UNREADY = 3;

export interface ScraperEvents {
  /** Load columns of a pod changed. */
  onLoad(pod: Pod): void;
  /** A pod became ready or not ready. */
  onReadiness(pod: Pod): void;
}

/** Base of a pod's HTTP server, with another port where one is given. */
export function targetBase(pod: Pod, port: number | null): string {
  if (port === null) return pod.config.metricsBase;
  const url = new URL(pod.config.metricsBase);
  url.port = String(port);
  return url.origin;
}

/** Scrapes on a timer of its own per pod, spread over the interval. */
export class Scraper {
  readonly #http: Agent;
  readonly #scrape: AgentConfig["scrape"];
  readonly #events: ScraperEvents;
  readonly #timers = new Map<Pod, NodeJS.Timeout>();
  readonly #running = new Map<Pod, Promise<void>>();
  readonly #timeouts = new Map<Pod, number>();
  #stopped = false;
  /** What the policy says of the engine's page; null = the configuration counts. */
  target: ScrapeTarget | null = null;

  constructor(scrape: AgentConfig["scrape"], events: ScraperEvents) {
    this.#scrape = scrape;
    this.#events = events;
    this.#http = new Agent({
      connect: { timeout: scrape.timeoutMs },
      headersTimeout: scrape.timeoutMs,
      bodyTimeout: scrape.timeoutMs,
      connections: 2,
    });
  }

  /** Asks all pods now, and from then on in the interval. */
  start(pods: Pod[]): void {
    for (const pod of pods) void this.ask(pod);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    await this.#http.destroy();
    await Promise.all(this.#running.values());
  }

  /** Asks a pod now, out of turn. */
  ask(pod: Pod): Promise<void> {
    let running = this.#running.get(pod);
    if (running || this.#stopped) return running ?? Promise.resolve();
    const timer = this.#timers.get(pod);
    if (timer) clearTimeout(timer);
    running = this.#once(pod).finally(() => {
      this.#running.delete(pod);
      if (this.#stopped) return;
      const wait = (this.target?.intervalMs ?? this.#scrape.intervalMs) * (0.9 + 0.2 * Math.random());
      this.#timers.set(
        pod,
        setTimeout(() => void this.ask(pod), wait),
      );
    });
    this.#running.set(pod, running);
    return running;
  }

  async #once(pod: Pod): Promise<void> {
    try {
      const metrics = await this.#fetch(pod);
      if (this.#stopped) return;
      pod.scrapes.ok++;
      this.#timeouts.delete(pod);
      if (metrics) {
        pod.metrics = metrics;
        pod.metricsAt = performance.now();
        pod.rate.observe(pod.metricsAt, metrics.promptTokens - metrics.prefixHits, metrics.waiting);
      }
      this.#ready(pod, true, "");
      this.#events.onLoad(pod);
    } catch (error) {
      if (this.#stopped) return;
      this.#failed(pod, error as NodeJS.ErrnoException);
    }
  }

  #failed(pod: Pod, error: NodeJS.ErrnoException): void {
    const code = error.code ?? (error.cause as NodeJS.ErrnoException | undefined)?.code ?? "";
    if (code.includes("TIMEOUT")) {
      pod.scrapes.timeout++;
      const count = (this.#timeouts.get(pod) ?? 0) + 1;
      this.#timeouts.set(pod, count);
      if (count >= TIMEOUTS_TO_UNREADY || !pod.ready)
        this.#ready(
          pod,
          false,
          `no answer within ${this.target?.timeoutMs ?? this.#scrape.timeoutMs} ms from ${targetBase(pod, this.target?.port ?? null)}`,
        );
      return;
    }
    if (code === "ECONNREFUSED" || code === "ECONNRESET" || code === "UND_ERR_SOCKET") pod.scrapes.refused++;
    else pod.scrapes.failed++;
    this.#ready(pod, false, `${targetBase(pod, this.target?.port ?? null)}: ${error.message || code}`);
  }

  #ready(pod: Pod, ready: boolean, problem: string): void {
    pod.problem = problem;
    if (pod.ready === ready) return;
    pod.ready = ready;
    this.#events.onReadiness(pod);
  }

  /** Metrics, or null from an engine that has none but says that it is well. */
  async #fetch(pod: Pod): Promise<EngineMetrics | null> {
    const base = targetBase(pod, this.target?.port ?? null);
    const path = this.target?.path ?? "/metrics";
    const timeout = this.target?.timeoutMs ?? this.#scrape.timeoutMs;
    const options = { dispatcher: this.#http, headersTimeout: timeout, bodyTimeout: timeout };
    const answer = await request(`${base}${path}`, options);
    const text = await answer.body.text();
    const metrics = answer.statusCode === 200 ? engineMetrics(text) : null;
    if (metrics) return metrics;
    const health = await request(`${base}/health`, options);
    await health.body.dump();
    if (health.statusCode === 200) return null;
    throw new Error(`${path} answers ${answer.statusCode}, /health ${health.statusCode}`);
  }
}
