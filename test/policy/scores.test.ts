// Each scorer of the compiled pick against its published formula: tables by hand, and random pods against an
// independent reading of the formula.
import { describe, expect, test } from "vitest";
import {
  activeRequestScorer,
  contextLengthScore,
  kvScorer,
  loadAwareScorer,
  loraScore,
  noHitLruScorer,
  olderLoadScorer,
  prefixScorer,
  queueScorer,
  runningScorer,
  tokenLoadScorer,
  type VectorPod,
} from "../vectors/scheduling.js";
import { PickModule, type TestPod, type TestRequest } from "../wasm/pick-module.js";

const plugin = (type: string, parameters: object = {}) => ({ plugins: [{ type, parameters }] });

async function scoresOf(type: string, parameters: object, pods: TestPod[], request: TestRequest = {}) {
  const module = await PickModule.create(pods, plugin(type, parameters));
  module.pick(request);
  return module.scores().map((v) => Math.round(v * 1e6) / 1e6);
}

describe("by hand:", () => {
  test.each<[string, object, TestPod[], TestRequest, number[]]>([
    ["queue-scorer", {}, [{ waiting: 0 }, { waiting: 5 }, { waiting: 10 }], {}, [1, 0.5, 0]],
    ["queue-scorer", {}, [{ waiting: 4 }, { waiting: 4 }], {}, [1, 1]],
    ["queue-scorer", {}, [{ waiting: 9, ageMs: 60_000 }, { waiting: 2 }, { waiting: 4 }], {}, [0.5, 1, 0]],
    [
      "running-requests-size-scorer",
      {},
      [{ running: 8 }, { running: 2 }, { running: 4 }],
      {},
      [0, 1, 0.666667],
    ],
    ["kv-cache-utilization-scorer", {}, [{ kvUsage: 0.25 }, { kvUsage: 1 }], {}, [0.75, 0]],
    [
      "load-aware-scorer",
      {},
      [{ waiting: 0 }, { waiting: 64 }, { waiting: 128 }, { waiting: 500 }],
      {},
      [0.5, 0.25, 0, 0],
    ],
    ["load-aware-scorer", { threshold: 10 }, [{ waiting: 4 }], {}, [0.3]],
    [
      "load-aware-scorer",
      { queueLengthWeight: 0.6, gpuUtilWeight: 0.4 },
      [{ waiting: 5, kvUsage: 0.5 }, { waiting: 20, kvUsage: 0 }, {}],
      {},
      [0.5, 0.4, 1],
    ],
    ["active-request-scorer", {}, [{ requests: 0 }, { requests: 1 }, { requests: 4 }], {}, [1, 0.75, 0]],
    [
      "active-request-scorer",
      { idleThreshold: 1, maxBusyScore: 0.5 },
      [{ requests: 1 }, { requests: 2 }, { requests: 4 }],
      {},
      [1, 0.25, 0],
    ],
    [
      "token-load-scorer",
      { queueThresholdTokens: 10_000 },
      [{ tokens: 2000 }, { tokens: 2000, cached: 800 }, { tokens: 20_000 }],
      {},
      [0.7, 0.78, 0],
    ],
    ["prefix-cache-scorer", {}, [{ cached: 800 }, { cached: 0 }], {}, [0.8, 0]],
    [
      "prefix-cache-scorer",
      { matchLengthWeight: 0.5, matchLengthScaleTokens: 1000 },
      [{ cached: 500 }],
      {},
      [0.5 * 0.25 + 0.5 * 0.5],
    ],
    [
      "precise-prefix-cache-scorer",
      { cacheHitThreshold: 0.5 },
      [{ cached: 499 }, { cached: 500 }],
      {},
      [0, 0.5],
    ],
    [
      "precise-prefix-cache-scorer",
      { maxPrefixLength: 500 },
      [{ cached: 400 }, { cached: 900 }],
      {},
      [0.8, 1],
    ],
    ["kv-cache-manager-scorer", {}, [{ cached: 400 }, { cached: 600 }], {}, [0, 0.6]],
    [
      "endpoint-attribute-scorer",
      { attributeKey: "metric", algorithm: { type: "linear_lower_is_better" } },
      [{ columns: { columns: [10] } }, { columns: { columns: [30] } }, {}, { columns: { columns: [15] } }],
      {},
      [1, 0, 0, 0.75],
    ],
    [
      "endpoint-attribute-scorer",
      {
        attributeKey: "metric",
        algorithm: {
          type: "linear_higher_is_better",
          normalization: { fixedRange: { min: 0, max: 40 } },
        },
      },
      [{ columns: { columns: [10] } }, { columns: { columns: [50] } }],
      {},
      [0.25, 1],
    ],
    [
      "header-label-affinity-scorer",
      { headerName: "X-Zone", labelKey: "zone" },
      [{ columns: { columns: ["a"] } }, { columns: { columns: ["b"] } }, { columns: { columns: [null] } }],
      { headers: ["b"] },
      [0, 1, 0],
    ],
    [
      "header-label-affinity-scorer",
      { headerName: "X-Zone", labelKey: "zone" },
      [{ columns: { columns: [null] } }],
      { headers: [""] },
      [0],
    ],
    [
      "expression-scorer",
      { expression: "kvUsage < 0.9 ? clamp(1 - waiting / 10, 0, 1) : 0" },
      [{ waiting: 4 }, { waiting: 4, kvUsage: 0.95 }, { waiting: 40 }],
      {},
      [0.6, 0, 0],
    ],
    [
      "expression-scorer",
      {
        expression: "metric > 2 && !(requestsAreMany) ? 1 : cachedTokens / promptTokens".replace(
          "requestsAreMany",
          "inflightRequests >= 3",
        ),
      },
      [
        { columns: { columns: [3] }, requests: 1 },
        { columns: { columns: [3] }, requests: 3, cached: 250 },
        { cached: 500 },
      ],
      {},
      [1, 0.25, 0.5],
    ],
    [
      "expression-scorer",
      { expression: "max(sqrt(16) - 3.5, abs(-0.25), min(0.1, 2)) + floor(1.9) * 0 - log(exp(0))" },
      [{}],
      {},
      [0.5],
    ],
  ])("%s %o", async (type, parameters, pods, request, wanted) => {
    expect(await scoresOf(type, parameters, pods, request)).toEqual(
      wanted.map((v) => Math.round(v * 1e6) / 1e6),
    );
  });

  test("the weighted sum of the older documents' example is 76", async () => {
    // 0.8 × 50 + 0.6 × 30 + 0.9 × 20
    const module = await PickModule.create(
      [{ cached: 800, waiting: 10, kvUsage: 0, requests: 1 }, { requests: 10 }],
      {
        plugins: [
          { type: "prefix-cache-scorer" },
          { type: "load-aware-scorer", parameters: { queueLengthWeight: 0.4, gpuUtilWeight: 0.6 } },
          { type: "active-request-scorer" },
        ],
        schedulingProfiles: [
          {
            name: "default",
            plugins: [
              { pluginRef: "prefix-cache-scorer", weight: 50 },
              { pluginRef: "load-aware-scorer", weight: 30 },
              { pluginRef: "active-request-scorer", weight: 20 },
            ],
          },
        ],
      },
    );
    const { costs, chosen } = module.pick();
    expect(-costs[0]!).toBeCloseTo(76, 6);
    expect(chosen).toEqual([0, 1]);
  });

  test("scores outside 0 to 1 count as the nearer end", async () => {
    expect(await scoresOf("expression-scorer", { expression: "waiting - 2" }, [{ waiting: 9 }, {}])).toEqual([
      1, 0,
    ]);
  });
});

/** Repeatable numbers in [0, 1). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("for random pods as the formula says:", () => {
  test.each<[string, object, (pods: VectorPod[], promptTokens: number) => number[]]>([
    ["queue-scorer", {}, queueScorer],
    ["running-requests-size-scorer", {}, runningScorer],
    ["kv-cache-utilization-scorer", {}, kvScorer],
    ["load-aware-scorer", {}, loadAwareScorer(128)],
    ["load-aware-scorer", { maxQueueLength: 20 }, olderLoadScorer(20, 0.6, 0.4)],
    ["active-request-scorer", {}, activeRequestScorer(0, 1)],
    ["active-request-scorer", { idleThreshold: 5, maxBusyScore: 0.7 }, activeRequestScorer(5, 0.7)],
    ["token-load-scorer", {}, tokenLoadScorer(4_194_304)],
    ["prefix-cache-scorer", { matchLengthWeight: 0.3 }, prefixScorer(0.3, 8192)],
    ["no-hit-lru-scorer", {}, noHitLruScorer([])],
  ])("%s %o", async (type, parameters, reference) => {
    const random = numbers(type.length);
    const module = await PickModule.create([], plugin(type, parameters));
    for (let round = 0; round < 40; round++) {
      const promptTokens = 1 + Math.floor(random() * 20_000);
      const pods = Array.from({ length: 1 + Math.floor(random() * 40) }, () => ({
        waiting: Math.floor(random() * 150),
        running: Math.floor(random() * 200),
        kvUsage: Math.floor(random() * 1001) / 1000,
        requests: Math.floor(random() * 50),
        tokens: Math.floor(random() * 5_000_000),
        cached: round % 2 ? 0 : Math.floor(random() * promptTokens),
      }));
      module.pods(pods);
      module.pick({ promptTokens });
      const wanted = reference(pods, promptTokens);
      module.scores().forEach((score, i) => {
        expect(score).toBeCloseTo(wanted[i]!, 5);
      });
    }
  });

  test("context-length-aware, with and without a usable label", async () => {
    const ranges: ([number, number] | null | number)[] = [
      [0, 4096],
      [4096, 32_768],
      [2000, 2000],
      null,
      Number.NaN,
    ];
    const columns = ranges.map((r) => (r === null ? [] : typeof r === "number" ? [-1, -1] : r));
    const module = await PickModule.create(
      columns.map((c) => ({ columns: { columns: c } })),
      plugin("context-length-aware"),
    );
    for (const promptTokens of [1, 2000, 4096, 5000, 40_000]) {
      module.pick({ promptTokens });
      const wanted = ranges.map((r) => contextLengthScore(r, promptTokens));
      module.scores().forEach((score, i) => {
        expect(score).toBeCloseTo(wanted[i]!, 5);
      });
    }
  });

  test("lora-affinity-scorer", async () => {
    const states: [string[], string[], number][] = [
      [["a", "b"], [], 2],
      [["b"], [], 2],
      [["b"], ["a"], 2],
      [["b", "c"], [], 2],
      [[], [], 0],
    ];
    const module = await PickModule.create(
      states.map(([activeAdapters, waitingAdapters, maxAdapters]) => ({
        columns: { activeAdapters, waitingAdapters, maxAdapters },
      })),
      plugin("lora-affinity-scorer"),
    );
    for (const adapter of ["a", "c", "z"]) {
      module.pick({ adapter });
      const wanted = states.map(([active, waiting, most]) => loraScore(active, waiting, most, adapter));
      module.scores().forEach((score, i) => {
        expect(score).toBeCloseTo(wanted[i]!, 5);
      });
    }
  });

  test("no-hit-lru-scorer, after cold requests only", async () => {
    const pods: TestPod[] = [{}, {}, {}, {}, {}];
    const module = await PickModule.create(pods, plugin("no-hit-lru-scorer"));
    const order: number[] = [];
    const expectOrder = () => {
      module.pick();
      const wanted = noHitLruScorer(order)(
        pods.map((p) => ({ cached: 0, ...p }) as VectorPod),
        1000,
      );
      module.scores().forEach((score, i) => {
        expect(score).toBeCloseTo(wanted[i]!, 5);
      });
    };
    for (const pod of [3, 1, 3, 0, 2, 4, 1]) {
      expectOrder();
      module.commit(pod);
      if (order.includes(pod)) order.splice(order.indexOf(pod), 1);
      order.push(pod);
    }
    expectOrder();
    // A request that hits moves nobody.
    module.pods(pods.map((p, i) => ({ ...p, cached: i === 0 ? 10 : 0 })));
    module.pick();
    expect(module.scores()).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
    module.commit(3);
    module.pods(pods);
    expectOrder();
  });
});
