// The little msgpack that event batches need, written straight into one growing buffer.

/** Appends msgpack values to a buffer that is reused. */
export class MsgpackWriter {
  #buffer = Buffer.allocUnsafe(64 * 1024);
  #at = 0;

  clear(): void {
    this.#at = 0;
  }

  /** What was written, until the next write. */
  view(): Uint8Array {
    return this.#buffer.subarray(0, this.#at);
  }

  /** A copy of what was written. */
  copy(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }

  array(length: number): void {
    this.#header(length, 0x90, 15, 0xdc);
  }

  map(length: number): void {
    this.#header(length, 0x80, 15, 0xde);
  }

  nil(): void {
    this.#reserve(1);
    this.#buffer[this.#at++] = 0xc0;
  }

  /** An unsigned integer below 2^32. */
  uint(value: number): void {
    this.#reserve(5);
    this.#uint(value);
  }

  /** Tokens `from` to `to` (exclusive) as an array. */
  uints(values: Uint32Array, from: number, to: number): void {
    this.array(to - from);
    this.#reserve((to - from) * 5);
    for (let i = from; i < to; i++) this.#uint(values[i] as number);
  }

  float(value: number): void {
    this.#reserve(9);
    this.#buffer[this.#at] = 0xcb;
    this.#buffer.writeDoubleBE(value, this.#at + 1);
    this.#at += 9;
  }

  /** A 64-bit unsigned integer from its halves, as short as msgpack allows. */
  uint64(low: number, high: number): void {
    this.#reserve(9);
    if (high === 0) {
      this.#uint(low >>> 0);
      return;
    }
    this.#buffer[this.#at] = 0xcf;
    this.#buffer.writeInt32BE(high | 0, this.#at + 1);
    this.#buffer.writeInt32BE(low | 0, this.#at + 5);
    this.#at += 9;
  }

  /** A digest of 32 bytes whose last eight are these halves. */
  digest(low: number, high: number): void {
    this.#reserve(34);
    this.#buffer[this.#at] = 0xc4;
    this.#buffer[this.#at + 1] = 32;
    for (let word = 0; word < 6; word++)
      this.#buffer.writeInt32BE(
        Math.imul(low ^ Math.imul(high, word + 1), 0x9e3779b1) | 0,
        this.#at + 2 + word * 4,
      );
    this.#buffer.writeInt32BE(high | 0, this.#at + 26);
    this.#buffer.writeInt32BE(low | 0, this.#at + 30);
    this.#at += 34;
  }

  text(value: string): void {
    const bytes = Buffer.byteLength(value, "utf8");
    this.#reserve(bytes + 5);
    if (bytes < 32) this.#buffer[this.#at++] = 0xa0 | bytes;
    else if (bytes < 256) {
      this.#buffer[this.#at++] = 0xd9;
      this.#buffer[this.#at++] = bytes;
    } else {
      this.#buffer[this.#at++] = 0xdb;
      this.#at = this.#buffer.writeUInt32BE(bytes, this.#at);
    }
    this.#at += this.#buffer.write(value, this.#at, "utf8");
  }

  /** Bytes that are msgpack already. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #uint(value: number): void {
    const buffer = this.#buffer;
    if (value < 0x80) {
      buffer[this.#at++] = value;
    } else if (value < 0x100) {
      buffer[this.#at++] = 0xcc;
      buffer[this.#at++] = value;
    } else if (value < 0x10000) {
      buffer[this.#at++] = 0xcd;
      buffer[this.#at++] = value >>> 8;
      buffer[this.#at++] = value;
    } else {
      buffer[this.#at++] = 0xce;
      buffer[this.#at++] = value >>> 24;
      buffer[this.#at++] = value >>> 16;
      buffer[this.#at++] = value >>> 8;
      buffer[this.#at++] = value;
    }
  }

  #header(length: number, short: number, shortMax: number, long: number): void {
    this.#reserve(5);
    if (length <= shortMax) this.#buffer[this.#at++] = short | length;
    else if (length < 0x10000) {
      this.#buffer[this.#at++] = long;
      this.#at = this.#buffer.writeUInt16BE(length, this.#at);
    } else {
      this.#buffer[this.#at++] = long + 1;
      this.#at = this.#buffer.writeUInt32BE(length, this.#at);
    }
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }
}
