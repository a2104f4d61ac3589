import pino from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EventFeed, type FeedPosition } from "../../agent/kv/event-feed.js";
import { PodIndex } from "../../agent/kv/pod-index.js";
import type { Wire } from "../../agent/wire.js";
import { EventPublisher, removed, stored, until } from "./event-publisher.js";
import { tokensOf, wireForTest } from "./index-for-test.js";

const log = pino({ level: "silent" });
let wire: Wire;
let index: PodIndex;
const open: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  const made = await wireForTest();
  wire = made.wire;
  index = new PodIndex(wire, 3, made.model);
});

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function engine(
  options: ConstructorParameters<typeof EventPublisher>[0] = {},
): Promise<EventPublisher> {
  const publisher = new EventPublisher(options);
  await publisher.bind();
  open.push(publisher);
  return publisher;
}

function follow(
  publisher: EventPublisher,
  position: FeedPosition | null = null,
  replay = true,
  probeMs = 60_000,
): EventFeed {
  const feed = new EventFeed({
    events: publisher.events,
    replay: replay ? publisher.replay : null,
    index,
    log,
    position,
    onChange: () => {},
    replayTimeoutMs: 500,
    probeMs,
  });
  feed.start();
  open.push({ close: () => feed.stop() });
  return feed;
}

/** A chain of one-block batches: block n has hash n + 1 and the one before as parent. */
async function chain(publisher: EventPublisher, from: number, to: number, send = true): Promise<void> {
  for (let n = from; n < to; n++)
    await publisher.publish(
      [
        stored({
          hashes: [BigInt(n) + 1n],
          parent: n === 0 ? null : BigInt(n),
          tokens: tokensOf(n),
          blockSize: 16,
        }),
      ],
      { send },
    );
}

describe("the event feed", () => {
  test("fetches what was published before it began, then follows live", async () => {
    const publisher = await engine();
    await chain(publisher, 0, 50);
    const feed = follow(publisher);
    await until(() => feed.state === "live" && feed.position?.sequence === 49, "the replay is applied");
    await chain(publisher, 50, 60);
    await until(() => feed.position?.sequence === 59, "live batches are applied");
    expect(wire.stats().blocks).toBe(60);
    expect(wire.stats().entries).toBe(60);
    expect(feed.partial).toBe(false);
  });

  test("reads replays of releases without a topic frame", async () => {
    const publisher = await engine({ topicFrame: false });
    await chain(publisher, 0, 20);
    const feed = follow(publisher);
    await until(() => feed.position?.sequence === 19, "the replay is applied");
    expect(wire.stats().blocks).toBe(20);
  });

  test("fills a hole in the live stream by replay and applies everything in order", async () => {
    const publisher = await engine();
    await chain(publisher, 0, 5);
    const feed = follow(publisher);
    await until(() => feed.state === "live" && feed.position?.sequence === 4, "it is live");
    await new Promise((wake) => setTimeout(wake, 700));
    await chain(publisher, 5, 15, false);
    await chain(publisher, 15, 20);
    await until(() => feed.position?.sequence === 19, "the hole is filled");
    expect(feed.counts.gaps).toBe(1);
    expect(feed.counts.missed).toBe(0);
    expect(index.suspect).toBe(false);
    expect(wire.stats().blocks).toBe(20);
  });

  test("keeps what it has and says suspect when batches are lost for good", async () => {
    const publisher = await engine({ steps: 10 });
    await chain(publisher, 0, 10);
    const feed = follow(publisher);
    await until(() => feed.state === "live" && feed.position?.sequence === 9, "it is live");
    await new Promise((wake) => setTimeout(wake, 700));
    await chain(publisher, 10, 40, false);
    await publisher.publish([stored({ hashes: [900n], parent: null, tokens: tokensOf(90), blockSize: 16 })]);
    await until(() => feed.position?.sequence === 40, "it went on");
    expect(feed.counts.missed).toBeGreaterThan(0);
    expect(index.suspect).toBe(true);
    expect(wire.stats().blocks).toBeGreaterThanOrEqual(11);
  });

  test("resumes from a checkpoint without a gap although the replay buffer has rolled", async () => {
    const publisher = await engine({ steps: 10 });
    await chain(publisher, 0, 100);
    const first = follow(publisher);
    await until(() => first.state === "live" && first.position?.sequence === 99, "it is live");
    expect(first.partial).toBe(true);
    const position = first.position!;
    await first.stop();
    await chain(publisher, 100, 105);
    const second = follow(publisher, position);
    await until(() => second.position?.sequence === 104, "it resumed");
    expect(second.counts.missed).toBe(0);
    expect(index.suspect).toBe(false);
  });

  test("wipes the pod when another run of the engine is at the address", async () => {
    const publisher = await engine();
    await chain(publisher, 0, 30);
    const feed = follow(publisher);
    await until(() => feed.state === "live" && feed.position?.sequence === 29, "it is live");
    await publisher.close();
    open.splice(open.indexOf(publisher), 1);
    const second = new EventPublisher();
    await second.bind(publisher.events, publisher.replay);
    open.push(second);
    await chain(second, 0, 3);
    await until(() => feed.counts.restarts === 1 && feed.position?.sequence === 2, "the new run is followed");
    expect(wire.stats().blocks).toBe(3);
  });

  test("wipes the pod when a new run has passed the old sequence number", async () => {
    const publisher = await engine();
    await chain(publisher, 0, 10);
    const first = follow(publisher);
    await until(() => first.position?.sequence === 9, "it is live");
    const position = first.position!;
    await first.stop();
    const other = await engine();
    for (let n = 0; n < 25; n++)
      await other.publish([
        stored({ hashes: [BigInt(5000 + n)], parent: null, tokens: tokensOf(n), blockSize: 16 }),
      ]);
    const second = follow(other, position);
    await until(() => second.position?.sequence === 24, "the new run is followed");
    expect(second.counts.restarts).toBe(1);
    expect(wire.stats().blocks).toBe(25);
  });

  test("goes on with a lost batch when the engine cannot replay", async () => {
    const publisher = await engine();
    const feed = follow(publisher, null, false);
    await until(() => feed.state === "live", "it is connected");
    await new Promise((wake) => setTimeout(wake, 200));
    await chain(publisher, 0, 2);
    await chain(publisher, 2, 3, false);
    await publisher.publish([stored({ hashes: [77n], parent: null, tokens: tokensOf(9), blockSize: 16 })]);
    await until(() => feed.position?.sequence === 3, "it went on");
    expect(index.suspect).toBe(true);
    expect(feed.counts.missed).toBe(1);
    expect(wire.stats().blocks).toBe(3);
  });

  test("finds batches that were lost at the end of a burst by asking an idle engine", async () => {
    const publisher = await engine();
    await chain(publisher, 0, 5);
    const feed = follow(publisher, null, true, 50);
    await until(() => feed.position?.sequence === 4, "the replay is applied");
    await chain(publisher, 5, 7, false);
    await until(() => feed.position?.sequence === 6, "the tail is found");
    expect(feed.counts).toMatchObject({ tails: 2, gaps: 0, missed: 0, restarts: 0 });
    await chain(publisher, 7, 8);
    await until(() => feed.position?.sequence === 7, "live batches follow on");
    expect(wire.stats().blocks).toBe(8);
  });

  test("wipes the pod when it is told that another run is at the address", async () => {
    const publisher = await engine({ steps: 3 });
    await chain(publisher, 0, 3);
    const feed = follow(publisher);
    await until(() => feed.state === "live" && feed.position?.sequence === 2, "it is live");
    await chain(publisher, 3, 6);
    await until(() => feed.position?.sequence === 5, "it follows");
    feed.begunAnew("its process is another one");
    await until(() => feed.position?.sequence === 5 && feed.counts.restarts === 1, "it is followed anew");
    expect(feed.partial).toBe(true);
  });

  test("counts copies, and takes a removed block out of the table", async () => {
    const publisher = await engine();
    const block = stored({ hashes: [1n], parent: null, tokens: tokensOf(1), blockSize: 16 });
    await publisher.publish([block]);
    await publisher.publish([block, removed([1n])]);
    const feed = follow(publisher);
    await until(() => feed.position?.sequence === 1, "both batches are applied");
    expect(wire.stats().entries).toBe(1);
    await publisher.publish([removed([1n])]);
    await until(() => feed.position?.sequence === 2, "the removal is applied");
    expect(wire.stats().entries).toBe(0);
  });

  test("survives messages that are no batches", async () => {
    const publisher = await engine();
    await chain(publisher, 0, 1);
    const feed = follow(publisher);
    await until(() => feed.state === "live" && feed.position?.sequence === 0, "it is live");
    await publisher.publish([["BlockStored", "nonsense"]]);
    await publisher.publish([stored({ hashes: [2n], parent: 1n, tokens: tokensOf(1), blockSize: 16 })]);
    await until(() => feed.position?.sequence === 2, "it went on");
    expect(feed.counts.malformed).toBe(1);
    expect(wire.stats().blocks).toBe(2);
  });
});
