import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyEdits, editsOf, JsonSyntaxError, lastMember, scanObject } from "../../sidecar/json-edit.js";

const NAMES = ["kv_transfer_params", "stream", "max_tokens", "stream_options"];
const WATCHED = new Set(NAMES);

function edit(text: string, changes: Record<string, string | null>): string {
  const json = Buffer.from(text);
  return applyEdits(json, editsOf(scanObject(json, WATCHED), new Map(Object.entries(changes)))).toString();
}

describe("an edit of a JSON object", () => {
  test("keeps numbers beyond 2^53, key order, escapes and white space of everything else", () => {
    const text = '{ "z":9007199254740993 ,\n"a":"\\u00e9\\/<&>", "stream" : true\t, "b":1e400, "c":-0.0}';
    expect(edit(text, { stream: "false" })).toBe(
      '{ "z":9007199254740993 ,\n"a":"\\u00e9\\/<&>", "stream" : false\t, "b":1e400, "c":-0.0}',
    );
  });

  test("replaces every occurrence of a repeated key, also under escapes", () => {
    expect(edit('{"stream":1,"x":2,"str\\u0065am":3}', { stream: "0" })).toBe(
      '{"stream":0,"x":2,"str\\u0065am":0}',
    );
  });

  test("removes members with their commas, wherever they stand", () => {
    const gone = { stream: null, max_tokens: null };
    expect(edit('{"stream":1,"x":2}', gone)).toBe('{"x":2}');
    expect(edit('{"x":2,"stream":1}', gone)).toBe('{"x":2}');
    expect(edit('{"x":2, "stream":1 ,"y":3}', gone)).toBe('{"x":2 ,"y":3}');
    expect(edit('{"stream":1,"max_tokens":2,"x":3,"stream":4,"max_tokens":5}', gone)).toBe('{"x":3}');
    expect(edit('{ "stream":1, "max_tokens":2 }', gone)).toBe("{  }");
  });

  test("adds what is missing, also to an object that is or becomes empty", () => {
    expect(edit("{}", { stream: "1", max_tokens: "2" })).toBe('{"max_tokens":2,"stream":1}');
    expect(edit('{"max_tokens":1}', { max_tokens: null, stream: "0" })).toBe('{"stream":0}');
    expect(edit('{"x":1}', { stream: "0" })).toBe('{"stream":0,"x":1}');
  });

  test("is not misled by keys within values", () => {
    const text = '{"messages":[{"content":"\\"kv_transfer_params\\":{\\"a\\":1}}"}],"o":{"stream":true}}';
    expect(edit(text, { stream: null, kv_transfer_params: null })).toBe(text);
  });

  test("leaves every other byte of any JSON object as it is", () => {
    const key = fc.oneof(fc.constantFrom(...NAMES), fc.string({ unit: "binary", maxLength: 6 }));
    const members = fc.array(fc.tuple(key, fc.jsonValue(), fc.constantFrom("", " ", "\n\t"), fc.boolean()), {
      maxLength: 12,
    });
    const change = fc.dictionary(
      fc.constantFrom(...NAMES),
      fc.option(fc.jsonValue().map((value) => JSON.stringify(value))),
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(members, change, (list, changes) => {
        const text = `{${list
          .map(([name, value, space, escaped]) => {
            return `${space}${escaped ? escapeAll(name) : JSON.stringify(name)}${space}:${space}${JSON.stringify(value)}${space}`;
          })
          .join(",")}}`;
        const edited = edit(text, changes);
        const expected = JSON.parse(text);
        for (const [name, value] of Object.entries(changes)) {
          if (value === null) delete expected[name];
          else expected[name] = JSON.parse(value);
        }
        expect(JSON.parse(edited)).toEqual(expected);
        // Where nothing of ours stood, ours comes first and the old bytes follow.
        if (list.every(([name]) => !(name in changes))) {
          expect(edited.startsWith("{") && edited.endsWith(text.slice(1))).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("finds the value that parsers see", () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue(), { minLength: 1, maxLength: 4 }),
        fc.jsonValue(),
        (values, other) => {
          const text = `{"o":${JSON.stringify(other)},${values.map((v) => `"stream":${JSON.stringify(v, null, 1)}`).join(",")}}`;
          const json = Buffer.from(text);
          const member = lastMember(scanObject(json, WATCHED), "stream")!;
          expect(JSON.parse(json.toString("utf8", member.valueStart, member.valueEnd))).toEqual(
            JSON.parse(text).stream,
          );
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("skips strings of any length and escapes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('"', "\\", "a", "é", "\n", "{", "}"), { maxLength: 300 }),
        (parts) => {
          const text = `{"a":${JSON.stringify(parts.join(""))},"stream":true}`;
          expect(JSON.parse(edit(text, { stream: "7" }))).toEqual({ a: parts.join(""), stream: 7 });
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe("what is no JSON object", () => {
  test.each([
    ["", "empty"],
    ["[]", "an array"],
    ['"x"', "a string"],
    ['{"a":1', "not closed"],
    ['{"a":1}x', "followed by more"],
    ['{"a":1}{"b":2}', "two objects"],
    ['{"a" 1}', "without a colon"],
    ['{"a":}', "without a value"],
    ['{"a":1 "b":2}', "without a comma"],
    ['{"a":1,}', "with a comma too many"],
    ['{"a":"x}', "with a string that does not end"],
    ['{"a":[1}', "with an array that does not end"],
    ['{"\\x":1}', "with a bad escape in a key"],
    ["\ufeff{}", "after a byte order mark"],
  ])("%j is refused: %s", (text) => {
    expect(() => edit(text, {})).toThrow(JsonSyntaxError);
  });

  test("any prefix of an object is refused, and no text makes the scan fail otherwise", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(), (object, cut) => {
        const text = Buffer.from(JSON.stringify(object));
        expect(() => scanObject(text.subarray(0, cut % text.length), WATCHED)).toThrow(JsonSyntaxError);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'{}[],:"\\u01 a') }), (text) => {
        try {
          scanObject(Buffer.from(text), WATCHED);
        } catch (error) {
          expect(error).toBeInstanceOf(JsonSyntaxError);
        }
      }),
      { numRuns: 5000 },
    );
  });
});

function escapeAll(name: string): string {
  return `"${[...Array(name.length).keys()].map((i) => `\\u${name.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")}"`;
}
