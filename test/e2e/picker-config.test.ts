// An EndpointPickerConfig of each spelling in a real agent and a real Envoy: three pods with metrics and cache states
// that are forced, and requests that go where the published formulas say.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { parseConfig } from "../../agent/config/load.js";
import { replay } from "../../agent/decisions/replay.js";
import { loadPlugins } from "../../agent/load/column-plugins.js";
import { waitFor } from "../../demo/processes.js";
import {
  newStateFolder,
  startAgent,
  startPod,
  stopPod,
  type TestPod,
  untilReady,
} from "../agent/agent-for-test.js";
import { stored } from "../agent/event-publisher.js";
import { fixturePath } from "../agent/fixtures.js";
import {
  activeRequestScorer,
  kvScorer,
  olderLoadScorer,
  prefixScorer,
  queueScorer,
  type VectorPod,
} from "../vectors/scheduling.js";
import { TestGateway } from "./gateway-for-test.js";
import { Upstream } from "./upstream.js";

/** As llm-d's router has it by default, with what people add around it. */
const LLM_D = `
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
featureGates: []
plugins:
- type: single-profile-handler
- type: decode-filter
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
  parameters: {hashBlockSize: 64, maxPrefixBlocksToMatch: 256, lruCapacityPerServer: 31250}
- type: max-score-picker
  parameters: {maxNumOfEndpoints: 1}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: decode-filter
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - pluginRef: max-score-picker
`;

const OLDER = `
profiles:
- name: default
  plugins:
    filter:
      enabled:
      - {name: DecodeFilter, weight: 0}
      - {name: ByLabelSelector, weight: 0}
    score:
      enabled:
      - {name: PrecisePrefixCacheScorer, weight: 50}
      - {name: LoadAwareScorer, weight: 30}
      - {name: ActiveRequestScorer, weight: 15}
      - {name: SessionAffinity, weight: 5}
    scrape:
      enabled:
      - {name: VLLMMetricScraper, interval: 200ms}
pluginConfig:
- name: PrecisePrefixCacheScorer
  args: {cacheHitThreshold: 0.5}
- name: LoadAwareScorer
  args: {queueLengthWeight: 0.6, gpuUtilWeight: 0.4, maxQueueLength: 10}
- name: SessionAffinity
  args: {ttl: 300s, stickiness: high}
- name: VLLMMetricScraper
  args: {endpoint: /metrics}
`;

interface State {
  waiting: number;
  running: number;
  kvUsage: number;
}

const pods: TestPod[] = [];
const upstreams: Upstream[] = [];
const folder = newStateFolder();
let app: FastifyInstance;
let gateway: TestGateway;

beforeAll(async () => {
  const rows: string[] = [];
  for (let i = 0; i < 3; i++) {
    const pod = await startPod();
    const upstream = await Upstream.start();
    rows.push(
      `      - {name: pod-${i}, labels: {tier: "${i}"}, address: "${upstream.address}", metricsPort: ${pod.port}, events: "${pod.events.events}", replay: "${pod.events.replay}"}`,
    );
    pods.push(pod);
    upstreams.push(upstream);
  }
  const module = join(folder, "price.mjs");
  writeFileSync(
    module,
    'export default { name: "price", interval: "100ms", column: (pods) => Object.fromEntries(pods.map((p) => [p.name, 3 - Number(p.labels.tier)])) };',
  );
  app = await startAgent(
    parseConfig(
      `state: ${folder}
listen: {http: "127.0.0.1:0", stream: "127.0.0.1:0"}
scrape: {interval: 200ms, timeout: 2s}
policy: {headers: {debugHeaders: all}}
pools:
  - name: default
    model: {name: m, tokenizer: ${fixturePath("model-chatml")}}
    pods:
${rows.join("\n")}
`,
      "warmgate.yaml",
      await loadPlugins([module]),
    ),
  );
  await untilReady(app);
  gateway = await TestGateway.start(
    upstreams.map((u) => u.address),
    { streamPort: await app.tableStream.listen({ host: "127.0.0.1", port: 0 }), workers: 1 },
  );
});

afterAll(async () => {
  await gateway?.stop();
  await app?.close();
  for (const upstream of upstreams) upstream.stop();
  await Promise.all(pods.map(stopPod));
  rmSync(folder, { recursive: true, force: true });
});

async function put(scheduling: string): Promise<void> {
  const answer = await app.inject({
    method: "PUT",
    url: "/api/v1/policy",
    payload: {
      scheduling: parse(scheduling),
      headers: { debugHeaders: "all" },
      decisions: { sampleRate: 1 },
    },
  });
  expect(answer.json()).not.toHaveProperty("error");
}

/** Sends one completion; which pod answered, and how many tokens of it the gateway held to be cached. */
async function ask(prompt: string): Promise<{ pod: number; cached: number }> {
  const response = await fetch(`http://127.0.0.1:${gateway.port}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "m", prompt }),
  });
  expect(response.status).toBe(200);
  const pod = upstreams.findIndex((u) => String(u.port) === response.headers.get("x-upstream"));
  return { pod, cached: Number(response.headers.get("x-cache-prefix-length")) };
}

const text = (topic: string) =>
  Array.from({ length: 400 }, (_, i) => `${topic} number ${i} stands in line ${i * 7}.`).join(" ");

const tokenizer = new Tokenizer(
  JSON.parse(readFileSync(fixturePath("model-chatml/tokenizer.json"), "utf8")),
  {},
);
const promptTokens = (prompt: string): number[] =>
  tokenizer.encode(prompt, { add_special_tokens: false }).ids;

let nextHash = 1n;
/** Puts a prompt into a pod's cache, as its events tell it. */
async function cache(pod: number, prompt: string): Promise<number> {
  const tokens = promptTokens(prompt);
  const count = Math.floor(tokens.length / 16);
  await pods[pod]!.events.publish([
    stored({
      hashes: Array.from({ length: count }, () => nextHash++),
      parent: null,
      tokens: tokens.slice(0, count * 16),
      blockSize: 16,
    }),
  ]);
  return count * 16;
}

/** Gives the pods their metrics and waits until gateways have them: every pod was read, and its frame was sent. */
async function force(states: State[]): Promise<void> {
  states.forEach(({ waiting, running, kvUsage }, i) => {
    pods[i]!.http.options.metrics = [
      `vllm:num_requests_running ${running}`,
      `vllm:num_requests_waiting ${waiting}`,
      `vllm:kv_cache_usage_perc ${kvUsage}`,
      'vllm:cache_config_info{block_size="16",num_gpu_blocks="512"} 1',
    ].join("\n");
  });
  await waitFor("the forced metrics", async () => {
    const { pods } = (await app.inject("/api/v1/pods")).json();
    return states.every(
      ({ waiting, kvUsage }, i) =>
        pods[i].load.waiting === waiting && Math.abs(pods[i].load.kvUsage - kvUsage) < 1e-9,
    );
  });
  await settled();
}

/** Waits until the worker has taken a frame that was made after now. */
async function settled(): Promise<void> {
  const frames = () => gateway.stat("warmgate_frames_total");
  const before = await frames();
  await waitFor("frames in the worker", async () => (await frames()) > before + 6);
}

function bestOf(
  states: State[],
  cached: number[],
  promptLength: number,
  parts: [number, (pods: VectorPod[], promptTokens: number) => number[]][],
): number {
  const pods = states.map((s, i) => ({ ...s, requests: 0, tokens: 0, cached: cached[i]! }));
  const totals = pods.map(() => 0);
  for (const [weight, scorer] of parts)
    scorer(pods, promptLength).forEach((score, i) => {
      totals[i]! += weight * Math.min(1, Math.max(0, score));
    });
  const sorted = [...totals].sort((a, b) => b - a);
  // A case that is nearly a tie would not tell the formulas apart.
  expect(sorted[0]! - sorted[1]!).toBeGreaterThan(0.02 * parts.reduce((sum, [w]) => sum + w, 0));
  return totals.indexOf(sorted[0]!);
}

/** Scores below its threshold count as 0, as cacheHitThreshold says. */
const preciseScorer = (pods: VectorPod[], promptLength: number) =>
  prefixScorer(0, 1)(pods, promptLength).map((score) => (score < 0.5 ? 0 : score));

const STATES: State[][] = [
  [
    { waiting: 0, running: 1, kvUsage: 0.2 },
    { waiting: 4, running: 6, kvUsage: 0.5 },
    { waiting: 8, running: 9, kvUsage: 0.9 },
  ],
  // The warm pod is so loaded that the formulas part ways.
  [
    { waiting: 0, running: 1, kvUsage: 0.2 },
    { waiting: 10, running: 6, kvUsage: 1 },
    { waiting: 8, running: 9, kvUsage: 0.9 },
  ],
];

test("an llm-d and an older configuration load, and route as their formulas say", async () => {
  const winners: Record<string, number[]> = {};
  for (const [spelling, scheduling, parts] of [
    [
      "llm-d",
      LLM_D,
      [
        [2, queueScorer],
        [2, kvScorer],
        [3, prefixScorer(0, 8192)],
      ],
    ],
    [
      "older",
      OLDER,
      [
        [50, preciseScorer],
        [30, olderLoadScorer(10, 0.6, 0.4)],
        [15, activeRequestScorer(0, 1)],
      ],
    ],
  ] as [string, string, [number, (pods: VectorPod[], promptTokens: number) => number[]][]][]) {
    await put(scheduling);
    winners[spelling] = [];
    for (const [round, states] of STATES.entries()) {
      await force(states);
      const warm = text(`${spelling} warm ${round}`);
      const length = promptTokens(warm).length;
      const held = await cache(1, warm);
      await settled();
      const wanted = bestOf(states, [0, held, 0], length, parts);
      const warmAnswer = await ask(warm);
      expect([spelling, round, warmAnswer.pod]).toEqual([spelling, round, wanted]);
      if (wanted === 1) expect(warmAnswer.cached / length).toBeGreaterThan(0.9);
      const cold = text(`${spelling} cold ${round}`);
      const coldWanted = bestOf(states, [0, 0, 0], promptTokens(cold).length, parts);
      expect([spelling, round, (await ask(cold)).pod]).toEqual([spelling, round, coldWanted]);
      winners[spelling].push(wanted, coldWanted);
    }
  }
  expect(winners).toEqual({ "llm-d": [1, 0, 0, 0], older: [1, 0, 1, 0] });
}, 120_000);

test("what the agent recorded of these decisions comes out the same again, by the program of each policy", async () => {
  // Workers send their records with a tick.
  const recorded = async () => {
    const { decisions, programs } = (await app.inject("/api/v1/decisions?limit=1000&replay=true")).json();
    return { programs, decisions: decisions.filter((d: { reason: string }) => d.reason === "routed") };
  };
  await waitFor("a record of each decision", async () => (await recorded()).decisions.length >= 8);
  const { decisions: routed, programs } = await recorded();
  expect(Object.keys(programs).length).toBeGreaterThanOrEqual(2);
  const report = await replay({ decisions: routed, programs });
  expect(report.decisions.filter((d) => d.outcome !== "same")).toEqual([]);
  expect(report.same).toBeGreaterThanOrEqual(8);
  // People get less.
  const shown = (await app.inject("/api/v1/decisions?limit=1")).json();
  expect(shown.decisions).toHaveLength(1);
  expect(shown.decisions[0]).not.toHaveProperty("pick");
  expect(Object.keys(shown.decisions[0].candidates[0])).toEqual([
    "pod",
    "address",
    "rank",
    "cachedTokens",
    "cost",
    "inflightRequests",
    "pendingPrefills",
  ]);
});

test("what filters and scorers took is in the agent's metrics, under the names of their plugins", async () => {
  const read = async () => {
    const { body } = await app.inject("/metrics");
    const row = (is: string, plugin: string, what: string) =>
      Number(
        body.match(
          new RegExp(`^llmd_epp_${is}_duration_seconds_${what}{${is}="${plugin}"} (\\S+)$`, "m"),
        )?.[1],
      );
    return { decisions: row("filter", "ready-filter", "count"), row };
  };
  await waitFor("the report of eight decisions", async () => (await read()).decisions >= 8);
  const { decisions, row } = await read();
  for (const scorer of [
    "queue-scorer",
    "kv-cache-utilization-scorer",
    "load-aware-scorer",
    "active-request-scorer",
  ]) {
    expect([scorer, row("scorer", scorer, "count")]).toEqual([scorer, expect.any(Number)]);
    expect(row("scorer", scorer, "count")).toBeGreaterThanOrEqual(4);
    expect(row("scorer", scorer, "count")).toBeLessThanOrEqual(decisions - 4);
  }
  expect(row("scorer", "prefix-cache-scorer", "count")).toBe(decisions);
  expect(row("filter", "ready-filter", "sum")).toBeGreaterThan(0);
  expect(row("scorer", "prefix-cache-scorer", "sum")).toBeGreaterThan(0);
});

test("a scraper's metric, a module's column and expressions over both choose the pod", async () => {
  /** Runs the plugins until cold requests go to the wanted pod again and again. */
  const goesTo = async (wanted: number, plugins: object[]) => {
    const scraper = {
      type: "generic-prometheus-scraper",
      parameters: { interval: "100ms", metrics: { gpu: 'gpu_load{kind="compute"}' } },
    };
    await put(JSON.stringify({ plugins: [scraper, ...plugins, { type: "max-score-picker" }] }));
    let round = 0;
    await waitFor(`requests at pod ${wanted}`, async () => {
      for (let i = 0; i < 4; i++) if ((await ask(text(`${wanted} ${round++}`))).pod !== wanted) return false;
      return true;
    });
  };
  const gpu = (loads: number[]) =>
    loads.forEach((load, i) => {
      pods[i]!.http.options.metrics =
        `vllm:num_requests_running 0\ngpu_load{kind="compute"} ${load}\ngpu_load{kind="copy"} 1000\n`;
    });
  const expression = (of: string) => ({ type: "expression-scorer", parameters: { expression: of } });
  gpu([50, 10, 90]);
  await goesTo(1, [expression("1 - gpu / 100")]);
  gpu([5, 60, 90]);
  await goesTo(0, [expression("1 - gpu / 100")]);
  // Prices are 3, 2 and 1.
  await goesTo(2, [expression("1 / price")]);
  await goesTo(1, [
    { type: "expression-filter", parameters: { expression: "price > 1 && price < 2.5 || promptTokens < 1" } },
    expression("1 - gpu / 100"),
  ]);
  await goesTo(2, [
    {
      type: "endpoint-attribute-scorer",
      parameters: { attributeKey: "price", algorithm: { type: "linear_lower_is_better" } },
    },
  ]);
  // 0.95 / 3, 0.4 / 2 and 0.1 / 1.
  await goesTo(0, [expression("(1 - gpu / 100) / price")]);
}, 120_000);
