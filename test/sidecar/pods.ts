// Pods as real HTTP servers: what a test wants them to say, and what they were asked.
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

/** One request that a pod got, with its body read. */
export interface Asked {
  method: string;
  url: string;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
  /** The body as JSON. */
  json: Record<string, unknown>;
}

export interface Pod {
  port: number;
  /** `127.0.0.1:port` */
  address: string;
  asked: Asked[];
  /** Requests whose client left before the answer ended. */
  left: number;
  /** Connections that were opened. */
  connections: number;
  close(): Promise<void>;
}

export type Behaviour = (asked: Asked, response: ServerResponse, request: IncomingMessage) => void;

/** A pod that behaves as told; it ends with the test. */
export async function startPod(behave: Behaviour, tls?: https.ServerOptions, listenOn = 0): Promise<Pod> {
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("close", () => {
      if (!response.writableFinished) pod.left++;
    });
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const asked: Asked = {
        method: request.method!,
        url: request.url!,
        headers: request.headers,
        body,
        get json() {
          return JSON.parse(body.toString("utf8")) as Record<string, unknown>;
        },
      };
      pod.asked.push(asked);
      behave(asked, response, request);
    });
  };
  const server = tls ? https.createServer(tls, handler) : http.createServer(handler);
  server.on("connection", () => pod.connections++);
  await new Promise<void>((done, failed) => {
    server.once("error", failed);
    server.listen(listenOn, "127.0.0.1", done);
  });
  const { port } = server.address() as AddressInfo;
  const pod: Pod = {
    port,
    address: `127.0.0.1:${port}`,
    asked: [],
    left: 0,
    connections: 0,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
  onTestFinished(() => pod.close());
  return pod;
}

export function answerJson(response: ServerResponse, value: unknown, status = 200): void {
  const body = typeof value === "string" ? value : JSON.stringify(value);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}

/** Raw text of the parameters that prefill pods of these tests hand over: large numbers and odd spelling on purpose. */
export const PARAMETERS =
  '{"do_remote_prefill":true, "do_remote_decode":false,"remote_block_ids":[[1,2,3]],"remote_engine_id":"e-\\u0031","remote_host":"10.0.0.5","remote_port":5600,"remote_num_tokens":48,"big":9007199254740993}';

/** A good prefill pod of the nixlv2 protocol. */
export const goodPrefill: Behaviour = (_, response) =>
  answerJson(response, `{"id":"p","choices":[{"text":"x"}],"kv_transfer_params":${PARAMETERS},"usage":{}}`);

/** A decode pod that answers at once: a stream of three events when asked to stream, else JSON. */
export const goodDecode: Behaviour = (asked, response) => {
  const streams = asked.body.length > 0 && /"stream"\s*:\s*true/.test(asked.body.toString());
  if (!streams) return answerJson(response, { id: "d", choices: [{ text: "hello" }] });
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write('data: {"choices":[{"text":"hel"}]}\n\n');
  response.write('data: {"choices":[{"text":"lo"}]}\n\n');
  response.end("data: [DONE]\n\n");
};
