// What a running vLLM 0.32 answered over HTTP, beside the events that it published meanwhile: each request is predicted
// from the events before it and compared with what the engine says it served from its cache.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseConfig } from "../../agent/config/load.js";
import { AnnouncedBlocks } from "../../agent/kv/announced-blocks.js";
import { sourceOf } from "../../agent/kv/event-sources.js";
import { PodIndex } from "../../agent/kv/pod-index.js";
import { PromptScorer } from "../../agent/kv/prompt-score.js";
import { parseFrames } from "../../agent/kv/replay.js";
import { scoredOf } from "../../agent/kv/score-request.js";
import { newPod, type Pod, PodRegistry } from "../../agent/load/pod-registry.js";
import { engineRenderer } from "../../agent/model/engine-renderer.js";
import { namesOf, type PoolModel } from "../../agent/model/model-service.js";
import { type ProbeResult, probeTemplate } from "../../agent/model/template-prober.js";
import { bytesOfTokens, loadTokenBytes } from "../../agent/model/token-bytes.js";
import { renderTurns } from "../../agent/model/turn-program.js";
import { PromptReader } from "../../agent/prompt-reader.js";
import type { TokenBytes } from "../../agent/wire.js";
import { Random } from "../fuzz/random.js";
import { newWire } from "../wasm/wire-for-test.js";
import { EngineServer } from "./engine-server.js";
import { fixturePath, type Recorded, recordedHttp, recordedMessages } from "./fixtures.js";

const BLOCK_BYTES = 128;
const BLOCK_TOKENS = 16;
const GENERATED = ["/v1/chat/completions", "/v1/completions"];

const http = recordedHttp("http.json");
const named = (name: string) => http.find((one) => one.name === name)!;
let table: TokenBytes;
let template: ProbeResult;
const engine = new EngineServer();

beforeAll(async () => {
  table = await loadTokenBytes(fixturePath("model-chatml/tokenizer.json"));
  const random = new Random();
  random.seed(1);
  const renderer = engineRenderer(`http://127.0.0.1:${await engine.listen()}`, table);
  template = await probeTemplate(renderer, () => random.word() / 4294967296);
});
afterAll(() => engine.close());

/** An agent's reading of one pod, without its sockets. */
async function following() {
  const wire = await newWire({ blockBytes: BLOCK_BYTES });
  const id = wire.addModel("tiny");
  wire.setTokenBytes(id, table);
  wire.setModels([{ name: "tiny", model: id, lora: "", template: template.program, bytesPerToken: 4 }]);
  const config = parseConfig(
    `pools: [{name: p, model: {name: tiny, tokenizer: "${fixturePath("model-chatml")}"}, pods: [{name: a, address: "127.0.0.1:9000"}]}]`,
    "recorded.yaml",
  );
  const pool = config.pools[0]!;
  const index = new PodIndex(wire, 0, id);
  const pod: Pod = newPod({ config: pool.pods[0]!, pool, slot: 0, model: id, index });
  const model: PoolModel = { pool, id, table, template: { kind: "off" }, names: new Map([["tiny", ""]]) };
  const scorer = new PromptScorer(
    wire,
    new PodRegistry([pod]),
    new AnnouncedBlocks({ ttlMs: 1000, maxBlocks: 10 }),
    await PromptReader.create(),
    BLOCK_BYTES,
  );
  /** Cached tokens of a request; null when it is not exact. */
  const predict = (request: object): number | null => {
    const raw = Buffer.from(JSON.stringify(request));
    const scored = scoredOf(request, raw, "tiny");
    const score = typeof scored === "string" ? scored : scorer.score(scored, model, [pod]);
    if (typeof score === "string") throw new Error(score);
    return score.exact ? score.scores[0]!.cachedTokens : null;
  };
  return { index, predict };
}

function cachedTokens({ path, status, response }: Recorded): number | null {
  if (status !== 200 || !GENERATED.includes(path)) return null;
  return response.usage?.prompt_tokens_details?.cached_tokens ?? null;
}

describe("requests to a running vLLM", () => {
  test("are predicted within a block by the events before each of them", async () => {
    const { index, predict } = await following();
    const batches = recordedMessages("events.bin").map((frames) => parseFrames(frames)!);
    let applied = 0;
    const seen: { name: string; predicted: number; cached: number }[] = [];
    const inexact: string[] = [];
    for (const recorded of http) {
      while (applied < recorded.event_msgs[0]) index.apply(batches[applied++]!.payload);
      const cached = cachedTokens(recorded);
      if (cached === null) continue;
      const predicted = predict(recorded.request!);
      if (predicted === null) inexact.push(recorded.name);
      else seen.push({ name: recorded.name, predicted, cached });
    }
    // Only a list of several prompts has no one text.
    expect(inexact).toEqual(["completion batch"]);
    expect(seen.length).toBeGreaterThanOrEqual(26);
    expect(seen.filter(({ cached }) => cached > 0).length).toBeGreaterThanOrEqual(8);
    for (const { name, predicted, cached } of seen) {
      expect(predicted - cached, `${name}: too much`).toBeLessThanOrEqual(BLOCK_TOKENS);
      // Of the text blocks that a KV block ends in, the last is not whole.
      expect(cached - predicted, `${name}: too little`).toBeLessThanOrEqual(48);
    }
  });

  test("are tokenized into the bytes of their text", () => {
    for (const name of ["tokenize prompt", "tokenize 世"]) {
      const { request, response } = named(name);
      expect(Buffer.from(bytesOfTokens(table, response.tokens!)!).toString()).toBe(request!["prompt"]);
    }
    const { request, response } = named("detokenize");
    expect(Buffer.from(bytesOfTokens(table, request!["tokens"] as number[])!).toString()).toBe(
      response.prompt,
    );
    // Half a character is U+FFFD there, and its own byte here.
    expect([...bytesOfTokens(table, named("detokenize split char").request!["tokens"] as number[])!]).toEqual(
      [0xe4],
    );
  });

  test("are rendered as the engine rendered them", () => {
    const { request, response } = named("tokenize chat");
    const messages = request!["messages"] as { role: "system" | "user"; content: string }[];
    const ours = renderTurns(template.program.turns.plain!, { messages, generationPrompt: true })!;
    expect(Buffer.from(ours).toString()).toBe(
      Buffer.from(bytesOfTokens(table, response.tokens!)!).toString(),
    );
  });

  test("begin with the text's beginning where the template has one", () => {
    const llama = recordedHttp("http-llama3-bos.json");
    const find = (name: string) => llama.find((one) => one.name === name)!;
    const [bos, ...rest] = find("tokenize prompt").response.tokens!;
    expect(rest).toEqual(named("tokenize prompt").response.tokens);
    // A template prints the beginning itself: it stands there once.
    for (const name of ["chat render", "tokenize chat"]) {
      const { tokens, token_ids: ids } = find(name).response;
      expect((tokens ?? ids)!.filter((id) => id === bos)).toHaveLength(1);
    }
  });

  test("name the model and where its events are", () => {
    expect(namesOf(named("get /v1/models").response)).toEqual(new Map([["tiny", ""]]));
    expect(sourceOf(named("get /kv_event_sources").response, "127.0.0.1")).toEqual({
      kind: "found",
      source: { events: "tcp://127.0.0.1:5557", replay: "tcp://127.0.0.1:5558" },
    });
    const wildcard = recordedHttp("http-llama3-bos.json").find((one) => one.path === "/kv_event_sources")!;
    expect(sourceOf(wildcard.response, "10.0.0.9")).toMatchObject({
      source: { events: "tcp://10.0.0.9:5567", replay: null },
    });
  });
});
