// The bench's agent: a real Wire with a table of the size asked for, behind a real gRPC stream.
import { join } from "node:path";
import { loadPackageDefinition, Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Decision } from "../../agent/decisions/record.js";
import { packageRoot } from "../../agent/package-root.js";
import { HEARTBEAT_MS } from "../../agent/table/publisher.js";
import { SharedLoad } from "../../agent/table/shared-load.js";
import type { Wire } from "../../agent/wire.js";
import { chatml, policy } from "../wasm/table.js";
import { byteTokens, newWire, podRow } from "../wasm/wire-for-test.js";

interface Frame {
  data: Uint8Array;
}

/** Tokens of a KV block: one byte a token and one KV block a text block. */
const BLOCK = 128;

export class TableServer {
  readonly #streams = new Set<ServerDuplexStream<Frame, Frame>>();
  #next = 1n;
  /** What workers recorded. */
  readonly decisions: Decision[] = [];
  #server = new Server();
  #shared: SharedLoad | null = null;
  #heartbeat: NodeJS.Timeout | null = null;

  private constructor(
    readonly wire: Wire,
    readonly model: number,
    readonly pods: number,
  ) {}

  /** `entries` is also the policy's maxEntries, as a table is sized for the most it may hold. */
  static async create(
    addresses: string[],
    entries: number,
    debugHeaders: "all" | "trusted" | "none",
  ): Promise<TableServer> {
    const wire = await newWire({
      // Room for what the churn adds.
      maxEntries: Math.ceil(entries * 1.01) + 8192,
      leader: BigInt(Date.now()),
      startMs: BigInt(Date.now()),
    });
    const model = wire.addModel("m");
    wire.setTokenBytes(model, byteTokens());
    wire.setPods(addresses.map((address, slot) => podRow(slot, model, { address, kvUsage: 0.5 })));
    wire.setModels([{ name: "m", model, lora: "", template: chatml, bytesPerToken: 1 }]);
    wire.setPolicy({ ...policy, debugHeaders });
    return new TableServer(wire, model, addresses.length);
  }

  /** Tells each gateway what the others have under way, as the agent does. */
  shareLoads(addresses: string[]): void {
    this.#shared = new SharedLoad(this.wire, (address) => {
      const slot = addresses.indexOf(address);
      return slot < 0 ? undefined : slot;
    });
  }

  /** Makes a pod hold the first `bytes` of a prompt, whole text blocks. */
  cache(pod: number, prompt: Uint8Array, bytes: number): void {
    const count = Math.floor(Math.min(bytes, prompt.length) / BLOCK);
    if (count === 0) return;
    const hashes = BigUint64Array.from({ length: count }, () => this.#next++);
    const tokens = Uint32Array.from(prompt.subarray(0, count * BLOCK));
    this.wire.store(pod, this.model, { hashes, parent: null, tokens, blockSize: BLOCK, lora: "", salt: "" });
  }

  /** Fills up to `entries` with chains of random text, spread over the pods. */
  fill(entries: number): void {
    let x = 88172645463325252n;
    while (this.wire.stats().entries < entries) {
      const left = Math.min(2000, entries - this.wire.stats().entries);
      const text = new Uint8Array(left * BLOCK);
      const words = new BigUint64Array(text.buffer);
      for (let i = 0; i < words.length; i += 16) {
        x ^= BigInt.asUintN(64, x << 13n);
        x ^= x >> 7n;
        x ^= BigInt.asUintN(64, x << 17n);
        words[i] = x;
      }
      this.cache(Number(x % BigInt(this.pods)), text, text.length);
    }
  }

  /** @returns the port, a free one for 0 */
  async listen(port = 0): Promise<number> {
    this.wire.drain();
    this.#heartbeat = setInterval(() => {
      this.wire.heartbeat();
      this.publish();
    }, HEARTBEAT_MS);
    const definition = loadSync(join(packageRoot(), "agent", "proto", "table.proto"));
    const api = loadPackageDefinition(definition) as unknown as {
      warmgate: { v1: { Table: { service: Parameters<Server["addService"]>[0] } } };
    };
    this.#server.addService(api.warmgate.v1.Table.service, {
      Subscribe: (stream: ServerDuplexStream<Frame, Frame>) => {
        stream.on("data", ({ data }: Frame) => {
          const up = this.wire.decodeUp(data);
          if (up?.kind === "decision") this.decisions.push(up);
          if (up?.kind === "share")
            this.#shared?.take(
              up,
              { send: (frame) => stream.write({ data: frame.slice() }), pendingBytes: 0 },
              performance.now(),
            );
          if (up?.kind !== "hello" && up?.kind !== "resync") return;
          this.publish();
          for (const frame of this.wire.snapshot()) stream.write({ data: frame });
          this.#streams.add(stream);
        });
        const gone = () => this.#streams.delete(stream);
        stream.on("end", gone).on("error", gone).on("close", gone);
      },
    });
    return new Promise((resolve, reject) =>
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (e, bound) =>
        e ? reject(e) : resolve(bound),
      ),
    );
  }

  /** Sends what changed to every subscriber. */
  publish(): void {
    for (const frame of this.wire.drain()) for (const s of this.#streams) s.write({ data: frame });
  }

  /** Keeps `perSecond` entries changing until the returned function is called; it says how many a second did. */
  churn(perSecond: number): () => number {
    const text = new Uint8Array(64 * BLOCK).fill(7);
    let round = 0;
    let total = 0;
    const start = performance.now();
    const timer = setInterval(() => {
      // Measured against the clock: a late timer catches up.
      while (total < ((performance.now() - start) / 1000) * perSecond) {
        text[0] = round & 255;
        text[1] = (round >> 8) & 255;
        const first = this.#next;
        this.cache(round % this.pods, text, text.length);
        this.wire.remove(
          round % this.pods,
          BigUint64Array.from({ length: 64 }, (_, i) => first + BigInt(i)),
        );
        total += 128;
        round++;
      }
      this.publish();
    }, 10);
    return () => {
      clearInterval(timer);
      return total / ((performance.now() - start) / 1000);
    };
  }

  stop(): void {
    if (this.#heartbeat) clearInterval(this.#heartbeat);
    this.#shared?.stop();
    this.#server.forceShutdown();
  }
}
