import { describe, expect, test } from "vitest";
import { COUNTERS } from "../../agent/table/gateway-reports.js";
import { CONTINUE, DESTINATION, Host, Process, STOP } from "./host.js";
import { policy, renderChatml, schedulingOf, TestAgent } from "./table.js";

const configuration = { debugHeaders: "all" };
const long = (seed: string, bytes = 4000) =>
  `${seed} `.repeat(Math.ceil(bytes / (seed.length + 1))).slice(0, bytes);
const chat = (...contents: string[]) => ({
  model: "m",
  messages: contents.map((content, i) => ({ role: i % 2 ? "assistant" : "user", content })),
});
async function gateway(pods = 3) {
  const agent = await TestAgent.create(pods);
  const host = new Host({ configuration });
  host.receive(agent.snapshot());
  return { agent, host };
}

describe("a request with a table", () => {
  test("goes to the pod that holds its prefix, with the other pods behind it, and says what it expects", async () => {
    const { agent, host } = await gateway();
    const body = chat(long("hello world"));
    const prompt = renderChatml(body.messages);
    agent.cache(1, prompt);
    host.receive(agent.wire.drain());
    const r = host.chat(body);
    expect(r.header(DESTINATION)!.split(",")[0]).toBe("10.0.0.2:8000");
    expect(r.header(DESTINATION)!.split(",").sort()).toEqual([
      "10.0.0.1:8000",
      "10.0.0.2:8000",
      "10.0.0.3:8000",
    ]);
    r.onResponse("10.0.0.2:8000");
    expect(r.response("x-selected-pod")).toBe("pod-1");
    expect(r.response("x-cache-hit")).toBe("true");
    const predicted = Number(r.response("x-cache-prefix-length"));
    expect(predicted % 16).toBe(0);
    expect(predicted).toBeGreaterThan(prompt.length - 256);
    expect(predicted).toBeLessThan(prompt.length);
    expect(r.response("x-scheduling-time-ms")).toMatch(/^\d+\.\d{3}$/);
  });

  test("matches the longest prefix when pods hold different lengths of it", async () => {
    const { agent, host } = await gateway();
    const turns = [long("one"), long("two"), long("three")];
    agent.cache(0, renderChatml(chat(turns[0]!).messages).subarray(0, 2048));
    agent.cache(2, renderChatml(chat(...turns).messages));
    host.receive(agent.wire.drain());
    const r = host.chat(chat(...turns, "and now?"));
    expect(r.header(DESTINATION)).toMatch(/^10\.0\.0\.3:8000,/);
  });

  test("finds the end of what a pod holds of a very long prompt, wherever that is", async () => {
    const { agent, host } = await gateway();
    for (const cut of [0, 20_000, 20_480, 20_735, 65_408, 65_536, 70_000, 99_968, 100_000]) {
      const body = chat(long(`very long ${cut}`, 100_000));
      const prompt = renderChatml(body.messages);
      // Another pod holds half of it, so that the sets change in between, too.
      agent.cache(0, prompt.subarray(0, cut / 2));
      agent.cache(2, prompt.subarray(0, cut));
      host.receive(agent.wire.drain());
      const r = host.chat(body);
      const pod = cut === 0 ? r.header(DESTINATION)!.split(",")[0]! : "10.0.0.3:8000";
      expect(r.header(DESTINATION)!.split(",")[0]).toBe(pod);
      r.onResponse(pod);
      expect(Number(r.response("x-cache-prefix-length"))).toBe(cut - (cut % 128));
      r.end();
    }
  });

  test("keeps a burst with a shared cold prefix together although no event has come yet", async () => {
    const { host } = await gateway();
    const first = host.chat(chat(long("cold", 20000)));
    first.onResponse(first.header(DESTINATION)!.split(",")[0]!);
    first.onResponseBody(10, true);
    first.end();
    const second = host.chat(chat(long("cold", 20000)));
    expect(second.header(DESTINATION)!.split(",")[0]).toBe(first.header(DESTINATION)!.split(",")[0]);
    second.onResponse(second.header(DESTINATION)!.split(",")[0]!);
    expect(Number(second.response("x-cache-prefix-length"))).toBeGreaterThan(19000);
  });

  test("believes the table, not its own pick, once the engine has answered and its events have had time", async () => {
    const { host } = await gateway(1);
    const predicted = () => {
      const r = host.chat(chat(long("cold", 20000)));
      r.onResponse("10.0.0.1:8000");
      return { r, tokens: Number(r.response("x-cache-prefix-length")) };
    };
    const first = predicted();
    host.tick(3000);
    const waiting = predicted();
    expect(waiting.tokens).toBeGreaterThan(19000);
    // Nothing was announced: the engine holds none of it any more.
    first.r.onResponseBody(10, true);
    first.r.end();
    waiting.r.end();
    host.tick(200);
    expect(predicted().tokens).toBeGreaterThan(19000);
    host.tick(400);
    expect(predicted().tokens).toBe(0);
  });

  test("believes nothing of a pod that the request did not reach", async () => {
    const { host } = await gateway(2);
    const first = host.chat(chat(long("cold", 20000)));
    const chosen = first.header(DESTINATION)!.split(",")[0]!;
    first.onResponse(chosen === "10.0.0.1:8000" ? "10.0.0.2:8000" : "10.0.0.1:8000");
    const second = host.chat(chat(long("cold", 20000)));
    second.onResponse(second.header(DESTINATION)!.split(",")[0]!);
    expect(Number(second.response("x-cache-prefix-length"))).toBe(0);
  });

  test("never predicts the whole prompt", async () => {
    const { agent, host } = await gateway();
    for (let extra = 0; extra < 160; extra += 7) {
      const body = chat(`${extra} ${"x".repeat(1000 + extra)}`);
      const prompt = renderChatml(body.messages);
      agent.cache(1, prompt);
      host.receive(agent.wire.drain());
      const r = host.chat(body);
      r.onResponse("10.0.0.2:8000");
      expect(Number(r.response("x-cache-prefix-length"))).toBeLessThan(prompt.length);
    }
  });

  test("does not match text under another cache salt", async () => {
    const { agent, host } = await gateway();
    const body = chat(long("secret"));
    agent.cache(1, renderChatml(body.messages), "tenant-a");
    host.receive(agent.wire.drain());
    const predicted = (salt?: string) => {
      const r = host.chat({ ...body, ...(salt ? { cache_salt: salt } : {}) }, [["x-session-id", `s${salt}`]]);
      r.onResponse("10.0.0.2:8000");
      const n = Number(r.response("x-cache-prefix-length"));
      r.end();
      return n;
    };
    expect(predicted("tenant-a")).toBeGreaterThan(3000);
    expect(predicted("tenant-b")).toBe(0);
    expect(predicted()).toBe(0);
  });

  test("reads a body in any chunks, with trailers, or beyond the read limit", async () => {
    const { agent, host } = await gateway();
    const body = chat(long("chunked"));
    agent.cache(2, renderChatml(body.messages));
    host.receive(agent.wire.drain());
    const bytes = new TextEncoder().encode(JSON.stringify(body));
    const r = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions?x=1"],
    ]);
    expect(r.onHeaders()).toBe(STOP);
    for (let i = 0; i < bytes.length; i += 333)
      expect(r.onBody(bytes.subarray(i, i + 333), false)).toBe(STOP);
    expect(r.onTrailers()).toBe(CONTINUE);
    expect(r.header(DESTINATION)).toMatch(/^10\.0\.0\.3/);

    const big = chat(long("big", 700_000));
    agent.cache(0, renderChatml(big.messages).subarray(0, 600_000));
    host.receive(agent.wire.drain());
    const s = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions"],
    ]);
    s.onHeaders();
    const whole = new TextEncoder().encode(JSON.stringify(big));
    expect(s.onBody(whole.subarray(0, 500_000), false)).toBe(STOP);
    expect(s.onBody(whole.subarray(500_000, 600_000), false)).toBe(CONTINUE);
    expect(s.header(DESTINATION)).toMatch(/^10\.0\.0\.1/);
    expect(s.onBody(whole.subarray(600_000), true)).toBe(CONTINUE);
  });
});

describe("a short JSON answer", () => {
  const answered = (content: string, usage: object, headers: [string, string][] = []) => {
    const body = JSON.stringify({ choices: [{ message: { content } }], usage });
    return {
      body,
      headers: [
        [":status", "200"],
        ["content-type", "application/json"],
        ["content-length", String(body.length)],
        ...headers,
      ] as [string, string][],
    };
  };
  test("says in its headers how many tokens it has and how fast they came", async () => {
    const { host } = await gateway();
    const r = host.chat(chat("x"));
    const { body, headers } = answered('"completion_tokens":7', { prompt_tokens: 5, completion_tokens: 42 });
    expect(r.onResponse(r.header(DESTINATION)!.split(",")[0], headers)).toBe(STOP);
    host.tick(100);
    expect(r.onWholeResponse(body)).toBe(CONTINUE);
    expect(r.response("x-tokens-generated")).toBe("42");
    expect(Number(r.response("x-tokens-per-second"))).toBeGreaterThan(300);
    expect(Number(r.response("x-tokens-per-second"))).toBeLessThan(430);
  });
  test("is not held when it streams, is long, has no length, or is no JSON", async () => {
    const { host } = await gateway();
    const respond = (body: object, headers: [string, string][]) => {
      const r = host.chat(body);
      return r.onResponse(r.header(DESTINATION)!.split(",")[0], [[":status", "200"], ...headers]);
    };
    const json: [string, string] = ["content-type", "application/json"];
    expect(respond({ ...chat("x"), stream: true }, [json, ["content-length", "10"]])).toBe(CONTINUE);
    expect(respond(chat("x"), [json, ["content-length", "262145"]])).toBe(CONTINUE);
    expect(respond(chat("x"), [json])).toBe(CONTINUE);
    expect(
      respond(chat("x"), [
        ["content-type", "text/plain"],
        ["content-length", "10"],
      ]),
    ).toBe(CONTINUE);
  });
});

describe("routing headers from a client", () => {
  const forged = [
    DESTINATION,
    "x-gateway-destination-endpoint-subset",
    "x-prefiller-host-port",
    "x-prefiller-hosts-ports",
    "x-data-parallel-host-port",
    "x-data-parallel-rank",
    "x-encoder-hosts-ports",
    "x-kv-cache-source-host-port",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-selected-pod",
    "x-decode-pod",
    "x-prefill-pod",
  ];
  test.each(forged)("%s is removed, however often it comes, on any path and method", (name) => {
    const host = new Host({ configuration });
    for (const [method, path] of [
      ["POST", "/v1/chat/completions"],
      ["GET", "/v1/models"],
      ["POST", "/anything"],
    ]) {
      const r = host.request([
        [":method", method!],
        [":path", path!],
        [name, "6.6.6.6:66"],
        ["user-agent", "x"],
        [name, "7.7.7.7:77"],
      ]);
      r.onHeaders(method === "GET");
      expect(r.headers.map(([k]) => k)).not.toContain(name);
      expect(r.header("user-agent")).toBe("x");
    }
  });
});

describe("bodies that are refused", () => {
  const refused = (body: string | object) => {
    const host = new Host({ configuration });
    return host.chat(body).reply;
  };
  test.each([
    ["a body that is not JSON", "nonsense", 400, "malformed_json"],
    ["an unfinished object", '{"model":"m"', 400, "malformed_json"],
    ["text behind the object", '{"model":"m"} x', 400, "malformed_json"],
    ["an array", "[1]", 400, "not_an_object"],
    ["a number", "1", 400, "not_an_object"],
    [
      "10,000 nested arrays",
      `{"model":"m","x":${"[".repeat(10000)}${"]".repeat(10000)}}`,
      400,
      "nesting_too_deep",
    ],
    ["no model", '{"messages":[]}', 400, "model_missing"],
    ["a model that is a number", '{"model":1}', 400, "model_type"],
    ["NUL bytes", "\0\0\0", 400, "malformed_json"],
    ["white space", "  \n ", 400, "empty_body"],
    ["a bad escape", '{"model":"m\\q"}', 400, "malformed_json"],
    ["kv_transfer_params", { model: "m", kv_transfer_params: {} }, 400, "reserved_field"],
    [
      "a duplicate reserved field",
      '{"bootstrap_host":null,"model":"m","bootstrap_host":1}',
      400,
      "reserved_field",
    ],
    ["an escaped reserved field", '{"model":"m","\\u006bv_transfer_params":null}', 400, "reserved_field"],
    ["cache_hit_threshold", { model: "m", cache_hit_threshold: 0 }, 400, "reserved_field"],
  ])("%s is answered with an OpenAI-shaped error", (_, body, status, code) => {
    const reply = refused(body)!;
    expect(reply.status).toBe(status);
    const { error } = JSON.parse(reply.body);
    expect(error).toMatchObject({ code, type: "invalid_request_error" });
    expect(error.message.length).toBeGreaterThan(10);
  });

  test("an empty body and a body over the limit are answered before anything is read", () => {
    const host = new Host({ configuration: { ...configuration, bodyLimitBytes: 2000 } });
    const r = host.request([
      [":method", "POST"],
      [":path", "/v1/completions"],
    ]);
    r.onHeaders(true);
    expect(JSON.parse(r.reply!.body).error.code).toBe("empty_body");
    const s = host.request([
      [":method", "POST"],
      [":path", "/v1/completions"],
      ["content-length", "2001"],
    ]);
    s.onHeaders();
    expect(s.reply!.status).toBe(413);
  });

  test("a model that no pod serves is a 404, but only while a table says so", async () => {
    const { host } = await gateway();
    expect(host.chat({ ...chat("x"), model: "other" }).reply!.status).toBe(404);
    expect(new Host({ configuration }).chat({ ...chat("x"), model: "other" }).reply).toBeNull();
  });

  test("reserved words inside contents and nested objects are nobody's business", () => {
    expect(refused(chat('kv_transfer_params "bootstrap_host":1'))).toBeNull();
    expect(refused({ ...chat("x"), metadata: { kv_transfer_params: 1 } })).toBeNull();
  });

  test("a percent-encoded path does not escape the check", () => {
    const host = new Host({ configuration });
    const r = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completion%73"],
    ]);
    expect(r.onHeaders()).toBe(STOP);
    r.onBody('{"model":"m","kv_transfer_params":1}', true);
    expect(r.reply!.status).toBe(400);
  });
});

describe("the session", () => {
  const host = new Host({ configuration });
  const session = (body: object, headers: [string, string][] = []) =>
    host.chat(body, headers).header("x-session-id");

  test("is the client's own when that is valid, and never otherwise", () => {
    expect(session(chat("a"), [["x-session-id", "User-1.a:b_c"]])).toBe("User-1.a:b_c");
    for (const bad of ["", "a b", "x".repeat(129), "ä", "a/b"])
      expect(session(chat("a"), [["x-session-id", bad]])).toMatch(/^[0-9a-f]{32}$/);
  });

  test("is a keyed hash of the cookie, of prompt_cache_key, of user, in that order", () => {
    const cookie = session(chat("a"), [["cookie", "x=1; session_id=abc; y=2"]]);
    expect(cookie).toMatch(/^[0-9a-f]{32}$/);
    expect(session(chat("b"), [["cookie", "session_id=abc"]])).toBe(cookie);
    expect(session({ ...chat("a"), prompt_cache_key: "k" })).toBe(
      session({ ...chat("b"), prompt_cache_key: "k", user: "u" }),
    );
    expect(session({ ...chat("a"), user: "u" })).toBe(session({ ...chat("b"), user: "u" }));
    expect(session({ ...chat("a"), user: "u" })).not.toBe(session({ ...chat("a"), user: "v" }));
  });

  test("stays the same over the turns of a conversation, differs between conversations and credentials", () => {
    const first = session(chat("question"));
    expect(session(chat("question", "answer", "more"))).toBe(first);
    expect(session(chat("another"))).not.toBe(first);
    expect(session(chat("question"), [["authorization", "Bearer k"]])).not.toBe(first);
  });

  test("depends on every byte of a long first turn, and on none of the later ones", () => {
    const text = long("long question", 100_001);
    const first = session(chat(text));
    expect(session(chat(text, "answer", "more"))).toBe(first);
    for (const at of [0, 300, 50_000, 99_999, 100_000])
      expect(session(chat(`${text.slice(0, at)}#${text.slice(at + 1)}`))).not.toBe(first);
    expect(session(chat(text.slice(0, -1)))).not.toBe(first);
  });

  test("is derived alike with and without a table", async () => {
    const { host: informed } = await gateway();
    const body = {
      model: "m",
      messages: [
        { role: "system", content: " be kind " },
        { role: "user", content: "hi\n" },
      ],
    };
    expect(informed.chat(body).header("x-session-id")).toBe(host.chat(body).header("x-session-id"));
  });

  test("spreads requests without body or credential, and is stable for a credential", () => {
    const get = (headers: [string, string][]) => {
      const r = host.request([[":method", "GET"], [":path", "/v1/models"], ...headers]);
      r.onHeaders(true);
      return r.header("x-session-id");
    };
    expect(get([])).not.toBe(get([]));
    expect(get([["authorization", "Bearer k"]])).toBe(get([["authorization", "Bearer k"]]));
  });
});

describe("counting what is under way", () => {
  const gauge = (process: Process, kind: string, slot: number) =>
    process.metric(`warmgate_inflight_${kind}_slot_${slot}`);

  test("returns to zero whatever the end of a request is", async () => {
    const { host } = await gateway();
    const ends = [
      (r: ReturnType<Host["chat"]>) => {
        r.onResponse(r.header(DESTINATION)!.split(",")[0]);
        r.onResponseBody(5);
        r.onResponseBody(5, true);
        r.end();
      },
      (r: ReturnType<Host["chat"]>) => r.end(),
      (r: ReturnType<Host["chat"]>) => {
        r.onResponse(r.header(DESTINATION)!.split(",")[1]);
        r.end(1n << 6n);
      },
      (r: ReturnType<Host["chat"]>) => {
        r.onResponse("10.9.9.9:1");
        r.onResponseBody(1, true);
        r.end();
        r.end();
      },
    ];
    for (let i = 0; i < 40; i++) ends[i % ends.length]!(host.chat(chat(long(`r${i}`))));
    for (let slot = 0; slot < 3; slot++)
      for (const kind of ["counts", "tokens"]) expect(gauge(host.process, kind, slot)).toBe(0n);
  });

  test("ignores the late callbacks of a request that was refused before the filter", async () => {
    const { host } = await gateway();
    const r = host.request([]);
    r.end();
    for (let slot = 0; slot < 3; slot++) expect(gauge(host.process, "counts", slot)).toBe(0n);
  });

  test("is shared by the workers of a process: the second worker sees the first one's load", async () => {
    const agent = await TestAgent.create(2);
    const process = new Process();
    const [a, b] = [new Host({ configuration, process }), new Host({ configuration, process })];
    a.receive(agent.snapshot());
    b.receive(agent.snapshot());
    const busy = a
      .chat(chat(long("busy", 40000)))
      .header(DESTINATION)!
      .split(",")[0];
    for (let i = 0; i < 5; i++) {
      const other = b
        .chat(chat(long(`other ${i}`, 2000)))
        .header(DESTINATION)!
        .split(",")[0];
      expect(other).not.toBe(busy);
    }
  });

  test("follows pods that change their slots, also where one worker serves alone", async () => {
    const { agent, host } = await gateway();
    const low: [string, string][] = [["x-priority", "low"]];
    const rules = { saturation: { detector: "concurrency-detector", maxConcurrency: 1 } } as const;
    host.receive(agent.rules(rules));
    for (let i = 0; i < 12; i++) host.tick(1000);
    const running = Array.from({ length: 3 }, (_, i) => host.chat(chat(long(`r${i}`))));
    expect(host.chat(chat("a"), low).reply?.status).toBe(429);
    const [first, ...others] = agent.pods.map((row) => ({ ...row }));
    agent.wire.setPods([...others, first!].map((row, slot) => ({ ...row, slot })));
    host.receive(agent.wire.drain());
    host.tick();
    expect(host.chat(chat("b"), low).reply?.status).toBe(429);
    // What ends counts where its pod is now.
    for (const r of running) r.end();
    host.tick(1000);
    for (let i = 0; i < 3; i++) expect(host.chat(chat(long(`s${i}`)), low).reply).toBeNull();
    expect(host.chat(chat("c"), low).reply?.status).toBe(429);
  });

  describe("when a worker's VM is lost with requests under way", () => {
    /** Gauges of the era in use, as an operator would add them up: the ones of other eras are empty in the end. */
    const total = (process: Process, kind: "requests" | "prefills") => process.underWay()[kind];
    const workers = async () => {
      const agent = await TestAgent.create(3);
      const process = new Process();
      const hosts = Array.from({ length: 3 }, () => new Host({ configuration, process }));
      for (const h of hosts) h.tick();
      for (const h of hosts) h.receive(agent.snapshot());
      // All have signed the roster of VMs at the same time.
      for (const h of hosts) h.tick(1000);
      return { process, hosts };
    };

    test("its share of the gauges is gone within 15 s, and the others' is kept", async () => {
      const { process, hosts } = await workers();
      const [dead, ...alive] = hosts as [Host, Host, Host];
      for (let i = 0; i < 100; i++) dead.chat(chat(long(`dead ${i}`)));
      const kept = alive.flatMap((h, w) =>
        Array.from({ length: 7 }, (_, i) => h.chat(chat(long(`w${w} ${i}`)))),
      );
      expect(total(process, "requests")).toBe(114n);
      for (let ms = 0; ms < 15_000; ms += 500) for (const h of alive) h.tick(250);
      expect(total(process, "requests")).toBe(14n);
      expect(process.metric("warmgate_lost_vms_total")).toBe(1n);
      for (const r of kept) r.end();
      expect(total(process, "requests")).toBe(0n);
      expect(total(process, "prefills")).toBe(0n);
    });

    test("a worker that was only stuck comes back with its share", async () => {
      const { process, hosts } = await workers();
      const [stuck, ...alive] = hosts as [Host, Host, Host];
      const held = Array.from({ length: 5 }, (_, i) => stuck.chat(chat(long(`stuck ${i}`))));
      for (let ms = 0; ms < 15_000; ms += 500) for (const h of alive) h.tick(250);
      expect(total(process, "requests")).toBe(0n);
      stuck.tick(1000);
      expect(total(process, "requests")).toBe(5n);
      for (const r of held) r.end();
      expect(total(process, "requests")).toBe(0n);
    });

    test("many losses one after another leave the gauges right", async () => {
      const agent = await TestAgent.create(3);
      const process = new Process();
      const survivor = new Host({ configuration, process });
      survivor.receive(agent.snapshot());
      const own = survivor.chat(chat(long("own")));
      for (let round = 0; round < 9; round++) {
        const dead = new Host({ configuration, process });
        dead.receive(agent.snapshot());
        dead.tick(1000);
        for (let i = 0; i < 10; i++) dead.chat(chat(long(`dead ${round} ${i}`)));
        for (let ms = 0; ms < 20_000; ms += 500) survivor.tick(500);
        expect(total(process, "requests")).toBe(1n);
      }
      own.end();
      expect(total(process, "requests")).toBe(0n);
    });

    test("a VM that ends in order is not a loss", async () => {
      const { process, hosts } = await workers();
      hosts[0]!.end();
      for (let ms = 0; ms < 15_000; ms += 500) for (const h of hosts.slice(1)) h.tick(250);
      expect(process.metric("warmgate_lost_vms_total")).toBe(0n);
    });
  });

  test("pods that come and go for ever find gauges", async () => {
    const agent = await TestAgent.create(3);
    const host = new Host({ configuration });
    host.receive(agent.snapshot());
    for (let round = 0; round < 400; round++) {
      agent.wire.setPods(agent.pods.map((p, i) => ({ ...p, address: `10.1.${round}.${i + 1}:8000` })));
      host.receive(agent.wire.drain());
    }
    const r = host.chat(chat(long("late")));
    const all = [...host.process.metrics.keys()].filter((name) =>
      name.startsWith("warmgate_inflight_counts_"),
    );
    expect(all.length).toBeLessThanOrEqual(1024);
    expect(host.process.underWay().requests).toBe(1n);
    r.end();
    expect(host.process.underWay()).toEqual({ requests: 0n, prefills: 0n });
  });

  test("follows the host that a retry chose, and leaves out the one that failed for ten seconds", async () => {
    const { agent, host } = await gateway();
    const body = chat(long("warm"));
    agent.cache(0, renderChatml(body.messages));
    host.receive(agent.wire.drain());
    const r = host.chat(body);
    const [first, second] = r.header(DESTINATION)!.split(",");
    expect(first).toBe("10.0.0.1:8000");
    r.onResponse(second);
    const slot = Number(second!.split(".")[3]!.split(":")[0]) - 1;
    expect(host.process.underWay("_slot_0").requests).toBe(0n);
    expect(host.process.underWay(`_slot_${slot}`).requests).toBe(1n);
    expect(r.response("x-selected-pod")).toBe(`pod-${slot}`);
    r.end();
    expect(host.chat(body).header(DESTINATION)).not.toContain(first);
    const other = new Host({ configuration, process: host.process });
    other.receive(agent.snapshot());
    other.tick();
    expect(other.chat(body).header(DESTINATION)).not.toContain(first);
    host.tick(10_100);
    expect(host.chat(body).header(DESTINATION)).toMatch(/^10\.0\.0\.1:8000/);
  });
});

describe("without the agent", () => {
  test("a worker that never had a table sets no destination, so the ring hash on the session decides", () => {
    const host = new Host({ configuration });
    const r = host.chat(chat("x"));
    expect(r.reply).toBeNull();
    expect(r.header(DESTINATION)).toBeUndefined();
    expect(r.header("x-session-id")).toMatch(/^[0-9a-f]{32}$/);
  });

  test("a lost stream keeps the table until it is stale, and reconnects with a growing delay", async () => {
    const { agent, host } = await gateway();
    const body = chat(long("kept"));
    agent.cache(1, renderChatml(body.messages));
    host.receive(agent.wire.drain());
    host.refuseStream = true;
    host.closeStream();
    const before = host.calls.get("proxy_grpc_stream")!;
    for (let i = 0; i < 2000; i++) host.tick(5);
    const tries = host.calls.get("proxy_grpc_stream")! - before;
    expect(tries).toBeGreaterThan(3);
    expect(tries).toBeLessThan(20);
    expect(host.chat(body).header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
    host.tick(600_000);
    expect(host.chat(body).header(DESTINATION)).toBeUndefined();
    host.refuseStream = false;
    host.tick(5000);
    host.receive(agent.snapshot());
    expect(host.chat(body).header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
  });

  test("a damaged frame, a gap and a foreign epoch leave the table as it is and ask for a snapshot", async () => {
    const { agent, host } = await gateway();
    const body = chat(long("steady"));
    agent.cache(1, renderChatml(body.messages));
    host.receive(agent.wire.drain());
    agent.cache(2, renderChatml(chat(long("lost")).messages));
    const lost = agent.wire.drain();
    const damaged = lost[0]!.slice();
    damaged[60]! ^= 1;
    host.receive([damaged, Uint8Array.of(1, 2, 3)]);
    agent.cache(2, renderChatml(chat(long("next")).messages));
    const sent = host.sent.length;
    host.receive(agent.wire.drain());
    expect(agent.wire.decodeUp(host.frames()[sent]!)).toEqual({ kind: "resync" });
    expect(host.chat(body).header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
    host.receive(agent.snapshot());
    expect(host.chat(chat(long("lost"))).header(DESTINATION)).toMatch(/^10\.0\.0\.3/);
  });
});

describe("the watchdog", () => {
  test("mode: headers never holds a request", () => {
    const host = new Host({ configuration: { ...configuration, mode: "headers" } });
    const r = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions"],
    ]);
    expect(r.onHeaders()).toBe(CONTINUE);
    expect(r.header("x-session-id")).toBeDefined();
  });
});

test("a report names pods by address and adds up what went there", async () => {
  const { agent, host } = await gateway();
  const r = host.chat(chat(long("reported")));
  const address = r.header(DESTINATION)!.split(",")[0]!;
  r.onResponse(address);
  r.onResponseBody(10, true);
  r.end();
  host.tick(1100);
  const report = agent.wire.decodeUp(host.frames().at(-1)!);
  if (report?.kind !== "report") throw new Error("no report");
  expect(report.counters[0]).toBe(1);
  expect(report.pods.find((p) => p.address === address)).toMatchObject({ requests: 1, firstTokens: 1 });
});

test("a report counts requests that kept their session's pod, that did not, and those whose session moved", async () => {
  const agent = await TestAgent.create(3, {
    scheduling: schedulingOf({
      plugins: [
        { type: "session-affinity-scorer", parameters: { ttl: "60s" } },
        { type: "max-score-picker" },
      ],
    }),
  });
  const host = new Host({ configuration });
  host.receive(agent.snapshot());
  const send = (session: string) => host.chat(chat("x"), [["x-session-id", session]]).header(DESTINATION)!;
  const pod = send("a").split(",")[0]!;
  send("b");
  send("a");
  const slot = agent.pods.findIndex(({ address }) => address === pod);
  host.receive(agent.loads((row) => ({ ready: row.slot !== slot })));
  expect(send("a")).not.toContain(pod);
  host.tick(1100);
  const report = agent.wire.decodeUp(host.frames().at(-1)!);
  if (report?.kind !== "report") throw new Error("no report");
  const counted = Object.fromEntries(COUNTERS.map((name, i) => [name, report.counters[i]]));
  expect(counted).toMatchObject({ session_hits: 1, session_misses: 3, session_moves: 1 });
  for (const [name, n] of [
    ["hits", 1n],
    ["misses", 3n],
    ["moves", 1n],
  ] as const)
    expect(host.process.metric(`warmgate_session_affinity_${name}_total`)).toBe(n);
});

test("100,000 requests do not grow the module's memory", async () => {
  const { host } = await gateway();
  const body = JSON.stringify(chat(long("steady", 1000)));
  const one = () => {
    const r = host.chat(body);
    r.onResponse("10.0.0.1:8000");
    r.onResponseBody(1, true);
    r.end();
  };
  for (let i = 0; i < 1000; i++) one();
  const before = host.memoryBytes;
  for (let i = 0; i < 100_000; i++) one();
  expect(host.memoryBytes).toBe(before);
});

test("a bodyReadBytes that grows again and again takes no more memory than a few regions of the longest", async () => {
  const { agent, host } = await gateway();
  const before = host.memoryBytes;
  for (let read = 1_048_576; read <= 16_777_216; read += 524_288) {
    agent.wire.setPolicy({ ...policy, bodyReadBytes: read });
    host.receive(agent.wire.drain());
    host.tick();
  }
  // 47 MiB at most; the heap's memory grows by doubling.
  expect(host.memoryBytes - before).toBeLessThan(2 * 47 * 1_048_576);
  const content = "x".repeat(10_000_000);
  expect(host.chat(chat(content)).header(DESTINATION)).toBeDefined();
});
