import { afterEach, describe, expect, it } from "vitest";
import { Dealer, Subscriber } from "zeromq";
import { EventPublisher } from "../../simulator/events.js";

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const socket of opened.splice(0)) socket.close();
});

async function open(bufferSteps: number, replayTopic = true): Promise<EventPublisher> {
  const topic = (port: number) => `kv@127.0.0.1:${port}@m`;
  const publisher = await EventPublisher.open({ port: 0, replayPort: 0, bufferSteps, replayTopic, topic });
  opened.push(publisher);
  return publisher;
}

/** Frames of a replay from `start`, the end marker included. */
async function replay(port: number, start: number): Promise<Buffer[][]> {
  const dealer = new Dealer({ receiveTimeout: 10_000, linger: 0 });
  opened.push(dealer);
  dealer.connect(`tcp://127.0.0.1:${port}`);
  const from = Buffer.alloc(8);
  from.writeBigUInt64BE(BigInt(start));
  await dealer.send(["", from]);
  const answers: Buffer[][] = [];
  for (;;) {
    const frames = await dealer.receive();
    answers.push(frames);
    if (frames.at(-1)?.length === 0) return answers;
  }
}

const sequenceOf = (frames: Buffer[]): number => Number((frames.at(-2) as Buffer).readBigUInt64BE());
const payloadOf = (frames: Buffer[]): string => String(frames.at(-1));

describe("event publisher", () => {
  it("sends topic, sequence from 0 and payload as three frames", async () => {
    const publisher = await open(10);
    const subscriber = new Subscriber({ receiveTimeout: 10_000, linger: 0 });
    opened.push(subscriber);
    subscriber.subscribe("kv@");
    subscriber.connect(`tcp://127.0.0.1:${publisher.port}`);
    // A subscription takes a moment to land; batches before it are lost, as with vLLM.
    const received: Buffer[][] = [];
    let next = 0;
    const sender = setInterval(() => publisher.publish(Buffer.from(`batch ${next++}`)), 5);
    while (received.length < 3) received.push(await subscriber.receive());
    clearInterval(sender);
    const first = sequenceOf(received[0] as Buffer[]);
    received.forEach((frames, i) => {
      expect(frames.length).toBe(3);
      expect(String(frames[0])).toBe(publisher.topic);
      expect(sequenceOf(frames)).toBe(first + i);
      expect(payloadOf(frames)).toBe(`batch ${first + i}`);
    });
  });

  it("replays from the sequence asked for, with a topic frame, and marks the end", async () => {
    const publisher = await open(10);
    for (let i = 0; i < 6; i++) publisher.publish(Buffer.from(`batch ${i}`));
    const answers = await replay(publisher.replayPort, 2);
    const end = answers.pop() as Buffer[];
    expect(end).toEqual([Buffer.alloc(0), Buffer.alloc(0), Buffer.alloc(8, 0xff), Buffer.alloc(0)]);
    expect(answers.map(sequenceOf)).toEqual([2, 3, 4, 5]);
    for (const frames of answers) {
      expect(frames.length).toBe(4);
      expect(frames[0]?.length).toBe(0);
      expect(String(frames[1])).toBe(publisher.topic);
      expect(payloadOf(frames)).toBe(`batch ${sequenceOf(frames)}`);
    }
  });

  it("replays without a topic frame for releases that had none", async () => {
    const publisher = await open(10, false);
    publisher.publish(Buffer.from("batch 0"));
    const [batch, end] = await replay(publisher.replayPort, 0);
    expect(batch?.map(String)).toEqual(["", "\0".repeat(8), "batch 0"]);
    expect(end).toEqual([Buffer.alloc(0), Buffer.alloc(8, 0xff), Buffer.alloc(0)]);
  });

  it("starts a replay later than asked when the buffer has rolled", async () => {
    const publisher = await open(4);
    for (let i = 0; i < 11; i++) publisher.publish(Buffer.from(`batch ${i}`));
    const answers = await replay(publisher.replayPort, 0);
    answers.pop();
    expect(answers.map(sequenceOf)).toEqual([7, 8, 9, 10]);
    expect(answers.map(payloadOf)).toEqual(["batch 7", "batch 8", "batch 9", "batch 10"]);
  });

  it("answers a replay from the future with the end alone", async () => {
    const publisher = await open(4);
    publisher.publish(Buffer.from("batch 0"));
    expect((await replay(publisher.replayPort, 5)).length).toBe(1);
  });
});
