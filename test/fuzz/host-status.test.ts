// docs/host-status.md, row by row: what the filter does when a call to the host does not return Ok.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { built, packageRoot } from "../../agent/package-root.js";
import { CONTINUE, DESTINATION, type Headers, Host, Process, type Request, STOP } from "../wasm/host.js";
import { renderChatml, TestAgent } from "../wasm/table.js";

const NOT_FOUND = 1;
const CAS_MISMATCH = 8;
/** Statuses of proxy-wasm 0.2.1 other than Ok. */
const STATUSES: [string, number][] = [
  ["NotFound", NOT_FOUND],
  ["BadArgument", 2],
  ["SerializationFailure", 3],
  ["ParseFailure", 4],
  ["InvalidMemoryAccess", 6],
  ["Empty", 7],
  ["CasMismatch", CAS_MISMATCH],
  ["ResultMismatch", 9],
  ["InternalFailure", 10],
  ["BrokenConnection", 11],
  ["Unimplemented", 12],
];

const configuration = { debugHeaders: "all" };
const PROMPT = "a prompt long enough for blocks ".repeat(40);
const BODY = { model: "m", messages: [{ role: "user", content: PROMPT }] };
const CHAT: Headers = [
  [":method", "POST"],
  [":path", "/v1/chat/completions"],
];

/** A worker whose named host calls return the status that `failing` holds, from the moment it is put there. */
function worker(process = new Process(), failing: Record<string, number | undefined> = {}) {
  return { host: new Host({ configuration, process, fault: (name) => failing[name] }), failing, process };
}

/** The same with a table in which pod 1 holds the prompt. */
async function gateway() {
  const agent = await TestAgent.create();
  agent.cache(1, renderChatml(BODY.messages));
  const w = worker();
  w.host.receive(agent.snapshot());
  return { ...w, agent };
}

const inFlight = (process: Process) => process.underWay().requests;
const count = (host: Host, name: string) => {
  host.tick(1100);
  return Number(host.process.metric(`warmgate_${name}_total`));
};

test("every call that the module imports has a row, and every row is a call", () => {
  const module = new WebAssembly.Module(readFileSync(built("warmgate.wasm")));
  const imports = new Set(WebAssembly.Module.imports(module).map((i) => i.name));
  const text = readFileSync(join(packageRoot(), "docs", "host-status.md"), "utf8");
  const rows = new Set([...text.matchAll(/^\| `([a-z_]+)`/gm)].map((m) => m[1]!));
  expect([...rows].sort()).toEqual([...imports].sort());
});

describe.each(STATUSES)("when the host returns %s", (_name, status) => {
  describe("while the worker starts", () => {
    test.each(["proxy_get_buffer_bytes", "proxy_set_tick_period_milliseconds"])(
      "to %s, the configuration is refused",
      (call) => {
        expect(() => worker(undefined, { [call]: status })).toThrow("configuration refused");
      },
    );

    test("to proxy_define_metric, the metric is left out and requests are decided as ever", async () => {
      const agent = await TestAgent.create();
      agent.cache(1, renderChatml(BODY.messages));
      const { host, process } = worker(undefined, { proxy_define_metric: status });
      host.receive(agent.snapshot());
      const r = host.chat(BODY);
      expect(r.header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
      r.end();
      host.tick(1100);
      expect(process.metrics.size).toBe(0);
    });

    test("to proxy_log, nothing changes", async () => {
      const { host, failing } = worker();
      failing["proxy_log"] = status;
      const r = host.request([...CHAT]);
      r.onHeaders();
      host.tick(300);
      expect(r.resumed).toBe(1);
    });
  });

  describe("to a call about a request", () => {
    test("for its headers, the request goes on untouched and uncounted", async () => {
      const { host, failing, process } = await gateway();
      failing["proxy_get_header_map_pairs"] = status;
      const r = host.request([...CHAT]);
      expect(r.onHeaders()).toBe(CONTINUE);
      expect(r.onBody(JSON.stringify(BODY), true)).toBe(CONTINUE);
      expect(r.header(DESTINATION)).toBeUndefined();
      expect(r.header("x-session-id")).toBeUndefined();
      expect(inFlight(process)).toBe(0n);
      r.end();
      expect(count(host, "decisions_success")).toBe(0);
    });

    test("for the removal of a forged header, the request is decided all the same", async () => {
      const { host, failing } = await gateway();
      failing["proxy_remove_header_map_value"] = status;
      const r = host.chat(BODY, [["x-prefiller-host-port", "6.6.6.6:1"]]);
      expect(r.header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
      expect(r.header("x-prefiller-host-port")).toBe("6.6.6.6:1");
    });

    test("for its body, it is decided on session and load", async () => {
      const { host, failing, process } = await gateway();
      failing["proxy_get_buffer_bytes"] = status;
      const r = host.request([...CHAT]);
      expect(r.onHeaders()).toBe(STOP);
      expect(r.onBody("not even JSON", true)).toBe(CONTINUE);
      expect(r.reply).toBeNull();
      expect(r.header(DESTINATION)).toBeDefined();
      expect(r.header("x-session-id")).toMatch(/^[0-9a-f]{32}$/);
      expect(inFlight(process)).toBe(1n);
      r.end();
      expect(inFlight(process)).toBe(0n);
    });

    test("for writing its headers, the fallback picks the pod and the counts move there", async () => {
      const { host, failing, process } = await gateway();
      failing["proxy_replace_header_map_value"] = status;
      const r = host.chat(BODY);
      expect(r.header(DESTINATION)).toBeUndefined();
      expect(inFlight(process)).toBe(1n);
      failing["proxy_replace_header_map_value"] = undefined;
      r.onResponse("10.0.0.3:8000");
      expect(r.response("x-selected-pod")).toBe("pod-2");
      expect(process.underWay("_slot_2").requests).toBe(1n);
      r.onResponseBody(1, true);
      r.end();
      expect(inFlight(process)).toBe(0n);
    });

    test("for a gauge's value, the gauge counts as zero and nothing else changes", async () => {
      const { host, failing, process } = await gateway();
      failing["proxy_get_metric"] = status;
      for (let i = 0; i < 5; i++) {
        const r = host.chat(BODY);
        expect(r.header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
        r.end();
      }
      expect(inFlight(process)).toBe(0n);
    });

    test("for adding to a metric, the request goes where it should and its count follows", async () => {
      const { host, failing, process } = await gateway();
      failing["proxy_increment_metric"] = status;
      const r = host.chat(BODY);
      expect(r.header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
      expect(inFlight(process)).toBe(0n);
      failing["proxy_increment_metric"] = undefined;
      host.tick(5);
      expect(inFlight(process)).toBe(1n);
      failing["proxy_increment_metric"] = status;
      r.end();
      expect(count(host, "decisions_success")).toBe(0);
      failing["proxy_increment_metric"] = undefined;
      host.tick(5);
      expect(inFlight(process)).toBe(0n);
      expect(count(host, "decisions_success")).toBe(1);
    });

    test("for defining a gauge while a request begins, no gauge is below zero when it ends", async () => {
      const agent = await TestAgent.create();
      agent.cache(1, renderChatml(BODY.messages));
      const { host, failing, process } = worker(undefined, { proxy_define_metric: status });
      host.receive(agent.snapshot());
      const [first, second] = [host.chat(BODY), host.chat(BODY)];
      failing["proxy_define_metric"] = undefined;
      first.end();
      expect(inFlight(process)).toBe(1n);
      second.end();
      host.tick(1100);
      for (const [name, metric] of process.metrics)
        if (name.startsWith("warmgate_inflight")) expect(metric.value, name).toBe(0n);
      expect(count(host, "decisions_success")).toBe(2);
    });

    test("for setting a metric, the request goes where it should", async () => {
      const { host, failing } = await gateway();
      failing["proxy_record_metric"] = status;
      const r = host.chat(BODY);
      r.onResponse(r.header(DESTINATION)!.split(",")[1]);
      r.end();
      // The pod that was passed over is left out by this worker; only the others do not learn of it.
      expect(host.chat(BODY).header(DESTINATION)).not.toMatch(/^10\.0\.0\.2/);
    });

    test("for the time, the table counts as stale and the fallback picks the pod", async () => {
      const { host, failing } = await gateway();
      failing["clock_time_get"] = status;
      const r = host.chat(BODY);
      expect(r.reply).toBeNull();
      expect(r.header(DESTINATION)).toBeUndefined();
      expect(r.header("x-session-id")).toBeDefined();
      r.end();
      failing["clock_time_get"] = undefined;
      expect(host.chat(BODY).header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
    });

    test("for randomness, requests without session or credential share one session", async () => {
      const { host, failing } = await gateway();
      failing["random_get"] = status;
      const session = () => {
        const r = host.request([
          [":method", "GET"],
          [":path", "/v1/models"],
        ]);
        r.onHeaders(true);
        return r.header("x-session-id");
      };
      expect(session()).toMatch(/^[0-9a-f]{32}$/);
      expect(session()).toBe(session());
    });

    test.each([
      ["at the end of its body", (r: Request) => r.onHeaders() === STOP && r.onBody("{", true)],
      ["at its headers", (r: Request) => r.onHeaders(true)],
    ])(
      "for the filter's own answer %s, a pod gets the request and says what is wrong",
      async (_at, drive) => {
        const { host, failing, process } = await gateway();
        failing["proxy_send_local_response"] = status;
        const r = host.request([...CHAT]);
        expect(drive(r)).toBe(CONTINUE);
        expect(r.reply).toBeNull();
        expect(r.header(DESTINATION)).toBeDefined();
        r.end();
        expect(inFlight(process)).toBe(0n);
        expect(count(host, "refused")).toBe(0);
        expect(count(host, "decisions_success")).toBe(1);
      },
    );

    test("for refusing reserved fields, the request is held and refused as soon as the host does it", async () => {
      const { host, failing } = await gateway();
      failing["proxy_send_local_response"] = status;
      const body = JSON.stringify({ ...BODY, kv_transfer_params: {} });
      const [held, other, gone] = [0, 1, 2].map(() => host.request([...CHAT]));
      for (const r of [held!, other!, gone!]) {
        r.onHeaders();
        expect(r.onBody(body, r !== other)).toBe(STOP);
      }
      expect(other!.onTrailers()).toBe(STOP);
      gone!.end();
      host.tick(5);
      expect(held!.reply).toBeNull();
      failing["proxy_send_local_response"] = undefined;
      host.tick(5);
      for (const r of [held!, other!]) expect(r.reply!.status).toBe(400);
      expect(gone!.reply).toBeNull();
      const answers = host.calls.get("proxy_send_local_response");
      host.tick(5);
      expect(host.calls.get("proxy_send_local_response")).toBe(answers);
      expect(count(host, "refused")).toBe(2);
    });

    test("for refusing reserved fields again and again, it is left held after half a second", async () => {
      const { host, failing } = await gateway();
      failing["proxy_send_local_response"] = status;
      const r = host.request([...CHAT]);
      r.onHeaders();
      r.onBody(JSON.stringify({ ...BODY, kv_transfer_params: {} }), true);
      for (let i = 0; i < 300; i++) host.tick(5);
      expect(host.calls.get("proxy_send_local_response")).toBe(101);
      expect(r.resumed).toBe(0);
    });
  });

  test("for the change of a body's model, the request is refused with 500", async () => {
    const { host, failing, agent, process } = await gateway();
    host.receive(agent.rules({ requests: { rewrites: [{ model: "public", targets: [{ model: "m" }] }] } }));
    failing["proxy_set_buffer_bytes"] = status;
    const r = host.chat({ ...BODY, model: "public" });
    expect(r.reply?.status).toBe(500);
    r.end();
    expect(inFlight(process)).toBe(0n);
  });

  test("for filter state, the request is decided as ever", async () => {
    const { host, failing, agent } = await gateway();
    host.receive(agent.rules({ decisions: { filterState: true } }));
    failing["proxy_set_property"] = status;
    expect(host.chat(BODY).header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
  });

  test("for a client certificate's names, the caller is not trusted", async () => {
    const { host, failing, agent } = await gateway();
    host.receive(agent.rules({ requests: { overrides: ["gone"] } }, { principals: ["*"] }));
    failing["proxy_get_property"] = status;
    const r = host.chat(BODY, [["x-model-override", "gone"]]);
    expect(r.reply).toBeNull();
    expect(r.header(DESTINATION)).toBeDefined();
  });

  describe("to a call about a response", () => {
    test("for the upstream's address, the counts stay with the pod that was chosen", async () => {
      const { host, failing, process } = await gateway();
      const r = host.chat(BODY);
      failing["proxy_get_property"] = status;
      r.onResponse("10.0.0.3:8000");
      expect(r.response("x-selected-pod")).toBe("pod-1");
      expect(process.underWay("_slot_1").requests).toBe(1n);
      r.end();
      expect(inFlight(process)).toBe(0n);
    });

    test("for the response flags, no pod is left out", async () => {
      const { host, failing } = await gateway();
      const r = host.chat(BODY);
      failing["proxy_get_property"] = status;
      r.end(1n << 5n);
      failing["proxy_get_property"] = undefined;
      expect(host.chat(BODY).header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
    });

    test("for its content type, it is not held and gets no usage headers", async () => {
      const { host, failing } = await gateway();
      const r = host.chat(BODY);
      failing["proxy_get_header_map_value"] = status;
      const headers: Headers = [
        ["content-type", "application/json"],
        ["content-length", "60"],
      ];
      expect(r.onResponse("10.0.0.2:8000", headers)).toBe(CONTINUE);
      expect(r.onWholeResponse('{"usage":{"completion_tokens":9}}')).toBe(CONTINUE);
      expect(r.response("x-tokens-generated")).toBeUndefined();
    });

    test("for its body, it goes on without usage headers", async () => {
      const { host, failing } = await gateway();
      const r = host.chat(BODY);
      const headers: Headers = [
        ["content-type", "application/json"],
        ["content-length", "60"],
      ];
      expect(r.onResponse("10.0.0.2:8000", headers)).toBe(STOP);
      failing["proxy_get_buffer_bytes"] = status;
      expect(r.onWholeResponse('{"usage":{"completion_tokens":9}}')).toBe(CONTINUE);
      expect(r.response("x-tokens-generated")).toBeUndefined();
    });
  });

  describe("to a call of the watchdog", () => {
    test("for the stream's context, it tries again with the next tick", async () => {
      const { host, failing } = worker();
      const r = host.request([...CHAT]);
      r.onHeaders();
      failing["proxy_set_effective_context"] = status;
      host.tick(300);
      expect(r.resumed).toBe(0);
      failing["proxy_set_effective_context"] = undefined;
      host.tick(5);
      expect(r.resumed).toBe(1);
    });

    test("for the resume, it is decided once and resumed as soon as the host does it", async () => {
      const { host, failing } = await gateway();
      const r = host.request([...CHAT]);
      r.onHeaders();
      failing["proxy_continue_stream"] = status;
      host.tick(300);
      host.tick(300);
      expect(r.resumed).toBe(0);
      failing["proxy_continue_stream"] = undefined;
      for (let i = 0; i < 3; i++) host.tick(5);
      expect(r.resumed).toBe(1);
      expect(count(host, "decisions_success")).toBe(1);
      expect(count(host, "watchdog")).toBe(1);
    });

    test("for the resume, a body callback lets it go on instead, and nothing resumes it twice", async () => {
      const { host, failing } = worker();
      const r = host.request([...CHAT]);
      r.onHeaders();
      failing["proxy_continue_stream"] = status;
      host.tick(300);
      expect(r.onBody(JSON.stringify(BODY), true)).toBe(CONTINUE);
      failing["proxy_continue_stream"] = undefined;
      for (let i = 0; i < 3; i++) host.tick(5);
      expect(r.resumed).toBe(0);
    });

    test("for the resume again and again, it is left to its timeouts after half a second", async () => {
      const { host, failing } = worker();
      const r = host.request([...CHAT]);
      r.onHeaders();
      failing["proxy_continue_stream"] = status;
      host.tick(300);
      for (let i = 0; i < 300; i++) host.tick(5);
      expect(host.calls.get("proxy_continue_stream")).toBe(101);
      r.end();
    });
  });

  describe("to a call about the agent's stream", () => {
    test("for a message, the message is lost, the next one asks for a snapshot and the table stays", async () => {
      const { agent, host, failing } = await gateway();
      failing["proxy_get_buffer_bytes"] = status;
      agent.wire.heartbeat();
      host.receive(agent.wire.drain());
      failing["proxy_get_buffer_bytes"] = undefined;
      const sent = host.sent.length;
      agent.wire.heartbeat();
      host.receive(agent.wire.drain());
      expect(agent.wire.decodeUp(host.frames()[sent]!)).toEqual({ kind: "resync" });
      expect(host.chat(BODY).header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
    });

    test("for opening it, it is tried again with a growing delay", async () => {
      const { host, failing } = worker();
      failing["proxy_grpc_stream"] = status;
      for (let i = 0; i < 2000; i++) host.tick(5);
      const tries = host.calls.get("proxy_grpc_stream")!;
      expect(tries).toBeGreaterThan(3);
      expect(tries).toBeLessThan(20);
      failing["proxy_grpc_stream"] = undefined;
      host.tick(5000);
      expect(host.stream).not.toBe(0);
    });

    test("for the hello, it goes out as soon as the host sends it, and nothing goes before it", async () => {
      const agent = await TestAgent.create();
      const { host, failing } = worker();
      failing["proxy_grpc_send"] = status;
      for (let i = 0; i < 5; i++) host.tick(1100);
      expect(host.stream).not.toBe(0);
      failing["proxy_grpc_send"] = undefined;
      for (let i = 0; i < 5; i++) host.tick(1100);
      const kinds = host.frames().map((f) => agent.wire.decodeUp(f)?.kind);
      expect(kinds[0]).toBe("hello");
      expect(kinds.filter((k) => k === "hello")).toHaveLength(1);
      expect(kinds).toContain("report");
    });

    test("for a plea for a snapshot, the tick makes it again without another gap", async () => {
      const { agent, host, failing } = await gateway();
      agent.wire.heartbeat();
      agent.wire.drain();
      agent.wire.heartbeat();
      failing["proxy_grpc_send"] = status;
      host.receive(agent.wire.drain());
      failing["proxy_grpc_send"] = undefined;
      const sent = host.sent.length;
      host.tick(5);
      expect(agent.wire.decodeUp(host.frames()[sent]!)).toEqual({ kind: "resync" });
    });

    test("for a plea for a snapshot, the next gap makes it again", async () => {
      const { agent, host, failing } = await gateway();
      const heartbeat = () => {
        agent.wire.heartbeat();
        return agent.wire.drain();
      };
      heartbeat();
      failing["proxy_grpc_send"] = status;
      host.receive(heartbeat());
      failing["proxy_grpc_send"] = undefined;
      const sent = host.sent.length;
      host.receive(heartbeat());
      expect(agent.wire.decodeUp(host.frames()[sent]!)).toEqual({ kind: "resync" });
    });
  });

  describe("to a call about workers", () => {
    const SILENT = 12_000;
    /** Two workers with a request each on pod 1; then the second is lost. */
    async function twoWorkers() {
      const agent = await TestAgent.create();
      agent.cache(1, renderChatml(BODY.messages));
      const process = new Process();
      const [kept, lost] = [worker(process), worker(process)];
      for (const w of [kept, lost]) w.host.receive(agent.snapshot());
      for (let i = 0; i < 3; i++) for (const w of [kept, lost]) w.host.tick(1100);
      for (const w of [kept, lost]) w.host.chat(BODY);
      return { ...kept, process };
    }
    const ofEra = (process: Process, name: string) => process.underWay(`${name}_slot_1`).requests;

    test("for the list of workers, the list and the era are as they were", async () => {
      const { host, failing, process } = await twoWorkers();
      for (let i = 0; i < 8; i++) host.tick(1000);
      expect(ofEra(process, "_era_1")).toBe(1n);
      failing["proxy_get_shared_data"] = status;
      for (let i = 0; i < 3; i++) host.tick(1000);
      failing["proxy_get_shared_data"] = undefined;
      for (let i = 0; i < 20; i++) host.tick(1000);
      expect(ofEra(process, "_era_1")).toBe(1n);
      expect(ofEra(process, "")).toBe(0n);
      expect(count(host, "lost_vms")).toBe(1);
    });

    test("for emptying the gauges that a lost worker left, they are emptied as soon as the host does it", async () => {
      const { host, failing, process } = await twoWorkers();
      failing["proxy_record_metric"] = status;
      for (let ms = 0; ms < SILENT * 3; ms += 1000) host.tick(1000);
      expect(ofEra(process, "_era_1")).toBe(1n);
      expect(ofEra(process, "")).toBe(2n);
      failing["proxy_record_metric"] = undefined;
      for (let i = 0; i < 3; i++) host.tick(1000);
      expect(ofEra(process, "")).toBe(0n);
      expect(ofEra(process, "_era_1")).toBe(1n);
    });
  });

  describe("to a call about shared data", () => {
    test("for writing the process's name, the stream opens once the name is agreed", () => {
      const { host, failing } = worker();
      failing["proxy_set_shared_data"] = status;
      for (let i = 0; i < 100; i++) host.tick(50);
      expect(host.stream).toBe(0);
      failing["proxy_set_shared_data"] = undefined;
      host.tick(50);
      expect(host.stream).not.toBe(0);
    });

    test("for the slots of the gauges, they are agreed as soon as the host does it", async () => {
      const agent = await TestAgent.create();
      agent.cache(1, renderChatml(BODY.messages));
      const { host, failing, process } = worker();
      host.tick(3000);
      failing["proxy_set_shared_data"] = status;
      host.receive(agent.snapshot());
      host.chat(BODY);
      expect(inFlight(process)).toBe(0n);
      failing["proxy_set_shared_data"] = undefined;
      host.tick(5);
      host.chat(BODY);
      expect(inFlight(process)).toBe(1n);
    });

    test("for the slots of the gauges, requests go where they should and are given back whatever they took", async () => {
      const agent = await TestAgent.create();
      agent.cache(1, renderChatml(BODY.messages));
      const { host, failing, process } = worker();
      host.tick(3000);
      for (const call of ["proxy_get_shared_data", "proxy_set_shared_data"]) {
        failing[call] = call === "proxy_get_shared_data" && status === NOT_FOUND ? 10 : status;
        host.receive(agent.snapshot());
        const r = host.chat(BODY);
        expect(r.header(DESTINATION)).toMatch(/^10\.0\.0\.2/);
        failing[call] = undefined;
        r.end();
        expect(inFlight(process)).toBe(0n);
      }
      host.receive(agent.snapshot());
      host.chat(BODY);
      expect(inFlight(process)).toBe(1n);
    });
  });
});

test("a process's name that another worker wrote is read, and one that is not there is made", () => {
  const process = new Process();
  worker(process).host.tick(3000);
  const name = process.shared.get("warmgate.process")!.value.slice();
  const { host } = worker(process);
  host.tick(3000);
  expect(host.stream).not.toBe(0);
  expect(process.shared.get("warmgate.process")!.value).toEqual(name);
});

test("a name that cannot be read for another reason than NotFound is asked for again", () => {
  const { host, failing } = worker();
  failing["proxy_get_shared_data"] = 10;
  host.tick(3000);
  expect(host.stream).toBe(0);
  failing["proxy_get_shared_data"] = undefined;
  host.tick(5);
  expect(host.stream).not.toBe(0);
});

test("gauge slots that another worker changed in between are agreed in a second round", async () => {
  const agent = await TestAgent.create();
  const process = new Process();
  let left = 0;
  const host = new Host({
    configuration,
    process,
    fault: (name) => (name === "proxy_set_shared_data" && left-- > 0 ? CAS_MISMATCH : undefined),
  });
  host.tick(3000);
  left = 3;
  host.receive(agent.snapshot());
  host.chat(BODY);
  expect(inFlight(process)).toBe(1n);
});
