// Writes random request bodies and, beside each, the prompt that it stands for: what is expected comes from how the body
// was made, not from reading it.
import type { TemplateProgram } from "../../agent/wire.js";
import {
  INERT_FIELDS,
  KEY,
  LITERAL,
  MESSAGE,
  NESTED,
  NOT_BOOLEAN,
  ODD_ROLES,
  OTHER_FIELDS,
  PLAIN,
  RESERVED_FIELDS,
  ROLES,
  SCALARS,
  TEXT_TYPES,
} from "./body-vocabulary.js";
import { BODY_BYTES } from "./core-module.js";
import { ROOM, TextWriter } from "./text-writer.js";

/** Writes whole bodies: top-level fields, messages, parts. */
export class BodyWriter extends TextWriter {
  /** Nothing stands twice, so that a cut body gives a beginning of what the whole one gives. */
  once = true;
  reserved = 0;
  /** 0 no model, 1 its name is the first `modelSize` bytes of `model`, 2 something else than a string. */
  modelKind = 0;
  readonly model = new Uint8Array(64);
  modelSize = 0;
  #generation = true;

  /** Writes a body for endpoint `api` (0 chat, 1 completions, 2 responses, 3 embeddings). */
  write(api: number, template: TemplateProgram): void {
    this.template = template;
    this.size = 0;
    this.wantSize = 0;
    this.exact = true;
    this.once = true;
    this.reserved = 0;
    this.modelKind = 0;
    this.previous = 0;
    this.#generation = true;
    const r = this.random;
    if (r.oneIn(64)) {
      this.byte(0xef);
      this.byte(0xbb);
      this.byte(0xbf);
    }
    this.space();
    this.byte(0x7b);
    this.space();
    this.#others(true, false);
    if (api === 0 && r.oneIn(8)) {
      this.once = false;
      this.field(KEY["messages"]!);
      this.raw(LITERAL.lost);
      this.comma();
    }
    if (api === 2) this.#response();
    else if (api === 0) {
      this.field(KEY["messages"]!);
      this.#messages();
    } else {
      this.field(api === 1 ? KEY["prompt"]! : KEY["input"]!);
      this.#prompt();
    }
    this.#others(false, true);
    if (r.oneIn(3)) this.#generationField();
    this.space();
    this.byte(0x7d);
    this.space();
    if (api === 0 || api === 2) this.joint(this.#generation ? 5 : 4);
  }

  /** Fields that say nothing of the prompt, each with the comma before or behind it. */
  #others(first: boolean, last: boolean): void {
    const r = this.random;
    for (let n = r.below(4); n > 0 && this.size < BODY_BYTES - ROOM; n--) {
      if (last) this.comma();
      const kind = r.below(24);
      if (kind < 8) {
        this.field(KEY["model"]!);
        this.#model();
      } else if (kind === 8) {
        const bit = r.below(RESERVED_FIELDS.length);
        this.reserved |= 1 << bit;
        this.field(RESERVED_FIELDS[bit]!);
        this.raw(r.pick(SCALARS));
      } else if (kind === 9) {
        this.exact = false;
        if (r.oneIn(8)) {
          this.field(KEY["add_generation_prompt"]!);
          this.raw(r.pick(NOT_BOOLEAN));
        } else {
          this.field(r.pick(OTHER_FIELDS));
          this.raw(r.oneIn(2) ? r.pick(NESTED) : LITERAL.true);
        }
      } else if (kind === 10) {
        this.field(r.pick(OTHER_FIELDS));
        this.raw(LITERAL.null);
      } else if (kind === 11) {
        this.field(KEY["stream"]!);
        this.raw(r.oneIn(2) ? LITERAL.true : LITERAL.false);
      } else if (kind === 12) {
        this.field(r.pick([KEY["user"]!, KEY["cache_salt"]!, KEY["prompt_cache_key"]!]));
        this.spelled(PLAIN);
      } else {
        this.field(INERT_FIELDS[r.below(INERT_FIELDS.length)]!);
        this.raw(r.oneIn(3) ? r.pick(NESTED) : r.pick(SCALARS));
      }
      if (first) this.comma();
    }
  }

  #model(): void {
    const r = this.random;
    if (r.oneIn(16)) {
      this.raw(LITERAL.null);
      this.modelKind = 2;
      return;
    }
    const n = r.below(24);
    this.byte(0x22);
    for (let i = 0; i < n; i++) {
      const c = 0x61 + r.below(26);
      this.model[i] = c;
      if (r.oneIn(20)) this.escape(c);
      else this.byte(c);
    }
    this.byte(0x22);
    this.modelKind = 1;
    this.modelSize = n;
  }

  #generationField(): void {
    this.comma();
    this.field(KEY["add_generation_prompt"]!);
    const on = this.random.oneIn(2);
    this.#generation = on;
    this.raw(on ? LITERAL.true : LITERAL.false);
  }

  #part(): boolean {
    const r = this.random;
    const typeFirst = r.oneIn(2);
    this.byte(0x7b);
    this.space();
    if (typeFirst) {
      this.field(KEY["type"]!);
      this.spelled(r.pick(TEXT_TYPES));
      this.comma();
    } else if (r.oneIn(8)) {
      this.once = false;
      this.field(KEY["type"]!);
      this.spelled(KEY["name"]!);
      this.comma();
    }
    this.field(KEY["text"]!);
    const some = this.string();
    if (!typeFirst) {
      this.comma();
      this.field(KEY["type"]!);
      this.spelled(r.pick(TEXT_TYPES));
    } else if (r.oneIn(8)) {
      this.comma();
      this.field(r.oneIn(2) ? KEY["name"]! : KEY["content"]!);
      this.raw(LITERAL.null);
    }
    this.space();
    this.byte(0x7d);
    return some;
  }

  #content(): void {
    const r = this.random;
    const kind = r.below(16);
    if (kind === 0) this.raw(LITERAL.null);
    else if (kind < 4) {
      this.byte(0x5b);
      this.space();
      let some = false;
      for (let n = r.below(4), i = 0; i < n && this.size < BODY_BYTES - ROOM; i++) {
        if (i) this.comma();
        if (r.oneIn(12)) {
          this.raw(LITERAL.emptyPart);
          continue;
        }
        if (r.oneIn(24)) {
          this.raw(r.oneIn(2) ? LITERAL.image : r.pick(SCALARS));
          this.exact = false;
          continue;
        }
        const mark = this.wantSize;
        if (some) this.want[this.wantSize++] = 10;
        if (this.#part()) some = true;
        else this.wantSize = mark;
      }
      this.space();
      this.byte(0x5d);
    } else this.string();
  }

  #messages(): void {
    const r = this.random;
    this.byte(0x5b);
    this.space();
    const n = r.oneIn(32) ? r.below(40) : r.below(5);
    for (let i = 0; i < n && this.size < BODY_BYTES - ROOM; i++) {
      if (i) this.comma();
      this.#message();
    }
    this.space();
    this.byte(0x5d);
  }

  #message(): void {
    const r = this.random;
    const kind = 1 + r.below(3);
    if (r.oneIn(64)) {
      this.exact = false;
      this.raw(r.oneIn(2) ? r.pick(SCALARS) : r.pick(NESTED));
      return;
    }
    this.byte(0x7b);
    this.space();
    const twice = r.oneIn(10);
    if (twice) {
      this.once = false;
      this.field(KEY["content"]!);
      this.raw(r.oneIn(2) ? r.pick(SCALARS) : r.pick(NESTED));
      this.comma();
      if (r.oneIn(2)) {
        this.field(KEY["role"]!);
        this.spelled(r.oneIn(2) ? r.pick(ODD_ROLES) : ROLES[1 + r.below(3)]!);
        this.comma();
      }
    }
    this.joint(kind);
    this.openContent();
    const roleFirst = !r.oneIn(4);
    const odd = r.oneIn(40);
    if (odd) this.exact = false;
    if (roleFirst) {
      this.#role(odd, kind);
      if (twice || !r.oneIn(20)) {
        this.comma();
        this.field(KEY["content"]!);
        this.#content();
      }
    } else {
      this.field(KEY["content"]!);
      this.#content();
      this.comma();
      this.#role(odd, kind);
    }
    if (r.oneIn(8)) {
      this.comma();
      this.field(r.oneIn(2) ? KEY["name"]! : KEY["tool_calls"]!);
      this.raw(LITERAL.null);
    }
    if (r.oneIn(40)) {
      this.exact = false;
      this.comma();
      this.field(r.oneIn(2) ? KEY["name"]! : KEY["text"]!);
      this.raw(r.oneIn(2) ? LITERAL.true : r.pick(NESTED));
    }
    if (r.oneIn(16)) {
      this.comma();
      this.byte(0x22);
      this.raw(KEY["type"]!);
      this.byte(0x22);
      this.byte(0x3a);
      this.byte(0x22);
      this.raw(MESSAGE);
      this.byte(0x22);
    }
    this.space();
    this.byte(0x7d);
    this.closeContent(kind);
  }

  #role(odd: boolean, kind: number): void {
    this.field(KEY["role"]!);
    this.spelled(odd ? this.random.pick(ODD_ROLES) : ROLES[kind]!);
  }

  /** A raw prompt: a string, or a list of one, or something else. */
  #prompt(): void {
    const r = this.random;
    const bos = this.template.bos!;
    for (let i = 0; i < bos.length; i++) this.want[this.wantSize++] = bos[i]!;
    const kind = r.below(12);
    if (kind === 0) {
      this.exact = false;
      this.raw(r.oneIn(2) ? r.pick(NESTED) : LITERAL.true);
      return;
    }
    if (kind < 3) this.byte(0x5b);
    this.string();
    if (kind === 1) {
      this.exact = false;
      this.comma();
      this.raw(r.pick(SCALARS));
    }
    if (kind < 3) this.byte(0x5d);
  }

  #response(): void {
    const r = this.random;
    const before = r.oneIn(2);
    const with_ = r.oneIn(2);
    if (with_ && before) {
      this.#instructions();
      this.comma();
    }
    // The input is rendered behind the instructions wherever these stand.
    if (with_ && !before) {
      this.once = false;
      this.#inputBehind();
      return;
    }
    this.field(KEY["input"]!);
    this.#input();
  }

  #instructions(): void {
    this.field(KEY["instructions"]!);
    this.joint(1);
    this.openContent();
    this.string();
    this.closeContent(1);
  }

  #input(): void {
    if (this.random.oneIn(2)) this.#messages();
    else {
      this.joint(2);
      this.openContent();
      this.string();
      this.closeContent(2);
    }
  }

  /** Input first in the text, instructions first in the prompt: the instructions are short and known. */
  #inputBehind(): void {
    this.joint(1);
    this.openContent();
    for (let i = 0; i < MESSAGE.length; i++) this.want[this.wantSize++] = MESSAGE[i]!;
    this.text(this.contentAt);
    this.closeContent(1);
    this.field(KEY["input"]!);
    this.#input();
    this.comma();
    this.field(KEY["instructions"]!);
    this.spelled(MESSAGE);
  }
}
