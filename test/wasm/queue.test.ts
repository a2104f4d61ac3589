// Requests that wait in the gateway, against the built filter: who waits, who comes next, who has to go.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { RuleInput } from "../../agent/policy/request-rules.js";
import { CONTINUE, DESTINATION, type Headers, Host, Process, type Request, STOP } from "./host.js";
import { chat, renderChatml, TestAgent } from "./table.js";

const configuration = { debugHeaders: "none" };
const REASON = "x-llm-d-request-dropped-reason";
const sha = (text: string) => createHash("sha256").update(text).digest("hex");
const callers = { tokens: [sha("t")] };

/** `pods` pods that take one request each at a time. */
async function gateway(
  pods = 1,
  flowControl: RuleInput["flowControl"] = {},
  more: RuleInput = {},
  process = new Process(),
) {
  const agent = await TestAgent.create(pods);
  const rules: RuleInput = {
    saturation: { detector: "concurrency-detector", maxConcurrency: 1 },
    flowControl: { enabled: true, ...flowControl },
    ...more,
  };
  const host = new Host({ configuration, process });
  host.receive(agent.snapshot());
  host.receive(agent.rules(rules, callers));
  host.tick(5);
  return { agent, host, rules };
}

const trusted = (priority: string, tenant = ""): Headers => [
  ["authorization", "Bearer t"],
  ["x-priority", priority],
  ...(tenant ? [["x-llm-d-inference-fairness-id", tenant] as [string, string]] : []),
];
const waits = (r: Request) => r.reply === null && r.header(DESTINATION) === undefined && r.resumed === 0;
const through = (r: Request) => r.reply === null && r.header(DESTINATION) !== undefined && r.resumed === 1;
const total = (host: Host, name: string) => {
  host.tick(1100);
  return Number(host.process.metric(`warmgate_${name}_total`));
};
/** Ends what runs, ticks, and returns the names of those that came through, one after the other. */
function drain(host: Host, running: Request, waiting: Map<string, Request>): string[] {
  const order: string[] = [];
  for (let current = running; ; ) {
    current.end();
    host.tick();
    const next = [...waiting].find(([, r]) => r.resumed === 1);
    if (!next) return order;
    order.push(next[0]);
    waiting.delete(next[0]);
    current = next[1];
  }
}

describe("a request that finds every pod full", () => {
  test("waits with its body, and goes on when a pod has room", async () => {
    const { host } = await gateway(2);
    const [a, b] = [host.chat(chat("a")), host.chat(chat("b"))];
    expect([a, b].map((r) => r.header(DESTINATION) !== undefined)).toEqual([true, true]);
    const r = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions"],
    ]);
    expect(r.onHeaders()).toBe(STOP);
    expect(r.onBody(JSON.stringify(chat("c")), true)).toBe(STOP);
    for (let i = 0; i < 10; i++) host.tick();
    expect(waits(r)).toBe(true);
    expect(host.process.metric("warmgate_queue_requests")).toBe(1n);
    a.onResponse();
    a.onResponseBody(2, true);
    expect(waits(r)).toBe(true);
    // At once: no tick comes in between.
    a.end();
    expect(through(r)).toBe(true);
    expect(host.process.metric("warmgate_queue_requests")).toBe(0n);
    expect(r.header("x-session-id")).toMatch(/^[0-9a-f]{32}$/);
    r.end();
    b.end();
    expect(total(host, "queued")).toBe(1);
  });

  test("does not go on in the end of a request that had no answer: its connection may take both along", async () => {
    const { host } = await gateway();
    const running = host.chat(chat("a"));
    const r = host.chat(chat("b"));
    running.end();
    expect(waits(r)).toBe(true);
    host.tick();
    expect(through(r)).toBe(true);
  });

  test("goes on when a prefill is over, where tokens without a first token are what pods may have", async () => {
    const saturation = {
      detector: "concurrency-detector",
      concurrencyMode: "tokens",
      maxTokenConcurrency: 100,
    } as const;
    const { host } = await gateway(1, {}, { saturation });
    const running = host.chat(chat("a".repeat(200)));
    const r = host.chat(chat("b"));
    expect(waits(r)).toBe(true);
    running.onResponse("10.0.0.1:8000");
    expect(waits(r)).toBe(true);
    running.onResponseBody(10);
    expect(through(r)).toBe(true);
  });

  test("waits also when its body ends with trailers", async () => {
    const { host } = await gateway();
    const first = host.chat(chat("a"));
    const r = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions"],
    ]);
    r.onHeaders();
    r.onBody(JSON.stringify(chat("b")), false);
    expect(r.onTrailers()).toBe(STOP);
    first.end();
    host.tick();
    expect(through(r)).toBe(true);
  });

  test("goes on when another worker of the process has a request done", async () => {
    const process = new Process();
    const one = await gateway(1, {}, {}, process);
    const two = new Host({ configuration, process });
    two.receive(one.agent.snapshot());
    two.receive(one.agent.rules(one.rules, callers));
    const running = one.host.chat(chat("a"));
    two.tick();
    const r = two.chat(chat("b"));
    expect(waits(r)).toBe(true);
    running.end();
    two.tick();
    expect(through(r)).toBe(true);
  });

  test("goes on unqueued when its body is over the cap or not whole", async () => {
    const { host } = await gateway(1, { maxBodyBytes: 1000 });
    host.chat(chat("a"));
    const big = host.chat(chat("b".repeat(2000)));
    expect(big.header(DESTINATION)).toBeDefined();
    const partial = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions"],
    ]);
    partial.onHeaders();
    const body = JSON.stringify(chat("c".repeat(600_000)));
    expect(partial.onBody(body.slice(0, 560_000), false)).toBe(CONTINUE);
    expect(partial.header(DESTINATION)).toBeDefined();
  });

  test("does not wait while the queue is off, or a pod is within its headroom", async () => {
    const off = await gateway(1, { enabled: false });
    for (let i = 0; i < 3; i++) expect(off.host.chat(chat(`${i}`)).header(DESTINATION)).toBeDefined();
    const { host } = await gateway(
      1,
      {},
      {
        saturation: { detector: "concurrency-detector", maxConcurrency: 2, headroom: 0.5 },
      },
    );
    const seen = Array.from(
      { length: 4 },
      (_, i) => host.chat(chat(`${i}`)).header(DESTINATION) !== undefined,
    );
    // Two, and half as many more.
    expect(seen).toEqual([true, true, true, false]);
  });

  test("goes to a pod with room, though another one has its prompt cached, until all are full", async () => {
    const { host, agent } = await gateway(2);
    const body = chat("warm ".repeat(2000));
    agent.cache(1, renderChatml(body.messages));
    host.receive(agent.wire.drain());
    const pods = Array.from({ length: 3 }, () => host.chat(body).header(DESTINATION)?.split(",")[0]);
    expect(pods).toEqual(["10.0.0.2:8000", "10.0.0.1:8000", undefined]);
  });

  test("is let through when the queue is turned off", async () => {
    const { host, agent } = await gateway();
    host.chat(chat("a"));
    const r = host.chat(chat("b"));
    expect(waits(r)).toBe(true);
    host.receive(agent.rules({ flowControl: { enabled: false } }));
    host.tick();
    expect(through(r)).toBe(true);
  });

  test("has its model rewritten once", async () => {
    const { host } = await gateway(
      1,
      {},
      {
        saturation: { detector: "concurrency-detector", maxConcurrency: 1 },
        requests: { rewrites: [{ model: "public", targets: [{ model: "m" }] }] },
      },
    );
    const first = host.chat(chat("a"));
    const r = host.chat({ ...chat("b"), model: "public" });
    first.end();
    host.tick();
    expect(through(r)).toBe(true);
    expect(new TextDecoder().decode(r.body)).toBe(JSON.stringify(chat("b")));
  });
});

describe("of those that wait", () => {
  test("the highest priority comes first, and the first come of one tenant", async () => {
    const { host } = await gateway();
    const running = host.chat(chat("a"));
    const names = ["n1", "h1", "n2", "c1", "5", "h2"];
    const priority = (n: string) => ({ n: "normal", h: "high", c: "critical", "5": "5" })[n[0]!]!;
    const waiting = new Map(names.map((n) => [n, host.chat(chat(n), trusted(priority(n)))]));
    expect([...waiting.values()].every(waits)).toBe(true);
    expect(drain(host, running, waiting)).toEqual(["c1", "h1", "h2", "5", "n1", "n2"]);
  });

  test("who is not trusted is normal, whatever priority and tenant it names", async () => {
    const { host } = await gateway();
    const running = host.chat(chat("a"));
    const waiting = new Map([
      ["first", host.chat(chat("x"), [["authorization", "Bearer u"]])],
      [
        "forged",
        host.chat(chat("y"), [
          ["authorization", "Bearer v"],
          ["x-priority", "critical"],
        ]),
      ],
      ["trusted", host.chat(chat("z"), trusted("1"))],
    ] as [string, Request][]);
    expect(drain(host, running, waiting)).toEqual(["trusted", "first", "forged"]);
  });

  test("tenants take turns, however many requests one of them has waiting", async () => {
    const { host } = await gateway();
    const running = host.chat(chat("a"));
    const waiting = new Map<string, Request>();
    for (let i = 0; i < 6; i++) waiting.set(`a${i}`, host.chat(chat("x"), trusted("normal", "a")));
    for (let i = 0; i < 3; i++) waiting.set(`b${i}`, host.chat(chat("x"), trusted("normal", "b")));
    expect(drain(host, running, waiting).join(" ")).toBe("a0 b0 a1 b1 a2 b2 a3 a4 a5");
  });

  test("a tenant's long bodies count for more than another's short ones", async () => {
    const { host } = await gateway();
    const running = host.chat(chat("a"));
    const waiting = new Map<string, Request>();
    for (let i = 0; i < 2; i++)
      waiting.set(`L${i}`, host.chat(chat("x".repeat(20_000)), trusted("normal", "a")));
    for (let i = 0; i < 4; i++) waiting.set(`s${i}`, host.chat(chat("x"), trusted("normal", "b")));
    // 4,096 and the body's bytes: one long request weighs as much as nearly six short ones.
    expect(drain(host, running, waiting).join(" ")).toBe("L0 s0 s1 s2 s3 L1");
  });

  test("without credentials all are one tenant, and credentials are one each", async () => {
    const { host } = await gateway();
    const running = host.chat(chat("a"));
    const waiting = new Map<string, Request>();
    for (let i = 0; i < 3; i++) waiting.set(`k${i}`, host.chat(chat("x"), [["x-api-key", "one"]]));
    for (let i = 0; i < 2; i++) waiting.set(`n${i}`, host.chat(chat("x"), []));
    expect(drain(host, running, waiting).join(" ")).toBe("k0 n0 k1 n1 k2");
  });

  test("a newcomer does not pass those of its priority when there is room again", async () => {
    const { host, agent, rules } = await gateway();
    host.chat(chat("a"));
    const waiting = host.chat(chat("b"));
    const saturation = { detector: "concurrency-detector", maxConcurrency: 2 } as const;
    host.receive(agent.rules({ ...rules, saturation }, callers));
    const newcomer = host.chat(chat("c"));
    expect(waits(newcomer)).toBe(true);
    const urgent = host.chat(chat("d"), trusted("high"));
    expect(urgent.header(DESTINATION)).toBeDefined();
    urgent.end();
    host.tick();
    expect([through(waiting), waits(newcomer)]).toEqual([true, true]);
  });
});

describe("a request that is limited to a subset of pods", () => {
  const SUBSET = "x-gateway-destination-endpoint-subset";
  const only = (...pods: number[]): Headers => [
    ["authorization", "Bearer t"],
    [SUBSET, pods.map((n) => `10.0.0.${n}:8000`).join(",")],
  ];
  const pod = (r: Request) => r.header(DESTINATION)?.split(",")[0];

  test("waits while its pods are full, though others have room, and goes on when one of its own has", async () => {
    const { host } = await gateway(3);
    const running = host.chat(chat("a"), only(2));
    const r = host.chat(chat("b"), only(2));
    expect(waits(r)).toBe(true);
    // Others neither wait behind it nor take its place.
    const free = [host.chat(chat("c")), host.chat(chat("d"), only(1, 3))];
    expect(free.map(pod).sort()).toEqual(["10.0.0.1:8000", "10.0.0.3:8000"]);
    free[0]!.end();
    for (let i = 0; i < 3; i++) host.tick();
    expect(waits(r)).toBe(true);
    running.end();
    host.tick();
    expect([through(r), r.header(DESTINATION), r.header(SUBSET)]).toEqual([true, "10.0.0.2:8000", undefined]);
  });

  test("goes on at once while its pods have room, though everybody else's are full", async () => {
    const { host } = await gateway(2);
    host.chat(chat("a"), only(1));
    const waiting = host.chat(chat("b"), only(1));
    expect(waits(waiting)).toBe(true);
    expect(pod(host.chat(chat("c"), only(2)))).toBe("10.0.0.2:8000");
  });

  test("is let through in its turn: by priority, then as it came, past those whose subset is still full", async () => {
    const { host } = await gateway(2);
    const [first, second] = [host.chat(chat("a"), only(1)), host.chat(chat("b"), only(2))];
    const urgent = host.chat(chat("c"), [...only(1), ["x-priority", "high"]]);
    const waiting = new Map([
      ["one", host.chat(chat("d"), only(2))],
      ["any", host.chat(chat("e"), [["authorization", "Bearer t"]])],
      ["two", host.chat(chat("f"), only(2))],
    ]);
    expect(drain(host, second!, new Map(waiting))).toEqual(["one", "any", "two"]);
    expect(waits(urgent)).toBe(true);
    first!.end();
    host.tick();
    expect(through(urgent)).toBe(true);
  });

  test("of low priority is refused when its own pods are full, and not when others are", async () => {
    const { host } = await gateway(2, { enabled: false });
    host.chat(chat("a"), only(1));
    const low = (n: number): Headers => [...only(n), ["x-priority", "low"]];
    expect(host.chat(chat("b"), low(1)).reply).toMatchObject({
      status: 429,
      headers: { [REASON]: "rejected-saturated" },
    });
    expect(pod(host.chat(chat("c"), low(2)))).toBe("10.0.0.2:8000");
  });

  test("finds its pods again when they have moved to other slots", async () => {
    const { host, agent } = await gateway(3);
    const running = host.chat(chat("a"), only(2));
    const r = host.chat(chat("b"), only(2));
    const [one, two, three] = agent.pods.map((row) => ({ ...row }));
    agent.wire.setPods([
      { ...two!, slot: 0 },
      { ...one!, slot: 1 },
      { ...three!, slot: 2 },
    ]);
    host.receive(agent.snapshot());
    for (let i = 0; i < 3; i++) host.tick();
    expect(waits(r)).toBe(true);
    running.end();
    host.tick();
    expect([through(r), pod(r)]).toEqual([true, "10.0.0.2:8000"]);
  });

  test("is refused when none of its pods is left, be it before or while it waits", async () => {
    const { host, agent } = await gateway(2);
    host.chat(chat("a"), only(2));
    const r = host.chat(chat("b"), only(2));
    agent.wire.setPods(agent.pods.filter(({ slot }) => slot === 0));
    host.receive(agent.snapshot());
    host.tick();
    expect(r.reply).toMatchObject({ status: 503, headers: { [REASON]: "rejected-no-endpoints" } });
    expect(host.chat(chat("c"), only(2)).reply?.status).toBe(503);
    expect(pod(host.chat(chat("d"), only(1)))).toBe("10.0.0.1:8000");
  });

  test("goes on unqueued when those of 32 other subsets wait, until one of these is through", async () => {
    const { host } = await gateway(1);
    const running = host.chat(chat("a"));
    const lists = Array.from({ length: 33 }, (_, i) => `10.0.0.1:8000${",".repeat(i)}`);
    const limited = (i: number): Headers => [
      ["authorization", "Bearer t"],
      [SUBSET, lists[i]!],
    ];
    const waiting = new Map(
      Array.from({ length: 32 }, (_, i) => [String(i), host.chat(chat("b"), limited(i))] as const),
    );
    expect([...waiting.values()].every(waits)).toBe(true);
    expect(waits(host.chat(chat("c"), limited(7)))).toBe(true);
    const beyond = host.chat(chat("c"), limited(32));
    expect(pod(beyond)).toBe("10.0.0.1:8000");
    beyond.end();
    running.end();
    host.tick();
    expect(through(waiting.get("0")!)).toBe(true);
    expect(waits(host.chat(chat("c"), limited(32)))).toBe(true);
  });
});

describe("who has to go", () => {
  test("after the longest wait: 429, with its reason", async () => {
    const { host } = await gateway(1, { defaultRequestTTL: "2s" });
    host.chat(chat("a"));
    const r = host.chat(chat("b"));
    host.tick(1990);
    expect(waits(r)).toBe(true);
    host.tick(20);
    expect(r.reply).toMatchObject({
      status: 429,
      headers: { "retry-after": "1", [REASON]: "rejected-ttl-expired" },
    });
    r.end();
    expect(host.process.metric("warmgate_queue_requests")).toBe(0n);
    expect(total(host, "queue_expired")).toBe(1);
  });

  test("when no pod is left: 503", async () => {
    const { host, agent } = await gateway(1, { defaultRequestTTL: "1s" });
    host.chat(chat("a"));
    const r = host.chat(chat("b"));
    host.receive(agent.loads(() => ({ ready: false })));
    host.tick(500);
    expect(waits(r)).toBe(true);
    host.tick(600);
    expect(r.reply).toMatchObject({ status: 503, headers: { [REASON]: "rejected-no-endpoints" } });
  });

  test("a client that leaves frees its place", async () => {
    const { host } = await gateway(1, { maxRequests: 1 });
    host.chat(chat("a"));
    const gone = host.chat(chat("b"));
    gone.end();
    expect(host.process.metric("warmgate_queue_requests")).toBe(0n);
    expect(waits(host.chat(chat("c")))).toBe(true);
    expect(total(host, "queue_left")).toBe(1);
  });

  test("sheddable traffic never waits, and never passes those who do", async () => {
    const { host } = await gateway();
    const running = host.chat(chat("a"));
    const low: Headers = [["x-priority", "low"]];
    const r = host.chat(chat("b"), low);
    expect(r.reply).toMatchObject({ status: 429, headers: { [REASON]: "rejected-saturated" } });
    const waiting = host.chat(chat("c"));
    running.end();
    expect(host.chat(chat("b"), low).reply?.status).toBe(429);
    host.tick();
    waiting.end();
    expect(host.chat(chat("b"), low).header(DESTINATION)).toBeDefined();
  });

  test("a newcomer to a full queue, unless others are of lower priority or of a tenant with more", async () => {
    const { host } = await gateway(1, { maxRequests: 3 });
    host.chat(chat("a"));
    const flood = Array.from({ length: 3 }, () => host.chat(chat("x"), trusted("normal", "a")));
    const more = host.chat(chat("x"), trusted("normal", "a"));
    expect(more.reply).toMatchObject({ status: 429, headers: { [REASON]: "rejected-saturated" } });
    const other = host.chat(chat("x"), trusted("normal", "b"));
    expect(waits(other)).toBe(true);
    expect(flood[2]!.reply).toMatchObject({ status: 429, headers: { [REASON]: "evicted-queue-pressure" } });
    const urgent = host.chat(chat("x"), trusted("high", "a"));
    expect(waits(urgent)).toBe(true);
    expect([flood[0]!.reply, flood[1]!.reply?.status]).toEqual([null, 429]);
    expect(total(host, "queue_evicted")).toBe(2);
  });

  test("a newcomer whose bytes do not fit", async () => {
    const { host } = await gateway(1, { maxBytes: 10_000 });
    host.chat(chat("a"));
    expect(waits(host.chat(chat("x".repeat(6000))))).toBe(true);
    expect(host.chat(chat("x".repeat(6000))).reply?.status).toBe(429);
    expect(waits(host.chat(chat("x".repeat(2000))))).toBe(true);
  });
});

test("10,000 requests through the queue leave nothing behind", async () => {
  const { host } = await gateway();
  let running = host.chat(chat("a"));
  const before = host.memoryBytes;
  for (let i = 0; i < 10_000; i++) {
    const next = host.chat(chat(`${i} `.repeat(1000)), [["x-api-key", `k${i % 700}`]]);
    running.end();
    host.tick(0.01);
    if (!through(next)) throw new Error(`request ${i} did not come through`);
    running = next;
  }
  running.end();
  expect(host.memoryBytes).toBe(before);
  expect(host.process.metric("warmgate_queue_requests")).toBe(0n);
  expect(host.process.metric("warmgate_inflight_counts_slot_0")).toBe(0n);
});
