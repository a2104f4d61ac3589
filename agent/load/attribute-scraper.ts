// Reads the custom columns that a policy's scrapers ask for from every pod.
import { Agent, request } from "undici";
import type { AgentConfig } from "../config/load.js";
import type { AttributeMetric, AttributeScrape } from "../policy/scrapers.js";
import type { Pod } from "./pod-registry.js";
import { type Sample, samplesOf } from "./prometheus-text.js";
import { targetBase } from "./scraper.js";

/** Longest page that is read. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Values of the metrics in a page; several samples of one are added up, and what is absent is left out. */
export function attributeValues(text: string, metrics: readonly AttributeMetric[]): Map<string, number> {
  const samples = samplesOf(text, new Set(metrics.map(({ metric }) => metric)));
  const values = new Map<string, number>();
  for (const { attribute, metric, labels } of metrics) {
    const found = samples.filter(
      (s: Sample) =>
        s.name === metric &&
        Number.isFinite(s.value) &&
        Object.entries(labels).every(([label, value]) => s.labels[label] === value),
    );
    if (found.length > 0)
      values.set(
        attribute,
        found.reduce((sum, s) => sum + s.value, 0),
      );
  }
  return values;
}

/** One round of requests per scrape of the policy; pods that do not answer keep their values until those are too old. */
export class AttributeScraper {
  readonly #http = new Agent({ connections: 2, maxResponseSize: MAX_BYTES });
  readonly #defaults: AgentConfig["scrape"];
  readonly #pods: readonly Pod[];
  readonly #onChange: () => void;
  #timers: NodeJS.Timeout[] = [];
  #program: readonly AttributeScrape[] = [];
  #begun = false;

  constructor(defaults: AgentConfig["scrape"], pods: readonly Pod[], onChange: () => void) {
    this.#defaults = defaults;
    this.#pods = pods;
    this.#onChange = onChange;
  }

  /** Takes the scrapes of another policy. */
  use(program: readonly AttributeScrape[]): void {
    this.#program = program;
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    if (!this.#begun) return;
    for (const scrape of program) {
      this.#round(scrape);
      this.#timers.push(
        setInterval(() => this.#round(scrape), scrape.intervalMs ?? this.#defaults.intervalMs),
      );
    }
  }

  start(): void {
    this.#begun = true;
    this.use(this.#program);
  }

  async stop(): Promise<void> {
    this.#begun = false;
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    await this.#http.destroy();
  }

  #round(scrape: AttributeScrape): void {
    for (const pod of this.#pods) void this.#ask(pod, scrape).catch(() => {});
  }

  /** A pod that cannot be read is told by its own scrape; here its values only grow old. */
  async #ask(pod: Pod, scrape: AttributeScrape): Promise<void> {
    const timeout = scrape.timeoutMs ?? this.#defaults.timeoutMs;
    const { statusCode, body } = await request(`${targetBase(pod, scrape.port)}${scrape.path}`, {
      dispatcher: this.#http,
      signal: AbortSignal.timeout(timeout),
    });
    const text = await body.text();
    if (statusCode !== 200 || !this.#begun) return;
    const at = performance.now();
    const ttlMs = scrape.ttlMs ?? this.#defaults.ttlMs;
    for (const [attribute, value] of attributeValues(text, scrape.metrics))
      pod.attributes.set(attribute, { value, at, ttlMs });
    this.#onChange();
  }
}
