// The reader of the table's stream in the release module: what it takes, what it drops, and the memory it uses for that.
import { beforeAll, describe, expect, test } from "vitest";
import { KIND, kindOf, Sealer } from "../fuzz/agent-history.js";
import { Random } from "../fuzz/random.js";
import { digestOf, readFrames } from "../vectors/reference.js";
import { DESTINATION, Host } from "./host.js";
import { renderChatml, TestAgent } from "./table.js";

const HEAD = 48;
const MIB = 1_048_576;
const BODY = {
  model: "m",
  messages: [{ role: "user", content: "a prompt long enough for blocks ".repeat(40) }],
};
const PROMPT = renderChatml(BODY.messages);

let sealer: Sealer;
beforeAll(() => {
  sealer = new Sealer();
});

function frame(kind: number, sequence: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEAD + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x31544757, true);
  view.setUint16(4, 1, true);
  view.setUint16(6, kind, true);
  view.setBigUint64(8, 99n, true);
  view.setBigUint64(24, BigInt(sequence), true);
  bytes.set(payload, HEAD);
  sealer.seal(bytes);
  return bytes;
}

const words64 = (...values: number[]) => new Uint8Array(BigUint64Array.from(values.map(BigInt)).buffer);

/** A snapshot of an empty table of `buckets` buckets for up to 64 × `words` pods. */
function emptySnapshot(buckets: number, words: number, sequence: number): Uint8Array[] {
  const frames = [
    frame(KIND.begin, sequence, Uint8Array.from(new Uint8Array(Uint32Array.of(buckets, words, 0, 1).buffer))),
  ];
  const step = MIB - 128;
  for (let at = 0; at < buckets * 64; at += step) {
    const payload = new Uint8Array(8 + Math.min(step, buckets * 64 - at));
    payload.set(words64(at));
    frames.push(frame(KIND.piece, sequence, payload));
  }
  const end = new Uint8Array(16);
  new DataView(end.buffer).setBigUint64(8, digestOf(frames), true);
  return [...frames, frame(KIND.end, sequence, end)];
}

const regionOf = (buckets: number, words: number) => buckets * 64 + 65_536 * words * 8;

function stat(host: Host, name: string): number {
  host.tick(1100);
  return Number(host.process.metric(`warmgate_${name}`));
}

const resyncs = (agent: TestAgent, host: Host) =>
  host.frames().filter((f) => agent.wire.decodeUp(f)?.kind === "resync").length;

/** Where the prompt goes, and how many of its tokens are expected there; what was routed before is forgotten. */
function ask(host: Host) {
  host.process.nowNs += 11_000_000_000n;
  const r = host.chat(BODY);
  r.onResponse(r.header(DESTINATION)?.split(",")[0]);
  const seen = { pod: r.response("x-selected-pod"), tokens: Number(r.response("x-cache-prefix-length")) };
  r.end();
  return seen;
}

async function gateway(tableMiB = 256) {
  const agent = await TestAgent.create();
  agent.cache(1, PROMPT);
  const host = new Host({ configuration: { debugHeaders: "all", tableMiB } });
  host.receive(agent.snapshot());
  expect(ask(host)).toEqual({ pod: "pod-1", tokens: expect.toSatisfy((n: number) => n > 0) });
  return { agent, host };
}

describe("a damaged frame", () => {
  test("is refused whichever of its bytes is another one, and the frame itself is taken afterwards", async () => {
    const { agent, host } = await gateway();
    agent.wire.heartbeat();
    const [whole] = agent.wire.drain();
    for (let at = 0; at < whole!.length; at++)
      for (const bit of [1, 128]) {
        const damaged = whole!.slice();
        damaged[at]! ^= bit;
        host.receive([damaged]);
      }
    host.receive([whole!]);
    agent.wire.heartbeat();
    host.receive(agent.wire.drain());
    expect(stat(host, "gaps_total")).toBe(0);
    expect(resyncs(agent, host)).toBe(0);
  });

  test("that carries changes leaves the table as it was, and every later frame shows the gap", async () => {
    const { agent, host } = await gateway();
    agent.wire.clearPod(1);
    const delta = agent.wire.drain().find((f) => kindOf(f) === KIND.delta)!;
    const cut = delta.slice(0, -4);
    sealer.seal(cut);
    host.receive([cut]);
    expect(resyncs(agent, host)).toBe(1);
    agent.wire.heartbeat();
    host.receive(agent.wire.drain());
    expect(stat(host, "gaps_total")).toBe(2);
    host.receive(agent.snapshot());
    expect(ask(host).tokens).toBe(0);
  });
});

describe("a snapshot", () => {
  const broken: [string, (frames: Uint8Array[], at: number) => Uint8Array[]][] = [
    ["lost", (frames, at) => frames.toSpliced(at, 1)],
    [
      "damaged",
      (frames, at) =>
        frames.with(
          at,
          frames[at]!.map((b, i) => (i === HEAD - 1 ? b ^ 1 : b)),
        ),
    ],
    ["doubled", (frames, at) => frames.toSpliced(at, 0, frames[at]!)],
    [
      "followed by the one before it",
      (frames, at) => frames.toSpliced(at - 1, 2, frames[at]!, frames[at - 1]!),
    ],
  ];
  test.each(broken)(
    "with any one frame %s leaves the last table, and a new one is asked for",
    async (how, change) => {
      const { agent, host } = await gateway();
      agent.wire.clearPod(1);
      agent.cache(2, PROMPT);
      const frames = agent.snapshot();
      expect(readFrames(frames).entries.size).toBeGreaterThan(0);
      for (let at = 1; at < frames.length; at++) {
        // A second end comes after the table is whole.
        if (how === "doubled" && at === frames.length - 1) continue;
        host.sent.length = 0;
        host.receive(change(frames, at));
        // Of a lost end the next frame tells.
        agent.wire.heartbeat();
        host.receive(agent.wire.drain());
        expect(resyncs(agent, host), `frame ${at}`).toBe(1);
        host.tick(3000);
      }
      host.receive(agent.snapshot());
      expect(ask(host).pod).toBe("pod-2");
    },
  );

  test("that never begins after it was asked for is asked for again", async () => {
    const { agent, host } = await gateway();
    const lose = () => {
      agent.wire.heartbeat();
      return agent.wire.drain();
    };
    lose();
    host.receive(lose());
    expect(resyncs(agent, host)).toBe(1);
    for (let i = 0; i < 500; i++) host.tick(5);
    expect(resyncs(agent, host)).toBe(2);
    host.receive(agent.snapshot());
    for (let i = 0; i < 1000; i++) host.tick(5);
    expect(resyncs(agent, host)).toBe(2);
  });

  test("whose message the host does not hand over in its middle is dropped", async () => {
    const agent = await TestAgent.create();
    let lose = false;
    const host = new Host({
      configuration: { debugHeaders: "all" },
      fault: (name) => (lose && name === "proxy_get_buffer_bytes" ? 10 : undefined),
    });
    agent.cache(1, PROMPT);
    host.receive(agent.snapshot());
    agent.wire.clearPod(1);
    agent.cache(2, PROMPT);
    for (const part of agent.snapshot()) {
      lose = kindOf(part) === KIND.piece;
      host.receive([part]);
    }
    expect(resyncs(agent, host)).toBe(1);
    expect(ask(host).pod).toBe("pod-1");
  });
});

describe("the memory of tables", () => {
  test("never passes tableMiB, whatever sizes follow one another, and a table that fits alone is taken", () => {
    const host = new Host({ configuration: { tableMiB: 12 } });
    host.tick(3000);
    const before = host.memoryBytes;
    const r = new Random();
    r.seed(4);
    let most = 0;
    for (let i = 1; i <= 60; i++) {
      const words = 1 + r.below(3);
      const buckets = 1 + r.below(r.oneIn(3) ? 200_000 : 40_000);
      const frames = emptySnapshot(buckets, words, i);
      host.receive(r.oneIn(4) ? frames.slice(0, 1 + r.below(frames.length)) : frames);
      const whole = stat(host, "table_region_bytes");
      expect(whole).toBeLessThanOrEqual(12 * MIB);
      most = Math.max(most, whole);
    }
    // Each worker in its own memory: what was not for tables is the same as before, but for one page of rounding.
    expect(host.memoryBytes - before).toBeLessThanOrEqual(14 * MIB);
    expect(most).toBeGreaterThan(8 * MIB);
    for (const [sequence, words] of [1, 2, 3].entries()) {
      const buckets = Math.floor((10 * MIB - regionOf(0, words)) / 64);
      host.receive(emptySnapshot(buckets, words, 100 + sequence));
      expect(stat(host, "table_bytes")).toBe(buckets * 64);
    }
  });

  test("for growth by doubling stays within three times the table", () => {
    const host = new Host({ configuration: { tableMiB: 256 } });
    host.tick(3000);
    let buckets = 1024;
    for (let i = 1; i < 9; i++, buckets *= 2) host.receive(emptySnapshot(buckets, 1, i));
    const last = regionOf(buckets / 2, 1);
    for (let i = 0; i < 10; i++) host.receive(emptySnapshot(buckets / 2, 1, 100 + i));
    expect(stat(host, "table_region_bytes")).toBeLessThanOrEqual(3 * last);
  });

  test("is at most 16 bytes an entry for a million entries over 64 pods", () => {
    const host = new Host({ configuration: { tableMiB: 256 } });
    host.tick(3000);
    // The size that the agent's table of a million entries ends at (the next test).
    host.receive(emptySnapshot(Math.ceil(1_000_000 / 5 / 0.85) + 1, 1, 1));
    expect(stat(host, "table_region_bytes")).toBeLessThanOrEqual(16_000_000);
  });

  test("is used to 0.85 by a full table of the agent", async () => {
    const agent = await TestAgent.create(1);
    for (let i = 0; agent.wire.stats().refusedEntries === 0; i++)
      agent.cache(0, renderChatml([{ role: "user", content: `${i} `.repeat(50_000) }]));
    const begin = agent.snapshot()[0]!;
    const view = new DataView(begin.buffer, begin.byteOffset + HEAD);
    expect(view.getUint32(8, true)).toBe(100_000);
    expect(view.getUint32(0, true)).toBeLessThanOrEqual(100_000 / 5 / 0.85 + 2);
  });

  test("is cleared first where two tables do not fit, and counted", async () => {
    const { agent, host } = await gateway(8);
    const sized = (mib: number, sequence: number) =>
      emptySnapshot(Math.floor((mib * MIB - regionOf(0, 1)) / 64), 1, sequence);
    host.receive(sized(6, 1));
    expect(stat(host, "table_bytes")).toBeGreaterThan(5 * MIB);
    const [begin, ...rest] = sized(6.5, 2);
    host.receive([begin!]);
    expect(stat(host, "table_bytes")).toBe(0);
    expect(stat(host, "table_over_limit_total")).toBe(1);
    expect(host.logs.filter((l) => l.includes("cleared"))).toHaveLength(1);
    host.receive(rest);
    expect(stat(host, "table_bytes")).toBeGreaterThan(5.5 * MIB);
    expect(resyncs(agent, host)).toBe(0);
    // The room of the first table is still there.
    host.receive(agent.snapshot());
    expect(ask(host).pod).toBe("pod-1");
    expect(stat(host, "table_over_limit_total")).toBe(1);
  });

  test("is not taken for a table that does not fit at all: sections and sequence are followed without one", async () => {
    const { agent, host } = await gateway(8);
    // The masks of 1,024 pods alone take the 8 MiB.
    agent.wire.setPods([
      ...agent.pods,
      { ...agent.pods[0]!, slot: 1023, name: "far", address: "10.9.9.9:1" },
    ]);
    agent.wire.drain();
    host.receive(agent.snapshot());
    expect(ask(host)).toEqual({ pod: expect.any(String), tokens: 0 });
    expect(stat(host, "table_over_limit_total")).toBe(1);
    expect(host.logs.filter((l) => l.includes("maxEntries"))).toHaveLength(1);
    agent.wire.clearPod(1);
    agent.wire.setPods(agent.pods.slice(0, 1));
    host.receive(agent.wire.drain());
    expect(stat(host, "gaps_total")).toBe(0);
    expect(ask(host).pod).toBe("pod-0");
  });
});
