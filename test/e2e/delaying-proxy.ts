// A TCP proxy that holds back what the server says, for as long as a test wants.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

export class DelayingProxy {
  /** How long what comes from the server from now on is held back, ms. It overtakes nothing that is held already. */
  delayMs = 0;
  readonly #sockets = new Set<Socket>();

  private constructor(
    readonly server: Server,
    readonly port: number,
  ) {}

  /** Listens on loopback and passes connections on to `port` there. */
  static async start(port: number): Promise<DelayingProxy> {
    const server = createServer((client) => proxy.#pass(client, port));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new DelayingProxy(server, (server.address() as AddressInfo).port);
    return proxy;
  }

  #pass(client: Socket, port: number): void {
    const upstream = connect(port, "127.0.0.1");
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.pipe(upstream);
    const held: { chunk: Buffer; at: number }[] = [];
    let timer: NodeJS.Timeout | null = null;
    const flush = () => {
      timer = null;
      while (held.length > 0 && held[0]!.at <= performance.now()) client.write(held.shift()!.chunk);
      if (held.length > 0 && !client.destroyed) timer = setTimeout(flush, held[0]!.at - performance.now());
    };
    upstream.on("data", (chunk: Buffer) => {
      held.push({ chunk, at: performance.now() + this.delayMs });
      if (!timer) flush();
    });
  }

  stop(): void {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
