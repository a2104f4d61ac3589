import { decode, encode } from "@msgpack/msgpack";
import { describe, expect, test } from "vitest";
import { CanonicalCheck } from "../../agent/kv/canonical-check.js";
import { PodIndex } from "../../agent/kv/pod-index.js";
import { parseFrames } from "../../agent/kv/replay.js";
import { loadEncoder } from "../../agent/model/canonical-encoder.js";
import { loadTokenBytes } from "../../agent/model/token-bytes.js";
import { newWire } from "../wasm/wire-for-test.js";
import { fixturePath, recordedMessages } from "./fixtures.js";

type Event = Record<string, unknown> & { type: string };

/** How many messages the recordings in older releases' forms hold. */
const RE_ENCODED = 26;
const TOKENIZER = fixturePath("model-chatml/tokenizer.json");

function payloads(recording: string): Uint8Array[] {
  return recordedMessages(recording)
    .map(parseFrames)
    .filter((batch) => batch !== null)
    .map((batch) => batch.payload);
}

/** Batches of a recording in the map form with every event changed. */
function changed(recording: string, change: (event: Event) => void): Uint8Array[] {
  return payloads(recording).map((payload) => {
    const batch = decode(payload, { useBigInt64: true }) as [number, Event[], number];
    for (const event of batch[1]) change(event);
    return encode(batch, { useBigInt64: true });
  });
}

/** The low 8 bytes of a digest, which is what an engine publishes as integer. */
function low(hash: unknown): bigint | null {
  return hash instanceof Uint8Array
    ? new DataView(hash.buffer, hash.byteOffset + hash.length - 8, 8).getBigUint64(0)
    : null;
}

/** An index after a number of batches, and what each of them made of the published table. */
async function follow(batches: Uint8Array[], check: CanonicalCheck | null = null) {
  const wire = await newWire();
  const model = wire.addModel("tiny");
  wire.setTokenBytes(model, await loadTokenBytes(TOKENIZER));
  const index = new PodIndex(wire, 0, model, check);
  wire.drain();
  const tables = batches.map((payload) => {
    index.apply(payload);
    return wire.dirty ? wire.drain().map((frame) => Buffer.from(frame).toString("hex")) : [];
  });
  return { tables, index, stats: wire.stats() };
}

describe("recordings of a running vLLM", () => {
  test("make the same table from the maps of 0.32 and the arrays of 0.22", async () => {
    const arrays = payloads("legacy-array-0.22.bin");
    const maps = payloads("events.bin").slice(0, RE_ENCODED);
    expect(arrays.length).toBe(RE_ENCODED);
    const { tables, stats } = await follow(maps);
    expect(stats.entries).toBeGreaterThan(0);
    expect((await follow(arrays)).tables).toEqual(tables);
  });

  test("make the same table from the arrays of 0.11, which name neither adapter nor cache salt", async () => {
    const nameless = changed("events.bin", (event) => {
      delete event["extra_keys"];
      delete event["lora_name"];
    }).slice(0, RE_ENCODED);
    const { tables, stats } = await follow(nameless);
    expect(stats.entries).toBeGreaterThan(0);
    expect((await follow(payloads("legacy-array-0.11.bin"))).tables).toEqual(tables);
  });

  test("make the same table from 32-byte hashes and from integers", async () => {
    const integers = changed("events-bytes-hash.bin", (event) => {
      const { block_hashes: hashes, parent_block_hash: parent } = event;
      if (Array.isArray(hashes)) event["block_hashes"] = hashes.map(low);
      if (parent) event["parent_block_hash"] = low(parent);
    });
    const { tables, stats, index } = await follow(payloads("events-bytes-hash.bin"));
    expect(stats.blocks).toBeGreaterThan(0);
    expect(index.counts.orphansHeld).toBe(0);
    expect((await follow(integers)).tables).toEqual(tables);
  });

  test("leave nothing unread, unknown or waiting", async () => {
    const { index } = await follow(payloads("events.bin"));
    expect(index.counts).toMatchObject({ unknown: 0, orphansHeld: 0 });
    expect(Object.values(index.counts.skipped).every((n) => n === 0)).toBe(true);
  });

  test("end with what was stored after the last reset", async () => {
    const { index, stats } = await follow(payloads("events.bin"));
    expect(index.counts.cleared).toBe(2);
    const events = payloads("events.bin").flatMap(
      (payload) => (decode(payload, { useBigInt64: true }) as [number, Event[]])[1],
    );
    const last = events.slice(events.findLastIndex((event) => event.type === "AllBlocksCleared") + 1);
    expect(stats.blocks).toBe(new Set(last.flatMap((event) => event["block_hashes"] as bigint[])).size);
  });

  test("lose no block to the check of sampled tokens: what was sampled there reads back as itself", async () => {
    const check = new CanonicalCheck(await loadEncoder(TOKENIZER), await loadTokenBytes(TOKENIZER));
    const { tables, index } = await follow(payloads("events.bin"), check);
    expect(check.counts.checked).toBeGreaterThan(0);
    expect(index.counts.skipped.sampled).toBe(0);
    expect(tables).toEqual((await follow(payloads("events.bin"))).tables);
  });
});
