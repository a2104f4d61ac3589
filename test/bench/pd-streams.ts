// How much memory one sidecar needs for many streams at once. Clients, pods and the sidecar are processes of their own;
// every stream is prefilled on another pod and stays open until all are.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../../demo/ports.js";
import { sidecarCommand, waitFor } from "../../demo/processes.js";
import { good } from "../pd/split-host.js";
import { MarkedRequest } from "./pd-calls.js";

/** Streams that are being opened at any time. */
const OPENING = 64;
/** Files that the sidecar needs at least: two sockets a stream, its prefill connections, and what Node has open. */
const files = (streams: number) => 2 * streams + OPENING + 40;
/** Runs the arguments with at least so many open files, or as many as the system lets it have. */
const raised = (streams: number) => [
  "-c",
  `[ "$(ulimit -n)" -ge ${files(streams)} ] || ulimit -n ${files(streams)} 2>/dev/null || ulimit -n "$(ulimit -H -n)"; exec "$@"`,
  "sh",
];
const EVENT = 'data: {"choices":[{"delta":{"content":"word"}}]}\n\n';
const END = "data: [DONE]\n\n";

interface StreamFigures {
  streams: number;
  /** Streams whose events all came, in order, to their end. */
  whole: number;
  /** Most files that the sidecar may have open, as its process says. */
  openFiles: number;
  /** Resident memory of the sidecar with all streams open, and the most that it had at any time, MiB. */
  rssMiB: number;
  peakMiB: number;
  /** Until all were open. */
  seconds: number;
}

/** The pods' process: a prefill pod that answers at once and a decode pod whose streams go on until told to end. */
export async function servePods(): Promise<void> {
  const open = new Set<ServerResponse>();
  const serve = async (answer: (response: ServerResponse) => void) => {
    const server = createServer((request, response) => {
      request.resume();
      request.on("end", () => answer(response));
    });
    server.listen(0, "127.0.0.1", 4096);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const prefill = await serve((response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": good.length });
    response.end(good);
  });
  const decode = await serve((response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(EVENT);
    open.add(response);
  });
  // "event" sends one to every stream, "end" ends them all.
  process.on("message", (what) => {
    for (const response of open)
      if (what === "event") response.write(EVENT);
      else response.end(END);
    process.send!({ told: open.size });
  });
  process.send!({ prefill, decode });
}

/** One client's connection: resolves `begun` at the first event and `ended` at the stream's end. */
class StreamClient {
  readonly begun: Promise<void>;
  readonly ended: Promise<void>;
  /** What came behind the headers. */
  events = 0;
  whole = false;
  readonly #socket: Socket;

  constructor(port: number, bytes: Buffer) {
    this.#socket = connect(port, "127.0.0.1");
    let tail = "";
    let begin = () => {};
    let fail = (_: Error) => {};
    this.begun = new Promise((resolve, reject) => {
      begin = resolve;
      fail = reject;
    });
    this.ended = once(this.#socket, "close").then(() => {});
    this.#socket.on("error", fail);
    this.#socket.on("close", () => fail(new Error(`the stream was closed: ${tail.slice(0, 200)}`)));
    this.#socket.on("data", (chunk: Buffer) => {
      tail = (tail + chunk.toString("latin1")).slice(-4096);
      for (let at = tail.indexOf(EVENT); at >= 0; at = tail.indexOf(EVENT)) {
        this.events++;
        tail = tail.slice(at + EVENT.length);
        begin();
      }
      if (!tail.includes(END)) return;
      this.whole = true;
      this.#socket.destroy();
    });
    this.#socket.write(bytes);
  }

  close(): void {
    this.#socket.destroy();
  }
}

function message<T>(child: ChildProcess): Promise<T> {
  return once(child, "message").then(([value]) => value as T);
}

const numberAfter = (file: string, name: string) =>
  Number(new RegExp(`${name}\\D+(\\d+)`).exec(readFileSync(file, "utf8"))?.[1] ?? 0);

/** Opens `streams` at once through one sidecar, with bodies of `bodyBytes`. @throws when one cannot be opened. */
export async function measureStreams(
  streams: number,
  bodyBytes: number,
  podsArguments: string[],
): Promise<StreamFigures> {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-streams-"));
  const [port] = await freePorts(1);
  const clients: StreamClient[] = [];
  const pods = spawn("sh", [...raised(streams), ...podsArguments], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  let sidecar: ChildProcess | null = null;
  try {
    const { prefill, decode } = await message<{ prefill: number; decode: number }>(pods);
    const allowlist = join(folder, "allowlist");
    writeFileSync(allowlist, `127.0.0.1:${prefill}\n`);
    sidecar = spawn("sh", [...raised(streams), ...sidecarCommand(port, decode, allowlist)], {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, LOG_LEVEL: "error" },
    });
    await waitFor("the sidecar", async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok);
    const openFiles = numberAfter(`/proc/${sidecar.pid}/limits`, "Max open files");
    if (openFiles < files(streams))
      throw new Error(
        `${streams} streams need ${files(streams)} open files in the sidecar; the system allows ${openFiles} (ulimit -H -n). ` +
          `Raise that, or ask for at most ${Math.floor((openFiles - files(0)) / 2)} streams.`,
      );
    const status = `/proc/${sidecar.pid}/status`;
    const request = new MarkedRequest(
      bodyBytes,
      { "x-prefiller-host-port": `127.0.0.1:${prefill}` },
      { stream: true },
    );
    const start = performance.now();
    let next = 0;
    await Promise.all(
      Array.from({ length: OPENING }, async () => {
        while (next < streams) {
          const client = new StreamClient(port, Buffer.from(request.mark(next++)));
          clients.push(client);
          await client.begun;
        }
      }),
    );
    const seconds = (performance.now() - start) / 1000;
    const tell = async (what: string) => {
      const told = message<{ told: number }>(pods);
      pods.send(what);
      return (await told).told;
    };
    const open = await tell("event");
    if (open !== streams) throw new Error(`${open} of ${streams} streams reached the decode pod`);
    await waitFor("an event on every stream", async () => clients.every(({ events }) => events === 2));
    const rss = numberAfter(status, "VmRSS");
    await tell("end");
    await Promise.all(clients.map(({ ended }) => ended));
    return {
      streams,
      whole: clients.filter(({ events, whole }) => events === 2 && whole).length,
      openFiles,
      rssMiB: Math.round(rss / 1024),
      peakMiB: Math.round(numberAfter(status, "VmHWM") / 1024),
      seconds,
    };
  } finally {
    for (const client of clients) client.close();
    for (const child of [sidecar, pods]) {
      if (!child || child.exitCode !== null) continue;
      const ended = once(child, "exit");
      child.kill();
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  }
}
