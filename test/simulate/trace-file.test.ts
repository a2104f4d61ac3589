// Traces as their publishers write them, in small.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { ConfigError } from "../../agent/errors.js";
import { seededRandom } from "../../simulate/random.js";
import { readTrace } from "../../simulate/trace-file.js";

const folder = mkdtempSync(join(tmpdir(), "trace-"));

function read(text: string | Buffer, options: { rate?: number; limit?: number } = {}) {
  const file = join(folder, "trace");
  writeFileSync(file, text);
  return readTrace(file, { rate: options.rate, limit: options.limit ?? 1000 }, seededRandom(1));
}

const MOONCAKE = [
  { timestamp: 0, input_length: 600, output_length: 5, hash_ids: [0, 1] },
  { timestamp: 3000, input_length: 512, output_length: 0, hash_ids: [0] },
  { timestamp: 60_000, input_length: 1000, output_length: 7, hash_ids: [0, 9] },
]
  .map((row) => `${JSON.stringify(row)}\n`)
  .join("");

test("Mooncake's format is read, gzipped or not, with requests spread over its buckets of three seconds", () => {
  const { stages, blockTokens } = read(gzipSync(MOONCAKE));
  expect(read(MOONCAKE).stages).toEqual(stages);
  const [requests = []] = stages;
  expect(blockTokens).toBe(512);
  expect(requests.map(({ prompt, output, blocks }) => ({ prompt, output, blocks }))).toEqual([
    { prompt: 600, output: 5, blocks: [0, 1] },
    { prompt: 512, output: 1, blocks: [0] },
    { prompt: 1000, output: 7, blocks: [0, 9] },
  ]);
  expect(requests[0]!.arrival).toBe(0);
  expect(requests[2]!.arrival).toBeGreaterThan(57);
  expect(requests[2]!.arrival).toBeLessThan(63);
});

test("a rate stretches time, and a limit takes requests from the start", () => {
  const [requests = []] = read(MOONCAKE, { rate: 0.5, limit: 2 }).stages;
  expect(requests.map((r) => r.arrival)).toEqual([0, 4]);
});

test("Azure's format is read: each prompt has blocks of its own", () => {
  const { stages, blockTokens } = read(
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,300,10\r\n2023-11-16 18:17:05,256,0\r\n",
  );
  expect(blockTokens).toBe(256);
  expect(stages[0]!.map(({ prompt, output, blocks }) => ({ prompt, output, blocks }))).toEqual([
    { prompt: 300, output: 10, blocks: [0, 1] },
    { prompt: 256, output: 1, blocks: [2] },
  ]);
  expect(stages[0]![1]!.arrival).toBeCloseTo(1.02004, 6);
});

test.each([
  ["an empty file", "", /has no requests/],
  ["other text", "hello\n", /line 1: is neither JSON/],
  ["a row without lengths", '{"timestamp": 1}\n', /line 1: input_length must be/],
  [
    "blocks that do not fit the length",
    '{"timestamp":0,"input_length":600,"output_length":5,"hash_ids":[0]}\n',
    /1 hash_ids, 600 tokens are 2 blocks of 512/,
  ],
  [
    "a CSV row that is cut off",
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03\n",
    /line 2: ContextTokens/,
  ],
])("%s is refused with the line and the reason", (_, text, message) => {
  expect(() => read(text)).toThrow(ConfigError);
  expect(() => read(text)).toThrow(message);
});
