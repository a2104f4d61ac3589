// Prefill/decode through a real Envoy: what a client gets when a split works, and for each row of the fault table in
// docs/disaggregation.md.
import { request } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { envoyStats, waitFor } from "../../demo/processes.js";
import { TableServer } from "../bench/table-server.js";
import { TestGateway } from "../e2e/gateway-for-test.js";
import { chat } from "../wasm/table.js";
import { podRow } from "../wasm/wire-for-test.js";
import { answering, dying, FaultyPod, hanging, healthy } from "./pods.js";
import { long, parameters, splitting } from "./split-host.js";

const decodes = [new FaultyPod(), new FaultyPod()];
const prefills = [new FaultyPod(), new FaultyPod()];
const all = [...decodes, ...prefills];
let table: TableServer;
let gateway: TestGateway;
const TIMEOUT_MS = 3000;

beforeAll(async () => {
  await Promise.all(all.map((pod) => pod.start()));
  table = await TableServer.create(
    all.map((pod) => pod.address),
    1000,
    "all",
  );
  table.wire.setPods(
    all.map(({ address }, slot) => {
      const role = slot < 2 ? "decode" : "prefill";
      return podRow(slot, table.model, { name: `${role}-${slot % 2}`, address, role });
    }),
  );
  table.wire.setDisaggregation({ ...splitting, timeoutMs: TIMEOUT_MS });
  gateway = await TestGateway.start(
    decodes.map((pod) => pod.address),
    {
      streamPort: await table.listen(),
      prefillPods: prefills.map((pod) => pod.address),
      filter: { debugHeaders: "all" },
    },
  );
  await gateway.ready();
});
afterAll(async () => {
  await gateway?.stop();
  table?.stop();
  for (const pod of all) pod.stop();
});
afterEach(async () => {
  // Whatever happened, nothing stays under way.
  await waitFor("in-flight back to 0", async () => {
    const stats = await envoyStats(gateway.adminPort, "warmgate_");
    return [...stats].every(([name, value]) => !name.includes("inflight") || value === 0);
  });
  for (const pod of all) {
    pod.behave = healthy;
    pod.asked.length = 0;
  }
});

let round = 0;
const fresh = (bytes = 2000) => long(`text ${round++}`, bytes);
const ask = (body: string, headers: Record<string, string> = {}, signal?: AbortSignal) =>
  fetch(`http://127.0.0.1:${gateway.port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
    ...(signal ? { signal } : {}),
  });
const counter = (name: string) => gateway.stat(`warmgate_prefill_${name}_total`);
const decoded = () => decodes.flatMap((pod) => pod.asked.filter((a) => a.body !== ""));
const prefilled = () => prefills.flatMap((pod) => pod.asked);
const withParameters = (body: string) =>
  body.replace("{", `{"kv_transfer_params":${JSON.stringify(parameters)},`);

describe("a split request", () => {
  test("reaches both pods, each with its own body, and the answer names them", async () => {
    const body = JSON.stringify(chat(fresh(), { max_tokens: 64, seed: 1 })).replace(
      '"seed":1',
      '"seed":9007199254740993,"a":1,"a":"\\u00e9"',
    );
    const answer = await ask(body, { authorization: "Bearer k", "x-request-id": "id-1" });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("x-prefill-pod")).toMatch(/^prefill-\d$/);
    expect(answer.headers.get("x-decode-pod")).toMatch(/^decode-\d$/);
    await answer.text();
    expect(prefilled()).toHaveLength(1);
    expect(prefilled()[0]!.headers.authorization).toBe("Bearer k");
    expect(prefilled()[0]!.headers["x-request-id"]).toBe(decoded()[0]!.headers["x-request-id"]);
    expect(prefilled()[0]!.headers["x-gateway-destination-endpoint"]).toBeUndefined();
    expect(prefilled()[0]!.body).toContain('"seed":9007199254740993,"a":1,"a":"\\u00e9"');
    expect(JSON.parse(prefilled()[0]!.body)).toMatchObject({ max_tokens: 1, stream: false });
    expect(decoded()[0]!.body).toBe(withParameters(body));
  });

  test("of 3 MB arrives whole, with and without a content-length", async () => {
    const body = JSON.stringify(chat(fresh(3_000_000)));
    expect((await ask(body)).status).toBe(200);
    expect(decoded()[0]!.body === withParameters(body)).toBe(true);
    const chunked = JSON.stringify(chat(fresh(300_000)));
    const status = await new Promise((resolve, reject) => {
      const req = request(
        { host: "127.0.0.1", port: gateway.port, path: "/v1/chat/completions", method: "POST" },
        (res) => {
          res.resume();
          resolve(res.statusCode);
        },
      );
      req.on("error", reject);
      for (let at = 0; at < chunked.length; at += 50_000) req.write(chunked.slice(at, at + 50_000));
      req.end();
    });
    expect(status).toBe(200);
    expect(decoded().some((asked) => asked.body === withParameters(chunked))).toBe(true);
  });

  test("two hundred at once all arrive, each with its own parameters", async () => {
    for (const pod of prefills)
      pod.behave = ({ body }, response) => {
        const content = (JSON.parse(body) as { messages: { content: string }[] }).messages[0]!.content;
        const mark = content.slice(0, 12);
        response.end(JSON.stringify({ kv_transfer_params: { ...parameters, remote_request_id: mark } }));
      };
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => ask(JSON.stringify(chat(fresh()))).then((a) => a.status)),
    );
    expect(new Set(answers)).toEqual(new Set([200]));
    const bodies = decoded().map((a) => JSON.parse(a.body));
    expect(bodies).toHaveLength(200);
    for (const { kv_transfer_params, messages } of bodies)
      if (kv_transfer_params)
        expect(messages[0].content.startsWith(kv_transfer_params.remote_request_id)).toBe(true);
    expect(bodies.filter((b) => b.kv_transfer_params).length).toBeGreaterThan(0);
  });

  test("a client's own transfer parameters never reach a pod", async () => {
    const answer = await ask(JSON.stringify({ ...chat(fresh()), kv_transfer_params: { remote_host: "x" } }));
    expect(answer.status).toBe(400);
    expect(((await answer.json()) as { error: { code: string } }).error.code).toBe("reserved_field");
    expect(prefilled()).toHaveLength(0);
    expect(decoded()).toHaveLength(0);
  });
});

describe("when the prefill", () => {
  test.each([
    ["answers 500", answering(500, '{"error":{}}'), "failed"],
    ["answers rubbish", answering(200, "<html>no</html>"), "rubbish"],
    ["answers no parameters", answering(200, '{"choices":[]}'), "no_parameters"],
  ])("%s, the next pod is asked, and after that the decode pod prefills", async (_, fault, name) => {
    const before = await counter(name);
    for (const pod of prefills) pod.behave = fault;
    const body = JSON.stringify(chat(fresh()));
    const answer = await ask(body);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("x-prefill-pod")).toBeNull();
    expect(prefilled()).toHaveLength(2);
    expect(decoded()[0]!.body).toBe(body);
    expect((await counter(name)) - before).toBe(2);
  });

  test("hangs, the decode pod prefills at the deadline", async () => {
    for (const pod of prefills) pod.behave = hanging;
    const body = JSON.stringify(chat(fresh()));
    const start = performance.now();
    expect((await ask(body)).status).toBe(200);
    expect(performance.now() - start).toBeGreaterThan(TIMEOUT_MS * 0.9);
    expect(decoded()[0]!.body).toBe(body);
    expect(await counter("timeout")).toBe(1);
  });

  test("is refused by one pod with 4xx, the decode pod answers for itself", async () => {
    for (const pod of prefills) pod.behave = answering(400, '{"error":{"message":"too long"}}');
    for (const pod of decodes) pod.behave = answering(400, '{"error":{"message":"too long, says decode"}}');
    const answer = await ask(JSON.stringify(chat(fresh())));
    expect(answer.status).toBe(400);
    expect(await answer.text()).toContain("says decode");
    expect(prefilled()).toHaveLength(1);
  });

  test("has failed and the policy says error, the client gets 502", async () => {
    table.wire.setDisaggregation({ ...splitting, timeoutMs: TIMEOUT_MS, onFailure: "error" });
    table.publish();
    for (const pod of prefills) pod.behave = answering(500, "{}");
    await waitFor(
      "the policy on the workers",
      async () => (await ask(JSON.stringify(chat(fresh())))).status === 502,
    );
    table.wire.setDisaggregation({ ...splitting, timeoutMs: TIMEOUT_MS });
    table.publish();
    await waitFor("the policy on the workers", async () => {
      for (let i = 0; i < 8; i++) if ((await ask(JSON.stringify(chat(fresh())))).status !== 200) return false;
      return true;
    });
  });
});

describe("after the prefill", () => {
  test("a decode pod that dies is replaced by the other one, with the same parameters", async () => {
    const dead: FaultyPod[] = [];
    for (const pod of decodes)
      pod.behave = (asked, response, req) => {
        if (dead.length === 0) dead.push(pod);
        (dead[0] === pod ? dying : healthy)(asked, response, req);
      };
    const body = JSON.stringify(chat(fresh()));
    const answer = await ask(body);
    expect(answer.status).toBe(200);
    expect(prefilled()).toHaveLength(1);
    expect(decodes.find((pod) => pod !== dead[0])!.asked.at(-1)!.body).toBe(withParameters(body));
  });

  test("no decode pod is left: 503, and the blocks count as left behind", async () => {
    const before = await counter("blocks_left");
    for (const pod of decodes) pod.behave = dying;
    const answer = await ask(JSON.stringify(chat(fresh())));
    expect(answer.status).toBe(503);
    await answer.text();
    await expect.poll(() => counter("blocks_left")).toBeGreaterThan(before);
  });

  test("blocks that have expired make the decode pod answer what its engine is set to answer", async () => {
    for (const pod of decodes)
      pod.behave = ({ body }, response) => {
        const failed = body.includes("remote_engine_id");
        answering(failed ? 500 : 200, failed ? '{"error":{"message":"KV load failed"}}' : "{}")(
          { headers: {}, body },
          response,
          null as never,
        );
      };
    const answer = await ask(JSON.stringify(chat(fresh())));
    expect(answer.status).toBe(500);
    expect(await answer.text()).toContain("KV load failed");
  });
});

test("a client that leaves during the prefill leaves nothing under way, and no decode begins", async () => {
  const before = await counter("orphaned");
  let answerIt = () => {};
  for (const pod of prefills)
    pod.behave = (asked, response, req) => {
      answerIt = () => healthy(asked, response, req);
    };
  const gone = new AbortController();
  const answer = ask(JSON.stringify(chat(fresh())), {}, gone.signal).catch(() => null);
  await expect.poll(() => prefilled().length).toBe(1);
  gone.abort();
  expect(await answer).toBeNull();
  await expect.poll(() => counter("orphaned")).toBe(before + 1);
  answerIt();
  await expect.poll(() => counter("blocks_left")).toBeGreaterThan(0);
  expect(decoded()).toHaveLength(0);
});

// Last: pods that refuse are left out for a while.
test("prefill pods that refuse connections are left out, and the decode pod prefills", async () => {
  for (const pod of prefills) pod.stop();
  const body = JSON.stringify(chat(fresh()));
  expect((await ask(body)).status).toBe(200);
  expect(decoded().at(-1)!.body).toBe(body);
  // The other worker hears of it with its next tick.
  await expect
    .poll(async () => {
      expect((await ask(JSON.stringify(chat(fresh())))).status).toBe(200);
      return counter("no_pod");
    })
    .toBeGreaterThan(0);
});
