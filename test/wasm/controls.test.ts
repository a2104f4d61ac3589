// What clients ask for in headers, against the built filter: trust, caps, cache policy, model overrides, overload.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Callers, RuleInput } from "../../agent/policy/request-rules.js";
import { DESTINATION, type Headers, Host, type Request, STOP } from "./host.js";
import { chat, renderChatml, TestAgent } from "./table.js";

const configuration = { debugHeaders: "trusted" };
const TIMEOUT = "x-envoy-upstream-rq-timeout-ms";
const RETRIES = "x-envoy-max-retries";
const words = (seed: string, bytes = 4000) =>
  `${seed} `.repeat(Math.ceil(bytes / (seed.length + 1))).slice(0, bytes);
const sha = (text: string) => createHash("sha256").update(text).digest("hex");
const text = new TextEncoder();

async function gateway(input: RuleInput = {}, callers: Partial<Callers> = {}, pods = 3) {
  const agent = await TestAgent.create(pods, { debugHeaders: "trusted" });
  const host = new Host({ configuration });
  host.receive(agent.snapshot());
  host.receive(agent.rules(input, callers));
  return { agent, host };
}

/** Two pods with long queues: sheddable traffic is refused, other traffic is not. */
const busy = { saturation: { detector: "utilization-detector" as const } };
async function saturated(callers: Partial<Callers> = {}, input: RuleInput = busy) {
  const made = await gateway(input, callers);
  made.host.receive(made.agent.loads(() => ({ waiting: 5 })));
  return made;
}
const served = (r: Request) => r.header(DESTINATION) !== undefined && r.reply === null;

describe("trust", () => {
  const trustedDebug = (host: Host, headers: Headers, prepare: (r: Request) => void = () => {}) => {
    const r = host.request([[":method", "POST"], [":path", "/v1/chat/completions"], ...headers]);
    prepare(r);
    r.onHeaders();
    r.onBody(JSON.stringify(chat(words("who"))), true);
    r.onResponse(r.header(DESTINATION)!.split(",")[0]!);
    return r.response("x-selected-pod") !== undefined;
  };

  test("with nobody trusted no caller sees debug headers, whatever it sends", async () => {
    const { host } = await gateway();
    expect(trustedDebug(host, [["authorization", "Bearer k"]])).toBe(false);
    expect(trustedDebug(host, [["x-team", "platform"]])).toBe(false);
  });

  test("comes with a token whose digest the policy names, as bearer or API key, and with no other", async () => {
    const { host } = await gateway({}, { tokens: [sha("other"), sha("s3cret")] });
    expect(trustedDebug(host, [["authorization", "Bearer s3cret"]])).toBe(true);
    expect(trustedDebug(host, [["x-api-key", "s3cret"]])).toBe(true);
    expect(trustedDebug(host, [["authorization", "Bearer s3cre"]])).toBe(false);
    expect(trustedDebug(host, [["authorization", "s3cret "]])).toBe(false);
    expect(trustedDebug(host, [])).toBe(false);
  });

  test("digests credentials of every length as SHA-256 does", async () => {
    const keys = [1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 1000].map((n) => "k".repeat(n));
    const { host } = await gateway({}, { tokens: keys.map(sha) });
    for (const key of keys) expect(trustedDebug(host, [["x-api-key", key]]), String(key.length)).toBe(true);
    expect(trustedDebug(host, [["x-api-key", "k".repeat(66)]])).toBe(false);
  });

  test("comes with a verified claim, unless the header is there twice", async () => {
    const { host } = await gateway({}, { claimHeader: "x-jwt-team", claimValues: ["platform", "ops"] });
    expect(trustedDebug(host, [["x-jwt-team", "ops"]])).toBe(true);
    expect(trustedDebug(host, [["x-jwt-team", "guests"]])).toBe(false);
    expect(
      trustedDebug(host, [
        ["x-jwt-team", "ops"],
        ["x-jwt-team", "ops"],
      ]),
    ).toBe(false);
  });

  test("comes with a client certificate's URI or subject, exact or by its beginning", async () => {
    const { host } = await gateway(
      {},
      { principals: ["spiffe://corp/ns/batch/*", "CN=admin,O=Corp", "spiffe://corp/sa/one"] },
    );
    const named = (name: string, value: string) =>
      trustedDebug(host, [], (r) => r.properties.set(name, text.encode(value)));
    const uri = "connection\0uri_san_peer_certificate";
    expect(named(uri, "spiffe://corp/ns/batch/sa/x")).toBe(true);
    expect(named(uri, "spiffe://corp/sa/one")).toBe(true);
    expect(named(uri, "spiffe://corp/sa/one2")).toBe(false);
    expect(named(uri, "spiffe://corp/ns/bat")).toBe(false);
    expect(named("connection\0subject_peer_certificate", "CN=admin,O=Corp")).toBe(true);
    expect(trustedDebug(host, [])).toBe(false);
  });

  test("is not asked of the host for requests that want nothing", async () => {
    const agent = await TestAgent.create(3, { debugHeaders: "none" });
    const plain = new Host({ configuration });
    plain.receive(agent.snapshot());
    plain.receive(agent.rules({}, { principals: ["a"] }));
    plain.chat(chat("hello"));
    plain.chat(chat("hello"), [["x-priority", "low"]]);
    expect(plain.calls.get("proxy_get_property")).toBeUndefined();
    plain.chat(chat("hello"), [["x-priority", "high"]]);
    expect(plain.calls.get("proxy_get_property")).toBe(2);
  });
});

describe("priority", () => {
  test.each([
    ["x-priority", "low", true],
    ["x-priority", "-1", true],
    ["x-priority", "-999999", true],
    ["x-priority", "normal", false],
    ["x-priority", "0", false],
    ["x-priority", "high", false],
    ["x-priority", "nonsense", false],
    ["x-priority", "-", false],
    ["x-llm-d-inference-objective", "batch", true],
    ["x-gateway-inference-objective", "batch", true],
    ["x-llm-d-inference-objective", "chat", false],
    ["x-llm-d-inference-objective", "unknown", false],
  ])("%s: %s of a saturated pool, sheddable %s", async (name, value, shed) => {
    const { host } = await saturated({}, { ...busy, requests: { objectives: { batch: -5, chat: 7 } } });
    const r = host.chat(chat(words("p")), [[name, value]]);
    expect(served(r)).toBe(!shed);
    if (!shed) return;
    expect(r.reply).toMatchObject({
      status: 429,
      headers: { "retry-after": "1", "x-llm-d-request-dropped-reason": "rejected-saturated" },
    });
    expect(JSON.parse(r.reply!.body).error.code).toBe("saturated");
    r.end();
  });

  test("x-priority counts before an objective", async () => {
    const { host } = await saturated({}, { ...busy, requests: { objectives: { batch: -5 } } });
    const both: Headers = [
      ["x-llm-d-inference-objective", "batch"],
      ["x-priority", "normal"],
    ];
    expect(served(host.chat(chat("x"), both))).toBe(true);
  });

  test("of an unsaturated pool nobody is refused", async () => {
    const { host, agent } = await gateway(busy);
    host.receive(agent.loads(({ slot }) => ({ waiting: slot === 0 ? 14 : 0 })));
    expect(served(host.chat(chat("x"), [["x-priority", "low"]]))).toBe(true);
  });
});

describe("saturation", () => {
  const low: Headers = [["x-priority", "low"]];
  // Mean over three pods of max(waiting / 5, use / 0.8), written out.
  test.each([
    [[5, 5, 5], [0, 0, 0], true],
    [[4, 5, 5], [0, 0, 0], false],
    [[15, 0, 0], [0, 0, 0], true],
    [[14, 0, 0], [0, 0, 0], false],
    [[0, 0, 0], [0.8, 0.8, 0.8], true],
    [[0, 0, 0], [0.79, 0.8, 0.8], false],
    [[5, 0, 0], [0.1, 0.8, 0.9], true],
  ])("utilization: waiting %j and cache use %j is saturated: %s", async (waiting, use, full) => {
    const { host, agent } = await gateway(busy);
    host.receive(agent.loads(({ slot }) => ({ waiting: waiting[slot]!, kvUsage: use[slot]! })));
    expect(served(host.chat(chat("x"), low))).toBe(!full);
  });

  test("utilization: load columns that are too old refuse nobody", async () => {
    const { host, agent } = await gateway(busy);
    host.receive(agent.loads(() => ({ waiting: 50, loadAgeMs: 31_000 })));
    expect(served(host.chat(chat("x"), low))).toBe(true);
  });

  test("concurrency: what is in flight over all pods against what may be", async () => {
    const { host } = await gateway({ saturation: { detector: "concurrency-detector", maxConcurrency: 2 } });
    const open = Array.from({ length: 6 }, (_, i) => host.chat(chat(words(`c${i}`))));
    expect(open.every(served)).toBe(true);
    expect(host.chat(chat("x"), low).reply?.status).toBe(429);
    open[0]!.end();
    expect(served(host.chat(chat("x"), low))).toBe(true);
  });

  test("concurrency in tokens: prompt tokens that have no first token yet", async () => {
    const { host } = await gateway({
      saturation: {
        detector: "concurrency-detector",
        concurrencyMode: "tokens",
        maxTokenConcurrency: 3000,
        maxConcurrency: 1,
      },
    });
    const open = Array.from({ length: 4 }, (_, i) => host.chat(chat(words(`c${i}`, 4000))));
    expect(host.chat(chat("x"), low).reply?.status).toBe(429);
    for (const r of open) {
      r.onResponse(r.header(DESTINATION)!.split(",")[0]!);
      r.onResponseBody(10);
    }
    expect(served(host.chat(chat("x"), low))).toBe(true);
  });
});

describe("caps", () => {
  test.each([
    ["30s", "30000"],
    ["1500ms", "1500"],
    ["2m", "60000"],
    ["1h", "60000"],
    ["0s", undefined],
    ["30", undefined],
    ["s", undefined],
    ["-1s", undefined],
    ["1.5s", undefined],
    ["9999999999s", undefined],
  ])("x-request-timeout: %s under a cap of 1m becomes %s", async (asked, written) => {
    const { host } = await gateway({ requests: { maxTimeout: "1m" } });
    const r = host.chat(chat("x"), [
      ["x-request-timeout", asked],
      [TIMEOUT, "1"],
    ]);
    expect(r.header(TIMEOUT)).toBe(written);
    expect(served(r)).toBe(true);
  });

  test.each([
    ["2", "2"],
    ["0", "0"],
    ["99", "3"],
    ["x", undefined],
    ["-1", undefined],
  ])("x-max-retries: %s under a cap of 3 becomes %s", async (asked, written) => {
    const { host } = await gateway();
    expect(
      host
        .chat(chat("x"), [
          ["x-max-retries", asked],
          [RETRIES, "50"],
        ])
        .header(RETRIES),
    ).toBe(written);
  });

  test("a cap of 0s leaves the wish unheard, and so does a filter without rules", async () => {
    const { host } = await gateway({ requests: { maxTimeout: "0s" } });
    expect(host.chat(chat("x"), [["x-request-timeout", "5s"]]).header(TIMEOUT)).toBeUndefined();
    const bare = new Host({ configuration });
    expect(bare.chat(chat("x"), [["x-request-timeout", "5s"]]).header(TIMEOUT)).toBeUndefined();
  });

  test("nothing that one request asked for is left for the next", async () => {
    const { host } = await gateway();
    host.chat(chat("x"), [["x-request-timeout", "5s"]]);
    expect(host.chat(chat("x")).header(TIMEOUT)).toBeUndefined();
  });
});

describe("cache policy", () => {
  /** Pod 1 has the prompt. */
  async function warm() {
    const made = await gateway();
    const body = chat(words("warm", 3000));
    made.agent.cache(1, renderChatml(body.messages));
    made.host.receive(made.agent.wire.drain());
    return { ...made, body };
  }
  const first = (r: Request) => r.header(DESTINATION)!.split(",")[0];

  test("by default a cached prefix draws the request, ignored it does not count", async () => {
    const { host, body } = await warm();
    for (let i = 0; i < 4; i++) expect(first(host.chat(body))).toBe("10.0.0.2:8000");
    expect(first(host.chat(body, [["x-cache-policy", "prefer-hit"]]))).toBe("10.0.0.2:8000");
    expect(first(host.chat(body, [["x-cache-policy", "ignore"]]))).not.toBe("10.0.0.2:8000");
  });

  test("if-available is refused with 412 unless the chosen pod has some of the prompt", async () => {
    const { host, body } = await warm();
    expect(served(host.chat(body, [["prefer", "respond-async, if-available"]]))).toBe(true);
    const cold = host.chat(chat(words("cold", 3000)), [["prefer", "if-available"]]);
    expect(cold.reply?.status).toBe(412);
    expect(JSON.parse(cold.reply!.body).error.code).toBe("prefix_not_cached");
    cold.end();
    expect(served(host.chat(chat(words("cold", 3000)), [["prefer", "return=minimal"]]))).toBe(true);
  });
});

describe("another model", () => {
  const names = async (input: RuleInput, callers: Partial<Callers> = {}) => {
    const made = await gateway(input, callers);
    const row = (name: string) => ({
      name,
      model: made.agent.model,
      lora: "",
      template: null,
      bytesPerToken: 4,
    });
    made.agent.wire.setModels(["m", "n", "long-name-of-a-model"].map(row));
    made.host.receive(made.agent.wire.drain());
    return made;
  };
  const token = sha("t");
  const trusted: Headers = [["authorization", "Bearer t"]];
  const sent = (r: Request) => new TextDecoder().decode(r.body);

  test("is taken from a trusted caller if the policy allows it, and only the model's bytes change", async () => {
    const { host } = await names({ requests: { overrides: ["long-name-of-a-model"] } }, { tokens: [token] });
    const raw =
      '{"seed": 9007199254740993, "model" :  "m" , "messages":[{"role":"user","content":"h\\u00e9"}]}';
    const length = String(raw.length);
    for (const name of ["x-model-override", "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"]) {
      const r = host.chat(raw, [...trusted, [name, "long-name-of-a-model"], ["content-length", length]]);
      expect(sent(r)).toBe(raw.replace('"m"', '"long-name-of-a-model"'));
      expect(r.header("content-length")).toBe(String(r.body.length));
      expect(served(r)).toBe(true);
    }
  });

  test("is not taken from others, and a model that the policy does not allow is refused", async () => {
    const { host } = await names({ requests: { overrides: ["n"] } }, { tokens: [token] });
    const r = host.chat(chat("x"), [["x-model-override", "n"]]);
    expect(sent(r)).toBe(JSON.stringify(chat("x")));
    expect(served(r)).toBe(true);
    const refused = host.chat(chat("x"), [...trusted, ["x-model-override", "long-name-of-a-model"]]);
    expect(refused.reply?.status).toBe(403);
  });

  test("is 404 when no pod serves it", async () => {
    const { host } = await names({ requests: { overrides: ["gone"] } }, { tokens: [token] });
    expect(host.chat(chat("x"), [...trusted, ["x-model-override", "gone"]]).reply?.status).toBe(404);
  });

  test("rewrites spread conversations by weight and keep each with its model", async () => {
    const { host } = await names({
      requests: {
        rewrites: [
          {
            model: "public",
            targets: [
              { model: "m", weight: 3 },
              { model: "n", weight: 1 },
            ],
          },
        ],
      },
    });
    const counts = new Map<string, number>();
    for (let i = 0; i < 400; i++) {
      const session: Headers = [["x-session-id", `s${i}`]];
      const one = host.chat(chat(`turn one of ${i}`, { model: "public" }), session);
      const two = host.chat(chat(`turn two of ${i}`, { model: "public" }), session);
      const model = JSON.parse(sent(one)).model;
      expect(JSON.parse(sent(two)).model).toBe(model);
      counts.set(model, (counts.get(model) ?? 0) + 1);
      one.end();
      two.end();
    }
    // 400 draws at 1/4: a binomial's 5 sigma is 43.
    expect([...counts.keys()].sort()).toEqual(["m", "n"]);
    expect(Math.abs(counts.get("n")! - 100)).toBeLessThan(44);
    expect(served(host.chat(chat("x")))).toBe(true);
  });

  test("is refused with 413 when the body is longer than what is read", async () => {
    const { host } = await names({
      requests: { rewrites: [{ model: "public", targets: [{ model: "m" }] }] },
    });
    const r = host.chat(chat(words("big", 600_000), { model: "public" }));
    expect(r.reply?.status).toBe(413);
    expect(JSON.parse(r.reply!.body).error.code).toBe("body_too_large_to_rewrite");
  });
});

describe("a subset of pods", () => {
  const SUBSET = "x-gateway-destination-endpoint-subset";
  const trusted: Headers = [["authorization", "Bearer t"]];
  const callers = { tokens: [sha("t")] };
  const named = (r: Request) => r.header(DESTINATION)?.split(",").sort();
  const all = ["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"];

  test.each([
    ["10.0.0.2:8000", ["10.0.0.2:8000"]],
    ["10.0.0.1:8000, 10.0.0.3:8000", ["10.0.0.1:8000", "10.0.0.3:8000"]],
    ["10.0.0.3", ["10.0.0.3:8000"]],
    ["10.0.0.3:9000,10.0.0.1:8000", ["10.0.0.1:8000"]],
    [",, 10.0.0.2:8000 ,", ["10.0.0.2:8000"]],
  ])("%s from a trusted caller leaves these pods, and the header goes no further", async (subset, kept) => {
    const { host } = await gateway({}, callers);
    for (let i = 0; i < 6; i++) {
      const r = host.chat(chat(words(`${i}`)), [...trusted, [SUBSET, subset]]);
      expect(named(r)).toEqual(kept);
      expect(r.header(SUBSET)).toBeUndefined();
    }
    // It holds for its request alone.
    expect(named(host.chat(chat("x"), trusted))).toEqual(all);
  });

  test("from others it counts for nothing and goes no further", async () => {
    const { host } = await gateway({}, callers);
    const r = host.chat(chat("x"), [[SUBSET, "10.0.0.2:8000"]]);
    expect(named(r)).toEqual(all);
    expect(r.header(SUBSET)).toBeUndefined();
  });

  test.each([["10.0.0.9:8000"], ["10.0.0"], ["10.0.0.1:80"], [" "]])(
    "%s has no ready pod: 503, also of a request without a body, and all pods serve the next one",
    async (subset) => {
      const { host } = await gateway({}, callers);
      const r = host.chat(chat("x"), [...trusted, [SUBSET, subset]]);
      expect(r.reply).toMatchObject({
        status: 503,
        headers: { "x-llm-d-request-dropped-reason": "rejected-no-endpoints" },
      });
      expect(JSON.parse(r.reply!.body).error.code).toBe("subset_empty");
      const get = host.request([[":method", "GET"], [":path", "/v1/models"], ...trusted, [SUBSET, subset]]);
      expect(get.onHeaders(true)).toBe(STOP);
      expect(get.reply?.status).toBe(503);
      expect(named(host.chat(chat("y"), trusted))).toEqual(all);
    },
  );

  test("a pod of it that is not ready does not count", async () => {
    const { agent, host } = await gateway({}, callers);
    host.receive(agent.loads(({ slot }) => ({ ready: slot !== 1 })));
    const one = host.chat(chat("x"), [...trusted, [SUBSET, "10.0.0.2:8000"]]);
    expect(one.reply?.status).toBe(503);
    const two = host.chat(chat("x"), [...trusted, [SUBSET, "10.0.0.2:8000,10.0.0.3:8000"]]);
    expect(named(two)).toEqual(["10.0.0.3:8000"]);
  });

  test("with the queue on, full pods of it are left out only while others of it have room", async () => {
    const { host } = await gateway(
      {
        saturation: { detector: "concurrency-detector", maxConcurrency: 1 },
        flowControl: { enabled: true, maxBodyBytes: 1000 },
      },
      callers,
    );
    const both: Headers = [...trusted, [SUBSET, "10.0.0.1:8000,10.0.0.2:8000"]];
    const first = named(host.chat(chat("a"), both))!;
    const second = named(host.chat(chat("b"), both))!;
    expect([...first, ...second].sort().filter((a) => a === "10.0.0.3:8000")).toEqual([]);
    // Both are full now, the third is not: a request that is too long to wait still goes to one of them.
    expect(named(host.chat(chat(words("c")), both))).toEqual(["10.0.0.1:8000", "10.0.0.2:8000"]);
  });

  test("without a table the header goes no further and has no effect", async () => {
    const { agent, host } = await gateway({}, callers);
    host.receive(agent.loads(() => ({ ready: false })));
    const r = host.chat(chat("x"), [...trusted, [SUBSET, "10.0.0.2:8000"]]);
    expect([r.reply, r.header(SUBSET), r.header(DESTINATION)]).toEqual([null, undefined, undefined]);
  });

  test("in metadata of the gateway counts where the policy says so, beside a trusted caller's", async () => {
    const path = "metadata\0filter_metadata\0envoy.lb.subset_hint\0x-gateway-destination-endpoint-subset";
    const send = (host: Host, subset: Uint8Array, headers: Headers = []) => {
      const r = host.request([[":method", "POST"], [":path", "/v1/chat/completions"], ...headers]);
      r.properties.set(path, subset);
      r.onHeaders();
      r.onBody(JSON.stringify(chat("x")), true);
      return r;
    };
    const off = await gateway({}, callers);
    expect(named(send(off.host, text.encode("10.0.0.2:8000")))).toEqual(all);
    const { host } = await gateway({ requests: { subsetMetadata: true } }, callers);
    expect(named(send(host, text.encode("10.0.0.2:8000")))).toEqual(["10.0.0.2:8000"]);
    expect(named(host.chat(chat("x")))).toEqual(all);
    const two = text.encode("10.0.0.1:8000,10.0.0.2:8000");
    expect(named(send(host, two, [...trusted, [SUBSET, "10.0.0.2:8000,10.0.0.3:8000"]]))).toEqual([
      "10.0.0.2:8000",
    ]);
    expect(send(host, two, [...trusted, [SUBSET, "10.0.0.3:8000"]]).reply?.status).toBe(503);
    expect(send(host, text.encode("")).reply?.status).toBe(503);
  });
});
