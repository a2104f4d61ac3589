// A pod for end-to-end tests that only says what it got.
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  bytes: number;
}

export class Upstream {
  readonly seen: Seen[] = [];
  /** Called before the default answer; true when it answered itself (or will). */
  handler: (seen: Seen, res: ServerResponse) => boolean = () => false;

  private constructor(
    readonly server: Server,
    readonly port: number,
  ) {}

  static async start(): Promise<Upstream> {
    const server = createServer((req, res) => {
      let bytes = 0;
      req.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      req.on("end", () => {
        const seen = { method: req.method!, path: req.url!, headers: req.headers, bytes };
        upstream.seen.push(seen);
        if (upstream.handler(seen, res)) return;
        res.setHeader("x-upstream", String(upstream.port));
        res.end("{}");
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const upstream = new Upstream(server, (server.address() as AddressInfo).port);
    return upstream;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}
