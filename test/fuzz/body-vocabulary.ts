// The words that random bodies are made of.
import { INERT, RESERVED } from "./prompt-oracle.js";

const encode = new TextEncoder();
const bytes = (s: string) => encode.encode(s);

export const ROLES = ["", "system", "user", "assistant"].map(bytes);
export const ODD_ROLES = ["tool", "function", "developer", "", "User", "use", "assistan"].map(bytes);
export const OTHER_FIELDS = [
  "logits_processors",
  "documents",
  "chat_template",
  "frobnicate",
  "suffix",
  "text",
  "Messages",
].map(bytes);
export const INERT_FIELDS = INERT.map(bytes);
export const RESERVED_FIELDS = RESERVED.map(bytes);
export const SCALARS = ["0", "-1.5e3", "1E+2", "0.25", "true", "false", "null", '""', '"a\\"b"'].map(bytes);
export const NESTED = ["[]", "{}", '["a",{"b":[]}]', '{"a":{"b":[1,2,{"c":null}]},"d":""}', "[[[[]]],1]"].map(
  bytes,
);
export const NOT_BOOLEAN = ["0", "1", "null", '"true"', '"off"', "[]", "{}"].map(bytes);
export const KEY = Object.fromEntries(
  [
    "messages",
    "prompt",
    "input",
    "instructions",
    "model",
    "stream",
    "user",
    "cache_salt",
    "prompt_cache_key",
    "add_generation_prompt",
    "role",
    "content",
    "type",
    "text",
    "name",
    "tool_calls",
  ].map((k) => [k, bytes(k)]),
) as Record<string, Uint8Array>;
export const LITERAL = {
  true: bytes("true"),
  false: bytes("false"),
  null: bytes("null"),
  lost: bytes('[{"role":"user","content":"lost"},{"role":"tool","content":[1]}]'),
  image: bytes('{"type":"image_url","image_url":{"url":"x"}}'),
  emptyPart: bytes('{"type":"text","text":""}'),
};
export const TEXT_TYPES = ["text", "input_text", "output_text"].map(bytes);
export const MESSAGE = bytes("message");
export const PLAIN = bytes(
  "The quick brown fox jumps over the lazy dog, 0123456789 times; and so on. <|im_start|> {[:,]} ",
);
export const HEX = bytes("0123456789abcdefABCDEF");
export const SPACES = [
  9, 10, 11, 12, 13, 0x1c, 0x1d, 0x1e, 0x1f, 32, 0x85, 0xa0, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f,
  0x205f, 0x3000,
];
export const WIDE = [
  0x7f, 0x80, 0xe9, 0x7ff, 0x800, 0x200b, 0x20ac, 0xd7ff, 0xe000, 0xfeff, 0xffff, 0x10000, 0x1f600, 0x10ffff,
];
export const SHORT: [number, number][] = [
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x2f, 0x2f],
  [0x62, 8],
  [0x66, 12],
  [0x6e, 10],
  [0x72, 13],
  [0x74, 9],
];
export const STRIP_LEFT = { raw: false, both: true, left: true, right: false };
export const STRIP_RIGHT = { raw: false, both: true, left: false, right: true };
