// The soak's traffic: ready-made HTTP/1.1 requests of every kind that clients send, right and wrong ones, each with the
// answer it must get. A serial number is patched into most bodies, so that no two prompts are the same.

import { MODEL } from "../../demo/fleet.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";

/** How a client leaves early: in the middle of its body, before the answer, or in the middle of the answer. */
export type Leave = "body" | "wait" | "answer" | null;

export interface Sample {
  bytes: Buffer;
  /** Where the serial number goes, −1 for nowhere. */
  serialAt: number;
  /** Status that the answer must have. */
  status: number;
  /** The filter answers it itself. */
  refused: boolean;
  /** Refused for a field that only routers may set. */
  reserved: boolean;
  /** Counts for the latency windows: a whole answer to a plain chat request. */
  timed: boolean;
  /** Envoy closes the connection behind the answer. */
  closes: boolean;
}

const SERIAL = "#00000000#";

function http(path: string, body: string, extra = "", chunked = false): Buffer {
  const head = `POST ${path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n${extra}`;
  const bytes = Buffer.from(body);
  if (!chunked) return Buffer.concat([Buffer.from(`${head}content-length: ${bytes.length}\r\n\r\n`), bytes]);
  const parts: Buffer[] = [Buffer.from(`${head}transfer-encoding: chunked\r\n\r\n`)];
  for (let at = 0; at < bytes.length; at += 1500) {
    const piece = bytes.subarray(at, at + 1500);
    parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"));
  }
  parts.push(Buffer.from("0\r\n\r\n"));
  return Buffer.concat(parts);
}

function sample(bytes: Buffer, status: number, more: Partial<Sample> = {}): Sample {
  return {
    bytes,
    serialAt: bytes.indexOf(SERIAL),
    status,
    refused: false,
    reserved: false,
    timed: false,
    closes: false,
    ...more,
  };
}

const CHAT = "/v1/chat/completions";

/** Makes the pool that a soak draws from, the same for the same seed. */
export function makeSamples(seed: number): Sample[] {
  const words = new Words();
  const random = seeded(seed);
  const systems = Array.from({ length: 8 }, (_, i) => words.text(60 + i * 40, random));
  const samples: Sample[] = [];
  for (let i = 0; i < 260; i++) {
    const turns = 1 + Math.floor(random() * 5);
    const size = random() < 0.05 ? 900 : 10 + Math.floor(random() * 120);
    const messages = [
      { role: "system", content: systems[i % systems.length]! },
      ...Array.from({ length: turns }, (_, t) => [
        { role: "user", content: `${words.text(size, random)}\n"é" ${t === turns - 1 ? SERIAL : ""}` },
        { role: "assistant", content: words.text(10, random) },
      ])
        .flat()
        .slice(0, -1),
    ];
    const stream = random() < 0.2;
    const body = JSON.stringify({ model: MODEL, messages, stream, max_tokens: 1 + Math.floor(random() * 4) });
    const extra = random() < 0.5 ? `authorization: Bearer key-${i % 9}\r\n` : "";
    samples.push(sample(http(CHAT, body, extra, random() < 0.1), 200, { timed: !stream }));
  }
  for (let i = 0; i < 20; i++) {
    const body = JSON.stringify({
      model: MODEL,
      prompt: `${words.text(100, random)} ${SERIAL}`,
      max_tokens: 2,
    });
    samples.push(sample(http("/v1/completions", body), 200));
    samples.push(sample(Buffer.from("GET /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\n"), 200));
  }
  const user = [{ role: "user", content: `hello ${SERIAL}` }];
  const refusals: [string, number, boolean][] = [
    [`{"model":"${MODEL}","messages":[`, 400, false],
    ["[1,2,3]", 400, false],
    ["", 400, false],
    ["\u0000\u0000", 400, false],
    [JSON.stringify({ messages: user }), 400, false],
    [JSON.stringify({ model: 5, messages: user }), 400, false],
    [JSON.stringify({ model: "no-such-model", messages: user }), 404, false],
    [JSON.stringify({ model: MODEL, messages: user, bootstrap_host: "x" }), 400, true],
    [JSON.stringify({ model: MODEL, messages: user, kv_transfer_params: {} }), 400, true],
    [`{"a":${"[".repeat(10_000)}`, 400, false],
  ];
  for (const [body, status, reserved] of refusals)
    samples.push(sample(http(CHAT, body), status, { refused: true, reserved }));
  // Answered from its length alone; the body is never sent.
  samples.push(
    sample(Buffer.from(`POST ${CHAT} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 99999999\r\n\r\n`), 413, {
      refused: true,
      closes: true,
    }),
  );
  return samples;
}

/** Writes `serial` into a sample's bytes. */
export function number(s: Sample, serial: number): void {
  if (s.serialAt < 0) return;
  s.bytes.write(String(serial % 100_000_000).padStart(8, "0"), s.serialAt + 1, "latin1");
}
