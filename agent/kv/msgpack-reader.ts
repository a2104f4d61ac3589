// A msgpack reader for the hot path of KV events: token ids and hashes go straight into typed arrays, nothing else is
// allocated, and 64-bit hashes keep all their bits.

/** The payload is not msgpack or not of the shape asked for. */
export class MsgpackError extends Error {
  override readonly name = "MsgpackError";
}

// A salt or an adapter that begins with a byte order mark is another one than without it.
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const MAX_DEPTH = 64;

/** A cursor over one msgpack document. Every read checks bounds and throws MsgpackError. */
export class MsgpackReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  #at = 0;

  /** Starts at the beginning of `bytes`, which must not change while it is read. */
  reset(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = 0;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  #need(n: number): number {
    const at = this.#at;
    if (at + n > this.#bytes.length) throw new MsgpackError(`ends early at byte ${at}`);
    this.#at = at + n;
    return at;
  }

  #fail(wanted: string): never {
    const byte = this.#bytes[this.#at];
    throw new MsgpackError(`${wanted} expected at byte ${this.#at}, found 0x${(byte ?? 0).toString(16)}`);
  }

  #peek(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new MsgpackError(`ends early at byte ${this.#at}`);
    return byte;
  }

  isMap(): boolean {
    const b = this.#peek();
    return (b & 0xf0) === 0x80 || b === 0xde || b === 0xdf;
  }

  /** Takes a nil and says so. */
  nil(): boolean {
    if (this.#peek() !== 0xc0) return false;
    this.#at++;
    return true;
  }

  /** Number of elements of the array that starts here. */
  arrayHead(): number {
    const b = this.#peek();
    if ((b & 0xf0) === 0x90) {
      this.#at++;
      return b & 15;
    }
    if (b === 0xdc) return this.#view.getUint16(this.#need(3) + 1);
    if (b === 0xdd) return this.#counted(this.#view.getUint32(this.#need(5) + 1));
    return this.#fail("an array");
  }

  /** Number of pairs of the map that starts here. */
  mapHead(): number {
    const b = this.#peek();
    if ((b & 0xf0) === 0x80) {
      this.#at++;
      return b & 15;
    }
    if (b === 0xde) return this.#view.getUint16(this.#need(3) + 1);
    if (b === 0xdf) return this.#counted(this.#view.getUint32(this.#need(5) + 1));
    return this.#fail("a map");
  }

  // A count larger than what is left cannot be true and must not size an array.
  #counted(n: number): number {
    if (n > this.#bytes.length - this.#at) throw new MsgpackError(`${n} elements do not fit`);
    return n;
  }

  /** A number of any numeric form, as a double. */
  number(): number {
    const b = this.#peek();
    if (b < 0x80) {
      this.#at++;
      return b;
    }
    if (b >= 0xe0) {
      this.#at++;
      return b - 256;
    }
    const v = this.#view;
    switch (b) {
      case 0xcc:
        return this.#bytes[this.#need(2) + 1]!;
      case 0xcd:
        return v.getUint16(this.#need(3) + 1);
      case 0xce:
        return v.getUint32(this.#need(5) + 1);
      case 0xcf:
        return Number(v.getBigUint64(this.#need(9) + 1));
      case 0xd0:
        return v.getInt8(this.#need(2) + 1);
      case 0xd1:
        return v.getInt16(this.#need(3) + 1);
      case 0xd2:
        return v.getInt32(this.#need(5) + 1);
      case 0xd3:
        return Number(v.getBigInt64(this.#need(9) + 1));
      case 0xca:
        return v.getFloat32(this.#need(5) + 1);
      case 0xcb:
        return v.getFloat64(this.#need(9) + 1);
      default:
        return this.#fail("a number");
    }
  }

  /** Text of a str (or bin) value. */
  text(): string {
    const b = this.#peek();
    let n: number;
    if ((b & 0xe0) === 0xa0) {
      n = b & 31;
      this.#at++;
    } else if (b === 0xd9 || b === 0xc4) n = this.#bytes[this.#need(2) + 1]!;
    else if (b === 0xda || b === 0xc5) n = this.#view.getUint16(this.#need(3) + 1);
    else if (b === 0xdb || b === 0xc6) n = this.#view.getUint32(this.#need(5) + 1);
    else return this.#fail("a text");
    const at = this.#need(n);
    // ASCII of a few letters is the rule (tags, keys): cheaper than the decoder.
    if (n < 32) {
      let s = "";
      for (let i = at; i < at + n; i++) {
        const c = this.#bytes[i]!;
        if (c > 0x7f) return utf8.decode(this.#bytes.subarray(at, at + n));
        s += String.fromCharCode(c);
      }
      return s;
    }
    return utf8.decode(this.#bytes.subarray(at, at + n));
  }

  textOrNil(): string | null {
    return this.nil() ? null : this.text();
  }

  numberOrNil(): number | null {
    return this.nil() ? null : this.number();
  }

  /**
   * Writes a block hash to `out[index]`: an integer of up to 64 bits, or the last 8 bytes of a digest (vLLM's own
   * folding: the digest as a big-endian number modulo 2^64).
   */
  hashInto(out: BigUint64Array, words: Uint32Array, index: number): void {
    const b = this.#peek();
    let end: number;
    if (b === 0xcf || b === 0xd3) end = this.#need(9) + 9;
    else if (b === 0xc4) {
      const n = this.#bytes[this.#need(2) + 1]!;
      if (n < 8) throw new MsgpackError(`a digest of ${n} bytes`);
      end = this.#need(n) + n;
    } else if (b === 0xc5 || b === 0xc6) {
      const [from, to] = this.#span();
      if (to - from < 8) throw new MsgpackError(`a digest of ${to - from} bytes`);
      end = to;
    } else {
      const n = this.number();
      if (!Number.isSafeInteger(n)) throw new MsgpackError("a block hash is neither an integer nor bytes");
      out[index] = BigInt.asUintN(64, BigInt(n));
      return;
    }
    words[2 * index + 1] = this.#view.getUint32(end - 8);
    words[2 * index] = this.#view.getUint32(end - 4);
  }

  /** Reads an array of token ids into `out` from index 0; returns the count, or -1 when `out` is too small. */
  tokensInto(out: Uint32Array): number {
    const start = this.#at;
    const n = this.arrayHead();
    if (n > out.length) {
      this.#at = start;
      return -1;
    }
    const bytes = this.#bytes;
    const length = bytes.length;
    let at = this.#at;
    for (let i = 0; i < n; i++) {
      const b = bytes[at]!;
      if (b < 0x80 && at < length) {
        out[i] = b;
        at++;
      } else if (b === 0xcd && at + 3 <= length) {
        out[i] = (bytes[at + 1]! << 8) | bytes[at + 2]!;
        at += 3;
      } else if (b === 0xce && at + 5 <= length) {
        out[i] =
          ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0;
        at += 5;
      } else {
        this.#at = at;
        const value = this.number();
        if (!Number.isInteger(value) || value < 0 || value > 0xffffffff)
          throw new MsgpackError(`${value} is no token id`);
        out[i] = value;
        at = this.#at;
      }
    }
    this.#at = at;
    return n;
  }

  /** Number of elements of the array here, without moving. */
  peekArray(): number {
    const at = this.#at;
    const n = this.arrayHead();
    this.#at = at;
    return n;
  }

  /** Any value, as plain JavaScript (64-bit integers as bigint, bin as bytes). */
  value(depth = 0): unknown {
    const b = this.#peek();
    if (depth > MAX_DEPTH) throw new MsgpackError("nested too deep");
    if (b === 0xc0) {
      this.#at++;
      return null;
    }
    if (b === 0xc2 || b === 0xc3) {
      this.#at++;
      return b === 0xc3;
    }
    if (b === 0xcf) return this.#view.getBigUint64(this.#need(9) + 1);
    if (b === 0xd3) return this.#view.getBigInt64(this.#need(9) + 1);
    if ((b & 0xe0) === 0xa0 || (b >= 0xd9 && b <= 0xdb)) return this.text();
    if ((b & 0xf0) === 0x90 || b === 0xdc || b === 0xdd)
      return Array.from({ length: this.arrayHead() }, () => this.value(depth + 1));
    if (this.isMap()) {
      const map: Record<string, unknown> = Object.create(null);
      for (let n = this.mapHead(); n > 0; n--) {
        const key = this.value(depth + 1);
        const value = this.value(depth + 1);
        // Keys of other kinds are nobody's here, and not all of them can be made a text.
        if (typeof key === "string") map[key] = value;
      }
      return map;
    }
    if (b >= 0xc4 && b <= 0xc6) return this.#bytes.slice(...this.#span());
    if ((b >= 0xc7 && b <= 0xc9) || (b >= 0xd4 && b <= 0xd8)) {
      this.#span();
      return undefined;
    }
    return this.number();
  }

  /** Start and end of the bin or ext value here; moves behind it. */
  #span(): [number, number] {
    const b = this.#peek();
    const v = this.#view;
    let n: number;
    if (b === 0xc4) n = v.getUint8(this.#need(2) + 1);
    else if (b === 0xc5) n = v.getUint16(this.#need(3) + 1);
    else if (b === 0xc6) n = v.getUint32(this.#need(5) + 1);
    else if (b === 0xc7) n = v.getUint8(this.#need(2) + 1) + 1;
    else if (b === 0xc8) n = v.getUint16(this.#need(3) + 1) + 1;
    else if (b === 0xc9) n = v.getUint32(this.#need(5) + 1) + 1;
    else {
      this.#need(1);
      n = (1 << (b - 0xd4)) + 1;
    }
    const at = this.#need(n);
    return [at, at + n];
  }

  /** Passes over one value. */
  skip(): void {
    this.value();
  }
}
