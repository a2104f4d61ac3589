// One process, one core: events as an engine's socket gives them into the index, the check of sampled tokens on. Prints
// its figures as JSON.
import { CanonicalCheck } from "../../agent/kv/canonical-check.js";
import { PodIndex } from "../../agent/kv/pod-index.js";
import { loadEncoder } from "../../agent/model/canonical-encoder.js";
import { loadTokenBytes } from "../../agent/model/token-bytes.js";
import { newWire } from "../wasm/wire-for-test.js";
import { EventMaker, SEQUENCE_BLOCKS, TEMPLATES, TOKENIZER } from "./index-events.js";

const PODS = 16;
/** A drain now and then, as subscribers make them come. */
const DRAIN_BLOCKS = 50_000;

export interface IngestFigures {
  blocks: number;
  /** Per second of this process's CPU time, so that what else the machine does counts little. */
  ingestBlocksPerSecond: number;
  bytesPerBlock: number;
  /** Memory of the module's own structures per block, as it counts them. */
  countedBytesPerBlock: number;
  entries: number;
  checked: number;
  sampledOut: number;
}

export async function ingest(blocks: number): Promise<IngestFigures> {
  const wire = await newWire({ maxEntries: blocks });
  const model = wire.addModel("m");
  const table = await loadTokenBytes(TOKENIZER);
  wire.setTokenBytes(model, table);
  const encode = await loadEncoder(TOKENIZER);
  const check = new CanonicalCheck(encode, table);
  const maker = new EventMaker(encode);
  const indexes = Array.from({ length: PODS }, (_, slot) => new PodIndex(wire, slot, model, check));
  const gc = (globalThis as { gc?: () => void }).gc;
  gc?.();
  const before = process.memoryUsage().rss;
  let spent = 0;
  let sinceDrain = 0;
  for (let done = 0, s = 0; done < blocks; ) {
    // Made before the clock starts; as many as can be held at a time.
    const sequences = Array.from({ length: TEMPLATES }, () => maker.next());
    const start = process.cpuUsage();
    for (const batches of sequences) for (const batch of batches) indexes[s % PODS]!.apply(batch);
    done += TEMPLATES * SEQUENCE_BLOCKS;
    s++;
    sinceDrain += TEMPLATES * SEQUENCE_BLOCKS;
    if (sinceDrain >= DRAIN_BLOCKS) {
      sinceDrain = 0;
      wire.discard();
    }
    const { user, system } = process.cpuUsage(start);
    spent += (user + system) / 1000;
  }
  gc?.();
  const stats = wire.stats();
  return {
    blocks: stats.blocks,
    ingestBlocksPerSecond: Math.round((stats.blocks * 1000) / spent),
    bytesPerBlock: (process.memoryUsage().rss - before) / stats.blocks,
    countedBytesPerBlock: stats.bytes / stats.blocks,
    entries: stats.entries,
    checked: check.counts.checked,
    sampledOut: indexes.reduce((n, index) => n + index.counts.skipped.sampled, 0),
  };
}
