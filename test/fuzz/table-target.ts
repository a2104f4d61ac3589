// Fuzzes the table reader and the delta decoder of the release module under the strict test host. Each seed is one
// worker's life: it is fed frames of a recorded agent in order, out of order, twice, not at all, cut, with flipped bits,
// and frames with a good checksum over random content. A model of the protocol (apply what follows, leave the rest)
// says which state the worker must be in; a request says which one it is in.
import { DESTINATION, Host, type Request } from "../wasm/host.js";
import { type History, KIND, kindOf, Sealer, sequenceOf } from "./agent-history.js";
import { Random } from "./random.js";
import { Fault, printable, type Target } from "./target.js";

const ROUNDS = 150;
const HEAD = 48;
const TABLE_MIB = 8;
/** Masks of all set ids, two words each, and what aligning a region costs. */
const BESIDE_BUCKETS = 65_536 * 16 + 64;
/** Buckets of a table that takes all that `tableMiB` allows. */
const WARM_BUCKETS = (TABLE_MIB * 1_048_576 - BESIDE_BUCKETS) / 64;
/** What the worker knows is not to be told from what it was fed. */
const UNKNOWN = -1;

export class TableTarget implements Target {
  readonly name = "table";
  readonly #random = new Random();
  readonly #sealer = new Sealer();
  #host!: Host;
  #memoryBytes = 0;
  #seed = 0;
  #cases = 0;
  /** Sequence of the state that the worker must be in, or UNKNOWN. */
  #state = UNKNOWN;
  #last = "";

  constructor(readonly history: History) {}

  run(seed: number): number {
    this.#seed = seed;
    this.#cases = 0;
    this.#random.seed(seed);
    this.#start();
    for (let round = 0; round < ROUNDS; round++) this.#round(round);
    return this.#cases;
  }

  #fault(what: string): never {
    throw new Fault(this.name, this.#seed, what, `after ${this.#cases} frames, the last: ${this.#last}`);
  }

  /** A new worker, with every region as large as it will ever be. */
  #start(): void {
    this.#host = new Host({
      random: () => this.#random.word(),
      configuration: {
        debugHeaders: "all",
        tableMiB: TABLE_MIB,
        bodyReadBytes: 16_777_216,
      },
    });
    const { snapshots } = this.history;
    const begin = snapshots[0]!.frames[0]!.slice();
    new DataView(begin.buffer).setUint32(HEAD, WARM_BUCKETS, true);
    this.#sealer.seal(begin);
    this.#host.receive([begin]);
    this.#snapshot(snapshots[0]!);
    this.#host.tick();
    this.#probe(0);
    this.#memoryBytes = this.#host.memoryBytes;
  }

  #deliver(frame: Uint8Array, how: string): void {
    this.#last = `${how} (kind ${frame.length > 8 ? kindOf(frame) : "?"}, ${frame.length} bytes)`;
    const host = this.#host;
    try {
      host.receive([frame]);
    } catch (e) {
      this.#last += `: ${printable(frame, 4000)}`;
      this.#fault(`trap: ${e}`);
    }
    this.#cases++;
    if (this.#memoryBytes && host.memoryBytes !== this.#memoryBytes) {
      this.#last += `: ${printable(frame, 400)}`;
      this.#fault(`memory grew from ${this.#memoryBytes} to ${host.memoryBytes} bytes`);
    }
    host.sent.length = 0;
    host.logs.length = 0;
  }

  #snapshot(snapshot: History["snapshots"][number]): void {
    for (const frame of snapshot.frames) this.#deliver(frame, "a snapshot's frame");
    this.#state = snapshot.sequence;
  }

  #round(round: number): void {
    const r = this.#random;
    const { history } = this;
    const snapshot = r.pick(history.snapshots);
    if (r.oneIn(4)) this.#brokenSnapshot(r.pick(history.snapshots));
    this.#snapshot(snapshot);
    if (r.oneIn(4)) this.#probe(round);
    // Ordinary trouble: what follows is applied, what does not is left alone.
    let next = snapshot.sequence - history.firstSequence + 1;
    for (let n = r.below(30); n > 0 && next < history.frames.length; n--) {
      const frame = history.frames[next]!;
      switch (r.below(8)) {
        case 0:
          this.#deliver(this.#flipped(frame), "a flipped bit");
          break;
        case 1:
          this.#deliver(frame.subarray(0, r.below(frame.length)), "a cut frame");
          break;
        case 2: {
          // An old frame once more, or one that is too early.
          const other = r.below(history.frames.length);
          if (other !== next) this.#deliver(history.frames[other]!, "another frame");
          break;
        }
        case 3:
          this.#deliver(this.#foreign(frame), "a frame of another agent");
          break;
        default:
          this.#follow(frame);
          next++;
      }
    }
    this.#probe(round);
    if (r.oneIn(2)) return;
    // Frames with a good checksum over anything: no trap, no growth; the next snapshot heals.
    this.#state = UNKNOWN;
    let sequence = snapshot.sequence + 1000;
    for (let n = r.below(12); n > 0; n--) this.#deliver(this.#sealed(sequence++), "sealed noise");
    if (r.oneIn(3)) this.#request(r.below(history.probes.length)).end();
    if (r.oneIn(6)) this.#host.tick(r.below(2000));
    if (r.oneIn(16)) this.#host.closeStream();
  }

  #follow(frame: Uint8Array): void {
    this.#deliver(frame, "the next frame");
    this.#state = sequenceOf(frame);
  }

  /** One bit another. */
  #flipped(frame: Uint8Array): Uint8Array {
    const copy = frame.slice();
    copy[this.#random.below(copy.length)]! ^= 1 << this.#random.below(8);
    return copy;
  }

  #foreign(frame: Uint8Array): Uint8Array {
    const copy = frame.slice();
    copy[8 + this.#random.below(16)]! ^= 1 << this.#random.below(8);
    this.#sealer.seal(copy);
    return copy;
  }

  /**
   * A snapshot whose frames are lost, doubled, swapped or damaged. It becomes the worker's table when all of it came in
   * order after all; else the worker keeps the table it has.
   */
  #brokenSnapshot(snapshot: History["snapshots"][number]): void {
    const r = this.#random;
    // Place in the snapshot, -1 for a damaged frame.
    const parts = snapshot.frames.map((frame, place) => ({ frame, place }));
    for (let n = r.below(4); n >= 0; n--) {
      const at = r.below(parts.length);
      const part = parts[at];
      if (!part) break;
      const kind = r.below(4);
      if (kind === 0) parts.splice(at, 1);
      else if (kind === 1) parts.splice(r.below(parts.length), 0, part);
      else if (kind === 2) parts[at] = { frame: this.#flipped(part.frame), place: -1 };
      else {
        // What a frame that passes the checksum does is not to be told.
        parts[at] = { frame: this.#scrambled(part.frame, sequenceOf(part.frame)), place: -1 };
        this.#state = UNKNOWN;
      }
    }
    // The place that must come, 0 while no snapshot is being read.
    let next = 0;
    for (const { frame, place } of parts) {
      this.#deliver(frame, "a broken snapshot's frame");
      if (place === 0) next = 1;
      else next = next > 0 && place === next ? next + 1 : 0;
      if (next < snapshot.frames.length) continue;
      next = 0;
      if (this.#state !== UNKNOWN) this.#state = snapshot.sequence;
    }
    if (this.#state !== UNKNOWN) this.#probe(0);
    else if (r.oneIn(3)) this.#request(r.below(this.history.probes.length)).end();
    if (r.oneIn(8)) this.#host.closeStream();
  }

  /** A frame that passes the checksum, its payload changed, cut or lengthened. */
  #scrambled(frame: Uint8Array, sequence: number): Uint8Array {
    const r = this.#random;
    const size = Math.max(HEAD, frame.length + (r.oneIn(3) ? r.below(80) - 60 : 0));
    const copy = new Uint8Array(size);
    copy.set(frame.subarray(0, size));
    const view = new DataView(copy.buffer);
    view.setBigUint64(24, BigInt(sequence), true);
    const payload = size - HEAD;
    for (let n = r.below(6); n >= 0 && payload > 0; n--) {
      // The first bytes hold counts and sizes.
      const at = HEAD + (r.oneIn(2) ? r.below(Math.min(payload, 64)) : r.below(payload));
      const how = r.below(4);
      copy[at] = how === 0 ? r.word() : how === 1 ? 0xff : how === 2 ? 0 : copy[at]! ^ (1 << r.below(8));
    }
    if (r.oneIn(12)) view.setUint16(6, r.below(12), true);
    this.#sealer.seal(copy);
    return copy;
  }

  #sealed(sequence: number): Uint8Array {
    const r = this.#random;
    const { history } = this;
    if (r.oneIn(2)) {
      const from = r.oneIn(3) ? r.pick(r.pick(history.snapshots).frames) : r.pick(history.frames);
      // A piece is long and says little.
      return kindOf(from) === KIND.piece && !r.oneIn(8)
        ? this.#delta(sequence)
        : this.#scrambled(from, r.oneIn(4) ? r.below(1 << 20) : sequence);
    }
    return this.#delta(sequence);
  }

  /** A delta of random runs whose counts may lie. */
  #delta(sequence: number): Uint8Array {
    const r = this.#random;
    const runs = r.below(5);
    const frame = new Uint8Array(HEAD + 2000);
    const view = new DataView(frame.buffer);
    frame.set(this.history.frames[0]!.subarray(0, HEAD));
    view.setUint16(6, KIND.delta, true);
    view.setBigUint64(24, BigInt(sequence), true);
    let at = HEAD;
    for (let i = 0; i < runs; i++) {
      const kind = r.oneIn(10) ? r.below(65536) : 1 + r.below(3);
      const rows = r.below(12);
      view.setUint16(at, kind, true);
      view.setUint16(at + 2, r.oneIn(8) ? r.below(65536) : rows, true);
      at += 4;
      const width = kind === 1 ? 24 : kind === 2 ? 12 : 8;
      for (let b = 0; b < rows * width; b++) frame[at + b] = r.oneIn(3) ? 0 : r.word();
      at += rows * width;
    }
    const whole = frame.subarray(0, r.oneIn(6) ? Math.max(HEAD, at - r.below(20)) : at).slice();
    this.#sealer.seal(whole);
    return whole;
  }

  #request(probe: number): Request {
    const host = this.#host;
    // What earlier requests made the worker expect is forgotten after ten seconds.
    host.process.nowNs += 11_000_000_000n;
    this.#last += `, then a request about prompt ${probe}`;
    try {
      const request = host.chat(this.history.probes[probe]!.body);
      if (!request.reply) request.onResponse(request.header(DESTINATION)?.split(",")[0]);
      return request;
    } catch (e) {
      this.#fault(`trap: ${e}`);
    }
  }

  /** Asks the worker which pod holds a prompt. */
  #probe(salt: number): void {
    const { history } = this;
    const probe = (this.#random.below(history.probes.length) + salt) % history.probes.length;
    const request = this.#request(probe);
    this.#host.calls.clear();
    this.#host.calls.set("proxy_grpc_stream", 1);
    if (request.reply) this.#fault(`refused: ${request.reply.body}`);
    const holders = history.holders(probe, this.#state);
    const predicted = request.response("x-cache-prefix-length");
    const want = holders.size ? String(history.probes[probe]!.tokens) : "0";
    if (predicted !== want)
      this.#fault(
        `expects ${predicted} cached tokens of prompt ${probe} instead of ${want} at ${this.#state}`,
      );
    const pod = request.response("x-selected-pod")!;
    if (holders.size && !holders.has(pod))
      this.#fault(`chose ${pod}, but ${[...holders]} hold prompt ${probe}`);
    request.end();
  }
}
