// A pod for end-to-end tests that only says what it got.
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  bytes: number;
  body: string;
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
      const chunks: Buffer[] = [];
      req.on("data", (chunk: Buffer) => chunks.push(chunk));
      req.on("end", () => {
        const body = Buffer.concat(chunks);
        const seen: Seen = {
          method: req.method!,
          path: req.url!,
          headers: req.headers,
          bytes: body.length,
          body: body.toString(),
        };
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
