// Wrong, odd and broken-off requests through a real Envoy with an agent and simulated pods: each is answered as
// docs/errors.md says or goes to a pod, and none of them leaves a trace.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { waitFor } from "../../demo/processes.js";
import { adminStats, gaugesAtZero, requestsAtEnvoy, requestsUnderWay, vms } from "./admin-stats.js";
import { type Answer, begin, chunks, head, sendHttp1, sendHttp2 } from "./raw-client.js";

const CHAT = "/v1/chat/completions";
const COMPLETIONS = "/v1/completions";
const LIMIT_BYTES = 1_000_000;
/** More than is held for the decision (bodyReadBytes, 512 KiB) and less than the limit. */
const BEYOND_READ_BYTES = 700_000;
/** More tokens than any pod makes while a test waits: 3 ms each. */
const ENDLESS_TOKENS = 60_000;
/** One token of 15 bytes. */
const WORD = "administration ";

const messages = [{ role: "user", content: "hello" }];
const good = { model: MODEL, messages, max_tokens: 2 };
const json = (body: object) => Buffer.from(JSON.stringify(body));
const chatWith = (content: string, more: object = {}) =>
  json({ ...good, messages: [{ role: "user", content }], ...more });
const documented = readFileSync(join(packageRoot(), "docs", "errors.md"), "utf8");

let fleet: Fleet;
let vmsCreated = 0;

const inFlight = () => requestsUnderWay(fleet.adminPort);
const active = () => requestsAtEnvoy(fleet.adminPort);

beforeAll(async () => {
  fleet = await Fleet.create({ pods: 2, timeScale: 4, filter: { bodyLimitBytes: LIMIT_BYTES } });
  await fleet.start();
  vmsCreated = await vms(fleet.adminPort, "created");
});
afterAll(async () => {
  await fleet?.stop();
});

/** A request with a content-length. */
const plain = (body: Buffer | string, path = CHAT) =>
  sendHttp1(
    fleet.gatewayPort,
    Buffer.concat([head(path, [`content-length: ${Buffer.byteLength(body)}`]), Buffer.from(body)]),
  );
const chunked = (body: Buffer, size: number, trailers: string[] = []) =>
  sendHttp1(
    fleet.gatewayPort,
    Buffer.concat([head(CHAT, ["transfer-encoding: chunked"]), chunks(body, size, trailers)]),
  );
const bare = (headers: string[]) => sendHttp1(fleet.gatewayPort, head(CHAT, headers));
const http2 = (body: Buffer | null, trailers?: Record<string, string>) =>
  sendHttp2(fleet.gatewayPort, { path: CHAT, body, ...(trailers ? { trailers } : {}) });

const nested = `${"[".repeat(10_000)}${"]".repeat(10_000)}`;
const tooLong = chatWith("x".repeat(LIMIT_BYTES));

type Row = [what: string, send: () => Promise<Answer>, status: number, code: string];
const refused: Row[] = [
  ["text that is no JSON", () => plain("hello"), 400, "malformed_json"],
  ["an unfinished object", () => plain(json(good).subarray(0, -3)), 400, "malformed_json"],
  ["text behind the object", () => plain(`${json(good)} more`), 400, "malformed_json"],
  ["NUL bytes", () => plain("\0\0\0\0"), 400, "malformed_json"],
  [
    "a NUL byte inside a string",
    () => plain(String(json(good)).replace("hello", "a\0b")),
    400,
    "malformed_json",
  ],
  ["a NUL byte behind the object", () => plain(`${json(good)}\0`), 400, "malformed_json"],
  ["a list", () => plain("[1,2,3]"), 400, "not_an_object"],
  ["10,000 nested arrays", () => plain(nested), 400, "nesting_too_deep"],
  [
    "10,000 nested arrays in a field",
    () => plain(`{"model":"${MODEL}","messages":${nested}}`),
    400,
    "nesting_too_deep",
  ],
  ["no model", () => plain(json({ messages })), 400, "model_missing"],
  ["a model that is a number", () => plain(json({ ...good, model: 5 })), 400, "model_type"],
  ["a model that is null", () => plain(json({ ...good, model: null })), 400, "model_type"],
  ["a model that nobody serves", () => plain(json({ ...good, model: "gpt-0" })), 404, "model_not_found"],
  ["a routers' field", () => plain(json({ ...good, kv_transfer_params: {} })), 400, "reserved_field"],
  ["a length of zero", () => bare(["content-length: 0"]), 400, "empty_body"],
  ["headers alone", () => bare([]), 400, "empty_body"],
  ["no chunk but the last", () => chunked(Buffer.alloc(0), 1), 400, "empty_body"],
  ["nothing but white space", () => plain(" \n "), 400, "empty_body"],
  ["HTTP/2 headers alone", () => http2(null), 400, "empty_body"],
  ["HTTP/2 trailers and no body", () => http2(Buffer.alloc(0), { "x-t": "1" }), 400, "empty_body"],
  ["a length over the limit", () => bare([`content-length: ${LIMIT_BYTES + 1}`]), 413, "body_too_large"],
  ["chunks over the limit", () => chunked(tooLong, 16_000), 413, "body_too_large"],
  ["one chunk over the limit", () => chunked(tooLong, tooLong.length), 413, "body_too_large"],
  ["HTTP/2 data over the limit", () => http2(tooLong), 413, "body_too_large"],
];

describe("a request that is refused with an OpenAI-shaped error", () => {
  test.each(refused)("%s", async (_, send, status, code) => {
    const answer = await send();
    expect([answer.status, answer.headers.get("content-type")]).toEqual([status, "application/json"]);
    expect(JSON.parse(answer.body)).toEqual({
      error: {
        message: expect.stringMatching(/^.{20,}\.$/),
        type: "invalid_request_error",
        param: null,
        code,
      },
    });
    expect(answer.headers.has("x-sim-pod")).toBe(false);
    expect(documented).toMatch(new RegExp(`^\\| ${status} +\\| \`${code}\` +\\|`, "m"));
  });
});

const invalidUtf8 = Buffer.from(String(json(good)).replace("hello", "\xff\xc0\x80\xed\xa0\x80"), "latin1");
const passed: [what: string, send: () => Promise<Answer>, status: number][] = [
  ["messages that are a string", () => plain(json({ ...good, messages: "hello" })), 400],
  ["messages that are an object", () => plain(json({ ...good, messages: {} })), 400],
  ["a message that is a number", () => plain(json({ ...good, messages: [7] })), 400],
  ["no messages", () => plain(json({ model: MODEL })), 400],
  ["a prompt that is an object", () => plain(json({ model: MODEL, prompt: {} }), COMPLETIONS), 400],
  ["a prompt that is null", () => plain(json({ model: MODEL, prompt: null }), COMPLETIONS), 400],
  ["text that is no UTF-8", () => plain(invalidUtf8), 200],
  ["an escaped NUL byte", () => plain(chatWith("a\0b")), 200],
  ["a body in chunks", () => chunked(json(good), 20), 200],
  ["a body in chunks of a byte", () => chunked(json(good), 1), 200],
  ["chunks with trailers", () => chunked(json(good), 50, ["x-t: 1"]), 200],
  [
    "chunks beyond what is read",
    () => chunked(chatWith(WORD.repeat(BEYOND_READ_BYTES / WORD.length)), 16_000),
    200,
  ],
  ["HTTP/2 with a body", () => http2(json(good)), 200],
  ["HTTP/2 with trailers", () => http2(json(good), { "x-t": "1" }), 200],
];

describe("a request that is answered by a pod", () => {
  test.each(passed)("%s", async (_, send, status) => {
    const answer = await send();
    expect(answer.headers.get("x-sim-pod")).toMatch(/^pod-\d$/);
    expect([answer.status, answer.body]).toEqual([status, expect.stringContaining("{")]);
  });
});

describe("clients that leave", () => {
  const CLIENTS = 8;
  const begun = (i: number, body: Buffer, sent = body.length) =>
    begin(
      fleet.gatewayPort,
      Buffer.concat([
        head(CHAT, [`content-length: ${body.length}`, `x-session-id: leaver-${i}`]),
        body.subarray(0, sent),
      ]),
    );
  const all = <T>(each: (i: number) => Promise<T>) =>
    Promise.all(Array.from({ length: CLIENTS }, (_, i) => each(i)));
  /** The pods' requests are ended too, or they would go on for minutes. */
  const podsIdle = () =>
    waitFor("idle pods", async () => {
      const stats = await fleet.podStats();
      return stats.every((s) => s.running === 0 && s.waiting === 0);
    });

  test("in the middle of the body, before the decision", async () => {
    const clients = await all((i) => begun(i, chatWith(WORD.repeat(1000)), 2000));
    await waitFor("the requests", async () => (await active()) === CLIENTS);
    expect(await inFlight()).toBe(0);
    for (const client of clients) client.destroy();
    await waitFor("their end", async () => (await active()) === 0);
    await gaugesAtZero(fleet.adminPort);
  });

  test("in the middle of the body, after the decision", async () => {
    const clients = await all((i) =>
      begun(i, chatWith(WORD.repeat(BEYOND_READ_BYTES / WORD.length)), 600_000),
    );
    await waitFor("the decisions", async () => (await inFlight()) === CLIENTS);
    for (const client of clients) client.destroy();
    await waitFor("their end", async () => (await active()) === 0);
    await gaugesAtZero(fleet.adminPort);
  });

  test("while they wait for the answer", async () => {
    const clients = await all((i) => begun(i, chatWith(`wait ${i}`, { max_tokens: ENDLESS_TOKENS })));
    await waitFor("the decisions", async () => (await inFlight()) === CLIENTS);
    for (const client of clients) client.destroy();
    await waitFor("their end", async () => (await active()) === 0);
    await gaugesAtZero(fleet.adminPort);
    await podsIdle();
  });

  test("in the middle of a stream", async () => {
    const clients = await all((i) =>
      begun(i, chatWith(`stream ${i}`, { max_tokens: ENDLESS_TOKENS, stream: true })),
    );
    await Promise.all(
      clients.map(
        (client) =>
          new Promise<void>((done) => {
            let text = "";
            client.on("data", (part: Buffer) => {
              text += part.toString("latin1");
              if (text.includes("data: ")) done();
            });
          }),
      ),
    );
    expect(await inFlight()).toBe(CLIENTS);
    for (const client of clients) client.destroy();
    await waitFor("their end", async () => (await active()) === 0);
    await gaugesAtZero(fleet.adminPort);
    await podsIdle();
  });
});

test("after all of them every worker's module is alive, nothing failed in it, and nothing counts as under way", async () => {
  await gaugesAtZero(fleet.adminPort);
  const failures = await adminStats(
    fleet.adminPort,
    "^wasm\\..*(reload|failure|fail_)|warmgate_(lost_vms|watchdog)_total$",
  );
  expect(failures.map(([name]) => name)).toContain("wasm.warmgate.vm_reload_failure");
  expect(failures.filter(([, v]) => v !== 0)).toEqual([]);
  expect(await vms(fleet.adminPort, "created")).toBe(vmsCreated);
  expect(fleet.envoy!.output).not.toMatch(/wasm.*(failed|error|trap|unreachable)/i);
  // Each of these goes to a pod that the filter chose, whichever worker has the connection.
  await fleet.gatewayReady();
  const answer = await plain(json(good));
  expect([answer.status, answer.headers.get("x-selected-pod")]).toEqual([
    200,
    answer.headers.get("x-sim-pod"),
  ]);
});
