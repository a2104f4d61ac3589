// The one module that touches wasm memory: an instance of build/wire.wasm, whose source is wasm/shared.
import { readFile } from "node:fs/promises";
import { built } from "../package-root.js";

type Call = (...args: (number | bigint)[]) => number;

export class WireMemory {
  /** The module's functions. */
  readonly x: Record<string, Call>;
  readonly #globals: Record<string, WebAssembly.Global>;
  readonly #memory: WebAssembly.Memory;

  private constructor(exports: WebAssembly.Exports) {
    this.x = exports as Record<string, Call>;
    this.#globals = exports as Record<string, WebAssembly.Global>;
    this.#memory = exports["memory"] as WebAssembly.Memory;
  }

  /** @throws when the build is missing. */
  static async load(): Promise<WireMemory> {
    const file = built("wire.wasm");
    const module = await WebAssembly.compile(await readFile(file));
    const memory = new WireMemory((await WebAssembly.instantiate(module, {})).exports);
    memory.x["_initialize"]!();
    return memory;
  }

  /** Whether the module exports a number under a name. */
  knows(name: string): boolean {
    return this.#globals[name] !== undefined;
  }

  /** A number that the module exports. */
  number(name: string): number {
    return Number(this.#globals[name]!.value) >>> 0;
  }

  /** Copies bytes into the input buffer, which the next call that takes input reads; says where that is. */
  put(bytes: Uint8Array): number {
    const at = this.x.inputBuffer!(bytes.length + 64) >>> 0;
    this.write(at, bytes);
    return at;
  }

  write(at: number, data: ArrayBufferView): void {
    new Uint8Array(this.#memory.buffer).set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      at,
    );
  }

  /** A copy of `length` bytes. */
  read(at: number, length: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer).slice(at, at + length);
  }

  /** The frame that was written last. */
  frame(length: number): Uint8Array {
    return this.read(this.number("frameAt"), length);
  }
}
