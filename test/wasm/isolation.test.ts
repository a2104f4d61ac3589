// `trust.isolation: salt` against the built filter: which salt stands in the body, and what it makes of matches.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { CONTINUE, type Headers, Host, type Request, STOP } from "./host.js";
import { renderChatml, TestAgent } from "./table.js";

const configuration = { debugHeaders: "all" };
const messages = [{ role: "user", content: "what every tenant asks first ".repeat(80) }];
const chat = JSON.stringify({ model: "m", messages });
const sent = (r: Request) => new TextDecoder().decode(r.body);
const saltOf = (r: Request): string => JSON.parse(sent(r)).cache_salt;
const as = (credential: string): Headers => [["authorization", `Bearer ${credential}`]];
const sha = (text: string) => createHash("sha256").update(text).digest("hex");

async function gateway(options: Partial<Parameters<typeof TestAgent.create>[1]> = {}, config: object = {}) {
  const agent = await TestAgent.create(2, { isolation: "salt", debugHeaders: "all", ...options });
  const host = new Host({ configuration: { ...configuration, ...config } });
  host.receive(agent.snapshot());
  return { agent, host };
}

describe("isolation by salt", () => {
  test("puts a salt of the tenant behind the body's brace and leaves every other byte as it came", async () => {
    const { host } = await gateway();
    const raw =
      '\ufeff \n{ "seed": 9007199254740993, "model" :  "m" , "messages":[{"role":"user","content":"h\\u00e9"}]}';
    const bytes = String(Buffer.byteLength(raw));
    const r = host.chat(raw, [...as("a"), ["content-length", bytes]]);
    const [, salt] = /"cache_salt":"([0-9a-f]{32})",/.exec(sent(r).slice(0, 80))!;
    expect(Buffer.from(r.body).toString()).toBe(raw.replace("{", `{"cache_salt":"${salt}",`));
    expect(r.header("content-length")).toBe(String(r.body.length));
  });

  test("gives a tenant the same salt on every gateway, and another tenant another one", async () => {
    const one = await gateway();
    const two = await gateway({}, { sessionKey: "f".repeat(64) });
    const salts = ["a", "a", "b", "c"].map((name) => saltOf(one.host.chat(chat, as(name))));
    expect(salts[1]).toBe(salts[0]);
    expect(new Set(salts).size).toBe(3);
    expect(saltOf(two.host.chat(chat, as("a")))).toBe(salts[0]);
    const anonymous = saltOf(one.host.chat(chat));
    expect(saltOf(two.host.chat(chat))).toBe(anonymous);
    expect(salts).not.toContain(anonymous);
  });

  test("replaces a client's own salt by one of both, so that nobody can name another's", async () => {
    const { host } = await gateway();
    const salted = (salt: unknown, credential: string) =>
      host.chat(JSON.stringify({ model: "m", cache_salt: salt, messages }), as(credential));
    const own = saltOf(salted("x", "a"));
    const theirs = saltOf(host.chat(chat, as("a")));
    const salts = [
      own,
      saltOf(salted("x", "b")),
      saltOf(salted("y", "a")),
      theirs,
      saltOf(salted(theirs, "b")),
    ];
    expect(new Set(salts).size).toBe(5);
    expect(saltOf(salted("x", "a"))).toBe(own);
    const body = sent(salted("x", "a"));
    expect(body).toBe(JSON.stringify({ model: "m", cache_salt: own, messages }));
  });

  test("matches a tenant with what was cached under its salt, and nobody with what has none", async () => {
    const { agent, host } = await gateway();
    const prompt = renderChatml(messages);
    agent.cache(0, prompt);
    agent.cache(1, prompt, saltOf(host.chat(chat, as("a"))));
    host.receive(agent.wire.drain());
    const predicted = (credential: string) => {
      const r = host.chat(chat, as(credential));
      r.onResponse(r.header("x-gateway-destination-endpoint")!.split(",")[0]!);
      return Number(r.response("x-cache-prefix-length") ?? 0);
    };
    expect(predicted("a")).toBeGreaterThan(1000);
    expect(predicted("b")).toBe(0);
  });

  test("takes the tenant that a trusted caller names, and nobody else's word for it", async () => {
    const { agent, host } = await gateway();
    host.receive(agent.rules({}, { tokens: [sha("t")] }));
    const named = (credential: string, id: string) =>
      saltOf(host.chat(chat, [...as(credential), ["x-gateway-inference-fairness-id", id]]));
    expect(named("t", "one")).not.toBe(named("t", "two"));
    expect(named("other", "one")).toBe(named("other", "two"));
    expect(named("other", "one")).not.toBe(named("t", "one"));
  });

  test("changes model and salt of one body together", async () => {
    const { agent, host } = await gateway();
    host.receive(agent.rules({ requests: { rewrites: [{ model: "public", targets: [{ model: "m" }] }] } }));
    for (const raw of [
      '{"model":"public","messages":[{"role":"user","content":"x"}],"cache_salt":"s"}',
      '{"cache_salt":"s","messages":[{"role":"user","content":"x"}],"model":"public"}',
      '{"messages":[{"role":"user","content":"x"}],"model":"public"}',
    ]) {
      const r = host.chat(raw, as("a"));
      const salt = saltOf(r);
      const expected = raw.includes('"s"')
        ? raw.replace('"s"', `"${salt}"`)
        : raw.replace("{", `{"cache_salt":"${salt}",`);
      expect(sent(r)).toBe(expected.replace('"public"', '"m"'));
    }
  });

  test.each([
    [413, "body_too_large_to_rewrite", JSON.stringify({ model: "m", messages, user: "x".repeat(600_000) })],
    [400, "cache_salt_twice", `{"cache_salt":"a","model":"m","cache\\u005fsalt":"b","messages":[]}`],
  ])("refuses with %i what it cannot salt (%s)", async (status, code, body) => {
    const { host } = await gateway();
    const { reply } = host.chat(body, as("a"));
    expect([reply?.status, JSON.parse(reply!.body).error.code]).toEqual([status, code]);
  });

  test("refuses what would pass unread: headers decide alone, or no body comes", async () => {
    const headersOnly = await gateway({}, { mode: "headers" });
    const { reply } = headersOnly.host.chat(chat, as("a"));
    expect([reply?.status, JSON.parse(reply!.body).error.code]).toEqual([503, "not_isolated"]);
    const { host } = await gateway();
    const r = host.request([
      [":method", "POST"],
      [":path", "/v1/chat/completions"],
    ]);
    expect(r.onHeaders()).toBe(STOP);
    host.tick(300);
    expect([r.resumed, r.reply?.status]).toEqual([0, 503]);
    const models = host.request([
      [":method", "GET"],
      [":path", "/v1/models"],
    ]);
    expect(models.onHeaders()).toBe(CONTINUE);
  });

  test("is off unless the policy asks for it", async () => {
    const { host } = await gateway({ isolation: "none" });
    expect(sent(host.chat(chat, as("a")))).toBe(chat);
  });
});
