// Prefill on another pod, under the strict mock host: every way a split goes, and what it leaves behind.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { CONTINUE, DESTINATION, STOP } from "../wasm/host.js";
import { chat } from "../wasm/table.js";
import {
  bodyOf,
  DECODE_PODS,
  good,
  long,
  NOTHING,
  PREFILL_PODS,
  parameters,
  send,
  split,
  underWay,
} from "./split-host.js";

const header = (headers: [string, string][], name: string) => headers.find(([k]) => k === name)?.[1];

describe("a split", () => {
  test("holds the client, sends the prefill to a prefill pod, and resumes with its parameters to a decode pod", async () => {
    const { host, process } = await split();
    const { r, action } = send(host, chat(long("a"), { max_tokens: 64, stream: true }), [
      ["authorization", "Bearer k"],
      ["x-request-id", "req-1"],
      ["traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
      ["cookie", "secret=1"],
    ]);
    expect(action).toBe(STOP);
    expect(r.resumed).toBe(0);
    const [call] = host.httpCalls;
    expect(call!.cluster).toBe("warmgate-prefill");
    expect(PREFILL_PODS).toContain(header(call!.headers, DESTINATION));
    expect(header(call!.headers, ":path")).toBe("/v1/chat/completions");
    expect(header(call!.headers, "authorization")).toBe("Bearer k");
    expect(header(call!.headers, "x-request-id")).toBe("req-1");
    expect(header(call!.headers, "traceparent")).toContain("4bf92f3577b34da6a3ce929d0e0e4736");
    expect(header(call!.headers, "cookie")).toBeUndefined();
    expect(header(call!.headers, "content-length")).toBe(String(call!.body.length));
    expect(JSON.parse(call!.body)).toEqual({
      ...chat(long("a")),
      max_tokens: 1,
      max_completion_tokens: 1,
      min_tokens: 1,
      stream: false,
      kv_transfer_params: {
        do_remote_decode: true,
        do_remote_prefill: false,
        remote_block_ids: null,
        remote_engine_id: null,
        remote_host: null,
        remote_port: null,
      },
    });
    host.answerCall(call!, 200, good);
    expect(r.resumed).toBe(1);
    expect(JSON.parse(bodyOf(r))).toEqual({
      ...chat(long("a"), { max_tokens: 64, stream: true }),
      kv_transfer_params: parameters,
    });
    expect(r.header("content-length")).toBe(String(r.body.length));
    const decode = r.header(DESTINATION)!.split(",")[0]!;
    expect(DECODE_PODS).toContain(decode);
    r.onResponse(decode);
    r.onResponseBody(100, true);
    const prefill = PREFILL_PODS.indexOf(header(call!.headers, DESTINATION)!) + 2;
    expect(r.response("x-prefill-pod")).toBe(`pod-${prefill}`);
    expect(r.response("x-decode-pod")).toBe(`pod-${DECODE_PODS.indexOf(decode)}`);
    expect(r.response("x-prefill-time-ms")).toMatch(/^\d+\.\d{3}$/);
    r.end();
    expect(underWay(process)).toEqual(NOTHING);
    expect(process.metric("warmgate_prefill_split_total")).toBe(1n);
  });

  test("counts the prefill on the prefill pod while it runs, and the request on the decode pod", async () => {
    const { host, process } = await split();
    const { r } = send(host, chat(long("a")));
    expect(underWay(process)).toMatchObject({ requests: 2n, calls: 1n });
    host.answerCall(host.httpCalls[0]!, 200, good);
    expect(underWay(process)).toEqual({ requests: 1n, prefills: 0n, calls: 0n });
    r.end();
  });

  test("is not made below the threshold, for what is cached, for embeddings, or without a prefill pod", async () => {
    const { agent, host } = await split({ threshold: 500 });
    expect(send(host, chat(long("a", 300))).action).toBe(CONTINUE);
    const body = chat(long("warm"));
    const text = new TextEncoder().encode(`<|im_start|>user\n${long("warm")}<|im_end|>\n`);
    agent.cache(0, text);
    agent.cache(1, text);
    host.receive(agent.wire.drain());
    expect(send(host, body).action).toBe(CONTINUE);
    expect(send(host, { model: "m", input: long("e") }, [], "/v1/embeddings").action).toBe(CONTINUE);
    expect(host.httpCalls).toHaveLength(0);
    const none = await split({}, (rows) => {
      for (const row of rows) if (row.role === "prefill") row.ready = false;
    });
    expect(send(none.host, chat(long("a"))).action).toBe(CONTINUE);
    expect(none.process.metric("warmgate_prefill_no_pod_total")).toBe(1n);
  });

  test("waits for the whole of a body that is longer than what is read for matching, up to its own limit", async () => {
    const { host } = await split({ maxBodyBytes: 1_000_000 });
    const { r, action } = send(host, chat(long("a", 800_000)));
    expect(action).toBe(STOP);
    host.answerCall(host.httpCalls[0]!, 200, good);
    expect(JSON.parse(bodyOf(r)).messages[0].content).toHaveLength(800_000);
    expect(send(host, chat(long("b", 1_100_000))).action).toBe(CONTINUE);
    expect(host.httpCalls).toHaveLength(1);
  });

  test("is made when it is predicted to pay: a decode pod with answers under way is not stopped for a long prompt", async () => {
    const idle = await split({ mode: "pays" });
    expect(send(idle.host, chat(long("a", 40_000))).action).toBe(CONTINUE);
    const busy = await split({ mode: "pays" }, (rows) => {
      for (const row of rows) if (row.role === "decode") row.running = 16;
    });
    expect(send(busy.host, chat(long("a", 40_000))).action).toBe(STOP);
    const slow = await split({ mode: "pays", transferTokensPerSecond: 100 }, (rows) => {
      for (const row of rows) if (row.role === "decode") row.running = 16;
    });
    expect(send(slow.host, chat(long("a", 40_000))).action).toBe(CONTINUE);
  });

  test("does not pay for a prompt that is computed sooner than blocks are asked for and moved", async () => {
    const { host } = await split({ mode: "pays", stallWeight: 0.25 }, (rows) => {
      for (const row of rows) if (row.role === "decode") row.running = 4;
    });
    expect(send(host, chat(long("short", 300))).action).toBe(CONTINUE);
    expect(send(host, chat(long("long", 12_000))).action).toBe(STOP);
  });

  test("goes to the prefill pod that holds the prefix", async () => {
    for (const pod of [2, 3]) {
      const { agent, host } = await split();
      agent.cache(pod, new TextEncoder().encode(`<|im_start|>user\n${long("warm")}<|im_end|>\n`));
      host.receive(agent.wire.drain());
      send(host, chat(long("warm")));
      expect(header(host.httpCalls[0]!.headers, DESTINATION)).toBe(PREFILL_PODS[pod - 2]);
    }
  });

  test("stays in the request's subset of pods, both halves, and is not made where that has no prefill pod", async () => {
    const { agent, host, process } = await split();
    host.receive(agent.rules({}, { tokens: [createHash("sha256").update("t").digest("hex")] }));
    const limited = (seed: string, ...pods: string[]) =>
      send(host, chat(long(seed)), [
        ["authorization", "Bearer t"],
        ["x-gateway-destination-endpoint-subset", pods.join(",")],
      ]);
    for (let i = 0; i < 4; i++) {
      const [decode, prefill] = [DECODE_PODS[i % 2]!, PREFILL_PODS[i < 2 ? 0 : 1]!];
      const { r, action } = limited(`s${i}`, decode, prefill);
      expect(action).toBe(STOP);
      expect(r.header(DESTINATION)).toBe(decode);
      const call = host.httpCalls.at(-1)!;
      expect(header(call.headers, DESTINATION)).toBe(prefill);
      // What is tried after a failure is of the subset, too.
      host.answerCall(call, 500);
      expect([host.httpCalls.length, r.resumed]).toEqual([i + 1, 1]);
    }
    expect(limited("none", ...DECODE_PODS).action).toBe(CONTINUE);
    expect(process.metric("warmgate_prefill_no_pod_total")).toBe(1n);
    // Pods that cannot answer are no subset to answer from.
    expect(limited("only", ...PREFILL_PODS).r.reply?.status).toBe(503);
    expect(send(host, chat(long("all"))).action).toBe(STOP);
  });

  test("goes to either of two idle prefill pods, by its prompt, and comes again to the same one on every gateway", async () => {
    const home = async (name: string) => {
      const { host } = await split();
      send(host, chat(long(name)));
      return header(host.httpCalls[0]!.headers, DESTINATION)!;
    };
    const names = Array.from({ length: 12 }, (_, i) => `prompt ${i}`);
    const homes = await Promise.all(names.map(home));
    expect(new Set(homes)).toEqual(new Set(PREFILL_PODS));
    expect(await Promise.all(names.map(home))).toEqual(homes);
  });

  test("is bounded: beyond the limit of concurrent prefills one pod does all", async () => {
    const { host, process } = await split({ maxConcurrent: 2 });
    const streams = [1, 2, 3].map((i) => send(host, chat(long(`r${i}`))));
    expect(streams.map((s) => s.action)).toEqual([STOP, STOP, CONTINUE]);
    expect(process.metric("warmgate_prefill_busy_total")).toBe(1n);
    host.answerCall(host.httpCalls[0]!, 200, good);
    expect(send(host, chat(long("r4"))).action).toBe(STOP);
  });
});

describe("a split by the sidecar", () => {
  const sidecar = { by: "sidecar", maxConcurrent: 1 } as const;

  test("names the prefill pods to the decode pod, best first, and lets the request go on as it came", async () => {
    const { host, process } = await split(sidecar);
    const body = chat(long("a"), { stream: true });
    const { r, action } = send(host, body, [["x-prefiller-host-port", "10.9.9.9:1"]]);
    expect(action).toBe(CONTINUE);
    expect(host.httpCalls).toHaveLength(0);
    const named = r.header("x-prefiller-host-port")!.split(",");
    expect([...named].sort()).toEqual([...PREFILL_PODS].sort());
    expect(JSON.parse(bodyOf(r))).toEqual(body);
    const decode = r.header(DESTINATION)!.split(",")[0]!;
    r.onResponse(decode);
    r.onResponseBody(100, true);
    expect(r.response("x-prefill-pod")).toBe(`pod-${PREFILL_PODS.indexOf(named[0]!) + 2}`);
    expect(r.response("x-prefill-time-ms")).toBeUndefined();
    r.end();
    expect(underWay(process)).toEqual(NOTHING);
    expect(process.metric("warmgate_prefill_split_total")).toBe(1n);
  });

  test("counts the prefill on the prefill pod until an answer begins, so that the next one goes elsewhere", async () => {
    const { host, process } = await split(sidecar);
    const sent = [1, 2].map((i) => send(host, chat(long(`r${i}`))));
    const first = sent.map(({ r }) => r.header("x-prefiller-host-port")!.split(",")[0]);
    expect(new Set(first).size).toBe(2);
    const { requests, prefills } = underWay(process);
    expect([requests, prefills > 0n]).toEqual([4n, true]);
    for (const { r } of sent) {
      r.onResponse(r.header(DESTINATION)!.split(",")[0]!);
      r.onResponseBody(100, false);
    }
    expect(underWay(process)).toMatchObject({ requests: 2n, prefills: 0n });
    for (const { r } of sent) r.end();
    expect(underWay(process)).toEqual(NOTHING);
  });

  test("is undone when the client leaves before an answer, or another decode pod answers", async () => {
    const { host, process } = await split(sidecar);
    const { r } = send(host, chat(long("a")));
    r.end();
    expect(underWay(process)).toEqual(NOTHING);
    const moved = send(host, chat(long("b"))).r;
    moved.onResponse(moved.header(DESTINATION)!.split(",")[1]!);
    const { requests, prefills } = underWay(process);
    expect([requests, prefills > 0n]).toEqual([2n, true]);
    moved.onResponseBody(100, true);
    moved.end();
    expect(underWay(process)).toEqual(NOTHING);
  });

  test("is made for a body of which only the beginning was read, and not below the threshold or for embeddings", async () => {
    const { host } = await split({ ...sidecar, threshold: 500 });
    const { r, action } = send(host, chat(long("a", 800_000)));
    expect(action).toBe(CONTINUE);
    expect(r.header("x-prefiller-host-port")).toBeDefined();
    expect(send(host, chat(long("b", 300))).r.header("x-prefiller-host-port")).toBeUndefined();
    const embedding = send(host, { model: "m", input: long("e") }, [], "/v1/embeddings").r;
    expect(embedding.header("x-prefiller-host-port")).toBeUndefined();
  });
});

test("a prompt below the decider's own length is not split, whatever of it is missing", async () => {
  const { host } = await split({ threshold: 0, promptTokens: 2000 });
  expect(send(host, chat(long("a", 400))).action).toBe(CONTINUE);
  expect(send(host, chat(long("b", 40_000))).action).toBe(STOP);
});

describe("a prefill that fails", () => {
  const faults: [string, number | null, string, string][] = [
    ["answers 500", 500, "{}", "failed"],
    ["refuses the connection", 503, "upstream connect error", "failed"],
    ["breaks off", null, "", "failed"],
    ["answers rubbish", 200, "<html>", "rubbish"],
    ["answers nothing", 200, "", "rubbish"],
    ["answers a list", 200, "[1]", "rubbish"],
    ["answers without parameters", 200, '{"choices":[]}', "no_parameters"],
    ["answers null parameters", 200, '{"kv_transfer_params":null}', "no_parameters"],
    ["answers empty parameters", 200, '{"kv_transfer_params":{}}', "no_parameters"],
  ];
  test.each(faults)(
    "%s: the next prefill pod is tried, then the decode pod does all",
    async (_, status, body, counter) => {
      const { host, process } = await split();
      const text = JSON.stringify(chat(long("a")));
      const { r } = send(host, text);
      host.answerCall(host.httpCalls[0]!, status, body);
      expect(r.resumed).toBe(0);
      expect(host.httpCalls).toHaveLength(2);
      const pods = host.httpCalls.map((c) => header(c.headers, DESTINATION));
      expect(new Set(pods)).toEqual(new Set(PREFILL_PODS));
      expect(host.httpCalls[1]!.body).toBe(host.httpCalls[0]!.body);
      host.answerCall(host.httpCalls[1]!, status, body);
      expect(r.resumed).toBe(1);
      expect(bodyOf(r)).toBe(text);
      expect(process.metric(`warmgate_prefill_${counter}_total`)).toBe(2n);
      expect(process.metric("warmgate_prefill_local_total")).toBe(1n);
      r.end();
      expect(underWay(process)).toEqual(NOTHING);
    },
  );

  test("the second pod's parameters are used when the first one fails", async () => {
    const { host } = await split();
    const { r } = send(host, chat(long("a")));
    host.answerCall(host.httpCalls[0]!, 500);
    host.answerCall(host.httpCalls[1]!, 200, good);
    expect(JSON.parse(bodyOf(r)).kv_transfer_params).toEqual(parameters);
  });

  test("by policy the client gets an error instead: 502, or 504 at the deadline", async () => {
    const { host, process } = await split({ onFailure: "error" });
    const failed = send(host, chat(long("a"))).r;
    host.answerCall(host.httpCalls[0]!, 500);
    host.answerCall(host.httpCalls[1]!, 500);
    expect(failed.reply).toMatchObject({ status: 502 });
    expect(JSON.parse(failed.reply!.body).error.code).toBe("prefill_failed");
    expect(failed.resumed).toBe(0);
    failed.end();
    const late = send(host, chat(long("b"))).r;
    process.nowNs += 1_000_000_000n;
    host.answerCall(host.httpCalls[2]!, null);
    expect(late.reply).toMatchObject({ status: 504 });
    expect(JSON.parse(late.reply!.body).error.code).toBe("prefill_timeout");
    late.end();
    expect(underWay(process)).toEqual(NOTHING);
  });

  test("all tries share one deadline", async () => {
    const { host, process } = await split();
    const { r } = send(host, chat(long("a")));
    expect(host.httpCalls[0]!.timeoutMs).toBeLessThanOrEqual(1000);
    process.nowNs += 700_000_000n;
    host.answerCall(host.httpCalls[0]!, 500);
    expect(host.httpCalls[1]!.timeoutMs).toBeLessThanOrEqual(300);
    process.nowNs += 400_000_000n;
    host.answerCall(host.httpCalls[1]!, null);
    expect(r.resumed).toBe(1);
    expect(process.metric("warmgate_prefill_timeout_total")).toBe(1n);
  });

  test("a refusal is not repeated elsewhere: the decode pod says why itself, whatever the policy", async () => {
    const { host, process } = await split({ onFailure: "error" });
    const { r } = send(host, chat(long("a")));
    host.answerCall(host.httpCalls[0]!, 400, '{"error":{}}');
    expect(host.httpCalls).toHaveLength(1);
    expect(r.resumed).toBe(1);
    expect(r.reply).toBeNull();
    expect(process.metric("warmgate_prefill_refused_total")).toBe(1n);
  });

  test("an answer that never comes ends at the tick after the deadline", async () => {
    const { host, process } = await split();
    const { r } = send(host, chat(long("a")));
    host.tick(2500);
    host.tick();
    expect(r.resumed).toBe(1);
    host.answerCall(host.httpCalls[0]!, 200, good);
    expect(r.resumed).toBe(1);
    r.end();
    expect(underWay(process)).toEqual(NOTHING);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])(
    "a call that Envoy refuses with status %i leaves the request to the decode pod",
    async (status) => {
      const { host, process } = await split({}, undefined, (name) =>
        name === "proxy_http_call" ? status : undefined,
      );
      const { r, action } = send(host, chat(long("a")));
      expect(action).toBe(CONTINUE);
      expect(process.metric("warmgate_prefill_failed_total")).toBe(2n);
      r.end();
      expect(underWay(process)).toEqual(NOTHING);
    },
  );
});

describe("a client that leaves", () => {
  test("during the prefill orphans the call: its pod is given back at the answer, its blocks count until they expire", async () => {
    const { host, process } = await split();
    const { r } = send(host, chat(long("a")));
    r.end();
    host.forget(r);
    expect(process.metric("warmgate_prefill_orphaned_total")).toBe(1n);
    expect(underWay(process)).toMatchObject({ requests: 1n, calls: 1n });
    host.answerCall(host.httpCalls[0]!, 200, good);
    expect(underWay(process)).toEqual(NOTHING);
    expect(process.metric("warmgate_prefill_blocks_held")).toBe(125n);
    expect(process.metric("warmgate_prefill_blocks_left_total")).toBe(125n);
    host.tick(2500);
    expect(process.metric("warmgate_prefill_blocks_held")).toBe(0n);
  });

  test("and a prefill that never answers is given back at the deadline", async () => {
    const { host, process } = await split();
    const { r } = send(host, chat(long("a")));
    r.end();
    host.forget(r);
    host.tick(2500);
    host.tick();
    expect(underWay(process)).toEqual(NOTHING);
    expect(process.metric("warmgate_prefill_blocks_held")).toBe(0n);
  });

  test("after the prefill and before an answer leaves the blocks held", async () => {
    const { host, process } = await split();
    const { r } = send(host, chat(long("a")));
    host.answerCall(host.httpCalls[0]!, 200, good);
    r.end();
    expect(process.metric("warmgate_prefill_blocks_held")).toBe(125n);
    expect(underWay(process)).toEqual(NOTHING);
  });

  test("a thousand times leaks no record", async () => {
    const { host, process } = await split({ maxConcurrent: 1 });
    for (let i = 0; i < 1000; i++) {
      const { r, action } = send(host, chat(long(`turn ${i}`)));
      expect(action).toBe(STOP);
      r.end();
      host.forget(r);
      host.answerCall(host.httpCalls.at(-1)!, i % 2 ? 200 : 500, good);
    }
    expect(underWay(process)).toEqual(NOTHING);
  });
});

test("what was promised to a decode pod is told to the agent", async () => {
  const { agent, host } = await split();
  const { r } = send(host, chat(long("a")));
  host.answerCall(host.httpCalls[0]!, 200, good);
  const pod = r.header(DESTINATION)!.split(",")[0]!;
  r.onResponse(pod);
  r.onResponseBody(10, true);
  r.end();
  host.tick(1100);
  const reports = host.frames().flatMap((f) => agent.wire.decodeUp(f) ?? []);
  const last = reports.filter((m) => m.kind === "transfers").at(-1);
  expect(last).toMatchObject({ pods: [{ address: pod, transfers: 1, tokens: 2000 }] });
  expect(last!.kind === "transfers" && last!.counters[0]).toBe(1);
});

describe("a field that only a router may set", () => {
  test.each([
    ["in vllm_xargs", { vllm_xargs: { kv_transfer_params: {} } }],
    ["in extra_args of sampling_params", { sampling_params: { extra_args: { kv_transfer_params: {} } } }],
    ["in sampling_params itself", { sampling_params: { temperature: 0, bootstrap_host: "x" } }],
  ])("is refused %s, too", async (_, more) => {
    const { host } = await split();
    const { r } = send(host, chat(long("a"), more));
    expect(r.reply).toMatchObject({ status: 400 });
    expect(JSON.parse(r.reply!.body).error.code).toBe("reserved_field");
  });

  test("is refused under an escaped key there, and deeper or elsewhere it is the client's own", async () => {
    const { host } = await split();
    const messages = `"messages":[{"role":"user","content":"${long("a")}"}]`;
    const escaped = send(
      host,
      `{"model":"m",${messages},"vllm_xargs":{"a":[1],"kv\\u005ftransfer_params":1}}`,
    );
    expect(escaped.r.reply).toMatchObject({ status: 400 });
    for (const more of [
      { vllm_xargs: { a: { kv_transfer_params: 1 } } },
      { vllm_xargs: {} },
      { sampling_params: [1] },
      { metadata: { kv_transfer_params: "x" } },
    ])
      expect(send(host, chat(long("b"), more)).r.reply).toBeNull();
  });
});
