// The bench's gateway workers, in a process of their own: as many streams as asked for, each noting when it gets the
// entries that it was told to look for.
import { readFile } from "node:fs/promises";
import { Client, credentials } from "@grpc/grpc-js";
import { built } from "../../agent/package-root.js";

export interface WorkersTask {
  port: number;
  count: number;
  /** Entry hashes to look for, in the order in which they will come; hex, little endian. */
  markers: string[];
}

/** Per marker: when it reached the last worker, ns of the machine's monotonic clock; null where a worker missed it. */
export type WorkersSaw = (string | null)[];

export async function runWorkers({ port, count, markers }: WorkersTask): Promise<void> {
  const hello = await helloMaker();
  const wanted = markers.map((hex) => Buffer.from(hex, "hex"));
  const seen = markers.map(() => ({ workers: 0, last: 0n }));
  const clients: Client[] = [];
  let snapshots = 0;
  for (let i = 0; i < count; i++) {
    // A gateway has a connection of its own.
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
    });
    clients.push(client);
    const raw = (bytes: Buffer) => bytes;
    const call = client.makeBidiStreamRequest("/warmgate.v1.Table/Subscribe", raw, raw);
    let next = 0;
    let first = true;
    call.on("data", (message: Buffer) => {
      if (first) {
        first = false;
        snapshots++;
      }
      while (next < wanted.length && message.indexOf(wanted[next]!) >= 0) {
        seen[next]!.workers++;
        seen[next]!.last = process.hrtime.bigint();
        next++;
      }
    });
    call.on("error", () => {});
    call.write(hello(i));
  }
  while (snapshots < count) await new Promise((wake) => setTimeout(wake, 20));
  process.on("message", () => {
    process.send!(
      seen.map(({ workers, last }) => (workers === count ? String(last) : null)) satisfies WorkersSaw,
    );
    for (const client of clients) client.close();
    process.disconnect();
  });
  process.send!("subscribed");
}

/** A hello frame (wasm/shared/layout: head of 48 bytes, payload of 32) in its protobuf wrapping. */
async function helloMaker(): Promise<(vm: number) => Buffer> {
  const file = await readFile(built("wire.wasm"));
  const { instance } = await WebAssembly.instantiate(file, {});
  const x = instance.exports as unknown as {
    memory: WebAssembly.Memory;
    _initialize(): void;
    inputBuffer(n: number): number;
    reseal(n: number): void;
    kindHello: WebAssembly.Global;
  };
  x._initialize();
  return (vm) => {
    const frame = Buffer.alloc(80);
    frame.write("WGT1", "latin1");
    frame.writeUInt16LE(1, 4);
    frame.writeUInt16LE(Number(x.kindHello.value), 6);
    frame.writeUInt16LE(1, 48);
    frame.writeUInt16LE(1, 50);
    frame.writeBigUInt64LE(1n, 56);
    frame.writeBigUInt64LE(BigInt(vm), 64);
    const at = x.inputBuffer(frame.length);
    new Uint8Array(x.memory.buffer).set(frame, at);
    x.reseal(frame.length);
    frame.set(new Uint8Array(x.memory.buffer, at, frame.length));
    return Buffer.concat([Buffer.from([0x0a, frame.length]), frame]);
  };
}
