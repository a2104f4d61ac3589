// Request controls and the queue in a real Envoy.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect } from "node:http2";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../demo/processes.js";
import { ascending, quantile } from "../../demo/quantile.js";
import { chat } from "../wasm/table.js";
import { ControlsGateway } from "./controls-gateway.js";
import type { Answer } from "./post.js";
import type { Seen } from "./upstream.js";

const sha = (text: string) => createHash("sha256").update(text).digest("hex");
const trusted = { authorization: "Bearer t" };
const callers = { tokens: [sha("t")] };

let gateway: ControlsGateway;
/** Answers that pods hold back. */
const held: { seen: Seen; res: ServerResponse }[] = [];

beforeAll(async () => {
  gateway = await ControlsGateway.start(2, 1);
  const row = (name: string) => ({
    name,
    model: gateway.table.model,
    lora: "",
    template: null,
    bytesPerToken: 4,
  });
  gateway.table.wire.setModels([row("m"), row("another-model")]);
  await gateway.rules({}, callers);
});
afterAll(() => gateway.stop());
afterEach(() => {
  release();
  for (const pod of gateway.pods) {
    pod.seen.length = 0;
    pod.handler = () => false;
  }
});

function hold(): void {
  for (const pod of gateway.pods)
    pod.handler = (seen, res) => {
      held.push({ seen, res });
      return true;
    };
}
function release(count = held.length): void {
  for (const { res } of held.splice(0, count)) if (!res.destroyed) res.end("{}");
}
const seen = () => gateway.pods.flatMap((p) => p.seen);

describe("controls", () => {
  test("a caller's timeout ends the request, capped; an untrusted Envoy header does not", async () => {
    hold();
    const quick = await gateway.send(chat("a"), { "x-request-timeout": "300ms" });
    expect(quick.status).toBe(504);
    const forged = gateway.send(chat("b"), { "x-envoy-upstream-rq-timeout-ms": "1" });
    await waitFor("the request", async () => held.length === 2);
    release();
    expect((await forged).status).toBe(200);
  });

  test("a caller's retries are honoured", async () => {
    for (const pod of gateway.pods)
      pod.handler = (_, res) => {
        res.statusCode = 503;
        res.end();
        return true;
      };
    expect((await gateway.send(chat("a"), { "x-max-retries": "0" })).status).toBe(503);
    expect(seen()).toHaveLength(1);
    expect((await gateway.send(chat("a"), { "x-max-retries": "2" })).status).toBe(503);
    expect(seen()).toHaveLength(4);
  });

  test.each([100, 200_000])("a model is changed in a body of %i bytes, its length too", async (bytes) => {
    await gateway.rules(
      {
        requests: {
          overrides: ["another-model"],
          rewrites: [{ model: "public", targets: [{ model: "m" }] }],
        },
      },
      callers,
    );
    const body = `{"messages":[{"role":"user","content":"${"x".repeat(bytes)}"}],"seed":9007199254740993, "model":"public"}`;
    expect((await gateway.send(body)).status).toBe(200);
    expect((await gateway.send(body, { ...trusted, "x-model-override": "another-model" })).status).toBe(200);
    const [one, two] = seen().sort((a, b) => a.bytes - b.bytes) as [Seen, Seen];
    expect(one.body === body.replace('"public"', '"m"')).toBe(true);
    expect(one.headers["content-length"]).toBe(String(one.bytes));
    expect(two.body === body.replace('"public"', '"another-model"')).toBe(true);
  });

  test("debug headers go to trusted callers alone", async () => {
    expect((await gateway.send(chat("a"), trusted)).headers["x-selected-pod"]).toMatch(/^pod-/);
    expect((await gateway.send(chat("a"))).headers["x-selected-pod"]).toBeUndefined();
  });
});

describe("a subset of pods", () => {
  test("from a trusted caller is kept to, and goes no further; an empty one is 503", async () => {
    await gateway.rules({}, callers);
    const target = gateway.pods[1]!;
    for (let i = 0; i < 5; i++) {
      const subset = { "x-gateway-destination-endpoint-subset": target.address };
      expect((await gateway.send(chat(`only there ${i}`), { ...trusted, ...subset })).status).toBe(200);
    }
    expect(target.seen).toHaveLength(5);
    for (const { headers } of target.seen)
      expect(headers).not.toHaveProperty("x-gateway-destination-endpoint-subset");
    const nobody = { "x-gateway-destination-endpoint-subset": "10.9.9.9:1" };
    expect((await gateway.send(chat("x"), { ...trusted, ...nobody })).status).toBe(503);
    expect((await gateway.send(chat("x"), nobody)).status).toBe(200);
  });

  test.each([
    ["a list", (addresses: string[]) => [addresses[1], "10.9.9.9:1"]],
    ["a text", (addresses: string[]) => `${addresses[1]},10.9.9.9:1`],
  ])("in metadata that another filter set is kept to: %s", async (_, restrict) => {
    const other = await ControlsGateway.start(3, 1, restrict);
    try {
      await other.rules({ requests: { subsetMetadata: true } }, callers);
      for (let i = 0; i < 8; i++) expect((await other.send(chat(`x ${i}`))).status).toBe(200);
      expect(other.pods.map((p) => p.seen.length)).toEqual([0, 8, 0]);
    } finally {
      await other.stop();
    }
  });
});

describe("decisions", () => {
  test("are recorded with every candidate, and shown to access logs", async () => {
    await gateway.rules({ decisions: { sampleRate: 1, filterState: true } }, callers);
    gateway.table.decisions.length = 0;
    const id = "00000000-0000-4000-8000-000000000001";
    const answer = await gateway.send(chat("why there"), { ...trusted, "x-request-id": id });
    const recorded = () => gateway.table.decisions.find((d) => d.requestId === id);
    await waitFor("the record", async () => recorded() !== undefined);
    const { reason, candidates, considered, passed, tableSequence } = recorded()!;
    // A pod that reset a request of the tests before is left out for a while.
    expect([reason, considered]).toEqual(["routed", 2]);
    expect([1, 2]).toContain(passed);
    expect(tableSequence).toBeGreaterThan(0);
    expect(candidates.map((c) => c.rank)).toEqual([1, passed === 2 ? 2 : 0]);
    for (const { cost } of candidates) expect(cost).toBeGreaterThan(0);
    expect(gateway.pods.find((p) => p.address === candidates[0]!.address)!.seen).toHaveLength(1);
    const line = `${id} routed ${answer.headers["x-selected-pod"]} 0`;
    // Envoy writes its log every second or so, and when it ends.
    await waitFor("the log", async () => readFileSync(gateway.accessLog, "utf8").includes(line));
  });
});

describe("the queue", () => {
  const rules = (ttl: string) =>
    gateway.rules(
      {
        saturation: { detector: "concurrency-detector", maxConcurrency: 1 },
        flowControl: { enabled: true, defaultRequestTTL: ttl },
        requests: { rewrites: [{ model: "public", targets: [{ model: "m" }] }] },
      },
      callers,
    );
  const queued = async (n: number) =>
    waitFor(`${n} waiting`, async () => (await gateway.stat("warmgate_queue_requests")) === n);

  test("holds requests until pods have room, body and all, and drops those whose client left", async () => {
    await rules("60s");
    hold();
    const running = [gateway.send(chat("a")), gateway.send(chat("b"))];
    await waitFor("both run", async () => held.length === 2);
    const long = "y".repeat(150_000);
    const waiting = [gateway.send(chat(long, { model: "public" })), gateway.send(chat("short"))];
    await queued(2);
    const leaving = new AbortController();
    const left = gateway.send(chat("never"), {}, leaving.signal).catch(() => null);
    await queued(3);
    leaving.abort();
    await left;
    await queued(2);
    expect(held).toHaveLength(2);
    release();
    await waitFor("the others run", async () => held.length === 2);
    release();
    for (const r of [...running, ...waiting]) expect((await r).status).toBe(200);
    const bodies = seen().map((s) => s.body);
    expect(bodies.filter((b) => b === JSON.stringify(chat(long)))).toHaveLength(1);
    expect(bodies.filter((b) => b === JSON.stringify(chat("short")))).toHaveLength(1);
    expect(bodies.some((b) => b.includes("never"))).toBe(false);
    await queued(0);
  });

  test("holds a request for the pods of its subset while others have room", async () => {
    await rules("60s");
    hold();
    const target = gateway.pods[1]!;
    const only = { ...trusted, "x-gateway-destination-endpoint-subset": target.address };
    const running = gateway.send(chat("a"), only);
    await waitFor("the first one to run", async () => held.length === 1);
    const waiting = gateway.send(chat("b"), only);
    await queued(1);
    const elsewhere = gateway.send(chat("c"));
    await waitFor("another one to run elsewhere", async () => held.length === 2);
    expect(target.seen).toHaveLength(1);
    // The one that runs elsewhere makes no room for it.
    held.splice(1, 1)[0]!.res.end("{}");
    expect((await elsewhere).status).toBe(200);
    expect(await gateway.stat("warmgate_queue_requests")).toBe(1);
    release(1);
    expect((await running).status).toBe(200);
    await waitFor("its turn", async () => held.length === 1);
    release();
    expect((await waiting).status).toBe(200);
    expect(target.seen).toHaveLength(2);
    await queued(0);
  });

  test("lets streams of one HTTP/2 connection through in each other's end, also when that is a reset", async () => {
    await rules("60s");
    let served = 0;
    for (const pod of gateway.pods)
      pod.handler = (_, res) => {
        // Every fifth answer breaks off after its head: what ends a stream is then a reset from the pod.
        if (++served % 5 === 0) {
          res.write("{");
          setTimeout(() => res.destroy(), 2);
        } else res.end("{}");
        return true;
      };
    const session = connect(`http://127.0.0.1:${gateway.port}`);
    const one = (i: number) =>
      new Promise<number>((resolve) => {
        const stream = session.request({
          ":method": "POST",
          ":path": "/v1/chat/completions",
          "content-type": "application/json",
        });
        let status = 0;
        stream.on("response", (headers) => {
          status = Number(headers[":status"]);
        });
        stream.on("error", () => {});
        stream.on("close", () => resolve(status));
        stream.resume();
        stream.end(JSON.stringify(chat(`stream ${i}`)));
      });
    const statuses = await Promise.all(Array.from({ length: 60 }, (_, i) => one(i)));
    session.destroy();
    // A pod that resets is left out for a while; with both out, both count again.
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(served).toBeGreaterThanOrEqual(60);
    await queued(0);
  });

  test("does not let those of a broken connection through in one another's end", async () => {
    await rules("60s");
    hold();
    const session = connect(`http://127.0.0.1:${gateway.port}`);
    session.on("error", () => {});
    for (let i = 0; i < 20; i++) {
      const stream = session.request({
        ":method": "POST",
        ":path": "/v1/chat/completions",
        "content-type": "application/json",
      });
      stream.on("error", () => {});
      stream.end(JSON.stringify(chat(`stream ${i}`)));
    }
    await waitFor("two run", async () => held.length === 2);
    await queued(18);
    const before = await gateway.stat("warmgate_queue_left_total");
    for (const pod of gateway.pods) pod.handler = () => false;
    session.destroy();
    await queued(0);
    expect((await gateway.send(chat("next"))).status).toBe(200);
    // All but one or two whom a tick let through between two resets.
    const left = async () => (await gateway.stat("warmgate_queue_left_total")) - before;
    await waitFor("those who left the queue", async () => (await left()) >= 15);
  });

  test("refuses with 429 and a reason after the longest wait", async () => {
    await rules("500ms");
    hold();
    const running = [gateway.send(chat("a")), gateway.send(chat("b"))];
    await waitFor("both run", async () => held.length === 2);
    const late: Answer = await gateway.send(chat("c"));
    expect(late).toMatchObject({
      status: 429,
      headers: { "retry-after": "1", "x-llm-d-request-dropped-reason": "rejected-ttl-expired" },
    });
    expect(JSON.parse(late.text).error.code).toBe("queue_timeout");
    release();
    for (const r of running) expect((await r).status).toBe(200);
  });
});

describe("overload", () => {
  const SERVICE_MS = 100;
  const SLOTS = 4;

  /** Pods that serve four requests at a time, each as long, and queue what is beyond; as engines do. */
  function serve(): void {
    for (const pod of gateway.pods) {
      const queue: ServerResponse[] = [];
      let busy = 0;
      const next = () => {
        const res = queue.shift();
        if (!res) return;
        busy++;
        setTimeout(() => {
          res.end("{}");
          busy--;
          next();
        }, SERVICE_MS);
      };
      pod.handler = (_, res) => {
        queue.push(res);
        if (busy < SLOTS) next();
        return true;
      };
    }
  }

  /** `clients` that send one request after the other for `ms`, and wait a little when they are turned away. */
  async function load(clients: number, headers: Record<string, string>, ms: number): Promise<Answer[]> {
    const answers: Answer[] = [];
    const end = performance.now() + ms;
    await Promise.all(
      Array.from({ length: clients }, async (_, i) => {
        for (let n = 0; performance.now() < end; n++) {
          const answer = await gateway.send(chat(`${clients} ${i} ${n}`), headers);
          // Who has more clients has more answers after the end; they belong to nobody's share.
          if (performance.now() < end || answer.status !== 200) answers.push(answer);
          if (answer.status === 429) await new Promise((done) => setTimeout(done, 50));
        }
      }),
    );
    return answers;
  }
  const p90 = (answers: Answer[]) => quantile(ascending(answers.map((a) => a.ms)), 0.9);
  const statuses = (answers: Answer[]) => [...new Set(answers.map((a) => a.status))].sort();

  // Latencies are compared: a machine that is short of breath for a moment gets another try.
  test("at twice capacity high priority keeps its latency, sheddable gets 429, tenants share, nothing else fails", {
    retry: 2,
  }, async () => {
    await gateway.rules(
      {
        saturation: { detector: "concurrency-detector", maxConcurrency: SLOTS },
        flowControl: { enabled: true },
      },
      callers,
    );
    serve();
    const high = { ...trusted, "x-priority": "high" };
    const alone = await load(2, high, 1500);
    // Eight places, of which high priority takes two: 28 tenants' clients want six, beside those that are turned away.
    const [urgent, low, one, two] = await Promise.all([
      load(2, high, 4000),
      load(2, { "x-priority": "low" }, 4000),
      load(20, { "x-api-key": "one" }, 4000),
      load(8, { "x-api-key": "two" }, 4000),
    ]);
    expect(statuses([...alone, ...urgent, ...one, ...two])).toEqual([200]);
    expect(statuses(low)).toContain(429);
    expect(statuses(low).filter((s) => s !== 200)).toEqual([429]);
    expect(p90(urgent)).toBeLessThan(2 * p90(alone));
    // Who has more clients waiting gets no more through.
    const share = one.length / (one.length + two.length);
    expect(share).toBeGreaterThan(0.45);
    expect(share).toBeLessThan(0.55);
  });
});
