// Callers of the prefill/decode bench: raw sockets, each body another one, only the length of answers is looked at.
import { connect, type Socket } from "node:net";

/** Bytes in a body that make it another one; they stand at the start of the prompt. */
const MARK = 12;

/** A ready-made request whose prompt can be changed in place. */
export class MarkedRequest {
  readonly bytes: Buffer;
  readonly #at: number;

  /** `size`: bytes of the JSON body; `more`: fields of it. */
  constructor(size: number, headers: Record<string, string> = {}, more: object = {}) {
    const shape = (text: string) =>
      JSON.stringify({ model: "m", messages: [{ role: "user", content: text }], max_tokens: 16, ...more });
    const text = "word ".repeat(size).slice(0, size - shape("").length);
    const body = shape(text);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n${lines.join("")}content-length: ${body.length}\r\n\r\n`;
    this.bytes = Buffer.from(head + body);
    this.#at = head.length + body.indexOf(text);
  }

  /** Makes the prompt number `n`. */
  mark(n: number): Buffer {
    this.bytes.write(String(n).padStart(MARK, "0"), this.#at, "latin1");
    return this.bytes;
  }
}

/** A kept connection that sends one request after the other. */
export class Caller {
  readonly #socket: Socket;
  #head = "";
  #missing = -1;
  #done: (() => void) | null = null;
  #failed: ((error: Error) => void) | null = null;

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", (error) => this.#failed?.(error));
    this.#socket.on("close", () => this.#failed?.(new Error("the connection was closed")));
  }

  /** Resolves when the answer has ended. @throws when it is not a 200 with a content-length. */
  send(request: Buffer): Promise<void> {
    this.#head = "";
    this.#missing = -1;
    return new Promise((resolve, reject) => {
      this.#done = resolve;
      this.#failed = reject;
      this.#socket.write(request);
    });
  }

  close(): void {
    this.#failed = null;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#missing < 0) {
      this.#head += chunk.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = /content-length: (\d+)/i.exec(this.#head);
      if (!this.#head.startsWith("HTTP/1.1 200") || !length) {
        this.#failed?.(new Error(`answered ${this.#head.slice(0, 200)}`));
        return;
      }
      this.#missing = Number(length[1]) - (this.#head.length - end - 4);
    } else this.#missing -= chunk.length;
    if (this.#missing <= 0) this.#done?.();
  }
}

/** Latencies in µs of `step` run by `connections` at once for `seconds`. */
export async function timed(
  connections: number,
  seconds: number,
  open: () => { step(): Promise<void>; close(): void },
): Promise<{ latenciesUs: number[]; seconds: number }> {
  const latenciesUs: number[] = [];
  const start = performance.now();
  const stopAt = start + seconds * 1000;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const connection = open();
      try {
        while (performance.now() < stopAt) {
          const began = performance.now();
          await connection.step();
          latenciesUs.push((performance.now() - began) * 1000);
        }
      } finally {
        connection.close();
      }
    }),
  );
  return { latenciesUs, seconds: (performance.now() - start) / 1000 };
}
