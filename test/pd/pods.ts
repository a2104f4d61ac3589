// Pods of the gateway's fault tests: real HTTP servers whose behaviour a test sets, on ports that stay.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { parameters } from "./split-host.js";

export interface Asked {
  headers: IncomingMessage["headers"];
  body: string;
}
export type Behaviour = (asked: Asked, response: ServerResponse, request: IncomingMessage) => void;

const json = (response: ServerResponse, status: number, body: object) => {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
};

/** What a healthy pod does: a prefill gets parameters, anything else a short answer. */
export const healthy: Behaviour = ({ body }, response) => {
  const asked = body === "" ? {} : (JSON.parse(body) as Record<string, { do_remote_decode?: boolean }>);
  const prefills = asked.kv_transfer_params?.do_remote_decode;
  json(response, 200, prefills ? { kv_transfer_params: parameters } : { choices: [{ text: "ok" }] });
};

export const answering =
  (status: number, body: string): Behaviour =>
  (_, response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(body);
  };
export const hanging: Behaviour = () => {};
export const dying: Behaviour = (_, __, request) => {
  request.socket.destroy();
};

export class FaultyPod {
  readonly asked: Asked[] = [];
  behave: Behaviour = healthy;
  readonly #server = createServer({ maxHeaderSize: 65536 }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("error", () => {});
    request.on("end", () => {
      const asked = { headers: request.headers, body: Buffer.concat(chunks).toString("utf8") };
      this.asked.push(asked);
      this.behave(asked, response, request);
    });
  });
  port = 0;

  async start(): Promise<void> {
    this.#server.keepAliveTimeout = 0;
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
    this.port = (this.#server.address() as AddressInfo).port;
  }

  /** From now on connections are refused. */
  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }
}
