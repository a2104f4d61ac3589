// What a subscriber of the table is sent, and when. The wire is real; frames go to a list.
import { afterEach, beforeEach, expect, test } from "vitest";
import { PodRegistry } from "../../agent/load/pod-registry.js";
import { type FrameSink, Publisher } from "../../agent/table/publisher.js";
import { readFrames } from "../vectors/reference.js";
import { renderChatml, TestAgent } from "../wasm/table.js";

const PROMPT = renderChatml([{ role: "user", content: "a prompt long enough for blocks ".repeat(40) }]);
const BEGIN = 1;

class Sink implements FrameSink {
  readonly pendingBytes = 0;
  readonly frames: Uint8Array[] = [];
  send(frame: Uint8Array): void {
    this.frames.push(frame);
  }
  get snapshots(): number {
    return this.frames.filter((f) => new DataView(f.buffer, f.byteOffset).getUint16(6, true) === BEGIN)
      .length;
  }
  get sequences(): bigint[] {
    return this.frames.map((f) => new DataView(f.buffer, f.byteOffset).getBigUint64(24, true));
  }
}

let agent: TestAgent;
let publisher: Publisher;
beforeEach(async () => {
  agent = await TestAgent.create();
  publisher = new Publisher(agent.wire, new PodRegistry([]));
});
afterEach(() => publisher.stop());

test("a subscriber that came before the table opened gets one snapshot, whole and with nothing before it", () => {
  const sinks = [new Sink(), new Sink(), new Sink()];
  for (const sink of sinks) publisher.add(sink);
  agent.cache(1, PROMPT);
  expect(sinks.map((s) => s.frames.length)).toEqual([0, 0, 0]);
  publisher.open();
  for (const sink of sinks) {
    expect(sink.snapshots).toBe(1);
    expect(readFrames(sink.frames).entries.size).toBe(Math.floor(PROMPT.length / 128));
  }
  agent.cache(2, PROMPT.slice(0, 600));
  publisher.flush();
  for (const sink of sinks) {
    expect(sink.snapshots).toBe(1);
    const { entries } = readFrames(sink.frames);
    expect([...entries.values()].filter((e) => e.pods.length === 2)).toHaveLength(4);
    // What follows a snapshot follows on its number.
    const after = sink.sequences.filter((n) => n > sink.sequences[0]!);
    expect(after).toEqual(after.map((_, i) => sink.sequences[0]! + BigInt(i + 1)));
  }
});

test("a subscriber that comes later gets its snapshot at once, and the others none for it", () => {
  const first = new Sink();
  publisher.add(first);
  publisher.open();
  agent.cache(1, PROMPT);
  const second = new Sink();
  publisher.add(second);
  expect([first.snapshots, second.snapshots]).toEqual([1, 1]);
  expect(readFrames(first.frames).entries).toEqual(readFrames(second.frames).entries);
});

test("a subscriber that left before the table opened gets nothing", () => {
  const sink = new Sink();
  publisher.add(sink);
  publisher.remove(sink);
  publisher.open();
  expect(sink.frames).toEqual([]);
});
