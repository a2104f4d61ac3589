// One gateway of a simulated fleet: what it knows, its decision by the compiled scheduler, and what it counts.
import { Picker } from "../agent/picker.js";
import type { BlockCache } from "./block-cache.js";
import type { Random } from "./random.js";
import type { SimRequest } from "./request.js";

/** Uncached tokens from which a prefill says something of a pod's pace (wasm/filter/response.ts). */
const CALIBRATE_TOKENS = 1024;
/** The scheduler's clock is above 0 when the simulation's is 0. */
const EPOCH_S = 1;

/** A decision, to be counted back by the router that took it. */
export interface Dispatch {
  pod: number;
  at: number;
  work: number;
  uncached: number;
  /** Tokens that the router took for cached. */
  predicted: number;
  /** No other prefill was under way on the pod, as far as the router knew. */
  alone: boolean;
}

export class Router {
  readonly picker: Picker;
  readonly #caches: readonly BlockCache[];
  readonly #blockTokens: number;
  readonly #random: Random;
  /** Smoothed requests per second, as the filter's tick does it. */
  #rate = 0;
  #counted = 0;
  #nextSecond = 1;

  private constructor(picker: Picker, caches: readonly BlockCache[], blockTokens: number, random: Random) {
    this.picker = picker;
    this.#caches = caches;
    this.#blockTokens = blockTokens;
    this.#random = random;
  }

  static async create(
    frames: readonly Uint8Array[],
    caches: readonly BlockCache[],
    blockTokens: number,
    random: Random,
  ): Promise<Router> {
    const picker = await Picker.create();
    picker.take(frames, EPOCH_S);
    return new Router(picker, caches, blockTokens, random);
  }

  /** Decides and counts; null when no pod passes the policy's filters. */
  dispatch(request: SimRequest, now: number): Dispatch | null {
    const { picker } = this;
    const clock = now + EPOCH_S;
    this.#tick(now);
    const size = this.#blockTokens;
    const { blocks, prompt } = request;
    const limit = Math.min(Math.floor((prompt - 1) / size), blocks.length);
    picker.clearMatches();
    let best = 0;
    const matched = this.#caches.map((cache, pod) => {
      let n = cache.match(blocks, limit);
      while (n < limit && (picker.speculated(blocks[n]!, pod, clock) || cache.has(blocks[n]!))) n++;
      best = Math.max(best, n);
      picker.match(pod, n * size);
      return n;
    });
    const spread = blocks.length > 0 ? blocks[Math.min(best, blocks.length - 1)]! : request.session;
    const seed = this.#random.below(2 ** 32);
    const [pod] = picker.pick(prompt, spread, request.session, seed, this.#rate / this.#caches.length, clock);
    if (pod === undefined) return null;
    this.#counted++;
    const predicted = matched[pod]! * size;
    const uncached = Math.max(prompt - predicted, 1);
    const work = Math.floor(picker.work(predicted, uncached));
    const alone = picker.pendingPrefills(pod) === 0;
    picker.countRequests(pod, 1, clock);
    picker.countPrefill(pod, 1, work, uncached, clock);
    for (let i = matched[pod]!; i < Math.floor(prompt / size) && i < blocks.length; i++)
      picker.speculate(blocks[i]!, pod, clock);
    picker.commit(pod, clock);
    return { pod, at: now, work, uncached, predicted, alone };
  }

  /** Learns the pod's pace from a first token. */
  calibrate(d: Dispatch, now: number): void {
    if (d.alone && d.uncached >= CALIBRATE_TOKENS && now > d.at)
      this.picker.observeRate(d.pod, d.work / (now - d.at));
  }

  /** Counts another gateway's dispatch. */
  dispatched(d: Dispatch, now: number): void {
    this.picker.countRequests(d.pod, 1, now + EPOCH_S);
    this.picker.countPrefill(d.pod, 1, d.work, d.uncached, now + EPOCH_S);
  }

  /** Counts a first token, its own or another gateway's. */
  firstToken(d: Dispatch, now: number): void {
    this.picker.countPrefill(d.pod, -1, d.work, d.uncached, now + EPOCH_S);
  }

  done(d: Dispatch, now: number): void {
    this.picker.countRequests(d.pod, -1, now + EPOCH_S);
  }

  scraped(pod: number, waiting: number, running: number, kvUsage: number, now: number): void {
    this.picker.setLoad(pod, waiting, running, kvUsage, now + EPOCH_S);
  }

  #tick(now: number): void {
    for (; now >= this.#nextSecond; this.#nextSecond++) {
      this.#rate = this.#rate * 0.5 + this.#counted * 0.5;
      this.#counted = 0;
    }
  }
}
