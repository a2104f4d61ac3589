// A pod that answers with a stream of server-sent events, each in a packet of its own.
import { createServer, type Server, type Socket } from "node:net";

const HEAD = Buffer.from(
  "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
);
const EVENT =
  'data: {"id":"bench","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" token"}}]}\n\n';
const FRAME = Buffer.from(`${EVENT.length.toString(16)}\r\n${EVENT}\r\n`);
const END = Buffer.from("0\r\n\r\n");

/** Listens on each of `ports`; every request gets `frames` events. Requests must be shorter than one read. */
export async function streamingPods(ports: number[], frames: number): Promise<() => void> {
  const servers: Server[] = [];
  const sockets = new Set<Socket>();
  for (const port of ports) {
    const server = createServer((socket) => {
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      let request = "";
      socket.on("data", (chunk) => {
        request += chunk.toString("latin1");
        const head = request.indexOf("\r\n\r\n");
        if (head < 0) return;
        const length = Number(/content-length: (\d+)/i.exec(request)?.[1] ?? 0);
        if (request.length < head + 4 + length) return;
        request = "";
        socket.write(HEAD);
        let n = 0;
        const next = () => {
          if (socket.destroyed) return;
          socket.write(FRAME);
          if (++n < frames) setImmediate(next);
          else socket.write(END);
        };
        setImmediate(next);
      });
    });
    await new Promise<void>((done) => server.listen(port, "127.0.0.1", done));
    servers.push(server);
  }
  return () => {
    for (const s of sockets) s.destroy();
    for (const s of servers) s.close();
  };
}
