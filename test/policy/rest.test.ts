// The policy over REST: reading, changing, refusing, keeping.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { DEFAULT_POLICY } from "../../agent/policy/document.js";
import { configFor, newStateFolder, startAgent, startPod, type TestPod } from "../agent/agent-for-test.js";
import { endedAfterEach } from "../agent/ended-after-each.js";
import { schedulingOf } from "../wasm/table.js";

const URL = "/api/v1/policy";
const { apps, pods } = endedAfterEach();
let pod: TestPod;
let state: string;

beforeEach(async () => {
  pod = await startPod();
  pods.push(pod);
  state = newStateFolder();
});
afterEach(() => {
  rmSync(state, { recursive: true, force: true });
});

/** An agent on the state folder, with more of warmgate.yaml in `extra`. */
async function agent(extra = ""): Promise<FastifyInstance> {
  const app = await startAgent(configFor([pod], state, extra));
  apps.push(app);
  return app;
}

async function restarted(extra = ""): Promise<FastifyInstance> {
  await apps.pop()!.close();
  return agent(extra);
}

const send = (
  app: FastifyInstance,
  method: "PUT" | "PATCH",
  payload: object | string,
  headers: Record<string, string> = {},
) =>
  app.inject({
    method,
    url: URL,
    payload: typeof payload === "string" ? payload : JSON.stringify(payload),
    headers: { "content-type": "application/json", ...headers },
  });

describe("reading", () => {
  test("shows the whole document with its version", async () => {
    const app = await agent("policy: {headers: {debugHeaders: none}}");
    const answer = await app.inject(URL);
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({ ...DEFAULT_POLICY, headers: { debugHeaders: "none" } });
    expect(answer.headers["x-policy-version"]).toBe("1");
    expect(answer.headers.etag).toMatch(/^"1-[0-9a-f]{12}"$/);
    expect(parse((await app.inject(`${URL}?format=yaml`)).body)).toEqual(answer.json());
    expect((await app.inject(`${URL}?format=toml`)).statusCode).toBe(400);
  });

  test("answers 304 to who has it", async () => {
    const app = await agent();
    const { etag } = (await app.inject(URL)).headers;
    const headers = { "if-none-match": etag as string };
    expect((await app.inject({ url: URL, headers })).statusCode).toBe(304);
    await send(app, "PATCH", { headers: { debugHeaders: "all" } });
    expect((await app.inject({ url: URL, headers })).statusCode).toBe(200);
  });

  test("tells version, origin and what gateways run of it", async () => {
    const app = await agent("policy: {scheduling: {profile: weighted}}");
    await send(app, "PATCH", { scheduling: { weights: { prefix: 150 } } });
    expect((await app.inject(`${URL}/status`)).json()).toMatchObject({
      version: 2,
      source: "rest",
      runs: {
        handler: "Single",
        profiles: [
          {
            name: "weighted",
            role: "decode",
            filters: [],
            scorers: [
              { name: "precise-prefix-cache-scorer", weight: 150 },
              { name: "load-aware-scorer", weight: 30 },
              { name: "active-request-scorer", weight: 20 },
            ],
            picker: "max-score-picker",
          },
        ],
      },
      notes: [],
    });
    expect((await app.inject("/metrics")).body).toContain("warmgate_policy_version 2");
  });

  test("is described by the API document", async () => {
    const app = await agent();
    const { paths } = (await app.inject("/openapi.json")).json();
    expect(Object.keys(paths[URL])).toEqual(expect.arrayContaining(["get", "put", "patch"]));
    expect(Object.keys(paths[URL].patch.requestBody.content)).toContain("application/merge-patch+json");
    const { properties } = paths[URL].put.requestBody.content["application/json"].schema;
    expect(Object.keys(properties)).toEqual(Object.keys(DEFAULT_POLICY));
    expect(properties.limits.properties.bodyReadBytes.default).toBe(524_288);
  });
});

describe("changing", () => {
  test("replaces the whole document by PUT, with defaults for what is left out", async () => {
    const app = await agent("policy: {headers: {debugHeaders: none}}");
    const answer = await send(app, "PUT", { limits: { staleMax: "1m" } });
    expect(answer.statusCode).toBe(200);
    const wanted = { ...DEFAULT_POLICY, limits: { ...DEFAULT_POLICY.limits, staleMax: "1m" } };
    expect(answer.json()).toEqual(wanted);
    expect(answer.headers["x-policy-version"]).toBe("2");
    expect((await app.inject(URL)).json()).toEqual(wanted);
  });

  test("takes a document in YAML", async () => {
    const app = await agent();
    const answer = await send(app, "PUT", "scheduling:\n  plugins: [{type: queue-scorer}]\n", {
      "content-type": "application/yaml",
    });
    expect(answer.json().scheduling.schedulingProfiles).toEqual([
      { name: "default", plugins: [{ pluginRef: "queue-scorer" }] },
    ]);
  });

  test("changes parts by PATCH, and null brings a default back", async () => {
    const app = await agent();
    const type = { "content-type": "application/merge-patch+json" };
    await send(app, "PATCH", { headers: { debugHeaders: "all" }, limits: { staleMax: "1m" } }, type);
    const answer = await send(app, "PATCH", { limits: { staleMax: null } }, type);
    expect(answer.json()).toEqual({ ...DEFAULT_POLICY, headers: { debugHeaders: "all" } });
    expect(answer.headers["x-policy-version"]).toBe("3");
  });

  test("changes one weight of the weighted profile by its short form", async () => {
    const app = await agent();
    await send(app, "PATCH", { scheduling: { profile: "weighted", weights: { load: 0 } } });
    const answer = await send(app, "PATCH", { scheduling: { weights: { prefix: 80 } } });
    expect(answer.json().scheduling.schedulingProfiles[0].plugins).toEqual([
      { pluginRef: "precise-prefix-cache-scorer", weight: 80 },
      { pluginRef: "load-aware-scorer", weight: 0 },
      { pluginRef: "active-request-scorer", weight: 20 },
      { pluginRef: "max-score-picker" },
    ]);
  });

  test("goes from the short form to plugins and back", async () => {
    const app = await agent("policy: {scheduling: {profile: weighted}}");
    const own = { plugins: [{ type: "queue-scorer" }], schedulingProfiles: null };
    expect((await send(app, "PATCH", { scheduling: own })).json().scheduling.plugins).toEqual(own.plugins);
    const back = await send(app, "PATCH", { scheduling: { profile: "warm-until-busy" } });
    expect(back.json().scheduling).toEqual(DEFAULT_POLICY.scheduling);
  });

  test("makes no version of what is in force already", async () => {
    const app = await agent();
    const { etag } = (await app.inject(URL)).headers;
    expect((await send(app, "PUT", DEFAULT_POLICY)).headers).toMatchObject({ etag, "x-policy-version": "1" });
  });

  test("puts the program into the table that gateways get", async () => {
    const app = await agent();
    const given: unknown[] = [];
    const setPolicy = app.wire.setPolicy.bind(app.wire);
    app.wire.setPolicy = (program) => {
      given.push(program);
      setPolicy(program);
    };
    await send(app, "PATCH", { scheduling: { profile: "weighted" }, trust: { reservedFields: "allow" } });
    expect(given).toEqual([
      {
        version: 2,
        scheduling: schedulingOf({ profile: "weighted" }),
        bodyReadBytes: 524_288,
        debugHeaders: "trusted",
        reservedFields: "allow",
        isolation: "none",
        staleMaxMs: 600_000,
        loadTtlMs: 30_000,
      },
    ]);
  });
});

describe("two editors", () => {
  test("do not lose each other's change: the later one is refused with 412", async () => {
    const app = await agent();
    const headers = { "if-match": (await app.inject(URL)).headers.etag as string };
    const answers = await Promise.all([
      send(app, "PATCH", { headers: { debugHeaders: "all" } }, headers),
      send(app, "PATCH", { headers: { debugHeaders: "none" } }, headers),
    ]);
    expect(answers.map((a) => a.statusCode).sort()).toEqual([200, 412]);
    const late = answers.find((a) => a.statusCode === 412)!;
    expect(late.json().error.code).toBe("precondition_failed");
    expect(late.headers.etag).toBe((await app.inject(URL)).headers.etag);
    expect((await app.inject(URL)).headers["x-policy-version"]).toBe("2");
  });

  test("without conditions change one after the other", async () => {
    const app = await agent();
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => send(app, "PATCH", { limits: { staleMax: `${i + 10}s` } })),
    );
    expect((await app.inject(URL)).headers["x-policy-version"]).toBe("21");
  });
});

describe("a refused change", () => {
  test("names path and reason of every mistake, and changes nothing", async () => {
    const app = await agent();
    const before = await app.inject(URL);
    const answer = await send(app, "PATCH", {
      limits: { bodyReadBytes: 1 },
      scheduling: { plugins: [{ type: "queue-scorrer" }], schedulingProfiles: null },
    });
    expect(answer.statusCode).toBe(422);
    const { error } = answer.json();
    expect(error.code).toBe("invalid_policy");
    expect(error.problems).toEqual([
      { path: "/limits/bodyReadBytes", reason: "must be a whole number from 4096 to 16777216, not 1" },
      {
        path: "/scheduling/plugins/0/type",
        reason: 'unknown plugin type "queue-scorrer"; did you mean "queue-scorer"?',
      },
    ]);
    expect(error.message).toContain("/limits/bodyReadBytes: must be");
    const after = await app.inject(URL);
    expect([after.body, after.headers.etag]).toEqual([before.body, before.headers.etag]);
  });

  test("of what the index is built with says what to do", async () => {
    const app = await agent();
    const { error } = (await send(app, "PATCH", { limits: { blockBytes: 64, maxEntries: 5000 } })).json();
    expect(error.problems).toEqual([
      { path: "/limits/blockBytes", reason: expect.stringMatching(/stays 128; set it in warmgate\.yaml/) },
      { path: "/limits/maxEntries", reason: expect.stringMatching(/stays 1000000/) },
    ]);
  });

  test.each([
    ["no JSON", "{", "application/json", 400, "invalid_request"],
    ["nothing", "", "application/json", 400, "invalid_request"],
    ["a prototype", '{"__proto__": {}}', "application/merge-patch+json", 400, "invalid_request"],
    ["no YAML", "a: [", "application/yaml", 400, "invalid_request"],
    ["a list", "[]", "application/json", 422, "invalid_policy"],
    ["null", "null", "application/json", 422, "invalid_policy"],
    ["another type", "a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"],
    ["too much", `{"a": "${"x".repeat(300_000)}"}`, "application/json", 413, "body_too_large"],
  ])("of %s has a code and a reason", async (_, payload, type, status, code) => {
    const app = await agent();
    const answer = await send(app, "PUT", payload, { "content-type": type });
    expect([answer.statusCode, answer.json().error.code]).toEqual([status, code]);
    expect(answer.json().error.message).not.toBe("");
    expect((await app.inject(URL)).headers["x-policy-version"]).toBe("1");
  });

  test("under a foreign host name is meant for a browser's victim", async () => {
    const app = await agent();
    const answer = await send(app, "PATCH", {}, { host: "rebound.example" });
    expect([answer.statusCode, answer.json().error.code]).toEqual([403, "forbidden_host"]);
    expect((await send(app, "PATCH", {}, { host: "127.0.0.1:8080" })).statusCode).toBe(200);
  });

  test("without the token reads and writes nothing", async () => {
    writeFileSync(join(state, "token"), "0123456789abcdef");
    const app = await agent(`tokenFile: ${join(state, "token")}`);
    expect((await app.inject(URL)).statusCode).toBe(401);
    const change = { headers: { debugHeaders: "all" } };
    expect((await send(app, "PATCH", change)).statusCode).toBe(401);
    expect((await send(app, "PATCH", change, { authorization: "Bearer wrong" })).statusCode).toBe(401);
    const answer = await send(app, "PATCH", change, {
      authorization: "Bearer 0123456789abcdef",
      host: "agent.cluster.local",
    });
    expect([answer.statusCode, answer.headers["x-policy-version"]]).toEqual([200, "2"]);
  });

  test("because the state folder cannot take it leaves everything as it was", async () => {
    const app = await agent();
    rmSync(join(state, "policy.json"));
    mkdirSync(join(state, "policy.json"));
    const answer = await send(app, "PATCH", { headers: { debugHeaders: "all" } });
    expect([answer.statusCode, answer.json().error.code]).toEqual([503, "state_unwritable"]);
    expect(answer.json().error.message).toMatch(/^nothing was changed: .*policy\.json cannot be written/);
    const after = await app.inject(URL);
    expect([after.json(), after.headers["x-policy-version"]]).toEqual([DEFAULT_POLICY, "1"]);
  });
});

describe("a restarted agent", () => {
  const change = { scheduling: { profile: "weighted", weights: { prefix: 80 } } };

  test("goes on with what was set over REST, under the same version", async () => {
    const changed = await send(await agent(), "PATCH", change);
    const answer = await (await restarted()).inject(URL);
    expect([answer.body, answer.headers.etag]).toEqual([changed.body, changed.headers.etag]);
    expect((await apps[0]!.inject(`${URL}/status`)).json()).toMatchObject({ version: 2, source: "rest" });
    expect(readdirSync(state).filter((name) => name.includes(".next"))).toEqual([]);
  });

  test("follows warmgate.yaml when its policy was changed, and not when only its form was", async () => {
    await send(
      await agent("policy: {headers: {debugHeaders: none}, limits: {staleMax: 1m}}"),
      "PATCH",
      change,
    );
    const same = "policy:\n  limits: {staleMax: '1m'}\n  headers:\n    debugHeaders: none # as before";
    expect((await (await restarted(same)).inject(URL)).headers["x-policy-version"]).toBe("2");
    const other = await (await restarted("policy: {headers: {debugHeaders: all}}")).inject(URL);
    expect(other.headers["x-policy-version"]).toBe("3");
    expect(other.json()).toEqual({ ...DEFAULT_POLICY, headers: { debugHeaders: "all" } });
    expect((await apps[0]!.inject(`${URL}/status`)).json().source).toBe("file");
  });

  test("builds its index as the file says now", async () => {
    await send(await agent(), "PATCH", change);
    const app = await restarted("policy: {limits: {blockBytes: 64}}");
    expect((await app.inject(URL)).json().limits.blockBytes).toBe(64);
  });

  test.each([
    ["damaged", "{"],
    ["of another release", JSON.stringify({ format: 2, version: 9 })],
  ])("starts with the file's policy when the saved one is %s", async (_, text) => {
    await send(await agent(), "PATCH", change);
    writeFileSync(join(state, "policy.json"), text);
    expect((await (await restarted()).inject(URL)).json()).toEqual(DEFAULT_POLICY);
  });

  test("goes on counting when the saved policy is not understood", async () => {
    await send(await agent(), "PATCH", change);
    const file = join(state, "policy.json");
    const saved = JSON.parse(readFileSync(file, "utf8"));
    saved.policy.fromTheFuture = true;
    writeFileSync(file, JSON.stringify(saved));
    const answer = await (await restarted()).inject(URL);
    expect([answer.json(), answer.headers["x-policy-version"]]).toEqual([DEFAULT_POLICY, "3"]);
  });
});
