// Silence has an alarm: a decode pod that was promised KV blocks and computed the prompt itself all the same answers
// rightly, only slowly. Gateways say what they promised; engines say what came by transfer; this compares the two.
import type { Logger } from "pino";
import type { Transfers } from "../wire.js";

/** Order of the counters; wasm/filter/prefill-metrics.ts counts them. */
export const PREFILL_COUNTERS = [
  "split",
  "calls",
  "failed",
  "timeout",
  "rubbish",
  "no_parameters",
  "refused",
  "local",
  "error",
  "orphaned",
  "no_pod",
  "busy",
  "blocks_left",
] as const;
export type PrefillCounter = (typeof PREFILL_COUNTERS)[number];

const MINUTE_MS = 60_000;
/** A worker that was silent for so long is gone, ms. */
const GONE_MS = 60_000;
/**
 * Share of the promised tokens that may be missing. The engine computes the last token of every prompt itself, and takes
 * what it has cached from its own cache; both are small beside a transfer that did not happen.
 */
const SLACK = 0.2;

interface PodState {
  /** Tokens promised since the first report. */
  promised: number;
  /** `promised` at the scrape before: by now these must have come. */
  due: number;
  /** Engine's counter and `promised` when counting began, null before. */
  base: { external: number; promised: number } | null;
  recomputed: number;
}

interface Worker {
  at: number;
  counters: number[];
  tokens: Map<string, number>;
}

/** Watches all decode pods. */
export class TransferWatch {
  readonly totals: Record<PrefillCounter, number> = Object.fromEntries(
    PREFILL_COUNTERS.map((name) => [name, 0]),
  ) as Record<PrefillCounter, number>;
  readonly #pods = new Map<string, PodState>();
  readonly #workers = new Map<string, Worker>();
  readonly #log: Logger;
  readonly #toldAt = new Map<string, number>();
  /** By reason, since the last line in the log. */
  readonly #untold = new Map<string, number>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Takes a gateway worker's report; `now` is a monotonic time in ms. */
  take(report: Transfers, now: number): void {
    const key = `${report.processId}/${report.vmId}`;
    const before = this.#workers.get(key);
    PREFILL_COUNTERS.forEach((name, i) => {
      const by = grown(report.counters[i] ?? 0, before?.counters[i]);
      this.totals[name] += by;
      if (name === "no_parameters" && by > 0)
        this.#tell(
          now,
          "prefill answers had no kv_transfer_params: is a KV connector set up there?",
          by,
          "answers",
        );
    });
    const tokens = new Map<string, number>();
    for (const pod of report.pods) {
      tokens.set(pod.address, pod.tokens);
      this.#state(pod.address).promised += grown(pod.tokens, before?.tokens.get(pod.address));
    }
    this.#workers.set(key, { at: now, counters: report.counters, tokens });
    for (const [name, worker] of this.#workers) if (now - worker.at > GONE_MS) this.#workers.delete(name);
  }

  /**
   * A pod's metrics were read. `external`: tokens that came by transfer since the engine's start, null when it does not
   * say. What was promised before the last scrape must be in it.
   */
  scraped(address: string, external: number | null, now: number): void {
    const state = this.#pods.get(address);
    if (!state || external === null) return;
    const { base } = state;
    if (base === null || external < base.external) {
      state.base = { external, promised: state.promised };
      state.due = state.promised;
      return;
    }
    const due = state.due - base.promised;
    const came = external - base.external;
    if (due > 0) {
      const missing = due - came;
      if (missing > due * SLACK) {
        state.recomputed += missing;
        this.#tell(
          now,
          `decode pod ${address} computed prompts itself although their blocks were promised`,
          missing,
          "tokens",
        );
      }
      // What came beyond what was due belongs to promises that are not due yet.
      state.base = { external: external - Math.max(0, came - due), promised: state.due };
    }
    state.due = state.promised;
  }

  /** Prompt tokens per decode pod that were promised, and that it computed itself nevertheless. */
  pods(): { address: string; promised: number; recomputed: number }[] {
    return [...this.#pods].map(([address, { promised, recomputed }]) => ({ address, promised, recomputed }));
  }

  #state(address: string): PodState {
    let state = this.#pods.get(address);
    if (!state) {
      state = { promised: 0, due: 0, base: null, recomputed: 0 };
      this.#pods.set(address, state);
    }
    return state;
  }

  /** Logs at once and then once a minute, with what has come together since. */
  #tell(now: number, what: string, by: number, unit: string): void {
    const count = (this.#untold.get(what) ?? 0) + by;
    const told = this.#toldAt.get(what);
    if (told !== undefined && now - told < MINUTE_MS) {
      this.#untold.set(what, count);
      return;
    }
    this.#untold.delete(what);
    this.#toldAt.set(what, now);
    this.#log.warn({ event_type: "recompute", [unit]: count }, what);
  }
}

function grown(now: number, before: number | undefined): number {
  return before === undefined || now < before ? now : now - before;
}
