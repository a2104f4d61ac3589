// What GET /sim/stats adds to vLLM's own surface, for a demo or a test to judge a run by.
import type { Usage } from "./pod.js";

/** Headers that a gateway keeps to itself; a pod that sees one was reached past the gateway's rules. */
const ROUTING_HEADER =
  /^(?:x-gateway-|x-selected-|x-prefiller-host|x-data-parallel-(?:host-port|rank)$|x-encoder-hosts-ports$|x-kv-cache-source-host-port$|x-envoy-upstream-rq-|x-envoy-max-retries$|x-envoy-retry-on$)/;

/** Totals since the start or the last reset. */
export class PodStats {
  requests = 0;
  promptTokens = 0;
  cachedTokens = 0;
  completionTokens = 0;
  routingHeadersSeen = 0;
  #firstTokens = 0;
  #ttftSum = 0;

  /** Counts headers that only a gateway may set; names are in lower case. */
  headers(names: Iterable<string>): void {
    for (const name of names)
      if (name.startsWith("x-") && ROUTING_HEADER.test(name)) this.routingHeadersSeen++;
  }

  /** @param ttft simulated ms. */
  firstToken(ttft: number): void {
    this.#firstTokens++;
    this.#ttftSum += ttft;
  }

  /** A request ended well. */
  finished(usage: Usage): void {
    this.requests++;
    this.promptTokens += usage.promptTokens;
    this.cachedTokens += usage.cachedTokens;
    this.completionTokens += usage.completionTokens;
  }

  /** Mean time to first token, simulated ms; 0 before the first. */
  meanTtft(): number {
    return this.#firstTokens === 0 ? 0 : this.#ttftSum / this.#firstTokens;
  }

  clear(): void {
    this.requests = 0;
    this.promptTokens = 0;
    this.cachedTokens = 0;
    this.completionTokens = 0;
    this.routingHeadersSeen = 0;
    this.#firstTokens = 0;
    this.#ttftSum = 0;
  }
}
