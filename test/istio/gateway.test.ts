// The captured gateway with our manifests applied, in a real Envoy, before a real agent and pods.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { built } from "../../agent/package-root.js";
import { ROUTING_HEADERS } from "../../demo/envoy-config.js";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { envoyStats, waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";
import { TestGateway } from "../e2e/gateway-for-test.js";
import { Upstream } from "../e2e/upstream.js";
import type { GatewayConfig } from "./gateway-config.js";
import { ourGateway, ourGatewayWithWasmPlugin, runnable } from "./our-gateway.js";

const words = new Words();

function chat(port: number, content: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", connection: "close", ...headers },
    body: JSON.stringify({ model: MODEL, messages: [{ role: "user", content }], max_tokens: 4 }),
    signal: AbortSignal.timeout(60_000),
  });
}

describe.each([
  ["the EnvoyFilter", () => ourGateway().gateway, true],
  ["the WasmPlugin", ourGatewayWithWasmPlugin, false],
])("a gateway with %s, an agent and three pods", (_, configuration, readsBodies) => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await Fleet.create({
      pods: 3,
      timeScale: 100,
      configure: (options, folder) => runnable(configuration(), options, folder),
    });
    await fleet.start();
  });
  afterAll(async () => {
    await fleet?.stop();
  });

  test("sends each request to the pod that the filter chose", async () => {
    const random = seeded(3);
    const pods = new Set<string>();
    for (let i = 0; i < 24; i++) {
      const response = await chat(fleet.gatewayPort, words.text(200, random));
      expect(response.status).toBe(200);
      await response.arrayBuffer();
      expect(response.headers.get("x-selected-pod")).toBe(response.headers.get("x-sim-pod"));
      pods.add(response.headers.get("x-sim-pod")!);
    }
    expect(pods.size).toBe(3);
  });

  if (readsBodies)
    test("sends a prompt, whatever its session, to the pod that has it in its cache", async () => {
      const prompt = words.text(800, seeded(5));
      const first = await chat(fleet.gatewayPort, prompt, { "x-session-id": "first" });
      await first.arrayBuffer();
      const home = first.headers.get("x-sim-pod");
      let session = 0;
      await waitFor("the prompt to be known as cached", async () => {
        const response = await chat(fleet.gatewayPort, prompt, { "x-session-id": `other-${session++}` });
        await response.arrayBuffer();
        return response.headers.get("x-cache-hit") === "true";
      });
      for (let i = 0; i < 8; i++) {
        const response = await chat(fleet.gatewayPort, prompt, { "x-session-id": `another-${i}` });
        await response.arrayBuffer();
        expect(response.headers.get("x-cache-hit")).toBe("true");
        expect(response.headers.get("x-sim-pod")).toBe(home);
      }
    });
  else
    test("keeps a session on its pod", async () => {
      const homes = new Set<string | null>();
      for (let i = 0; i < 8; i++) {
        const response = await chat(fleet.gatewayPort, `turn ${i}`, { "x-session-id": "one" });
        await response.arrayBuffer();
        homes.add(response.headers.get("x-sim-pod"));
      }
      expect(homes.size).toBe(1);
    });

  test("shows no pod a routing header, neither forged nor its own", async () => {
    await fleet.resetPodStats();
    const prompt = words.text(100, seeded(9));
    for (const pod of fleet.pods) {
      const forged = Object.fromEntries(ROUTING_HEADERS.map((name) => [name, `127.0.0.1:${pod.port}`]));
      const response = await chat(fleet.gatewayPort, prompt, forged);
      expect(response.status).toBe(200);
      await response.arrayBuffer();
      expect(response.headers.get("x-selected-pod")).toBe(response.headers.get("x-sim-pod"));
    }
    const stats = await fleet.podStats();
    expect(stats.reduce((n, s) => n + s.requests, 0)).toBe(3);
    expect(stats.map((s) => s.routingHeadersSeen)).toEqual([0, 0, 0]);
  });

  test("answers every request when the chosen pod has just died", async () => {
    const prompt = words.text(400, seeded(11));
    const first = await chat(fleet.gatewayPort, prompt, { "x-session-id": "survivor" });
    await first.arrayBuffer();
    const home = first.headers.get("x-sim-pod")!;
    await fleet.pods.find((p) => p.name === home)!.running.stop("SIGKILL");
    for (let i = 0; i < 6; i++) {
      const response = await chat(fleet.gatewayPort, prompt, { "x-session-id": "survivor" });
      expect(response.status).toBe(200);
      await response.arrayBuffer();
      expect(response.headers.get("x-sim-pod")).not.toBe(home);
    }
    const stats = await envoyStats(fleet.adminPort, "envoy_wasm_");
    for (const [name, value] of stats) if (/fail/.test(name)) expect([name, value]).toEqual([name, 0]);
  });
});

describe.each<[string, () => GatewayConfig, string | null, boolean]>([
  ["without an agent", () => ourGateway().gateway, "warmgate.wasm", false],
  ["whose module could not be fetched", () => ourGateway().gateway, null, false],
  ["whose module trapped", () => ourGateway().gateway, "warmgate-trap.wasm", true],
])("a gateway %s", (_, configuration, wasm, trap) => {
  let pods: Upstream[];
  let gateway: TestGateway;

  beforeEach(async () => {
    pods = await Promise.all([Upstream.start(), Upstream.start(), Upstream.start()]);
    gateway = await TestGateway.start(
      pods.map((p) => p.address),
      {
        workers: 1,
        configure: (options, folder) =>
          runnable(configuration(), options, folder, wasm === null ? null : built(wasm)),
      },
    );
    if (trap) {
      const models = `http://127.0.0.1:${gateway.port}/v1/models`;
      await fetch(models, { headers: { "x-trap": "1" } }).catch(() => undefined);
      await fetch(models).then((r) => r.arrayBuffer());
      // The filter gives every request a session; without one the VM is gone.
      expect(pods.flatMap((p) => p.seen).at(-1)!.headers["x-session-id"]).toBeUndefined();
      for (const p of pods) p.seen.length = 0;
    }
  });
  afterEach(async () => {
    await gateway?.stop();
    for (const p of pods) p.stop();
  });

  const send = async (session: string, headers: Record<string, string> = {}, content = "hello") => {
    const response = await chat(gateway.port, content, { "x-session-id": session, ...headers });
    await response.arrayBuffer();
    return { status: response.status, pod: response.headers.get("x-upstream") };
  };

  test("spreads sessions over the pods and keeps each on its own", async () => {
    const homes = new Map<string, string | null>();
    for (let i = 0; i < 60; i++) {
      const { status, pod } = await send(`session-${i}`);
      expect(status).toBe(200);
      homes.set(`session-${i}`, pod);
    }
    expect(new Set(homes.values()).size).toBe(3);
    for (const [session, home] of homes) expect((await send(session)).pod).toBe(home);
  });

  test("hashes on the cookie or the credential of a request without a session", async () => {
    for (const header of ["cookie", "authorization"]) {
      const pod = async (value: string) => {
        const response = await chat(gateway.port, value, {
          [header]: header === "cookie" ? `session_id=${value}` : value,
        });
        await response.arrayBuffer();
        return response.headers.get("x-upstream");
      };
      const homes = new Set<string | null>();
      for (let i = 0; i < 40; i++) {
        const home = await pod(`value-${i}`);
        homes.add(home);
        if (i % 8 === 0) expect(await pod(`value-${i}`)).toBe(home);
      }
      expect(homes.size).toBe(3);
    }
  });

  test("obeys no forged routing header and passes none on", async () => {
    for (const target of pods) {
      await send("fixed", Object.fromEntries(ROUTING_HEADERS.map((name) => [name, target.address])));
    }
    const seen = pods.flatMap((p) => p.seen);
    expect(seen).toHaveLength(3);
    for (const { headers } of seen)
      for (const name of ROUTING_HEADERS) expect(headers).not.toHaveProperty(name);
    expect(pods.filter((p) => p.seen.length > 0)).toHaveLength(1);
  });

  test("tries another pod when one answers 503 or is gone", async () => {
    const { pod } = await send("retried");
    const home = pods.find((p) => String(p.port) === pod)!;
    home.handler = (_seen, res) => {
      res.writeHead(503).end();
      return true;
    };
    const refused = await send("retried");
    expect(refused.status).toBe(200);
    expect(refused.pod).not.toBe(pod);
    expect(home.seen).toHaveLength(2);
    home.stop();
    const gone = await send("retried");
    expect(gone.status).toBe(200);
    expect(gone.pod).not.toBe(pod);
  });

  test("is configured in fields that Envoy knows", async () => {
    const unknown = await envoyStats(gateway.adminPort, "envoy_server_dynamic_unknown_fields");
    expect([...unknown.values()]).toEqual([0]);
  });

  test("passes a body of 3 MB, three times what Envoy buffers by itself", async () => {
    const { status } = await send("large", {}, "x".repeat(3_000_000));
    expect(status).toBe(200);
    expect(pods.flatMap((p) => p.seen)[0]!.bytes).toBeGreaterThan(3_000_000);
  });
});
