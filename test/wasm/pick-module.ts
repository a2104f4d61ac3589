// The compiled `pick` under test: pods, a policy and a request in, scores and choices out.
import { readFileSync } from "node:fs";
import { built } from "../../agent/package-root.js";
import type { SchedulingProgram } from "../../agent/policy/program.js";
import type { ColumnRow, Role, Wire } from "../../agent/wire.js";
import type { VectorPod } from "../vectors/scheduling.js";
import { disaggregationOf, policy, schedulingOf } from "./table.js";
import { newWire, podRow } from "./wire-for-test.js";

export interface TestPod extends Partial<VectorPod> {
  role?: Role;
  ready?: boolean;
  /** Of the scraped columns, ms; Infinity = never read. */
  ageMs?: number;
  /** Prefill work that has no first token. */
  work?: number;
  pending?: number;
  columns?: Partial<ColumnRow>;
}

export interface TestRequest {
  promptTokens?: number;
  session?: bigint;
  random?: bigint;
  /** Name of the adapter, "" = the model itself. */
  adapter?: string;
  spread?: bigint;
  rate?: number;
  nowMs?: number;
  /** Values of the program's headers, in their order. */
  headers?: string[];
}

export interface Outcome {
  /** Best first. */
  chosen: number[];
  /** Pods that passed the filters. */
  kept: number[];
  costs: number[];
}

/** Clock of all tests: late enough that nothing is before its beginning. */
const BEGIN_MS = 1_000_000;
let compiled: WebAssembly.Module | undefined;

/** pick-test.wasm, begun anew: its calls, and where bytes for them go. */
export class PickTest {
  readonly x: Record<string, (...args: (number | bigint)[]) => number>;
  readonly #memory: WebAssembly.Memory;

  constructor() {
    compiled ??= new WebAssembly.Module(readFileSync(built("pick-test.wasm")));
    const { exports } = new WebAssembly.Instance(compiled, {});
    this.x = exports as typeof this.x;
    this.#memory = exports["memory"] as WebAssembly.Memory;
    this.x["_initialize"]!();
  }

  /** Puts what the next call reads at the input. */
  put(bytes: Uint8Array): void {
    new Uint8Array(this.#memory.buffer).set(bytes, this.x["inputAt"]!() >>> 0);
  }
}

export class PickModule {
  readonly #test = new PickTest();
  readonly #x = this.#test.x;
  readonly #wire: Wire;
  readonly #model: number;
  #pods: TestPod[] = [];
  #nowMs = BEGIN_MS;

  private constructor(wire: Wire) {
    this.#wire = wire;
    this.#model = wire.addModel("m");
  }

  /** `scheduling` as a policy has it, or a program. */
  static async create(pods: TestPod[], scheduling: object | SchedulingProgram): Promise<PickModule> {
    const module = new PickModule(await newWire({ maxEntries: 1000 }));
    module.policy(scheduling);
    module.pods(pods);
    return module;
  }

  /** The policy's `disaggregation` beside its `scheduling`. */
  disaggregation(disaggregation: object, scheduling: object): void {
    this.#wire.setDisaggregation(disaggregationOf(disaggregation, scheduling));
    this.#feed();
  }

  policy(scheduling: object | SchedulingProgram): void {
    const program =
      "handler" in scheduling ? (scheduling as SchedulingProgram) : schedulingOf(scheduling, ["metric"]);
    this.#wire.setPolicy({ ...policy, scheduling: program });
    this.#feed();
  }

  pods(pods: TestPod[]): void {
    this.#pods = pods;
    this.#wire.setPods(
      pods.map((p, slot) =>
        podRow(slot, this.#model, {
          role: p.role ?? "both",
          ready: p.ready ?? true,
          kvBlockTokens: 1,
          prefillTokensPerSecond: 10_000,
          waiting: p.waiting ?? 0,
          running: p.running ?? 0,
          kvUsage: p.kvUsage ?? 0,
          loadAgeMs: p.ageMs ?? 0,
        }),
      ),
    );
    this.#wire.setColumns(
      pods.map((p, slot) => ({
        slot,
        model: this.#model,
        labels: 0n,
        columns: [],
        activeAdapters: [],
        waitingAdapters: [],
        maxAdapters: 0,
        ...p.columns,
      })),
    );
    this.#feed();
    pods.forEach((p, slot) => {
      this.#x["podSetCounts"]!(slot, p.requests ?? 0, p.pending ?? 0, p.work ?? 0);
      this.#x["podSetTokens"]!(slot, p.tokens ?? 0);
      this.#x["matchPut"]!(slot, p.cached ?? 0);
    });
  }

  /** Hands a section's frame to the module; whether it was taken. */
  take(frame: Uint8Array): boolean {
    this.#test.put(frame);
    return this.#x["section"]!(frame.length, BigInt(this.#nowMs) * 1_000_000n) !== 0;
  }

  #feed(): void {
    for (const frame of this.#wire.drain()) this.take(frame);
  }

  pick(request: TestRequest = {}): Outcome {
    const x = this.#x;
    this.#nowMs = BEGIN_MS + (request.nowMs ?? 0);
    x["factsSet"]!(
      request.session ?? 0n,
      request.adapter === undefined ? 0n : this.#wire.root(this.#model, request.adapter, ""),
      request.random ?? 7n,
    );
    (request.headers ?? []).forEach((value, i) => {
      const bytes = new TextEncoder().encode(value);
      this.#test.put(bytes);
      if (value !== "") x["header"]!(i, bytes.length);
    });
    const count = x["pick"]!(
      this.#model,
      request.promptTokens ?? 1000,
      request.spread ?? 11n,
      request.rate ?? 0,
      BigInt(this.#nowMs) * 1_000_000n,
    );
    const costs = this.#pods.map((_, i) => x["pickCost"]!(i));
    return {
      chosen: Array.from({ length: count }, (_, i) => x["picked"]!(i)),
      kept: costs.flatMap((cost, i) => (cost === Number.MAX_VALUE ? [] : [i])),
      costs,
    };
  }

  /** Scores of the profile's only scorer, by pod. */
  scores(): number[] {
    return this.#pods.map((_, i) => 0 - this.#x["pickCost"]!(i));
  }

  /** Says whether counts of other gateways come too late. */
  sharing(slow: boolean): void {
    this.#x["pickSharing"]!(slow ? 1 : 0);
  }

  /** Whether token-aware decided in the place of warm-until-busy. */
  get stoodIn(): boolean {
    return this.#x["stoodIn"]!() !== 0;
  }

  commit(pod: number): void {
    this.#x["pickCommit"]!(pod, BigInt(this.#nowMs) * 1_000_000n);
  }

  /** Whether a prompt of so many tokens, so many of them not cached on its decode pod, may be split at all. */
  splits(promptTokens: number, uncached: number): boolean {
    return this.#x["splitConsidered"]!(promptTokens, uncached) !== 0;
  }

  /** The pair for the request picked last, whose decode candidates are given, best first; null when one pod does all. */
  pair(decodes: number[], promptTokens = 1000): { prefills: number[]; decode: number } | null {
    const x = this.#x;
    const at = x["inputAt"]!() >>> 0;
    this.#test.put(new Uint8Array(Uint32Array.from(decodes).buffer));
    const time = BigInt(this.#nowMs) * 1_000_000n;
    if (x["pickPair"]!(this.#model, promptTokens, 0, at, decodes.length, time) === 0) return null;
    const prefills = Array.from({ length: x["pairPrefills"]!() }, (_, i) => x["prefillPicked"]!(i));
    return { prefills, decode: x["pairDecodePod"]!() };
  }

  get sessions(): { hits: number; misses: number; moves: number } {
    const count = (name: string) => Number(this.#x[name]!());
    return { hits: count("hits"), misses: count("misses"), moves: count("moves") };
  }
}
