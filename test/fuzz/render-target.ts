// Fuzzes the renderer: each seed makes a random template blob, as a models section could carry it, and renders several
// bodies with it, whole and cut, into outputs of several sizes. What is expected is put together from the same blob by
// body-writer.ts.
import type { Strip, TemplateProgram } from "../../agent/wire.js";
import { PLAIN_ONLY } from "../wasm/table.js";
import { BodyWriter } from "./body-writer.js";
import { BODY_BYTES, CoreModule, TEMPLATE_BYTES } from "./core-module.js";
import { Random } from "./random.js";
import { Fault, printable, type Target } from "./target.js";

// Offsets of a blob, from wasm/shared/README.md.
const STRIP_AT = 4;
const BOS_AT = 8;
const JOINTS_AT = 16;
const TURNS_AT = 304;
const LITERALS_AT = 312;
const UNKNOWN = 0xffffffff;

const CAPACITIES = [BODY_BYTES * 6, 4096, 100];
const STRIPS: Strip[] = ["raw", "both", "left", "right"];
const BODIES = 6;

/** A template blob of random joints; literals may overlap, be empty or be missing. */
class RandomTemplate {
  readonly blob = new Uint8Array(TEMPLATE_BYTES);
  readonly #view = new DataView(this.blob.buffer);
  size = 0;
  program: TemplateProgram = {
    joints: [],
    strip: { system: "raw", user: "raw", assistant: "raw" },
    bos: this.blob,
    ...PLAIN_ONLY,
  };

  make(r: Random): void {
    const view = this.#view;
    const literals = 8 * r.below(r.oneIn(4) ? 180 : 40);
    this.size = LITERALS_AT + literals;
    view.setUint32(0, this.size, true);
    const strips = [0, 0, 0].map(() => (r.oneIn(16) ? r.below(256) : r.below(4)));
    this.blob[STRIP_AT] = 0;
    view.setUint32(TURNS_AT, 0, true);
    view.setUint32(TURNS_AT + 4, 0, true);
    for (let i = 0; i < 3; i++) this.blob[STRIP_AT + 1 + i] = strips[i]!;
    for (let i = LITERALS_AT; i < this.size; i++) this.blob[i] = r.oneIn(3) ? 32 + r.below(95) : r.word();
    const span = (at: number): Uint8Array => {
      // A span may lie anywhere in the blob, its head included: only its bounds are checked.
      const from = r.oneIn(8)
        ? r.below(this.size + 1)
        : Math.min(this.size, LITERALS_AT + r.below(literals + 1));
      const room = this.size - from;
      const n = Math.min(room, r.oneIn(8) ? r.below(room + 1) : r.below(24));
      view.setUint32(at, from, true);
      view.setUint32(at + 4, n, true);
      return this.blob.subarray(from, from + n);
    };
    const bos = span(BOS_AT);
    const few = r.below(3);
    const joints = Array.from({ length: 6 }, (_p, previous) =>
      Array.from({ length: 6 }, (_n, next) => {
        const at = JOINTS_AT + (previous * 6 + next) * 8;
        const literal = span(at);
        if (!r.oneIn([64, 12, 3][few]!)) return literal;
        view.setUint32(at + 4, UNKNOWN, true);
        return null;
      }),
    );
    const rule = (i: number): Strip => STRIPS[strips[i]!] ?? "raw";
    this.program = {
      joints,
      strip: { system: rule(0), user: rule(1), assistant: rule(2) },
      bos,
      ...PLAIN_ONLY,
    };
  }
}

export class RenderTarget implements Target {
  readonly name = "render";
  readonly #random = new Random();
  readonly #template = new RandomTemplate();
  readonly #writer = new BodyWriter(this.#random, this.#template.program);
  readonly #modules = CAPACITIES.map((capacity) => new CoreModule(capacity));
  #seed = 0;

  run(seed: number): number {
    const r = this.#random;
    r.seed(seed);
    this.#seed = seed;
    this.#template.make(r);
    const { blob, size } = this.#template;
    for (const module of this.#modules)
      for (let i = 0; i < size; i++) module.memory[module.templateAt + i] = blob[i]!;
    let cases = 0;
    for (let i = 0; i < BODIES; i++) {
      const api = r.oneIn(3) ? r.below(4) : 0;
      this.#writer.write(api, this.#template.program);
      const module = this.#modules[r.below(CAPACITIES.length)]!;
      this.#case(module, api, this.#writer.size, false);
      this.#case(module, api, r.below(this.#writer.size + 1), true);
      cases += 2;
    }
    return cases;
  }

  #case(module: CoreModule, api: number, n: number, truncated: boolean): void {
    const w = this.#writer;
    const say = (what: string): never => {
      const { blob, size } = this.#template;
      throw new Fault(
        this.name,
        this.#seed,
        what,
        `api ${api}${truncated ? ", cut" : ""}, room ${module.capacity}: ${printable(w.body.subarray(0, n), BODY_BYTES)}\n  template: ${printable(blob.subarray(0, size), TEMPLATE_BYTES)}`,
      );
    };
    let status = -1;
    try {
      status = module.run(w.body, n, this.#random.word(), api, truncated, module.templateAt);
    } catch (e) {
      say(`trap: ${e}`);
    }
    const wrong = module.check(status);
    if (wrong) say(wrong);
    const x = module.x;
    const out = x["outSize"]!() >>> 0;
    if (!truncated && (x["exact"]!() === 1) !== w.exact) say(`exact is ${x["exact"]!()} (${x["why"]!()})`);
    if (!w.exact || status !== 0 || (truncated && (!w.once || x["exact"]!() !== 1))) return;
    const complete = x["complete"]!() === 1;
    if (!truncated && !complete && module.capacity === CAPACITIES[0])
      say("not complete, with room for everything");
    if (complete ? out !== w.wantSize : out > w.wantSize) say(`${out} bytes instead of ${w.wantSize}`);
    for (let i = 0; i < out; i++)
      if (module.memory[module.outAt + i] !== w.want[i]) say(`another prompt from byte ${i}`);
  }
}
