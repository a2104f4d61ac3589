// The gateway's scheduler in Node: a typed face over build/pick.wasm, whose source is wasm/core/pick-module.ts.
import { readFile } from "node:fs/promises";
import { type DecisionSizes, encodePick, type Replayable } from "./decisions/record-bytes.js";
import { built } from "./package-root.js";

/** A pair of pods chosen again. */
export interface PairAgain {
  splits: boolean;
  prefills: number[];
  decode: number;
  seconds: number;
  aloneSeconds: number;
}

type Call = (...args: number[]) => number;

const REFUSED = 0;

let compiled: Promise<WebAssembly.Module> | null = null;

/**
 * One gateway's scheduler, with in-flight counts of its own. Times are seconds above 0 of one clock; ids of blocks and
 * sessions and seeds are whole numbers from 0 to 2^53 - 1.
 */
export class Picker {
  readonly #x: Record<string, Call>;
  readonly #memory: WebAssembly.Memory;

  private constructor(exports: WebAssembly.Exports) {
    this.#x = exports as Record<string, Call>;
    this.#memory = exports["memory"] as WebAssembly.Memory;
  }

  /** Loads the module. @throws when the build is missing. */
  static async create(): Promise<Picker> {
    compiled ??= readFile(built("pick.wasm")).then((bytes) => WebAssembly.compile(bytes));
    const { exports } = await WebAssembly.instantiate(await compiled, {});
    const picker = new Picker(exports);
    picker.#x["_initialize"]!();
    return picker;
  }

  /** Takes frames as gateways get them (Wire.drain); policy and pods count. @throws Error when one of them is refused. */
  take(frames: readonly Uint8Array[], now: number): void {
    for (const frame of frames) {
      new Uint8Array(this.#memory.buffer).set(frame, this.#x.inputBuffer!() >>> 0);
      if (this.#x.takeFrame!(frame.length, now) === REFUSED)
        throw new Error(
          "the scheduler refused a policy or pods: build and source differ, run the build again",
        );
    }
  }

  /** Scraped load; `kvUsage` 0–1. */
  setLoad(pod: number, waiting: number, running: number, kvUsage: number, now: number): void {
    this.#x.setLoad!(pod, waiting, running, kvUsage, now);
  }

  /** Counts requests in flight in or out. */
  countRequests(pod: number, by: number, now: number): void {
    this.#x.count!(pod, by, 0, 0, 0, now);
  }

  /** Counts a prefill of `work` (see `work`) and uncached `tokens` in (1) or out (-1). */
  countPrefill(pod: number, by: 1 | -1, work: number, tokens: number, now: number): void {
    this.#x.count!(pod, 0, by, work, tokens, now);
  }

  /** Prefills on a pod without a first token. */
  pendingPrefills(pod: number): number {
    return this.#x.pendingPrefills!(pod);
  }

  /** Prefill work of uncached tokens behind cached ones, in tokens of a short prompt. */
  work(cached: number, uncached: number): number {
    return this.#x.prefillWork!(cached, uncached);
  }

  /** Says whether counts of other gateways come too late to rely on. */
  sharing(slow: boolean): void {
    this.#x.sharing!(slow ? 1 : 0);
  }

  /** Forgets what pods match. */
  clearMatches(): void {
    this.#x.matchClear!();
  }

  /** Says how many tokens of the prompt a pod has cached. */
  match(pod: number, tokens: number): void {
    this.#x.matched!(pod, tokens);
  }

  /** Remembers for seconds that a pod will soon have a block. */
  speculate(block: number, pod: number, now: number): void {
    this.#x.speculate!(block, pod, now);
  }

  speculated(block: number, pod: number, now: number): boolean {
    return this.#x.speculated!(block, pod, now) !== 0;
  }

  /**
   * The best pods for a prompt, best first, at most three; none when no pod passes the policy's filters.
   * @param spread the first block that no pod has: what near-equal pods are ordered by
   * @param session 0 for none
   * @param seed where all chance in the pick comes from
   * @param perPodRate requests per second and pod
   */
  pick(
    promptTokens: number,
    spread: number,
    session: number,
    seed: number,
    perPodRate: number,
    now: number,
  ): number[] {
    const found = this.#x.choose!(promptTokens, spread, session, seed, perPodRate, now);
    return Array.from({ length: found }, (_, i) => this.#x.picked!(i));
  }

  /** Cost of a pod in the last pick, lower is better: seconds, or the negated weighted sum of scores. */
  cost(pod: number): number {
    return this.#x.cost!(pod);
  }

  /** The request of the last pick goes to `pod`. */
  commit(pod: number, now: number): void {
    this.#x.commit!(pod, now);
  }

  /** A prefill that ran alone on a pod did so much work per second. */
  observeRate(pod: number, rate: number): void {
    this.#x.observeRate!(pod, rate);
  }

  /** Takes a program by its bytes (Wire.policyProgram); false, with nothing changed, when it is damaged. */
  program(bytes: Uint8Array): boolean {
    this.#put(bytes);
    return this.#x.takeProgram!(bytes.length) !== 0;
  }

  /**
   * Picks again from what a gateway recorded, under the program in force; forgets all that this picker knew of pods.
   * Null when the record is cut or damaged. @throws RangeError when a value cannot be what a gateway recorded.
   */
  again(decision: Replayable): { picked: number[]; passed: number } | null {
    if (!this.#replay("replay", decision)) return null;
    const picked = Array.from({ length: this.#x.found!() }, (_, i) => this.#x.picked!(i));
    return { picked, passed: this.#x.passed!() };
  }

  /**
   * Chooses the pair again from what a gateway recorded, as above: slots of the prefill pods, best first, and of the
   * decode pod (-1 without a split), and seconds as the record has them.
   */
  pairAgain(decision: Replayable): PairAgain | null {
    if (!this.#replay("replayPair", decision)) return null;
    const splits = this.#x.pairSplits!() !== 0;
    return {
      splits,
      prefills: Array.from({ length: this.#x.prefillsFound!() }, (_, i) => this.#x.prefillPicked!(i)),
      decode: splits ? this.#x.pairDecodePod!() : -1,
      seconds: this.#x.pairSeconds!(),
      aloneSeconds: this.#x.aloneSeconds!(),
    };
  }

  /** Cost of a prefill on a pod in the last `pairAgain`. */
  prefillCost(pod: number): number {
    return this.#x.prefillCost!(pod);
  }

  #replay(name: "replay" | "replayPair", decision: Replayable): boolean {
    const bytes = encodePick(decision, this.#decisionSizes());
    this.#put(bytes);
    return this.#x[name]!(bytes.length) === 0;
  }

  #put(bytes: Uint8Array): void {
    new Uint8Array(this.#memory.buffer).set(bytes, this.#x.inputBuffer!() >>> 0);
  }

  #decisionSizes(): DecisionSizes {
    const global = (name: string) =>
      Number((this.#x as unknown as Record<string, WebAssembly.Global>)[name]!.value);
    return {
      head: global("decisionHeadBytes"),
      row: global("decisionRowBytes"),
      pair: global("decisionPairBytes"),
    };
  }
}
