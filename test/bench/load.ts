// Load from one process over raw sockets: requests are ready-made bytes, answers are only measured for their length.
import { connect, type Socket } from "node:net";

interface LoadResult {
  requests: number;
  failed: number;
  /** Status line or error of the first failed request. */
  firstFailure: string;
  seconds: number;
  /** Latencies in µs, unsorted. */
  latenciesUs: number[];
}

const LAST_CHUNK = Buffer.from("0\r\n\r\n");

/** Ready-made HTTP/1.1 requests for a listener. */
export function requestsFor(bodies: { bytes: Buffer }[]): Buffer[] {
  return bodies.map(({ bytes: body }) =>
    Buffer.concat([
      Buffer.from(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\nauthorization: Bearer bench\r\ncontent-length: ${body.length}\r\n\r\n`,
      ),
      body,
    ]),
  );
}

/**
 * Keeps `connections` busy for `seconds`; each connection walks the requests from another start. With `rate`, requests
 * a second over all, a connection sends its next one when that is due.
 */
export async function load(
  port: number,
  requests: Buffer[],
  connections: number,
  seconds: number,
  rate = Number.POSITIVE_INFINITY,
): Promise<LoadResult> {
  const latenciesUs: number[] = [];
  let done = 0;
  let failed = 0;
  let firstFailure = "";
  const start = performance.now();
  const stopAt = start + seconds * 1000;
  const everyMs = (connections * 1000) / rate;
  await Promise.all(
    Array.from({ length: connections }, (_, c) => {
      let next = Math.floor((c * requests.length) / connections);
      return new Promise<void>((resolve) => {
        const socket: Socket = connect(port, "127.0.0.1");
        socket.setNoDelay(true);
        let sentAt = 0;
        let head = "";
        let missing = -1;
        let chunked = false;
        let dueAt = start + (everyMs * c) / connections;
        const send = () => {
          const early = dueAt - performance.now();
          if (early >= 1) {
            setTimeout(send, early);
            return;
          }
          dueAt += everyMs;
          if (performance.now() >= stopAt) {
            socket.destroy();
            resolve();
            return;
          }
          sentAt = performance.now();
          head = "";
          missing = -1;
          socket.write(requests[next]!);
          next = (next + 1) % requests.length;
        };
        socket.on("connect", send);
        socket.on("data", (chunk: Buffer) => {
          if (missing < 0) {
            head += chunk.toString("latin1");
            const end = head.indexOf("\r\n\r\n");
            if (end < 0) return;
            const length = /content-length: (\d+)/.exec(head);
            // A chunked answer ends with its last chunk.
            chunked = !length;
            missing = chunked ? 0 : Number(length![1]) - (head.length - end - 4);
          } else if (!chunked) missing -= chunk.length;
          if (chunked ? !chunk.subarray(-5).equals(LAST_CHUNK) : missing > 0) return;
          if (head.startsWith("HTTP/1.1 200")) {
            done++;
            latenciesUs.push((performance.now() - sentAt) * 1000);
          } else {
            failed++;
            firstFailure ||= head.slice(0, 200);
          }
          send();
        });
        socket.on("error", (e) => {
          failed++;
          firstFailure ||= e.message;
          resolve();
        });
      });
    }),
  );
  return { requests: done, failed, firstFailure, seconds: (performance.now() - start) / 1000, latenciesUs };
}
