// Free ports of loopback. A port is chosen seconds before its listener starts, and tests run side by side: so each process
// takes whole bands of numbers, by listening on the first of each, and no other process chooses a port of its bands.
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:net";

// Below what systems give to outgoing connections (Linux begins at 32768): a port of theirs may be taken by any client
// between the choice and the start of who was to listen there.
const LOWEST_PORT = 12_000;
const BANDS = 400;
const BAND_PORTS = 50;

/** The next port of the last band, and where that ends. */
let next = 0;
let end = 0;

/** Listens on a port; undefined when it is taken. */
async function listening(port: number): Promise<Server | undefined> {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return undefined;
    throw error;
  }
}

/** Takes another band until the process ends. @throws when all are taken. */
async function takeBand(): Promise<void> {
  const from = randomInt(BANDS);
  for (let i = 0; i < BANDS; i++) {
    const first = LOWEST_PORT + ((from + i) % BANDS) * BAND_PORTS;
    const claim = await listening(first);
    if (!claim) continue;
    claim.unref();
    next = first + 1;
    end = first + BAND_PORTS;
    return;
  }
  throw new Error(
    `no free ports: something listens on each ${BAND_PORTS}th port from ${LOWEST_PORT} to ${LOWEST_PORT + BANDS * BAND_PORTS}`,
  );
}

/** So many numbers: a tuple when the count is known. */
type Ports<N extends number, T extends number[] = []> = number extends N
  ? number[]
  : T["length"] extends N
    ? T
    : Ports<N, [...T, number]>;

/** `count` free ports of loopback, none of which this process or another that asks here is given again. */
export async function freePorts<const N extends number>(count: N): Promise<Ports<N>> {
  const ports: number[] = [];
  while (ports.length < count) {
    while (next === end) await takeBand();
    const port = next++;
    const server = await listening(port);
    if (!server) continue;
    await new Promise((done) => server.close(done));
    ports.push(port);
  }
  return ports as Ports<N>;
}
