// Writes msgpack as any encoder might: every number and length in a width of the seed's choice among those that hold it.
// Written from the specification of the format, apart from the reader under test.
import type { Random } from "./random.js";

/** A value to write: maps as lists of pairs, in their order and with any keys. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Value[]
  | { pairs: [Value, Value][] }
  | { extension: Uint8Array; type: number }
  | { float: number };

export class MsgpackWriter {
  readonly #random: Random;
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The bytes of a value, its own copy. */
  write(value: Value): Uint8Array {
    this.#at = 0;
    this.#value(value);
    return this.#bytes.slice(0, this.#at);
  }

  #room(n: number): number {
    const at = this.#at;
    if (at + n > this.#bytes.length) {
      const larger = new Uint8Array((at + n) * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#at = at + n;
    return at;
  }

  #byte(value: number): void {
    this.#bytes[this.#room(1)] = value;
  }

  #head(code: number, width: number, value: number): void {
    const at = this.#room(1 + width);
    this.#bytes[at] = code;
    if (width === 1) this.#bytes[at + 1] = value;
    else if (width === 2) this.#view.setUint16(at + 1, value);
    else this.#view.setUint32(at + 1, value);
  }

  /** A length in one of three forms, or in the short one where it fits. */
  #length(n: number, short: number, shortMost: number, codes: [number, number, number]): void {
    const r = this.#random;
    if (n <= shortMost && !r.oneIn(8)) {
      this.#byte(short | n);
      return;
    }
    const widths = [1, 2, 4].filter((width, i) => codes[i]! > 0 && n < 2 ** (8 * width));
    const width = r.oneIn(6) ? r.pick(widths) : widths[0]!;
    this.#head(codes[width >> 1]!, width, n);
  }

  #raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #integer(value: bigint): void {
    const r = this.#random;
    if (value >= 0n && value < 128n && !r.oneIn(6)) {
      this.#byte(Number(value));
      return;
    }
    if (value < 0n && value >= -32n && !r.oneIn(6)) {
      this.#byte(Number(value + 256n));
      return;
    }
    const forms: [number, number][] = [];
    for (const [i, width] of [1, 2, 4, 8].entries()) {
      const bits = BigInt(8 * width);
      if (value >= 0n && value < 1n << bits) forms.push([0xcc + i, width]);
      if (value >= -(1n << (bits - 1n)) && value < 1n << (bits - 1n)) forms.push([0xd0 + i, width]);
    }
    const [code, width] = r.oneIn(3) ? r.pick(forms) : forms[0]!;
    const at = this.#room(1 + width);
    this.#bytes[at] = code;
    for (let i = 0; i < width; i++) this.#bytes[at + width - i] = Number((value >> BigInt(8 * i)) & 255n);
  }

  #float(value: number): void {
    const at = this.#room(9);
    this.#bytes[at] = 0xcb;
    this.#view.setFloat64(at + 1, value);
  }

  #value(value: Value): void {
    if (value === null) this.#byte(0xc0);
    else if (typeof value === "boolean") this.#byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "bigint") this.#integer(value);
    else if (typeof value === "number") {
      if (Number.isSafeInteger(value)) this.#integer(BigInt(value));
      else this.#float(value);
    } else if (typeof value === "string") {
      const bytes = Buffer.from(value);
      this.#length(bytes.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
      this.#raw(bytes);
    } else if (value instanceof Uint8Array) {
      this.#length(value.length, 0, -1, [0xc4, 0xc5, 0xc6]);
      this.#raw(value);
    } else if (Array.isArray(value)) {
      this.#length(value.length, 0x90, 15, [0, 0xdc, 0xdd]);
      for (const item of value) this.#value(item);
    } else if ("pairs" in value) {
      this.#length(value.pairs.length, 0x80, 15, [0, 0xde, 0xdf]);
      for (const [key, own] of value.pairs) {
        this.#value(key);
        this.#value(own);
      }
    } else if ("float" in value) this.#float(value.float);
    else this.#extension(value.extension, value.type);
  }

  #extension(bytes: Uint8Array, type: number): void {
    const fixed = [1, 2, 4, 8, 16].indexOf(bytes.length);
    if (fixed >= 0) this.#byte(0xd4 + fixed);
    else this.#length(bytes.length, 0, -1, [0xc7, 0xc8, 0xc9]);
    this.#byte(type);
    this.#raw(bytes);
  }
}
