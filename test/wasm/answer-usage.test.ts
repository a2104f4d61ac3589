import { describe, expect, test } from "vitest";
import type { PredictionRow } from "../../agent/wire.js";
import { CONTINUE, Host, type Request, STOP } from "./host.js";
import { renderChatml, TestAgent } from "./table.js";

const encode = new TextEncoder();
const question = "what is cached ".repeat(200);
const body = (more: object = {}) => ({
  model: "m",
  messages: [{ role: "user", content: question }],
  ...more,
});
const PROMPT = renderChatml(body().messages);
const STREAM = { stream: true, stream_options: { include_usage: true } };

/** A gateway whose only pod holds the prompt, one token a byte; the whole of it is never promised. */
async function gateway(debugHeaders: "none" | "all" = "none", cached = PROMPT) {
  const agent = await TestAgent.create(1, { debugHeaders });
  agent.cache(0, cached);
  const host = new Host({ configuration: { debugHeaders } });
  host.receive(agent.snapshot());
  return { agent, host };
}

const PROMISED = PROMPT.length - (PROMPT.length % 128);

/** What the worker tells about pod-0 in its next report, null when nothing. */
function told({ agent, host }: Awaited<ReturnType<typeof gateway>>): PredictionRow | null {
  const before = host.sent.length;
  host.tick(1100);
  for (const frame of host.frames().slice(before)) {
    const message = agent.wire.decodeUp(frame);
    if (message?.kind === "predictions") return message.rows[0] ?? null;
  }
  return null;
}

function frames(r: Request, pieces: (string | Uint8Array)[], lastEnds = false): void {
  pieces.forEach((piece, i) => {
    r.responseBody = typeof piece === "string" ? encode.encode(piece) : new Uint8Array(piece);
    const end = lastEnds && i === pieces.length - 1;
    expect(r.onResponseBody(r.responseBody.length, end)).toBe(CONTINUE);
  });
  if (!lastEnds) {
    // An HTTP/1 upstream's end comes as a frame of its own.
    r.responseBody = new Uint8Array();
    expect(r.onResponseBody(0, true)).toBe(CONTINUE);
  }
  r.end();
}

const usage = (details: string) =>
  `{"prompt_tokens":3050,"total_tokens":3060,"completion_tokens":10,"prompt_tokens_details":${details}}`;
const event = (last: string) =>
  `data: {"id":"c","object":"chat.completion.chunk","choices":[],"usage":${last}}\n\n`;
const DELTA = 'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n';

describe("what an answer says was cached", () => {
  test("is found in a stream however it is cut into frames", async () => {
    const at = await gateway();
    let seed = 1;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % n;
    };
    for (let round = 0; round < 300; round++) {
      const cached = round % 3 === 0 ? round : PROMISED - (round % 16);
      const space = round % 2 ? " " : "";
      const text =
        DELTA.repeat(round % 4) +
        event(usage(`{"cached_tokens"${space}:${space}${cached},"created_cache_tokens":7}`)) +
        "data: [DONE]\n\n";
      const r = at.host.chat(body(STREAM));
      r.onResponse("10.0.0.1:8000");
      const bytes = encode.encode(text);
      const pieces: Uint8Array[] = [];
      for (let from = 0; from < bytes.length; ) {
        const n = 1 + random(round % 5 === 0 ? 3 : 400);
        pieces.push(bytes.subarray(from, from + n));
        from += n;
      }
      frames(r, pieces, round % 2 === 0);
      expect(told(at)).toMatchObject({ requests: 1, answers: 1, answersPromised: PROMISED, cached });
    }
  });

  test("is right within a KV block above and a text block below", async () => {
    const at = await gateway();
    const judged = (cached: number) => {
      const r = at.host.chat(body(STREAM));
      r.onResponse("10.0.0.1:8000");
      frames(r, [event(usage(`{"cached_tokens":${cached}}`))]);
      const { over, under } = told(at)!;
      return { over, under };
    };
    expect(judged(PROMISED)).toEqual({ over: 0, under: 0 });
    expect(judged(PROMISED - 16)).toEqual({ over: 0, under: 0 });
    expect(judged(PROMISED - 17)).toEqual({ over: 1, under: 0 });
    expect(judged(PROMISED + 128)).toEqual({ over: 0, under: 0 });
    expect(judged(PROMISED + 129)).toEqual({ over: 0, under: 1 });
  });

  test("is nothing where the field is null, absent or only spoken of, and never 0", async () => {
    const at = await gateway();
    for (const text of [
      event(usage("null")),
      event(usage("{}")),
      event(usage('{"cached_tokens":null}')),
      event('{"prompt_tokens":3050}'),
      `data: {"choices":[{"delta":{"content":"\\"cached_tokens\\":12"}}]}\n\n`,
      `data: {"choices":[{"delta":{"content":"cached_tokens"}}]}\n\n`,
      event(usage('{"cached_tokens_per_turn":12}')),
      event(usage('{"cached_tokens":99999999999999}')),
      'data: {"usage":{"cached_tokens":12',
    ]) {
      const r = at.host.chat(body(STREAM));
      r.onResponse("10.0.0.1:8000");
      frames(r, [DELTA, text, "data: [DONE]\n\n"].slice(0, text.endsWith("12") ? 2 : 3));
      expect(told(at), text).toMatchObject({ requests: 1, promised: PROMISED, answers: 0, cached: 0 });
    }
  });

  test("is the last that is said, as streams with continuous usage say it often", async () => {
    const at = await gateway();
    const r = at.host.chat(body(STREAM));
    r.onResponse("10.0.0.1:8000");
    frames(r, [
      event(usage('{"cached_tokens":1}')),
      event(usage('{"cached_tokens":2048}')),
      event(usage("null")),
    ]);
    expect(told(at)).toMatchObject({ answers: 1, cached: 2048 });
  });

  test("is found in an answer in one piece, held for its headers or not, and at the end of a long one", async () => {
    const json = (text: string) =>
      `{"id":"c","choices":[{"message":{"content":"${text}"}}],"usage":${usage('{"cached_tokens":2048}')},"kv_transfer_params":null}`;
    const whole = await gateway("all");
    const r = whole.host.chat(body());
    const text = json("short");
    const length = String(text.length);
    expect(
      r.onResponse("10.0.0.1:8000", [
        [":status", "200"],
        ["content-type", "application/json"],
        ["content-length", length],
      ]),
    ).toBe(STOP);
    r.onWholeResponse(text);
    r.end();
    expect(r.response("x-tokens-generated")).toBe("10");
    expect(told(whole)).toMatchObject({ answers: 1, cached: 2048 });

    const passed = await gateway();
    for (const n of [5, 20_000, 40_000]) {
      const r = passed.host.chat(body());
      r.onResponse("10.0.0.1:8000");
      const long = json("x".repeat(n));
      const pieces: string[] = [];
      for (let from = 0; from < long.length; from += 16_384) pieces.push(long.slice(from, from + 16_384));
      frames(r, pieces);
      expect(told(passed), `${n}`).toMatchObject({ answers: 1, cached: 2048 });
    }
  });

  test("is found in the Responses API's stream, which nobody has to ask for its usage", async () => {
    const at = await gateway("none", renderChatml([{ role: "user", content: question }]));
    const r = at.host.request([
      [":method", "POST"],
      [":path", "/v1/responses"],
    ]);
    r.onHeaders();
    r.onBody(JSON.stringify({ model: "m", input: question, stream: true }), true);
    r.onResponse("10.0.0.1:8000");
    frames(r, [
      'event: response.output_text.delta\ndata: {"delta":"word"}\n\n',
      'event: response.completed\ndata: {"response":{"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":2048},"output_tokens":1}}}\n\n',
    ]);
    expect(told(at)).toMatchObject({ answers: 1, cached: 2048 });
  });

  test("is not looked for, at no cost, in streams that do not end with it", async () => {
    const { host } = await gateway();
    for (const more of [
      { stream: true },
      { stream: true, stream_options: { include_usage: false } },
      { stream: true, stream_options: { continuous_usage_stats: true } },
    ]) {
      const r = host.chat(body(more));
      r.onResponse("10.0.0.1:8000");
      const before = host.calls.get("proxy_get_buffer_bytes");
      frames(
        r,
        Array.from({ length: 20 }, () => DELTA),
      );
      expect(host.calls.get("proxy_get_buffer_bytes")).toBe(before);
    }
  });

  test("is not compared where a request went elsewhere than predicted or only part of its prompt was read", async () => {
    const at = await gateway();
    const moved = at.host.chat(body(STREAM));
    moved.onResponse("10.9.9.9:8000");
    frames(moved, [event(usage('{"cached_tokens":2048}'))]);
    expect(told(at)).toBeNull();
    const long = at.host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions"],
    ]);
    long.onHeaders();
    const text = JSON.stringify({ ...STREAM, ...body(), user: "x".repeat(600_000) });
    if (long.onBody(text.slice(0, 560_000), false) === CONTINUE) long.onBody(text.slice(560_000), true);
    long.onResponse("10.0.0.1:8000");
    frames(long, [event(usage('{"cached_tokens":2048}'))]);
    expect(told(at)).toBeNull();
  });

  test("is told by tenant: each credential is one, all without a credential are one", async () => {
    const at = await gateway();
    at.host.receive(at.agent.rules({}));
    const ask = (credential?: string) => {
      const r = at.host.chat(body(STREAM), credential ? [["authorization", `Bearer ${credential}`]] : []);
      r.onResponse("10.0.0.1:8000");
      frames(r, [event(usage(`{"cached_tokens":${credential === "c" ? 0 : PROMISED}}`))]);
    };
    for (const credential of ["a", "b", "c", "a", undefined, undefined, undefined]) ask(credential);
    const row = told(at)!;
    expect(row.tenants.map(({ requests, answers, right }) => [requests, answers, right])).toEqual([
      [2, 2, 2],
      [1, 1, 1],
      [1, 1, 0],
      [3, 3, 3],
    ]);
    expect(new Set(row.tenants.map(({ tag }) => tag)).size).toBe(4);
    for (let i = 0; i < 20; i++) ask(`many ${i}`);
    const many = told(at)!;
    expect(many.answers).toBe(20);
    expect(many.tenants.length).toBe(8);
    expect(many.tenants.at(-1)).toMatchObject({ requests: 13, answers: 13 });
    expect(told(at)).toBeNull();
  });
});
