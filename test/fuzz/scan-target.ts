// Fuzzes the scanner: each seed writes one body and its prompt, then shows the body whole, cut, and damaged several
// times over. Acceptance is judged by json-grammar.ts for every case, the prompt by how the body was made or, for a
// damaged body that is still exact, by prompt-oracle.ts.
import type { Strip, TemplateProgram } from "../../agent/wire.js";
import { chatml } from "../wasm/table.js";
import { BodyWriter } from "./body-writer.js";
import { BODY_BYTES, CoreModule } from "./core-module.js";
import { EMPTY, judge, OK } from "./json-grammar.js";
import { parse, promptOf, reservedIn } from "./prompt-oracle.js";
import { Random } from "./random.js";
import { Fault, printable, type Target } from "./target.js";

const encode = new TextEncoder();
const STRUCTURE = encode.encode('{}[],:"\\ \n0-1tfn\0u');
const TOKENS = [
  '"role":',
  '"content":',
  '"messages":',
  '"text"',
  "null",
  "true",
  "{",
  "[",
  "]}",
  '\\ud83d"',
  "\\u0000",
  "NaN",
  "-Infinity",
  '"kv_transfer_params":1,',
  '"stream":true,',
  ",",
  '"',
  "\\",
  "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
].map((t) => encode.encode(t));

/** Output rooms: one that every prompt fits, one that most overflow. */
const CAPACITIES = [BODY_BYTES * 6, 300];
const STRIPS: Strip[] = ["raw", "both", "left", "right"];

export class ScanTarget implements Target {
  readonly name = "scan";
  readonly #random = new Random();
  readonly #templates: TemplateProgram[] = STRIPS.map((s) => ({
    ...chatml,
    strip: { system: s, user: s, assistant: s },
    bos: encode.encode("<s>"),
  }));
  readonly #writer = new BodyWriter(this.#random, this.#templates[0]!);
  readonly #modules: { module: CoreModule; blobs: Int32Array }[] = CAPACITIES.map((capacity) => ({
    module: new CoreModule(capacity, STRIPS.length),
    blobs: new Int32Array(STRIPS.length),
  }));
  readonly #kept = new Uint8Array(BODY_BYTES);
  #seed = 0;

  constructor() {
    for (const { module, blobs } of this.#modules)
      for (const [i, t] of this.#templates.entries()) blobs[i] = module.template(t, i);
  }

  run(seed: number): number {
    const r = this.#random;
    r.seed(seed);
    this.#seed = seed;
    const w = this.#writer;
    const api = r.oneIn(4) ? r.below(4) : 0;
    const rule = r.below(STRIPS.length);
    const small = r.oneIn(8) ? 1 : 0;
    const blob = this.#modules[small]!.blobs[rule]!;
    w.write(api, this.#templates[rule]!);
    this.#whole(small, api, blob);
    this.#cut(small, api, blob, r.below(w.size + 1));
    this.#cut(small, api, blob, r.below(w.size + 1));
    const damages = 4;
    const size = w.size;
    for (let i = 0; i < size; i++) this.#kept[i] = w.body[i]!;
    for (let i = 0; i < damages; i++) {
      w.size = size;
      for (let k = 0; k < size; k++) w.body[k] = this.#kept[k]!;
      this.#damaged(small, api, rule, blob);
    }
    this.#noise(small, api, blob);
    return 4 + damages;
  }

  #fault(what: string, bytes: Uint8Array, n: number, api: number, truncated: boolean): never {
    const input = `api ${api}${truncated ? ", cut" : ""}: ${printable(bytes.subarray(0, n), BODY_BYTES)}`;
    throw new Fault(this.name, this.#seed, what, input);
  }

  /** Runs one case, with everything that holds whatever the input is; returns the status. */
  #case(module: CoreModule, api: number, blob: number, n: number, truncated: boolean): number {
    const body = this.#writer.body;
    let status = -1;
    try {
      status = module.run(body, n, STRUCTURE[this.#random.below(STRUCTURE.length)]!, api, truncated, blob);
    } catch (e) {
      this.#fault(`trap: ${e}`, body, n, api, truncated);
    }
    const wrong = module.check(status);
    if (wrong) this.#fault(wrong, body, n, api, truncated);
    const want = judge(body, 0, n, truncated);
    if (status !== want) this.#fault(`status ${status} instead of ${want}`, body, n, api, truncated);
    return status;
  }

  #whole(small: number, api: number, blob: number): void {
    const w = this.#writer;
    const { module } = this.#modules[small]!;
    const x = module.x;
    const status = this.#case(module, api, blob, w.size, false);
    const say = (what: string) => this.#fault(what, w.body, w.size, api, false);
    if (status !== OK) say(`a body made to be valid has status ${status}`);
    const out = x["outSize"]!() >>> 0;
    if (x["reserved"]!() >>> 0 !== w.reserved)
      say(`reserved fields ${x["reserved"]!()} instead of ${w.reserved}`);
    if (x["modelKind"]!() !== w.modelKind) say(`model kind ${x["modelKind"]!()} instead of ${w.modelKind}`);
    if (w.modelKind === 1) {
      const at = x["modelAt"]!() >>> 0;
      if (x["modelSize"]!() >>> 0 !== w.modelSize || !same(module.memory, at, w.model, w.modelSize))
        say("another model");
    }
    if ((x["exact"]!() === 1) !== w.exact)
      say(`exact is ${x["exact"]!()} instead of ${w.exact} (${x["why"]!()})`);
    if (!w.exact) return;
    const complete = x["complete"]!() === 1;
    if (!complete && small === 0) say("not complete, with room for everything");
    if (complete ? out !== w.wantSize : out > w.wantSize) say(`${out} bytes instead of ${w.wantSize}`);
    if (!same(module.memory, module.outAt, w.want, out)) say("another prompt");
  }

  #cut(small: number, api: number, blob: number, n: number): void {
    const w = this.#writer;
    const { module } = this.#modules[small]!;
    if (this.#case(module, api, blob, n, true) !== OK || !w.exact || !w.once) return;
    // A list that ends in the open may be one of token ids, whose JSON stands for them.
    if (module.x["exact"]!() !== 1) return;
    const out = module.x["outSize"]!() >>> 0;
    if (out > w.wantSize || !same(module.memory, module.outAt, w.want, out))
      this.#fault("a cut body gives no beginning of the prompt", w.body, n, api, true);
  }

  #damaged(small: number, api: number, rule: number, blob: number): void {
    const r = this.#random;
    const w = this.#writer;
    do this.#damage();
    while (r.oneIn(3));
    const truncated = r.oneIn(4);
    const { module } = this.#modules[small]!;
    if (this.#case(module, api, blob, w.size, truncated) !== OK || truncated) return;
    const x = module.x;
    const exact = x["exact"]!() === 1;
    if (!exact && !r.oneIn(8)) return;
    const parsed = parse(w.body.subarray(0, w.size));
    if (parsed === undefined) return;
    const reserved = x["reserved"]!() >>> 0;
    const want = reservedIn(parsed);
    if (reserved !== want)
      this.#fault(`reserved fields ${reserved} instead of ${want}`, w.body, w.size, api, false);
    if (!exact) return;
    const prompt = promptOf(parsed, api, this.#templates[rule]!);
    if (!prompt) this.#fault("called exact, but the prompt cannot be told", w.body, w.size, api, false);
    const out = x["outSize"]!() >>> 0;
    const complete = x["complete"]!() === 1;
    if (complete ? out !== prompt.length : out > prompt.length)
      this.#fault(`${out} bytes instead of ${prompt.length}`, w.body, w.size, api, false);
    for (let i = 0; i < out; i++)
      if (module.memory[module.outAt + i] !== prompt[i])
        this.#fault("another prompt", w.body, w.size, api, false);
  }

  /** Changes the body in place. */
  #damage(): void {
    const r = this.#random;
    const w = this.#writer;
    const body = w.body;
    const at = r.below(w.size + 1);
    switch (r.below(11)) {
      case 0:
        body[at] = r.word();
        break;
      case 1:
        body[at]! ^= 1 << r.below(8);
        break;
      case 2:
      case 3:
        body[at] = STRUCTURE[r.below(STRUCTURE.length)]!;
        break;
      case 4: {
        const n = Math.min(1 + r.below(r.oneIn(4) ? 40 : 3), w.size - at);
        body.copyWithin(at, at + n, w.size);
        w.size -= n;
        break;
      }
      case 5:
      case 6:
        this.#insert(at, r.pick(TOKENS));
        break;
      case 7:
      case 8:
        // Letters and digits for others: names, roles and values change, the grammar often does not.
        if (isLetter(body[at]!)) body[at] = 0x61 + r.below(26);
        else if (isDigit(body[at]!)) body[at] = 0x30 + r.below(10);
        else if (at > 0 && isLetter(body[at - 1]!)) body[at - 1]! ^= 0x20;
        break;
      case 9: {
        // A stretch of the body once more, elsewhere.
        const n = Math.min(r.below(60), w.size - at);
        const to = r.below(w.size + 1);
        if (w.size + n >= BODY_BYTES) break;
        const stretch = body.slice(at, at + n);
        this.#insert(to, stretch);
        break;
      }
      default:
        w.size = at;
    }
  }

  #insert(at: number, text: Uint8Array): void {
    const w = this.#writer;
    if (w.size + text.length >= BODY_BYTES) return;
    w.body.copyWithin(at + text.length, at, w.size);
    w.body.set(text, at);
    w.size += text.length;
  }

  /** Bytes without a plan: any, or of JSON's own characters, which get further. */
  #noise(small: number, api: number, blob: number): void {
    const r = this.#random;
    const w = this.#writer;
    const own = r.oneIn(2);
    const n = r.below(r.oneIn(8) ? 400 : 40);
    w.body[0] = 0x7b;
    for (let i = own ? 1 : 0; i < n; i++) w.body[i] = own ? STRUCTURE[r.below(STRUCTURE.length)]! : r.word();
    const status = this.#case(this.#modules[small]!.module, api, blob, n, r.oneIn(2));
    if (n === 0 && status !== EMPTY) this.#fault(`nothing has status ${status}`, w.body, 0, api, false);
  }
}

const isDigit = (c: number) => c >= 0x30 && c <= 0x39;
const isLetter = (c: number) => (c | 0x20) >= 0x61 && (c | 0x20) <= 0x7a;

function same(memory: Uint8Array, at: number, want: Uint8Array, n: number): boolean {
  for (let i = 0; i < n; i++) if (memory[at + i] !== want[i]) return false;
  return true;
}
