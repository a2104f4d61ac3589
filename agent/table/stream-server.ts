// gRPC side of the table stream.
import { timingSafeEqual } from "node:crypto";
import { join } from "node:path";
import {
  loadPackageDefinition,
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Logger } from "pino";
import type { Listen } from "../config/load.js";
import type { Decision } from "../decisions/record.js";
import { StartError } from "../errors.js";
import { packageRoot } from "../package-root.js";
import type { Hello, PredictionRow, Report, Routed, Share, Transfers, Wire } from "../wire.js";
import type { FrameSink, Publisher } from "./publisher.js";

interface Frame {
  data: Uint8Array;
}

type Call = ServerDuplexStream<Frame, Frame>;

export interface StreamOptions {
  wire: Wire;
  publisher: Publisher;
  /** Bearer token that a subscriber must send; null = none. */
  token: string | null;
  log: Logger;
  onReport: (report: Report) => void;
  onDecision: (decision: Decision) => void;
  onShare: (share: Share, sink: FrameSink) => void;
  onTransfers: (transfers: Transfers) => void;
  onPredictions: (rows: PredictionRow[]) => void;
  onRouted: (rows: Routed["rows"]) => void;
}

/** The frame format that wasm/shared writes. */
const FORMAT = 1;
/** A subscriber says hello within this, ms. */
const HELLO_MS = 10_000;

/** Serves `warmgate.v1.Table/Subscribe`. */
export class StreamServer {
  readonly #server: Server;
  readonly #o: StreamOptions;

  constructor(options: StreamOptions) {
    this.#o = options;
    this.#server = new Server({
      "grpc.max_receive_message_length": 4 * 1024 * 1024,
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5000,
    });
    const definition = loadPackageDefinition(
      loadSync(join(packageRoot(), "agent", "proto", "table.proto")),
    ) as unknown as { warmgate: { v1: { Table: { service: ServiceDefinition } } } };
    const { service } = definition.warmgate.v1.Table;
    const subscribe = service["Subscribe"]!;
    this.#server.addService(
      { ...service, Subscribe: { ...subscribe, responseSerialize: ({ data }: Frame) => encoded(data) } },
      { subscribe: (call: Call) => this.#subscribe(call) },
    );
  }

  /** Binds; returns the port. @throws StartError when the address is taken or not ours. */
  listen(at: Listen): Promise<number> {
    const address = `${at.host.includes(":") ? `[${at.host}]` : at.host}:${at.port}`;
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
        if (error) reject(new StartError(`listen.stream ${address}: ${error.message}`));
        else resolve(port);
      });
    });
  }

  /** Ends all streams at once: subscribers keep their table and come back. */
  stop(): void {
    this.#server.forceShutdown();
  }

  #subscribe(call: Call): void {
    const {
      publisher,
      wire,
      log,
      token,
      onReport,
      onDecision,
      onShare,
      onTransfers,
      onPredictions,
      onRouted,
    } = this.#o;
    if (token !== null && !authorized(call.metadata, token)) {
      log.warn({ event_type: "subscribe", peer: call.getPeer() }, "a subscriber had no valid token");
      call.emit("error", { code: status.UNAUTHENTICATED, details: "a bearer token is required" });
      return;
    }
    const sink = new CallSink(call);
    let hello: Hello | null = null;
    const refuse = (details: string) => {
      log.warn({ event_type: "subscribe", peer: call.getPeer() }, details);
      call.emit("error", { code: status.FAILED_PRECONDITION, details });
    };
    const impatience = setTimeout(() => refuse("no hello came"), HELLO_MS);
    call.on("data", ({ data }: Frame) => {
      const message = wire.decodeUp(data);
      if (!message) return;
      if (message.kind === "hello") {
        clearTimeout(impatience);
        if (hello) return;
        hello = message;
        if (message.formats[0] > FORMAT || message.formats[1] < FORMAT)
          return refuse(`formats ${message.formats.join("–")} are not spoken here, ${FORMAT} is`);
        log.info(
          { event_type: "subscribe", peer: call.getPeer(), vm: message.vmId.toString(16) },
          "a gateway worker subscribed",
        );
        // The main thread's VM routes nothing.
        if (!message.mainThread) publisher.add(sink);
      } else if (!hello) refuse("the first frame was not a hello");
      else if (message.kind === "resync") publisher.resync(sink);
      else if (message.kind === "decision") onDecision(message);
      else if (message.kind === "share") onShare(message, sink);
      else if (message.kind === "transfers") onTransfers(message);
      else if (message.kind === "predictions") onPredictions(message.rows);
      else if (message.kind === "routed") onRouted(message.rows);
      else onReport(message);
    });
    const gone = () => {
      clearTimeout(impatience);
      publisher.remove(sink);
    };
    call.on("end", () => {
      gone();
      call.end();
    });
    call.on("cancelled", gone);
    call.on("close", gone);
    call.on("error", gone);
  }
}

const wrapped = new WeakMap<Uint8Array, Buffer>();

/** A frame as a protobuf message (field 1, bytes). All subscribers get the same frames, so each is encoded once. */
function encoded(frame: Uint8Array): Buffer {
  let message = wrapped.get(frame);
  if (!message) {
    const head = [0x0a];
    let n = frame.length;
    for (; n > 127; n >>>= 7) head.push((n & 127) | 128);
    head.push(n);
    message = Buffer.concat([Buffer.from(head), frame]);
    wrapped.set(frame, message);
  }
  return message;
}

class CallSink implements FrameSink {
  readonly #call: Call;
  pendingBytes = 0;

  constructor(call: Call) {
    this.#call = call;
  }

  send(frame: Uint8Array): void {
    if (this.#call.destroyed || this.#call.cancelled) return;
    this.pendingBytes += frame.length;
    this.#call.write({ data: frame }, () => {
      this.pendingBytes -= frame.length;
    });
  }
}

function authorized(metadata: Metadata, token: string): boolean {
  const given = Buffer.from(String(metadata.get("authorization")[0] ?? ""));
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
