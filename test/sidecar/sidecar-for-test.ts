// A sidecar in front of test pods, on free ports, without TLS unless asked, and a client that hides nothing.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import pino, { type Logger } from "pino";
import { onTestFinished } from "vitest";
import type { Allowlist } from "../../sidecar/allowlist.js";
import { type RawFlags, readOptions } from "../../sidecar/options.js";
import { type Sidecar, startSidecar } from "../../sidecar/server.js";
import type { Pod } from "./pods.js";

export interface SidecarForTest extends Sidecar {
  /** Log records so far. */
  records: Record<string, unknown>[];
  /** Value of a metric, summed over its labels unless some are given. */
  metric(name: string, labels?: Record<string, string>): Promise<number>;
}

/** A folder that goes with the test. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-sidecar-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function recordingLog(): { log: Logger; records: Record<string, unknown>[] } {
  const records: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      records.push(JSON.parse(chunk.toString()));
      done();
    },
  });
  return { log: pino({ level: "debug" }, sink), records };
}

/** Starts a sidecar whose allowlist holds `prefillers`, or is the one given, and whose engine is `decode`. */
export async function startTestSidecar(
  decode: Pick<Pod, "port">,
  prefillers: readonly Pick<Pod, "address">[],
  flags: RawFlags = {},
  allowlist?: Allowlist,
): Promise<SidecarForTest> {
  const allowlistFile = join(testFolder(), "allowlist");
  writeFileSync(allowlistFile, prefillers.map((pod) => `${pod.address}\n`).join(""));
  const { log, records } = recordingLog();
  const options = readOptions(
    {
      host: "127.0.0.1",
      port: "0",
      vllmPort: String(decode.port),
      secureProxy: "false",
      allowlistFile,
      drainTimeout: "5s",
      ...flags,
    },
    {},
  );
  const sidecar = await startSidecar(options, log, allowlist);
  let closed: Promise<void> | null = null;
  const close = () => {
    closed ??= sidecar.close();
    return closed;
  };
  onTestFinished(close);
  return {
    ...sidecar,
    close,
    records,
    async metric(name, labels = {}) {
      const { values } = await sidecar.metrics.registry.getSingleMetric(`llmd_sidecar_${name}`)!.get();
      return values
        .filter((one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value))
        .reduce((sum, one) => sum + one.value, 0);
    },
  };
}

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  rawHeaders: string[];
  trailers: NodeJS.Dict<string>;
  body: string;
  json: { error?: { code: string; message: string; type: string } } & Record<string, unknown>;
  /** True when the connection broke before the answer's end. */
  broken: boolean;
}

interface Ask {
  path?: string;
  method?: string;
  headers?: http.OutgoingHttpHeaders;
  body?: string | Buffer;
  /** Given the request once it is sent, and the response once its head came. */
  onRequest?(request: http.ClientRequest): void;
  onResponse?(response: http.IncomingMessage, request: http.ClientRequest): void;
}

/** Sends one request on a connection of its own. */
export function ask(sidecar: Sidecar, options: Ask, rank = 0): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { path = "/v1/completions", method = "POST", headers = {}, body } = options;
    const request = http.request(
      {
        host: "127.0.0.1",
        port: sidecar.ports[rank],
        path,
        method,
        agent: false,
        headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      },
      (response) => {
        options.onResponse?.(response, request);
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        const finish = () => {
          const text = Buffer.concat(chunks).toString();
          resolve({
            status: response.statusCode!,
            headers: response.headers,
            rawHeaders: response.rawHeaders,
            trailers: response.trailers,
            body: text,
            get json() {
              return JSON.parse(text);
            },
            broken: !response.complete,
          });
        };
        response.on("close", finish);
        response.on("error", () => {});
      },
    );
    request.on("error", reject);
    options.onRequest?.(request);
    request.end(body);
  });
}

/** A prefill/decode request. */
export function askSplit(sidecar: Sidecar, prefiller: string, options: Ask = {}): Promise<Answer> {
  return ask(sidecar, {
    body: '{"model":"m","prompt":"hi","max_tokens":5}',
    ...options,
    headers: { "x-prefiller-host-port": prefiller, ...options.headers },
  });
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within 20 s: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Waits until nothing runs in the sidecar any more. */
export async function untilIdle(sidecar: SidecarForTest): Promise<void> {
  await until(
    async () =>
      (await sidecar.metric("in_flight_requests")) === 0 && (await sidecar.metric("in_flight_legs")) === 0,
    "no request in flight",
  );
}
