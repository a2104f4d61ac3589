// The scanner and renderer as a module of their own, with the body at the very end of its buffer and noise behind it, so
// that a read too far shows, and with guards around the output.
import { readFileSync } from "node:fs";
import { writeTemplate } from "../../agent/model/turn-layout.js";
import { built } from "../../agent/package-root.js";
import type { TemplateProgram } from "../../agent/wire.js";

type Call = (...args: number[]) => number;

export const BODY_BYTES = 16384;
/** Bytes behind a body that the scanner may read. */
export const SLACK = 64;
const GUARD = 256;
export const TEMPLATE_BYTES = 32768;

let compiled: WebAssembly.Module | undefined;

export class CoreModule {
  readonly x: Record<string, Call>;
  readonly memory: Uint8Array;
  readonly bodyAt: number;
  readonly templateAt: number;
  readonly #pages: WebAssembly.Memory;
  readonly #buffer: ArrayBuffer;
  readonly #guardAt: number;
  #outAt = 0;

  /** `capacity`: bytes of the rendered output; `templates`: how many templates it has room for. */
  constructor(
    readonly capacity: number,
    templates = 1,
  ) {
    compiled ??= new WebAssembly.Module(readFileSync(built("core-test.wasm")));
    const exports = new WebAssembly.Instance(compiled, {}).exports;
    this.x = exports as unknown as Record<string, Call>;
    this.#pages = exports["memory"] as WebAssembly.Memory;
    this.x["_initialize"]!();
    this.x["init"]!(capacity);
    // Right behind what the module has allocated for its own writing.
    this.#guardAt = this.x["allocate"]!(GUARD) >>> 0;
    this.bodyAt = this.x["allocate"]!(BODY_BYTES + SLACK) >>> 0;
    this.templateAt = this.x["allocate"]!(TEMPLATE_BYTES * templates) >>> 0;
    // The writers of templates allocate on first use; their memory must be there before views are kept.
    this.x["sectionBegin"]!();
    this.x["templateBegin"]!(0, 0, 0, 0, this.templateAt, 0);
    this.x["templateEnd"]!();
    this.x["templateAt"]!();
    this.#buffer = this.#pages.buffer;
    this.memory = new Uint8Array(this.#buffer);
    this.memory.fill(0xa5, this.#guardAt, this.#guardAt + GUARD);
  }

  /** Puts a template's blob in place number `index`; returns its address. */
  template(program: TemplateProgram, index = 0): number {
    const x = this.x;
    const scratch = this.bodyAt;
    const put = (bytes: Uint8Array) => {
      this.memory.set(bytes, scratch);
      return scratch;
    };
    x["sectionBegin"]!();
    writeTemplate(x, put, program);
    const from = x["templateAt"]!() >>> 0;
    const size = new DataView(this.#buffer).getUint32(from, true);
    const to = this.templateAt + index * TEMPLATE_BYTES;
    if (size > TEMPLATE_BYTES) throw new RangeError(`a template of ${size} bytes`);
    this.memory.copyWithin(to, from, from + size);
    return to;
  }

  /** Scans `n` bytes of `body`; SLACK bytes of `noise` stand behind them. Returns SCAN_*. */
  run(body: Uint8Array, n: number, noise: number, api: number, truncated: boolean, template: number): number {
    const at = this.bodyAt + BODY_BYTES - n;
    const memory = this.memory;
    for (let i = 0; i < n; i++) memory[at + i] = body[i]!;
    for (let i = 0; i < SLACK; i++) memory[at + n + i] = noise;
    const status = this.x["run"]!(at, n, api, truncated ? 1 : 0, template);
    this.#outAt = this.x["outAt"]!() >>> 0;
    return status;
  }

  get outAt(): number {
    return this.#outAt;
  }

  /** What is wrong with the last run whatever its input was, "" when nothing is. */
  check(status: number): string {
    if (this.#pages.buffer !== this.#buffer) return "memory grew";
    if (status < 0 || status > 4) return `unknown status ${status}`;
    const out = this.x["outSize"]!() >>> 0;
    if (out > this.capacity) return `${out} bytes rendered into room for ${this.capacity}`;
    const guard = this.#guardAt;
    for (let i = 0; i < GUARD; i += 16) if (this.memory[guard + i] !== 0xa5) return "wrote behind its memory";
    const segments = this.x["segments"]!() >>> 0;
    if (segments > 16) return `${segments} segments`;
    for (let i = 0; i < segments; i++) {
      const at = this.x["segmentAt"]!(i) >>> 0;
      const size = this.x["segmentSize"]!(i) >>> 0;
      if (at < this.#outAt || at + size > this.#outAt + this.capacity) return "a segment outside the output";
    }
    return "";
  }
}
