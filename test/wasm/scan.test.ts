import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { writeTemplate } from "../../agent/model/turn-layout.js";
import { built } from "../../agent/package-root.js";
import type { Strip, TemplateProgram } from "../../agent/wire.js";
import { chatml } from "./table.js";

type Call = (...args: number[]) => number;
const module = new WebAssembly.Module(readFileSync(built("core-test.wasm")));
const instance = new WebAssembly.Instance(module, {});
const x = instance.exports as unknown as Record<string, Call> & { memory: WebAssembly.Memory };
x["_initialize"]!();
const CAPACITY = 1 << 20;
x["init"]!(CAPACITY);
const BODY = 1 << 20;
const bodyAt = x["allocate"]!(BODY + 64);
const scratchAt = x["allocate"]!(4096);
const encode = new TextEncoder();
const read = (at: number, n: number) => new Uint8Array(x.memory.buffer, at, n).slice();
const text = (at: number, n: number) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(read(at, n));

function template(program: TemplateProgram): number {
  x["sectionBegin"]!();
  const put = (bytes: Uint8Array) => {
    new Uint8Array(x.memory.buffer).set(bytes, scratchAt);
    return scratchAt;
  };
  writeTemplate(x, put, program);
  return x["templateAt"]!();
}

/** The body stands at the very end of its buffer, with noise behind it, so that a read too far shows. */
function scan(
  body: Uint8Array | string,
  api = 0,
  truncated = false,
  program: TemplateProgram | null = chatml,
) {
  const bytes = typeof body === "string" ? encode.encode(body) : body;
  const at = bodyAt + BODY - bytes.length;
  const blob = program ? template(program) : 0;
  const memory = new Uint8Array(x.memory.buffer);
  memory.set(bytes, at);
  memory.fill(0x22, at + bytes.length, at + bytes.length + 64);
  const status = x["run"]!(at, bytes.length, api, truncated ? 1 : 0, blob);
  return {
    status,
    out: text(x["outAt"]!(), x["outSize"]!()),
    exact: x["exact"]!() === 1,
    complete: x["complete"]!() === 1,
    why: x["why"]!(),
    reserved: x["reserved"]!(),
    model: x["modelKind"]!() === 1 ? text(x["modelAt"]!(), x["modelSize"]!()) : null,
    stream: x["streams"]!() === 1,
    segments: Array.from({ length: x["segments"]!() }, (_, i) =>
      text(x["segmentAt"]!(i), x["segmentSize"]!(i)),
    ),
  };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: Python's set of white space has them
const SPACE = /^[\t-\r\x1c-\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const lstrip = (s: string) => s.replace(SPACE, "");
const rstrip = (s: string) => [...lstrip([...s].reverse().join(""))].reverse().join("");
const strips: Record<Strip, (s: string) => string> = {
  raw: (s) => s,
  both: (s) => rstrip(lstrip(s)),
  left: lstrip,
  right: rstrip,
};

interface Message {
  role: string;
  content: string;
}
function expectedChat(messages: Message[], strip: Strip): string {
  return `${messages.map((m) => `<|im_start|>${m.role}\n${strips[strip](m.content)}<|im_end|>\n`).join("")}<|im_start|>assistant\n`;
}

/** JSON text of a string with a random choice of escapes. */
const spelled = fc
  .tuple(fc.string({ unit: "grapheme", maxLength: 80 }), fc.infiniteStream(fc.nat(5)))
  .map(([s, choice]) => {
    let out = '"';
    for (let i = 0; i < s.length; i++) {
      const unit = s.charCodeAt(i);
      const how = choice.next().value as number;
      const plain = JSON.stringify(s[i]!).slice(1, -1);
      if (how === 0 || (unit >= 0xd800 && unit < 0xe000 && how === 1))
        out += `\\u${unit.toString(16).padStart(4, "0")}`;
      else out += unit >= 0xd800 && unit < 0xe000 ? s[i] : plain;
    }
    return { value: s, json: `${out}"` };
  })
  // A pair of surrogates that is spelled half raw, half escaped is no JSON text in UTF-8.
  .filter(({ json }) => json.isWellFormed());

const role = fc.constantFrom("system", "user", "assistant");
const noise = fc.constantFrom("", " ", "\n\t ", "\r\n");
const message = fc.record({
  role,
  content: spelled,
  order: fc.boolean(),
  twice: fc.boolean(),
  parts: fc.boolean(),
});

describe("a chat body", () => {
  test.each(["raw", "both", "left", "right"] as Strip[])(
    "renders as the reference does whatever its spelling, order, duplicates and part lists (strip %s)",
    (strip) => {
      const program = { ...chatml, strip: { system: strip, user: strip, assistant: strip } };
      fc.assert(
        fc.property(
          fc.array(message, { minLength: 1, maxLength: 6 }),
          noise,
          fc.boolean(),
          (messages, s, last) => {
            const list = messages
              .map((m) => {
                const content = m.parts
                  ? `[${s}{"type":"text","text":""},{"text":${s}${m.content.json},"type":"text"${s}}]`
                  : m.content.json;
                const fields = [`"role":${s}"${m.role}"`, `"content"${s}:${content}`];
                if (m.order) fields.reverse();
                if (m.twice) fields.unshift('"content":"first \\" one"', '"role":"tool"', '"name":null');
                return `{${s}${fields.join(`${s},${s}`)}}`;
              })
              .join(`,${s}`);
            const parts = [
              `"messages":${s}[${list}]`,
              '"model":"m\\u0061"',
              '"temperature":-1.5e3',
              '"stream":true',
              '"stop":["a",{"b":[]}]',
            ];
            if (last) parts.reverse();
            const body = `${s}{${s}"messages":[{"role":"user","content":"lost"}],${parts.join(`${s},`)}}${s}`;
            const got = scan(body, 0, false, program);
            const want = messages.map((m) => ({ role: m.role, content: m.content.value }));
            expect(got).toMatchObject({ status: 0, model: "ma", stream: true, exact: true, complete: true });
            expect(got.out).toBe(expectedChat(want, strip));
            const firstUser = want.findIndex((m) => m.role === "user");
            expect(got.segments).toEqual(
              want.slice(0, firstUser < 0 ? want.length : firstUser + 1).map((m) => strips.both(m.content)),
            );
          },
        ),
        { numRuns: 300 },
      );
    },
  );

  test("cut anywhere gives a prefix of what the whole body gives, and never a fault", () => {
    const messages = [
      { role: "system", content: "Be\nkind \u{1f600} \u00e9" },
      { role: "user", content: 'A "quoted" question\\ with \u2028 everything' },
      { role: "assistant", content: "yes" },
      { role: "user", content: "more" },
    ];
    const body = encode.encode(
      JSON.stringify({ model: "m", stream: false, messages, max_tokens: 5 }).replace(
        "\u{1f600}",
        "\\ud83d\\ude00",
      ),
    );
    const whole = scan(body).out;
    for (let n = 1; n < body.length; n++) {
      const cut = scan(body.subarray(0, n), 0, true);
      expect(cut.status).toBe(0);
      expect(cut.complete).toBe(false);
      const out = cut.out.replace(/\ufffd+$/, "");
      expect(whole.startsWith(out)).toBe(true);
    }
  });

  test("lone surrogates become three bytes each and bytes that are no UTF-8 pass through", () => {
    const got = scan('{"model":"m","messages":[{"role":"user","content":"a\\ud800b\\udc00"}]}');
    expect(got.status).toBe(0);
    const raw = encode.encode('{"model":"m","messages":[{"role":"user","content":"a?b"}]}');
    raw[raw.indexOf(0x3f)] = 0xff;
    expect(scan(raw).status).toBe(0);
  });

  test.each([
    ["tools", { tools: [] }],
    ["chat_template_kwargs", { chat_template_kwargs: { a: 1 } }],
    ["an unheard-of field", { frobnicate: 1 }],
    ["documents", { documents: [] }],
    ["truncate_prompt_tokens", { truncate_prompt_tokens: 5 }],
    ["continue_final_message", { continue_final_message: true }],
  ])("with %s is not exact", (_, field) => {
    expect(
      scan(JSON.stringify({ model: "m", messages: [{ role: "user", content: "x" }], ...field })).exact,
    ).toBe(false);
  });

  test.each([
    ["a tool turn", { role: "tool", content: "x" }],
    ["tool calls", { role: "assistant", content: null, tool_calls: [{}] }],
    ["an image part", { role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }],
    ["a number as content", { role: "user", content: 5 }],
    ["no role", { content: "x" }],
    ["a message that is no object", "x"],
  ])("with %s is not exact", (_, odd) => {
    expect(scan(JSON.stringify({ model: "m", messages: [{ role: "user", content: "x" }, odd] })).exact).toBe(
      false,
    );
  });

  test("null and missing content are empty, null fields are absent", () => {
    const got = scan(
      '{"model":"m","tools":null,"messages":[{"role":"user","content":null},{"role":"assistant","tool_calls":null}]}',
    );
    expect(got).toMatchObject({ exact: true });
    expect(got.out).toBe(
      expectedChat(
        [
          { role: "user", content: "" },
          { role: "assistant", content: "" },
        ],
        "raw",
      ),
    );
  });

  test("without a generation prompt ends with the last turn", () => {
    const got = scan(
      '{"model":"m","add_generation_prompt":false,"messages":[{"role":"user","content":"x"}]}',
    );
    expect(got.out).toBe("<|im_start|>user\nx<|im_end|>\n");
  });

  test.each(["0", "1", '"true"', '"no"', "null", "[]", "{}"])(
    "is inexact when add_generation_prompt is %s: what an engine makes of it is its own affair",
    (value) => {
      const body = `{"add_generation_prompt":${value},"model":"m","messages":[{"role":"user","content":"x"}]}`;
      expect(scan(body).exact).toBe(false);
      expect(scan(body.replace(value, "true")).exact).toBe(true);
      expect(scan(body.replace(value, "false")).exact).toBe(true);
    },
  );
});

describe("the other endpoints", () => {
  const bos: TemplateProgram = { ...chatml, bos: encode.encode("<s>") };
  test("take a raw prompt behind the tokenizer's own beginning", () => {
    expect(scan('{"model":"m","prompt":"a\\nb"}', 1, false, bos)).toMatchObject({
      out: "<s>a\nb",
      exact: true,
    });
    expect(scan('{"model":"m","prompt":["one"]}', 1, false, bos)).toMatchObject({
      out: "<s>one",
      exact: true,
    });
    expect(scan('{"model":"m","prompt":["one","two"]}', 1, false, bos).exact).toBe(false);
    expect(scan('{"model":"m","prompt":[1,2]}', 1, false, bos).exact).toBe(false);
    expect(scan('{"model":"m","prompt":"x","echo":true}', 1, false, bos).exact).toBe(false);
    expect(scan('{"model":"m","input":"x"}', 3, false, bos)).toMatchObject({ out: "<s>x", exact: true });
  });
  test("render instructions and input of a response as turns", () => {
    const want = expectedChat(
      [
        { role: "system", content: "s" },
        { role: "user", content: "u" },
      ],
      "raw",
    );
    expect(scan('{"input":"u","model":"m","instructions":"s"}', 2)).toMatchObject({ out: want, exact: true });
    const list = '[{"type":"message","role":"user","content":[{"type":"input_text","text":"u"}]}]';
    expect(scan(`{"input":${list},"model":"m","instructions":"s"}`, 2)).toMatchObject({
      out: want,
      exact: true,
    });
    expect(scan('{"input":"u","model":"m","previous_response_id":"r"}', 2).exact).toBe(false);
  });
});

describe("hostile input", () => {
  const json = fc.json({ maxDepth: 6 });
  test("any JSON object is accepted and any other value named as such, as JSON.parse sees them", () => {
    fc.assert(
      fc.property(json, (body) => {
        const value = JSON.parse(body);
        const object = typeof value === "object" && value !== null && !Array.isArray(value);
        expect(scan(body).status).toBe(object ? 0 : 2);
      }),
      { numRuns: 2000 },
    );
  });

  test("what JSON.parse refuses is refused, but for the words and characters that Python takes", () => {
    const pieces = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"messages"',
      "1",
      "-",
      "true",
      "nul",
      " ",
      "\\",
      '"',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 14 }), (parts) => {
        const body = `{${parts.join("")}`;
        let valid = true;
        try {
          JSON.parse(body);
        } catch {
          valid = false;
        }
        expect(scan(body).status === 0).toBe(valid);
      }),
      { numRuns: 5000 },
    );
  });

  test("random bytes, cut or whole, never trap", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(3), fc.boolean(), (bytes, api, cut) => {
        const status = scan(bytes, api, cut).status;
        expect(status).toBeGreaterThanOrEqual(0);
        expect(status).toBeLessThanOrEqual(4);
      }),
      { numRuns: 20_000 },
    );
  });

  test("a damaged real body never traps", () => {
    const base = encode.encode(
      JSON.stringify({
        model: "m",
        kv_transfer_params: null,
        messages: [
          { role: "user", content: [{ type: "text", text: "\u{1f600}\n" }] },
          { content: "x", role: "assistant" },
        ],
      }),
    );
    fc.assert(
      fc.property(
        fc.nat(base.length - 1),
        fc.nat(255),
        fc.nat(base.length),
        fc.boolean(),
        (at, byte, cut, isCut) => {
          const body = base.slice(0, cut || base.length);
          if (at < body.length) body[at] = byte;
          scan(body, 0, isCut);
        },
      ),
      { numRuns: 20_000 },
    );
  });

  test.each([
    ["NaN and Infinity", '{"model":"m","a":[NaN,Infinity,-Infinity]}', 0],
    ["a byte order mark", "\ufeff{}", 0],
    ["999 levels", `{"a":${"[".repeat(998)}${"]".repeat(998)}}`, 0],
    ["1,001 levels", `{"a":${"[".repeat(1001)}${"]".repeat(1001)}}`, 3],
    ["leading zeros", '{"a":01}', 1],
    ["a bare plus", '{"a":+1}', 1],
    ["UTF-16", "{\0}\0", 1],
    ["nothing", "", 4],
  ])("%s", (_, body, status) => {
    expect(scan(body).status).toBe(status);
  });

  test.each([
    [
      "a salt too long to be kept",
      `{"messages":[{"role":"user","content":"x"}],"cache_salt":"${"s".repeat(5000)}"}`,
    ],
    ["messages that a later null replaces", '{"messages":[{"role":"user","content":"x"}],"messages":null}'],
    ["a name in a message", '{"messages":[{"role":"user","name":"a","content":"x"}]}'],
    ["a prompt of chat", '{"messages":[{"role":"user","content":"x"}],"prompt":"y"}'],
    ["a part of another type", '{"messages":[{"role":"user","content":[{"type":"image_url","text":"x"}]}]}'],
    [
      "a part with two types",
      '{"messages":[{"role":"user","content":[{"type":"text","text":"x","type":"image"}]}]}',
    ],
  ])("%s is not called exact", (_, body) => {
    expect(scan(body)).toMatchObject({ status: 0, exact: false });
  });

  test("a prompt longer than the output buffer is a prefix of it", () => {
    const got = scan(
      JSON.stringify({ model: "m", messages: Array.from({ length: 60_000 }, () => ({ role: "user" })) }),
    );
    expect(got).toMatchObject({ status: 0, complete: false });
    expect(got.out.length).toBeLessThanOrEqual(CAPACITY);
  });
});
