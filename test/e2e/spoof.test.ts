// Forged routing headers against a real Envoy: natively, by the filter alone, and with the module trapped.
import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { built } from "../../agent/package-root.js";
import { ROUTING_HEADERS } from "../../demo/envoy-config.js";
import { TestGateway } from "./gateway-for-test.js";
import { Upstream } from "./upstream.js";

const CHAT = "/v1/chat/completions";
const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "hello" }] });

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

/** Raw headers keep case and repetition as they are given. */
function send(port: number, method: string, path: string, raw: string[], payload?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = ["host", "gateway", ...raw];
    if (payload !== undefined)
      headers.push("content-type", "application/json", "content-length", String(Buffer.byteLength(payload)));
    const req = request({ host: "127.0.0.1", port, method, path, headers, agent: false }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (t: string) => {
        text += t;
      });
      res.on("end", () => resolve({ status: res.statusCode!, headers: res.headers, text }));
    });
    req.on("error", reject);
    req.end(payload);
  });
}

describe.each([
  ["native removal and the filter", { nativeRemoval: true, wasm: "warmgate.wasm", trap: false }],
  ["the filter alone", { nativeRemoval: false, wasm: "warmgate.wasm", trap: false }],
  ["native removal with the module trapped", { nativeRemoval: true, wasm: "warmgate-trap.wasm", trap: true }],
])("a forged routing header with %s", (_, { nativeRemoval, wasm, trap }) => {
  let pods: Upstream[];
  let gateway: TestGateway;

  beforeAll(async () => {
    pods = await Promise.all([Upstream.start(), Upstream.start(), Upstream.start()]);
    gateway = await TestGateway.start(
      pods.map((p) => p.address),
      { wasm: built(wasm), nativeRemoval, workers: 1 },
    );
    if (trap) {
      await send(gateway.port, "GET", "/v1/models", ["x-trap", "1"]).catch(() => undefined);
      const after = await send(gateway.port, "POST", CHAT, [], body);
      expect(after.status).toBe(200);
      // The filter gives every request a session; without one the VM is gone.
      expect(pods.flatMap((p) => p.seen).at(-1)!.headers["x-session-id"]).toBeUndefined();
    }
  });
  afterAll(async () => {
    await gateway?.stop();
    for (const p of pods) p.stop();
  });

  test.each([
    ["POST", CHAT, body],
    ["GET", "/v1/models", undefined],
    ["POST", "/not/scheduled", body],
  ])("never reaches a pod and never steers: %s %s", async (method, path, payload) => {
    for (const target of pods) {
      for (const p of pods) p.seen.length = 0;
      const forged = ROUTING_HEADERS.flatMap((name) => {
        const mixed = name.replace(/(^|-)([a-z])/g, (_m, dash: string, c: string) => dash + c.toUpperCase());
        return [name, target.address, mixed, target.address];
      });
      for (let i = 0; i < 4; i++) {
        const r = await send(gateway.port, method, path, [...forged, "x-session-id", `fixed`], payload);
        expect(r.status).toBe(200);
      }
      const seen = pods.flatMap((p) => p.seen);
      expect(seen).toHaveLength(4);
      for (const s of seen) for (const name of ROUTING_HEADERS) expect(s.headers).not.toHaveProperty(name);
      // One session is one pod, whichever pod the forged header names.
      expect(pods.filter((p) => p.seen.length > 0)).toHaveLength(1);
      chosen.add(pods.findIndex((p) => p.seen.length > 0));
    }
    expect(chosen.size).toBe(1);
    chosen.clear();
  });
  const chosen = new Set<number>();

  test.skipIf(trap)("a reserved body field is refused, also when it is repeated or escaped", async () => {
    for (const p of pods) p.seen.length = 0;
    for (const payload of [
      '{"model":"m","messages":[],"kv_transfer_params":{"remote_host":"6.6.6.6"}}',
      '{"kv_transfer_params":null,"model":"m","messages":[],"kv_transfer_params":{}}',
      '{"model":"m","messages":[],"\\u006bv_transfer_params":{}}',
    ]) {
      const r = await send(gateway.port, "POST", CHAT, [], payload);
      expect(r.status).toBe(400);
      expect(JSON.parse(r.text).error.code).toBe("reserved_field");
    }
    expect(pods.flatMap((p) => p.seen)).toHaveLength(0);
  });
});

describe("without a table", () => {
  let pods: Upstream[];
  let gateway: TestGateway;
  beforeAll(async () => {
    pods = await Promise.all(Array.from({ length: 4 }, () => Upstream.start()));
    gateway = await TestGateway.start(pods.map((p) => p.address));
  });
  afterAll(async () => {
    await gateway?.stop();
    for (const p of pods) p.stop();
  });

  test("1,000 conversations of one API key and one system prompt spread over the pods, each staying with its own", async () => {
    const conversation = (i: number, turns: number) =>
      JSON.stringify({
        model: "m",
        messages: [
          { role: "system", content: "You are a helpful assistant." },
          ...Array.from({ length: turns }, (_, t) => [
            { role: "user", content: `question ${i} turn ${t}` },
            ...(t === turns - 1 ? [] : [{ role: "assistant", content: "answer" }]),
          ]).flat(),
        ],
      });
    const homes: string[] = [];
    for (let i = 0; i < 1000; i++) {
      const r = await send(gateway.port, "POST", CHAT, ["authorization", "Bearer one"], conversation(i, 1));
      homes.push(String(r.headers["x-upstream"]));
    }
    const counts = pods.map((p) => p.seen.length);
    expect(Math.max(...counts)).toBeLessThanOrEqual(1.6 * 250);
    for (let i = 0; i < 1000; i += 50) {
      const r = await send(gateway.port, "POST", CHAT, ["authorization", "Bearer one"], conversation(i, 3));
      expect(String(r.headers["x-upstream"])).toBe(homes[i]);
    }
  });
});
