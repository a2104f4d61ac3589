// Writes JSON strings, keys and joints into a body and, beside it, what they mean into the prompt. Both buffers are kept,
// so a case costs no allocation.
import type { TemplateProgram } from "../../agent/wire.js";
import { HEX, PLAIN, SHORT, SPACES, STRIP_LEFT, STRIP_RIGHT, WIDE } from "./body-vocabulary.js";
import { BODY_BYTES } from "./core-module.js";
import type { Random } from "./random.js";

/** Room that is kept free for the ends of what is open. */
export const ROOM = 2048;

export class TextWriter {
  /** The body, `size` bytes of it. */
  readonly body = new Uint8Array(BODY_BYTES);
  size = 0;
  /** The prompt, `wantSize` bytes of it, when `exact`. */
  readonly want = new Uint8Array(BODY_BYTES * 6);
  wantSize = 0;
  /** The body is one whose prompt can be told. */
  exact = true;
  protected previous = 0;
  protected contentAt = 0;
  protected firstText = -1;
  protected lastText = -1;

  constructor(
    readonly random: Random,
    protected template: TemplateProgram,
  ) {}

  byte(b: number): void {
    this.body[this.size++] = b;
  }

  raw(text: Uint8Array): void {
    for (let i = 0; i < text.length; i++) this.body[this.size++] = text[i]!;
  }

  space(): void {
    const w = this.random.word();
    if (w & 7) return;
    for (let i = (w >>> 3) & 7; i >= 0; i--)
      this.byte((w >>> (6 + i)) & 1 ? 0x20 : (w >>> 20) & 1 ? 0x0a : (w >>> 21) & 1 ? 0x0d : 9);
  }

  comma(): void {
    this.space();
    this.byte(0x2c);
    this.space();
  }

  hex4(unit: number): void {
    for (let shift = 12; shift >= 0; shift -= 4) {
      const d = (unit >>> shift) & 15;
      this.byte(HEX[d > 9 && this.random.word() & 1 ? d + 6 : d]!);
    }
  }

  escape(unit: number): void {
    this.byte(0x5c);
    this.byte(0x75);
    this.hex4(unit);
  }

  /** A string of ASCII letters, now and then with some of them escaped. */
  spelled(text: Uint8Array): void {
    const odd = this.random.oneIn(12);
    this.byte(0x22);
    for (let i = 0; i < text.length; i++) {
      if (odd && this.random.oneIn(3)) this.escape(text[i]!);
      else this.byte(text[i]!);
    }
    this.byte(0x22);
  }

  field(name: Uint8Array): void {
    this.spelled(name);
    this.space();
    this.byte(0x3a);
    this.space();
  }

  joint(kind: number): void {
    const literal = this.template.joints[this.previous]?.[kind];
    if (literal) for (let i = 0; i < literal.length; i++) this.want[this.wantSize++] = literal[i]!;
    else this.exact = false;
    this.previous = kind;
  }

  emit(c: number): void {
    const want = this.want;
    if (c < 0x80) want[this.wantSize++] = c;
    else if (c < 0x800) {
      want[this.wantSize++] = 0xc0 | (c >>> 6);
      want[this.wantSize++] = 0x80 | (c & 63);
    } else if (c < 0x10000) {
      want[this.wantSize++] = 0xe0 | (c >>> 12);
      want[this.wantSize++] = 0x80 | ((c >>> 6) & 63);
      want[this.wantSize++] = 0x80 | (c & 63);
    } else {
      want[this.wantSize++] = 0xf0 | (c >>> 18);
      want[this.wantSize++] = 0x80 | ((c >>> 12) & 63);
      want[this.wantSize++] = 0x80 | ((c >>> 6) & 63);
      want[this.wantSize++] = 0x80 | (c & 63);
    }
  }

  /** Notes that what was emitted from `from` on is no white space. */
  text(from: number): void {
    if (this.firstText < 0) this.firstText = from;
    this.lastText = this.wantSize;
  }

  rawCharacter(c: number): void {
    const from = this.wantSize;
    this.emit(c);
    for (let i = from; i < this.wantSize; i++) this.body[this.size++] = this.want[i]!;
  }

  /** One character of a content, raw or as an escape. */
  character(): void {
    const r = this.random;
    const from = this.wantSize;
    const kind = r.below(16);
    if (kind < 6) {
      const start = r.below(PLAIN.length);
      const n = r.oneIn(4) ? r.below(90) : r.below(12);
      for (let i = 0; i < n; i++) {
        const c = PLAIN[(start + i) % PLAIN.length]!;
        this.body[this.size++] = c;
        this.want[this.wantSize++] = c;
        if (c !== 0x20) this.text(this.wantSize - 1);
      }
      return;
    }
    if (kind < 9) {
      const [letter, c] = SHORT[r.below(SHORT.length)]!;
      this.byte(0x5c);
      this.byte(letter);
      this.want[this.wantSize++] = c;
      if (c === 8 || c > 13) this.text(from);
      return;
    }
    if (kind < 12) {
      const c = SPACES[r.below(SPACES.length)]!;
      if (c < 32 || r.oneIn(2)) {
        this.escape(c);
        this.emit(c);
      } else this.rawCharacter(c);
      return;
    }
    if (kind === 12) {
      // No UTF-8: it passes through as it is.
      const c = 0xf8 + r.below(8);
      this.byte(c);
      this.want[this.wantSize++] = c;
      this.text(from);
      return;
    }
    if (kind === 13) {
      const unit = 0xd800 + r.below(0x800);
      this.escape(unit);
      this.emit(unit);
      this.text(from);
      // So that no other half follows.
      this.byte(0x78);
      this.want[this.wantSize++] = 0x78;
      this.text(from);
      return;
    }
    const c = kind === 14 ? WIDE[r.below(WIDE.length)]! : 0x21 + r.below(0x5d);
    if (c === 0x22 || c === 0x5c || r.oneIn(2)) {
      if (c >= 0x10000) {
        this.escape(0xd800 + ((c - 0x10000) >>> 10));
        this.escape(0xdc00 + ((c - 0x10000) & 0x3ff));
      } else this.escape(c);
      this.emit(c);
    } else this.rawCharacter(c);
    if (c !== 0x85 && c !== 0xa0) this.text(from);
  }

  /** A JSON string of random text; true when it is not empty. */
  string(): boolean {
    const before = this.wantSize;
    this.byte(0x22);
    const most = this.random.oneIn(16) ? 40 : 6;
    for (let n = this.random.below(most); n > 0 && this.size < BODY_BYTES - ROOM; n--) this.character();
    this.byte(0x22);
    return this.wantSize > before;
  }

  openContent(): void {
    this.contentAt = this.wantSize;
    this.firstText = -1;
    this.lastText = -1;
  }

  closeContent(kind: number): void {
    const { strip } = this.template;
    const rule = kind === 1 ? strip.system : kind === 2 ? strip.user : strip.assistant;
    const at = this.contentAt;
    if (this.firstText < 0) {
      if (rule !== "raw") this.wantSize = at;
      return;
    }
    const from = STRIP_LEFT[rule] ? this.firstText : at;
    const to = STRIP_RIGHT[rule] ? this.lastText : this.wantSize;
    this.want.copyWithin(at, from, to);
    this.wantSize = at + to - from;
  }
}
