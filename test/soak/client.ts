// Keeps connections busy with the soak's traffic, one request at a time on each, and checks every answer's status. A
// client that leaves early destroys its connection and comes back with a new one.
import { connect, type Socket } from "node:net";

import { seeded } from "../../simulate/random.js";
import { type Leave, number, type Sample } from "./traffic.js";
import type { Counts } from "./verdict.js";

interface Tally extends Counts {
  firstFailure: string;
  /** Latencies of the current window in µs. */
  latenciesUs: number[];
}

/** An answer that takes longer will not come. */
const ANSWER_MS = 30_000;
const LAST_CHUNK = "0\r\n\r\n";

export class SoakClient {
  readonly tally: Tally = {
    sent: 0,
    answered: 0,
    refused: 0,
    reserved: 0,
    aborted: 0,
    failed: 0,
    firstFailure: "",
    latenciesUs: [],
  };
  /** Called after each request that ended, however it did. */
  onEnd: () => void = () => {};
  readonly #random: () => number;

  constructor(
    readonly port: number,
    readonly samples: Sample[],
    seed: number,
    /** Share of requests that the client leaves early. */
    readonly leaveShare = 0.03,
  ) {
    this.#random = seeded(seed);
  }

  /** Sends until `total` requests were begun. */
  async run(total: number, connections: number): Promise<void> {
    await Promise.all(Array.from({ length: connections }, () => this.#loop(total)));
  }

  async #loop(total: number): Promise<void> {
    let connection: Connection | null = null;
    while (this.tally.sent < total) {
      connection ??= new Connection(this.port);
      const keep = await this.#one(connection);
      this.onEnd();
      if (keep) continue;
      connection.close();
      connection = null;
    }
    connection?.close();
  }

  /** One request; false when its connection is not to be used again. */
  async #one(connection: Connection): Promise<boolean> {
    const t = this.tally;
    const draw = this.#random();
    const s = this.samples[Math.floor(this.#random() * this.samples.length)]!;
    const leave: Leave =
      s.refused || draw >= this.leaveShare
        ? null
        : draw < this.leaveShare / 3
          ? "body"
          : draw < (this.leaveShare * 2) / 3
            ? "wait"
            : "answer";
    number(s, t.sent++);
    const start = performance.now();
    const answer = await connection.request(s.bytes, leave, this.#random());
    if (leave && answer.status === 0) {
      t.aborted++;
      return false;
    }
    if (answer.status !== s.status || answer.cut) {
      t.failed++;
      t.firstFailure ||= `${answer.status || answer.error} instead of ${s.status} to ${s.bytes.toString("latin1", 0, 200)}`;
      return false;
    }
    t.answered++;
    if (s.refused) t.refused++;
    if (s.reserved) t.reserved++;
    if (s.timed && !leave) t.latenciesUs.push((performance.now() - start) * 1000);
    return !answer.closes && !s.closes;
  }
}

interface Answer {
  /** 0 when there was none, or none was waited for. */
  status: number;
  /** The connection ended before the answer did. */
  cut: boolean;
  closes: boolean;
  error: string;
}

class Connection {
  readonly #socket: Socket;
  #head = "";
  #tail = "";
  #missing = -1;
  #chunked = false;
  #leave: Leave = null;
  /** Number of the request under way, so that a late leave ends no later one. */
  #number = 0;
  #done: ((answer: Answer) => void) | null = null;

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.setTimeout(ANSWER_MS, () => {
      this.#end({ status: 0, cut: true, closes: true, error: `no answer within ${ANSWER_MS} ms` });
      this.#socket.destroy();
    });
    this.#socket.on("error", (e) => this.#end({ status: 0, cut: true, closes: true, error: e.message }));
    this.#socket.on("close", () => this.#end({ status: 0, cut: true, closes: true, error: "closed" }));
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Sends a request and waits for its whole answer, or leaves at the point that `leave` names. */
  request(bytes: Buffer, leave: Leave, where: number): Promise<Answer> {
    this.#head = "";
    this.#tail = "";
    this.#missing = -1;
    this.#leave = leave;
    const number = ++this.#number;
    return new Promise((resolve) => {
      this.#done = resolve;
      if (leave === "body") {
        // Behind the head at the earliest, so that Envoy sees a request.
        const from = bytes.indexOf("\r\n\r\n") + 4;
        const cut = from + Math.floor(where * (bytes.length - from));
        this.#socket.write(bytes.subarray(0, cut), () => setImmediate(() => this.#gone(number)));
      } else if (leave === "wait") {
        this.#socket.write(bytes, () => setTimeout(() => this.#gone(number), where * 4));
      } else this.#socket.write(Buffer.from(bytes));
    });
  }

  #gone(number: number): void {
    if (number !== this.#number || !this.#done) return;
    this.#end({ status: 0, cut: true, closes: true, error: "left" });
    this.#socket.destroy();
  }

  #end(answer: Answer): void {
    const done = this.#done;
    this.#done = null;
    done?.(answer);
  }

  #take(chunk: Buffer): void {
    if (!this.#done) return;
    if (this.#missing < 0) {
      this.#head += chunk.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end < 0) return;
      if (this.#leave === "answer") {
        this.#gone(this.#number);
        return;
      }
      const length = /content-length: (\d+)/.exec(this.#head);
      this.#chunked = !length;
      this.#tail = this.#head.slice(end + 4).slice(-5);
      this.#missing = this.#chunked ? 0 : Number(length![1]) - (this.#head.length - end - 4);
      this.#head = this.#head.slice(0, end);
    } else if (this.#chunked)
      this.#tail = (this.#tail + chunk.toString("latin1", Math.max(0, chunk.length - 5))).slice(-5);
    else this.#missing -= chunk.length;
    if (this.#chunked ? this.#tail !== LAST_CHUNK : this.#missing > 0) return;
    this.#end({
      status: Number(this.#head.slice(9, 12)),
      cut: false,
      closes: this.#head.includes("connection: close"),
      error: "",
    });
  }
}
