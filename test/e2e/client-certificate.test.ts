// Callers that a client certificate makes trusted, in a real Envoy that terminates mutual TLS.
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { freePorts } from "../../demo/ports.js";
import { waitFor } from "../../demo/processes.js";
import { ControlsGateway } from "./controls-gateway.js";

type Certificate = "listed" | "unlisted" | "forged";

const file = (name: string) => join(packageRoot(), "test", "fixtures", "mtls", name);
const pem = (name: string) => readFileSync(file(name));
const callers = { principals: ["spiffe://corp.example/ns/batch/*"] };

let gateway: ControlsGateway;
let port = 0;
/** Answers that pods hold back. */
const held: { id: string; res: ServerResponse }[] = [];

/** Adds the listener once more, with TLS: a client may show a certificate, and one that it shows must be valid. */
function withTls(config: object): object {
  const copy = JSON.parse(JSON.stringify(config));
  const tls = structuredClone(copy.static_resources.listeners[0]);
  tls.name = "gateway-tls";
  tls.address.socket_address.port_value = port;
  tls.filter_chains[0].transport_socket = {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
      common_tls_context: {
        tls_certificates: [
          { certificate_chain: { filename: file("server.pem") }, private_key: { filename: file("key.pem") } },
        ],
        validation_context: { trusted_ca: { filename: file("ca.pem") } },
      },
    },
  };
  copy.static_resources.listeners.push(tls);
  return copy;
}

let requests = 0;
/** Sends a chat with a certificate or none; its id, and its answer's status. */
function send(
  certificate: Certificate | null,
  headers: Record<string, string>,
): { id: string; status: Promise<number> } {
  const id = `certificate-${requests++}`;
  const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: id }] });
  const status = new Promise<number>((resolve, reject) => {
    const req = request(
      {
        host: "127.0.0.1",
        port,
        method: "POST",
        path: "/v1/chat/completions",
        agent: false,
        ca: pem("ca.pem"),
        ...(certificate ? { cert: pem(`${certificate}.pem`), key: pem("key.pem") } : {}),
        headers: {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          "x-request-id": id,
          ...headers,
        },
      },
      (res: IncomingMessage) => {
        res.resume().on("end", () => resolve(res.statusCode!));
      },
    );
    req.on("error", reject);
    req.end(body);
  });
  return { id, status };
}

/** The priority that a request had when it was decided. */
async function priorityOf(certificate: Certificate | null, asked: string): Promise<number> {
  const { id, status } = send(certificate, { "x-priority": asked });
  expect(await status).toBe(200);
  const record = () => gateway.table.decisions.find(({ requestId }) => requestId === id);
  await waitFor("the record", async () => record() !== undefined);
  return record()!.priority;
}

beforeAll(async () => {
  [port] = (await freePorts(1)) as [number];
  gateway = await ControlsGateway.start(1, 1, undefined, withTls);
});
afterAll(() => gateway?.stop());
afterEach(() => {
  for (const { res } of held.splice(0)) if (!res.destroyed) res.end("{}");
  for (const pod of gateway.pods) pod.handler = () => false;
});

test("one that the policy lists raises its priority; another one, or none, only lowers it", async () => {
  await gateway.rules({ decisions: { sampleRate: 1 } }, callers);
  expect(await priorityOf("listed", "high")).toBe(10);
  expect(await priorityOf("unlisted", "high")).toBe(0);
  expect(await priorityOf(null, "high")).toBe(0);
  expect(await priorityOf("unlisted", "low")).toBe(-10);
  // A header says nothing of a certificate.
  const { id, status } = send("unlisted", {
    "x-priority": "critical",
    "x-forwarded-client-cert": "URI=spiffe://corp.example/ns/batch/sa/planner",
  });
  expect(await status).toBe(200);
  const record = () => gateway.table.decisions.find(({ requestId }) => requestId === id);
  await waitFor("the record", async () => record() !== undefined);
  expect(record()!.priority).toBe(0);
});

test("one that the gateway's authority did not sign gets no connection, whatever it says", async () => {
  await gateway.rules({}, callers);
  await expect(send("forged", { "x-priority": "high" }).status).rejects.toThrow();
  expect(gateway.pods.flatMap((pod) => pod.seen)).toEqual([]);
});

test("one that is listed is served before those that came earlier, whatever priority they ask for", async () => {
  await gateway.rules(
    {
      saturation: { detector: "concurrency-detector", maxConcurrency: 1 },
      flowControl: { enabled: true, defaultRequestTTL: "60s" },
    },
    callers,
  );
  for (const pod of gateway.pods)
    pod.handler = ({ headers }, res) => {
      held.push({ id: String(headers["x-request-id"]), res });
      return true;
    };
  const queued = (n: number) =>
    waitFor(`${n} waiting`, async () => (await gateway.stat("warmgate_queue_requests")) === n);
  const running = send(null, {});
  await waitFor("the first one to run", async () => held.length === 1);
  const unlisted = send("unlisted", { "x-priority": "critical" });
  await queued(1);
  const listed = send("listed", { "x-priority": "high" });
  await queued(2);
  const served: string[] = [];
  for (let i = 0; i < 3; i++) {
    await waitFor("the next one", async () => held.length === 1);
    const { id, res } = held.shift()!;
    served.push(id);
    res.end("{}");
  }
  expect(served).toEqual([running.id, listed.id, unlisted.id]);
  expect(await Promise.all([running, unlisted, listed].map(({ status }) => status))).toEqual([200, 200, 200]);
});
