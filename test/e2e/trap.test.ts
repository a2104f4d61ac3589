// A module that traps with requests in every state: real Envoy, one worker, pods that answer in parts.
import type { ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { built } from "../../agent/package-root.js";
import { type Running, waitFor } from "../../demo/processes.js";
import { requestsAtEnvoy } from "./admin-stats.js";
import { TestGateway } from "./gateway-for-test.js";
import { Upstream } from "./upstream.js";

const BODY = JSON.stringify({ model: "m", messages: [{ role: "user", content: "hello ".repeat(200) }] });
const HALF = BODY.length >> 1;

let pod: Upstream;
let gateway: TestGateway;
let envoy: Running;
/** Answers that have begun and wait to be gone on with, by the client's name for them. */
const waiting = new Map<string, ServerResponse>();

async function start(failurePolicy?: "FAIL_OPEN"): Promise<void> {
  pod = await Upstream.start();
  pod.handler = (seen, res) => {
    const how = String(seen.headers["x-answer"] ?? "");
    if (!how) return false;
    if (how === "stream") {
      res.writeHead(200, { "content-type": "text/event-stream" });
      res.write("data: 1\n\n");
    } else if (how === "json") {
      res.writeHead(200, { "content-type": "application/json", "content-length": "39" });
      res.write('{"usage":{"compl');
    }
    waiting.set(how, res);
    return true;
  };
  gateway = await TestGateway.start([pod.address], {
    wasm: built("warmgate-trap.wasm"),
    ...(failurePolicy ? { failurePolicy } : {}),
    filter: { debugHeaders: "all" },
    workers: 1,
  });
  envoy = gateway.envoy;
}
afterEach(async () => {
  await gateway?.stop();
  pod.stop();
});

class Client {
  readonly socket: Socket;
  got = "";
  closed = false;
  constructor() {
    this.socket = connect(gateway.port, "127.0.0.1");
    this.socket.on("data", (d: Buffer) => {
      this.got += d.toString("latin1");
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.closed = true;
    });
  }
  /** Sends a chat request's head, then `sent` bytes of its body. */
  post(sent: number, headers = "", chunked = false): this {
    const length = chunked ? "transfer-encoding: chunked" : `content-length: ${BODY.length}`;
    this.socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n${length}\r\n${headers}\r\n`,
    );
    if (sent) this.socket.write(chunked ? chunk(BODY.slice(0, sent)) : BODY.slice(0, sent));
    return this;
  }
  get status(): number {
    return Number(this.got.slice(9, 12));
  }
}
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

const active = () => requestsAtEnvoy(gateway.adminPort);

test.each([
  ["fail_open goes on", undefined, 200],
  ["failure_policy: FAIL_OPEN is refused or cut", "FAIL_OPEN", 503],
] as const)(
  "each open request under %s with its next event, and later ones pass by the module",
  async (_, policy, status) => {
    await start(policy);
    const held = new Client().post(0);
    const half = new Client().post(HALF);
    const chunks = new Client().post(HALF, "", true);
    const late = new Client().post(BODY.length, "x-answer: late\r\n");
    const json = new Client().post(BODY.length, "x-answer: json\r\n");
    const stream = new Client().post(BODY.length, "x-answer: stream\r\n");
    const silent = new Client().post(HALF);
    await waitFor("the pod's requests", async () => waiting.size === 3, envoy);
    await waitFor("the stream's beginning", async () => stream.got.includes("data: 1"), envoy);
    await waitFor("the requests at Envoy", async () => (await active()) === 7, envoy);

    const trapped = new Client();
    trapped.socket.write("GET /v1/models HTTP/1.1\r\nhost: g\r\nx-trap: 1\r\n\r\n");
    await waitFor("the trap", async () => trapped.status !== 0, envoy);
    expect(envoy.output).toMatch(/unreachable/);

    held.socket.write(BODY);
    half.socket.write(BODY.slice(HALF));
    chunks.socket.write(`${chunk(BODY.slice(HALF))}0\r\n\r\n`);
    waiting.get("late")!.end("late");
    waiting.get("json")!.end('etion_tokens":7}}      ');
    waiting.get("stream")!.write("data: 2\n\n");
    for (const [name, client] of Object.entries({ held, half, chunks, late, json, trapped })) {
      await waitFor(`an answer to ${name}`, async () => client.status !== 0, envoy);
      expect(client.status, name).toBe(status);
    }
    await waitFor("the stream", async () => stream.closed || stream.got.includes("data: 2"), envoy);
    expect(stream.closed).toBe(policy === "FAIL_OPEN");
    // Without an event nothing happens to a request until it idles out.
    expect(silent.got).toBe("");
    silent.socket.destroy();

    const later = new Client().post(BODY.length);
    await waitFor("an answer to a later request", async () => later.status !== 0, envoy);
    expect(later.status).toBe(200);
    expect(pod.seen.at(-1)!.headers["x-session-id"]).toBeUndefined();
  },
);
