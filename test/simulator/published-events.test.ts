import { decode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { Dealer } from "zeromq";
import { freshTokens, post, type RunningPod, startPod } from "./pod-harness.js";

/** All events that the pod has published, oldest first. */
async function publishedEvents(pod: RunningPod): Promise<Record<string, unknown>[]> {
  const dealer = new Dealer({ receiveTimeout: 10_000, linger: 0 });
  dealer.connect(`tcp://127.0.0.1:${pod.pod.publisher.replayPort}`);
  await dealer.send(["", Buffer.alloc(8)]);
  const events: Record<string, unknown>[] = [];
  for (;;) {
    const payload = (await dealer.receive()).at(-1) as Buffer;
    if (payload.length === 0) break;
    const [, batch] = decode(payload, { useBigInt64: true }) as [number, Record<string, unknown>[]];
    events.push(...batch);
  }
  dealer.close();
  return events;
}

describe("events", () => {
  it("stores what the usage later calls cached, in order, each block with its tokens", async () => {
    const pod = await startPod();
    await post(`${pod.url}/v1/completions`, { prompt: freshTokens(40), max_tokens: 30 });
    const events = await publishedEvents(pod);
    pod.stop();
    expect(events.map((event) => [event.type, (event.block_hashes as bigint[]).length])).toEqual([
      ["BlockStored", 2],
      ["BlockStored", 1],
      ["BlockStored", 1],
    ]);
    const hashes = events.flatMap((event) => event.block_hashes as bigint[]);
    expect(events.map((event) => event.parent_block_hash)).toEqual([null, hashes[1], hashes[2]]);
  });

  it("reports evicted blocks, and the replayed stores less the removes are what the cache holds", async () => {
    const pod = await startPod({ blocks: 20 });
    const prompts = Array.from({ length: 6 }, () => freshTokens(100));
    for (const prompt of prompts) await post(`${pod.url}/v1/completions`, { prompt, max_tokens: 1 });
    let evicted = false;
    for (const prompt of prompts.toReversed()) {
      const copies = new Map<bigint, number>();
      let chain: bigint[] = [];
      for (const event of await publishedEvents(pod)) {
        const stored = event.type === "BlockStored";
        evicted ||= !stored;
        const hashes = event.block_hashes as bigint[];
        if (stored && (event.token_ids as number[])[0] === prompt[0]) chain = hashes;
        for (const hash of hashes) copies.set(hash, (copies.get(hash) ?? 0) + (stored ? 1 : -1));
      }
      let held = 0;
      while (held < chain.length && copies.get(chain[held] as bigint) === 1) held++;
      const { json } = await post(`${pod.url}/v1/completions`, { prompt, max_tokens: 1 });
      expect(json.usage.prompt_tokens_details.cached_tokens).toBe(held * 16);
    }
    expect(evicted).toBe(true);
    pod.stop();
  });

  it("publishes a clear ahead of the next stores", async () => {
    const pod = await startPod();
    const prompt = freshTokens(40);
    await post(`${pod.url}/v1/completions`, { prompt, max_tokens: 1 });
    expect((await post(`${pod.url}/reset_prefix_cache`, {})).json).toEqual({ success: true });
    const { json } = await post(`${pod.url}/v1/completions`, { prompt, max_tokens: 1 });
    expect(json.usage.prompt_tokens_details.cached_tokens).toBe(0);
    const events = await publishedEvents(pod);
    pod.stop();
    expect(events.map((event) => event.type)).toEqual(["BlockStored", "AllBlocksCleared", "BlockStored"]);
  });

  it("says where it publishes", async () => {
    const pod = await startPod();
    const { publisher } = pod.pod;
    const sources = await (await fetch(`${pod.url}/kv_event_sources`)).json();
    pod.stop();
    expect(sources["0"]).toMatchObject({
      endpoint: `tcp://127.0.0.1:${publisher.port}`,
      replay_endpoint: `tcp://127.0.0.1:${publisher.replayPort}`,
      topic: publisher.topic,
      buffer_steps: 100,
    });
  });
});
