// The filter's scanner and renderer as a module of its own, with one template.
import { readFileSync } from "node:fs";
import { writeTemplate } from "../../agent/model/turn-layout.js";
import { built } from "../../agent/package-root.js";
import type { TemplateProgram } from "../../agent/wire.js";

type Call = (...args: number[]) => number;

const ROOM = 1 << 20;
const SLACK = 64;

export class Core {
  readonly #x: Record<string, Call> & { memory: WebAssembly.Memory };
  readonly #body: number;
  readonly #scratch: number;

  constructor() {
    const module = new WebAssembly.Module(readFileSync(built("core-test.wasm")));
    this.#x = new WebAssembly.Instance(module, {}).exports as never;
    this.#x["_initialize"]!();
    this.#x["init"]!(ROOM);
    this.#body = this.#x["allocate"]!(ROOM + SLACK) >>> 0;
    this.#scratch = this.#x["allocate"]!(1 << 16) >>> 0;
  }

  /** Takes a template; its address until the next one. */
  template(program: TemplateProgram): number {
    this.#x["sectionBegin"]!();
    writeTemplate(
      this.#x as never,
      (bytes) => {
        new Uint8Array(this.#x.memory.buffer).set(bytes, this.#scratch);
        return this.#scratch;
      },
      program,
    );
    return this.#x["templateAt"]!() >>> 0;
  }

  /** Renders a chat's body, of which `size` bytes are there. */
  chat(template: number, body: Uint8Array, size = body.length) {
    const at = this.#body + ROOM - size;
    const memory = new Uint8Array(this.#x.memory.buffer);
    memory.set(body.subarray(0, size), at);
    memory.fill(0x22, at + size, at + size + SLACK);
    const status = this.#x["run"]!(at, size, 0, size < body.length ? 1 : 0, template);
    const out = this.#x["outAt"]!() >>> 0;
    return {
      status,
      exact: this.#x["exact"]!() === 1,
      complete: this.#x["complete"]!() === 1,
      why: this.#x["why"]!(),
      prompt: memory.slice(out, out + this.#x["outSize"]!()),
    };
  }
}
