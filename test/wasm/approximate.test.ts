import { beforeEach, describe, expect, test } from "vitest";
import { Host, type Request } from "./host.js";
import { chat, renderChatml, TestAgent } from "./table.js";

const configuration = { debugHeaders: "all" };
const long = (seed: string, bytes = 4000) => `${seed} `.repeat(Math.ceil(bytes / (seed.length + 1)));
const ADDRESS = "10.0.0.1:8000";

let agent: TestAgent;
let hosts: Host[];

/** Two gateways before one pod, of which events tell or do not. */
beforeEach(async () => {
  agent = await TestAgent.create(1);
  hosts = [new Host({ configuration }), new Host({ configuration })];
});

function podKnown(approximate: boolean): void {
  agent.wire.setPods(agent.pods.map((pod) => ({ ...pod, approximate })));
  for (const host of hosts) host.receive(agent.snapshot());
}

function ask(host: Host, body: object): { predicted: number; request: Request } {
  const request = host.chat(body);
  request.onResponse(ADDRESS);
  const predicted = Number(request.response("x-cache-prefix-length"));
  request.onResponseBody(10, true);
  request.end();
  return { predicted, request };
}

/** What the gateways tell goes to the agent, and its table to all; then what they believed of themselves ends. */
function exchange(limit = 10_000): number {
  let blocks = 0;
  for (const host of hosts) {
    const before = host.sent.length;
    host.tick(5);
    for (const frame of host.frames().slice(before)) {
      const message = agent.wire.decodeUp(frame);
      if (message?.kind !== "routed") continue;
      for (const { address, hashes, tokensPerBlock } of message.rows) {
        expect(address).toBe(ADDRESS);
        blocks += hashes.length;
        agent.wire.useApproximate(0, hashes, tokensPerBlock, limit, 100);
      }
    }
  }
  const frames = agent.wire.drain();
  for (const host of hosts) {
    host.receive(frames);
    host.tick(11_000);
  }
  return blocks;
}

describe("a pod of which nothing better is known", () => {
  test("is taken to hold what one gateway sent it, by all of them", () => {
    podKnown(true);
    const body = chat(long("hello"));
    expect(ask(hosts[0]!, body).predicted).toBe(0);
    const blocks = exchange();
    expect(blocks).toBe(Math.floor(renderChatml(body.messages as never).length / 128));
    for (const host of hosts) {
      const { predicted } = ask(host, body);
      expect(predicted).toBeGreaterThan(3500);
      expect(predicted).toBeLessThanOrEqual(blocks * 128);
    }
    expect(ask(hosts[1]!, chat(`other ${long("hello")}`)).predicted).toBe(0);
  });

  test("holds no more than its cache has room for: what was not used for longest goes first, from its end", () => {
    podKnown(true);
    const [a, b] = [chat(long("first", 4000)), chat(long("second", 4000))];
    ask(hosts[0]!, a);
    exchange(40);
    ask(hosts[0]!, b);
    exchange(40);
    expect(agent.wire.approximateBlocks(0)).toBe(40);
    expect(ask(hosts[1]!, b).predicted).toBeGreaterThan(3500);
    const rest = ask(hosts[1]!, a).predicted;
    expect(rest).toBeGreaterThan(0);
    expect(rest).toBeLessThan(1500);
  });

  test("does not hold what a cache salt keeps apart", () => {
    podKnown(true);
    const salted = (cache_salt: string) => chat(long("hello"), { cache_salt });
    ask(hosts[0]!, salted("a"));
    exchange();
    expect(ask(hosts[1]!, salted("a")).predicted).toBeGreaterThan(3500);
    expect(ask(hosts[1]!, salted("b")).predicted).toBe(0);
    expect(ask(hosts[1]!, chat(long("hello"))).predicted).toBe(0);
    const longest = "s".repeat(5000);
    ask(hosts[0]!, salted(`${longest}a`));
    exchange();
    expect(ask(hosts[1]!, salted(`${longest}a`)).predicted).toBeGreaterThan(3500);
    expect(ask(hosts[1]!, salted(`${longest}b`)).predicted).toBe(0);
  });

  test("is not believed what it announces, which still is what its answers are compared with", () => {
    const body = chat(long("hello"), { stream: true, stream_options: { include_usage: true } });
    const prompt = renderChatml(body.messages as never);
    agent.cache(0, prompt);
    podKnown(true);
    const host = hosts[0]!;
    const r = host.chat(body);
    r.onResponse(ADDRESS);
    expect(r.response("x-cache-prefix-length")).toBe("0");
    r.responseBody = new TextEncoder().encode('data: {"usage":{"cached_tokens":1024}}\n\n');
    r.onResponseBody(r.responseBody.length);
    r.end();
    host.tick(1100);
    const rows = host.frames().flatMap((frame) => {
      const message = agent.wire.decodeUp(frame);
      return message?.kind === "predictions" ? message.rows : [];
    });
    expect(rows).toMatchObject([
      { answers: 1, answersPromised: prompt.length - (prompt.length % 128), cached: 1024, over: 1 },
    ]);
    podKnown(false);
    expect(ask(hosts[1]!, body).predicted).toBeGreaterThan(3500);
  });
});

describe("a prompt that is not rendered exactly", () => {
  const tools = (name: string) => [{ type: "function", function: { name, parameters: {} } }];

  test("is matched by what was sent, on pods that publish events, too, and never with an exact one", () => {
    podKnown(false);
    const inexact = chat(long("hello"), { tools: tools("f") });
    ask(hosts[0]!, inexact);
    expect(exchange()).toBeGreaterThan(0);
    expect(ask(hosts[1]!, inexact).predicted).toBeGreaterThan(3500);
    expect(ask(hosts[1]!, chat(long("hello"))).predicted).toBe(0);
    expect(ask(hosts[1]!, chat(long("hello"), { tools: tools("g") })).predicted).toBe(0);
    expect(ask(hosts[1]!, { ...inexact, documents: [{ text: "d" }] }).predicted).toBe(0);
    expect(ask(hosts[1]!, { ...inexact, chat_template_kwargs: { a: 1 } }).predicted).toBe(0);
    agent.cache(0, renderChatml(chat(long("exact")).messages as never));
    exchange();
    expect(ask(hosts[1]!, chat(long("exact"))).predicted).toBeGreaterThan(3500);
    expect(ask(hosts[1]!, chat(long("exact"), { tools: tools("f") })).predicted).toBe(0);
  });

  test("goes on where its beginning was: a further turn finds the turns before", () => {
    podKnown(false);
    const first = chat(long("hello"), { tools: tools("f") });
    ask(hosts[0]!, first);
    exchange();
    const messages = [
      ...first.messages,
      { role: "assistant", content: "answer" },
      { role: "user", content: "and?" },
    ];
    expect(ask(hosts[1]!, { ...first, messages }).predicted).toBeGreaterThan(3500);
  });

  test("is another one with another image", () => {
    podKnown(false);
    const picture = (data: string) =>
      chat([
        { type: "text", text: "what is this" },
        { type: "image_url", image_url: { url: `data:image/png;base64,${data}` } },
        { type: "text", text: long("describe it") },
      ]);
    ask(hosts[0]!, picture("A".repeat(500)));
    exchange();
    expect(ask(hosts[1]!, picture("A".repeat(500))).predicted).toBeGreaterThan(3500);
    expect(ask(hosts[1]!, picture(`${"A".repeat(499)}B`)).predicted).toBe(0);
  });

  test("may be token ids", () => {
    podKnown(false);
    const complete = (ids: number[]) => {
      const r = hosts[0]!.request([
        [":method", "POST"],
        [":path", "/v1/completions"],
      ]);
      r.onHeaders();
      r.onBody(JSON.stringify({ model: "m", prompt: ids }), true);
      r.onResponse(ADDRESS);
      r.onResponseBody(10, true);
      r.end();
      return Number(r.response("x-cache-prefix-length"));
    };
    const ids = Array.from({ length: 1000 }, (_, i) => 1000 + i);
    expect(complete(ids)).toBe(0);
    exchange();
    expect(complete([...ids, 5])).toBeGreaterThan(3500);
    expect(complete([7, ...ids])).toBe(0);
  });
});

test("exact prompts to pods that publish events cost nothing more: nothing is told", () => {
  podKnown(false);
  ask(hosts[0]!, chat(long("hello")));
  expect(exchange()).toBe(0);
});

test("what a worker tells in a second is bounded, and what is cut is counted", () => {
  podKnown(true);
  for (let i = 0; i < 30; i++) ask(hosts[0]!, chat(long(`prompt ${i}`, 400_000)));
  const blocks = exchange(100_000);
  expect(blocks).toBeGreaterThan(10_000);
  expect(blocks).toBeLessThan(13_000);
  for (let i = 0; i < 30; i++) {
    ask(hosts[0]!, chat(long(`prompt ${i}`, 400_000)));
    hosts[0]!.tick(5);
  }
  const report = hosts[0]!.frames().flatMap((frame) => {
    const message = agent.wire.decodeUp(frame);
    return message?.kind === "routed" ? message.rows : [];
  });
  expect(report.reduce((n, { hashes }) => n + hashes.length, 0)).toBeLessThanOrEqual(12_288 + 65_536);
});
