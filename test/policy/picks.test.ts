// Filters, pickers, sessions and handlers of the compiled pick, and programs that it must not take.
import { describe, expect, test } from "vitest";
import { prefixAffinityFilter, type VectorPod } from "../vectors/scheduling.js";
import { PickModule, type TestPod } from "../wasm/pick-module.js";
import { policy, schedulingOf } from "../wasm/table.js";
import { newWire } from "../wasm/wire-for-test.js";

const plugin = (type: string, parameters: object = {}, ...more: object[]) => ({
  plugins: [{ type, parameters }, ...more],
});

async function keptBy(type: string, parameters: object, pods: TestPod[], request = {}): Promise<number[]> {
  return (await PickModule.create(pods, plugin(type, parameters))).pick(request).kept;
}

describe("a filter keeps what its rule says:", () => {
  const waiting = [{ waiting: 1 }, { waiting: 6 }, { waiting: 6, ageMs: 60_000 }];
  const metric = [{ columns: { columns: [5] } }, { columns: { columns: [9] } }, {}];
  const sized = [
    { columns: { columns: [0, 500] } },
    { columns: { columns: [501, 9000] } },
    {},
    { columns: { columns: [-1, -1] } },
  ];
  test.each<[string, object, TestPod[], object, number[]]>([
    [
      "label-selector-filter",
      { matchLabels: { zone: "a" } },
      [{ columns: { labels: 1n } }, { columns: { labels: 2n } }],
      {},
      [0],
    ],
    ["utilization-filter", { conditions: [{ metric: "waiting-queue", maxValue: 5 }] }, waiting, {}, [0, 2]],
    [
      "utilization-filter",
      { conditions: [{ metric: "active-requests", maxValue: 1 }] },
      [{ requests: 2 }],
      {},
      [],
    ],
    [
      "utilization-filter",
      { conditions: [{ metric: "active-requests", maxValue: 1 }], fallbackOnEmpty: true },
      [{ requests: 2 }],
      {},
      [0],
    ],
    [
      "utilization-filter",
      {
        conditions: [
          { metric: "running-requests", maxValue: 3 },
          { metric: "kv-cache-utilization", maxValue: 0.8 },
        ],
      },
      [{ running: 3, kvUsage: 0.8 }, { running: 4 }, { kvUsage: 0.81 }],
      {},
      [0],
    ],
    [
      "endpoint-attribute-filter",
      { attribute: "metric", algorithm: { operator: "<", value: 9 } },
      metric,
      {},
      [0, 2],
    ],
    [
      "endpoint-attribute-filter",
      { attribute: "metric", algorithm: { operator: ">=", value: 9 }, onMissing: "Drop" },
      metric,
      {},
      [1],
    ],
    [
      "endpoint-attribute-filter",
      {
        attribute: "metric",
        algorithm: { operator: "==", value: 7 },
        onMissing: "Drop",
        fallbackOnEmpty: true,
      },
      metric,
      {},
      [0, 1, 2],
    ],
    ["context-length-filter", {}, sized, { promptTokens: 500 }, [0, 2]],
    ["context-length-filter", {}, sized.slice(0, 2), { promptTokens: 99_000 }, [0, 1]],
    [
      "lora-affinity-filter",
      { threshold: 1 },
      [
        { columns: { activeAdapters: ["a"], maxAdapters: 1 } },
        { columns: { waitingAdapters: ["a"], maxAdapters: 1 } },
        { columns: { maxAdapters: 4 } },
      ],
      { adapter: "a" },
      [0, 1],
    ],
    [
      "lora-affinity-filter",
      { threshold: 0 },
      [{ columns: { activeAdapters: ["a"], maxAdapters: 1 } }, { columns: { maxAdapters: 4 } }],
      { adapter: "a" },
      [1],
    ],
    [
      "expression-filter",
      { expression: "inflightRequests < 3" },
      [{ requests: 2 }, { requests: 3 }],
      {},
      [0],
    ],
    ["prefix-cache-affinity-filter", { explorationProbability: 1 }, [{ cached: 900 }, {}], {}, [0, 1]],
  ])("%s %o", async (type, parameters, pods, request, wanted) => {
    expect(await keptBy(type, parameters, pods, request)).toEqual(wanted);
  });

  test("prefix-cache-affinity-filter sticks until the sticky pods are too late", async () => {
    const module = await PickModule.create([], plugin("prefix-cache-affinity-filter"));
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
    const counts = { all: 0, some: 0 };
    for (let round = 0; round < 200; round++) {
      const pods = Array.from({ length: 2 + Math.floor(random() * 6) }, () => ({
        waiting: 0,
        running: 0,
        kvUsage: 0,
        requests: 0,
        tokens: Math.floor(random() * 900_000),
        cached: Math.floor(random() * 1001),
      })) satisfies VectorPod[];
      module.pods(pods);
      const { kept } = module.pick({ promptTokens: 1000 });
      expect(kept).toEqual(prefixAffinityFilter(pods, 1000, 0.8, 18_000, 15_928));
      counts[kept.length === pods.length ? "all" : "some"]++;
    }
    expect(Math.min(counts.all, counts.some)).toBeGreaterThan(20);
    // The published gap: 15,928 tokens a second × 18 s.
    module.pods([{ cached: 900, tokens: 286_704 }, {}]);
    expect(module.pick().kept).toEqual([0]);
    module.pods([{ cached: 900, tokens: 286_705 }, {}]);
    expect(module.pick().kept).toEqual([0, 1]);
  });

  test("pods that are not ready, of another role, or all of a filter's are left", async () => {
    const pods: TestPod[] = [{ ready: false }, { role: "prefill" }, { role: "decode" }, { role: "both" }];
    expect(await keptBy("decode-filter", {}, pods)).toEqual([2, 3]);
    expect(await keptBy("prefill-filter", {}, pods)).toEqual([1, 3]);
  });
});

describe("a picker", () => {
  /** How often each pod is chosen first over many requests. */
  async function shares(scheduling: object, pods: TestPod[], request = {}): Promise<number[]> {
    const module = await PickModule.create(pods, scheduling);
    const counts = pods.map(() => 0);
    for (let i = 1; i <= 3000; i++) {
      const [first] = module.pick({ random: BigInt(i) * 7919n, ...request }).chosen;
      counts[first!]!++;
    }
    return counts.map((n) => n / 3000);
  }

  test("names the best pod and the next two", async () => {
    const module = await PickModule.create(
      [{ waiting: 3 }, { waiting: 0 }, { waiting: 1 }, { waiting: 2 }],
      plugin("queue-scorer"),
    );
    expect(module.pick().chosen).toEqual([1, 2, 3]);
  });

  test("max-score-picker breaks ties by chance, all alike", async () => {
    for (const share of await shares(plugin("queue-scorer"), [{ waiting: 1 }, {}, {}, {}].slice(1)))
      expect(share).toBeGreaterThan(0.28);
    expect((await shares(plugin("queue-scorer"), [{ waiting: 1 }, {}, {}]))[0]).toBe(0);
  });

  test("with the same random bits picks the same pod", async () => {
    const module = await PickModule.create([{}, {}, {}, {}], plugin("random-scorer"));
    const first = module.pick({ random: 42n });
    expect(module.pick({ random: 42n })).toEqual(first);
  });

  test("tieBreak prompt sends one prompt to one pod whatever the chance, and prompts to all pods", async () => {
    const scheduling = plugin(
      "queue-scorer",
      {},
      { type: "max-score-picker", parameters: { tieBreak: "prompt" } },
    );
    expect(Math.max(...(await shares(scheduling, [{}, {}, {}, {}], { spread: 99n })))).toBe(1);
    const module = await PickModule.create([{}, {}, {}, {}], scheduling);
    const chosen = Array.from({ length: 200 }, (_, i) => module.pick({ spread: BigInt(i) ** 5n }).chosen[0]);
    expect(new Set(chosen).size).toBe(4);
  });

  test("weighted-random-picker chooses in proportion to the score", async () => {
    const pods = [{ kvUsage: 0.5 }, { kvUsage: 0.75 }, { kvUsage: 0.75 }, { kvUsage: 1 }];
    const [a, b, c, d] = await shares(
      plugin("kv-cache-utilization-scorer", {}, { type: "weighted-random-picker" }),
      pods,
    );
    expect(a).toBeCloseTo(0.5, 1);
    expect(b).toBeCloseTo(0.25, 1);
    expect(c).toBeCloseTo(0.25, 1);
    expect(d).toBe(0);
  });

  test("weighted-random-picker chooses evenly when no score is above 0", async () => {
    const all = await shares(plugin("kv-cache-utilization-scorer", {}, { type: "weighted-random-picker" }), [
      { kvUsage: 1 },
      { kvUsage: 1 },
    ]);
    expect(all[0]).toBeCloseTo(0.5, 1);
  });

  test("random-picker chooses evenly whatever the score", async () => {
    const [a] = await shares(plugin("queue-scorer", {}, { type: "random-picker" }), [{ waiting: 9 }, {}]);
    expect(a).toBeCloseTo(0.5, 1);
  });

  test("the profile round-robin goes through all pods in turn", async () => {
    const module = await PickModule.create([{}, {}, {}], { profile: "round-robin" });
    const chosen: number[] = [];
    for (let i = 0; i < 7; i++) {
      chosen.push(module.pick({ random: BigInt(i) }).chosen[0]!);
      module.commit(chosen.at(-1)!);
    }
    expect(chosen).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });
});

describe("a session", () => {
  const sticky = (stickiness: string) =>
    plugin("session-affinity-scorer", { stickiness, ttl: "10s" }, { type: "max-score-picker" });

  test("stays on its pod, is forgotten after its time to live, and counts hits and moves", async () => {
    const module = await PickModule.create([{}, {}, {}], sticky("high"));
    module.pick({ session: 5n });
    module.commit(2);
    for (let i = 0; i < 20; i++) expect(module.pick({ session: 5n, random: BigInt(i) }).chosen[0]).toBe(2);
    module.commit(2);
    module.pick({ session: 5n });
    module.commit(1);
    // Its first request found nothing, the last one moved.
    expect(module.sessions).toEqual({ hits: 1, misses: 2, moves: 1 });
    module.pick({ session: 5n, nowMs: 9_999 });
    expect(module.scores()).toEqual([0, 1, 0]);
    module.pick({ session: 5n, nowMs: 10_001 });
    expect(module.scores()).toEqual([0, 0, 0]);
    module.pick({ session: 6n });
    expect(module.scores()).toEqual([0, 0, 0]);
  });

  test.each([
    ["high", 1, 1],
    ["medium", 1, 0],
    ["low", 0.6, 0],
  ])(
    "of stickiness %s holds its pod by %d when a little is waiting, and by %d when it is saturated",
    async (stickiness, little, saturated) => {
      const module = await PickModule.create([{}, {}], sticky(stickiness));
      module.pick({ session: 5n });
      module.commit(0);
      module.pods([{ waiting: 2 }, {}]);
      module.pick({ session: 5n });
      expect(module.scores()[0]).toBeCloseTo(little, 5);
      module.pods([{ kvUsage: 0.8 }, {}]);
      module.pick({ session: 5n });
      expect(module.scores()[0]).toBeCloseTo(saturated, 5);
    },
  );

  test("leaves a slot that another pod has taken", async () => {
    const module = await PickModule.create([{}, {}], sticky("high"));
    module.pick({ session: 5n });
    module.commit(1);
    const pods = [{}];
    module.pods(pods);
    module.pick({ session: 5n });
    expect(module.scores()).toEqual([0]);
  });

  test("kept by session-affinity-filter has one candidate, as long as that is not saturated", async () => {
    const module = await PickModule.create(
      [{}, {}, {}],
      plugin("session-affinity-filter", { stickiness: "medium" }, { type: "queue-scorer" }),
    );
    expect(module.pick({ session: 5n }).kept).toEqual([0, 1, 2]);
    module.commit(1);
    expect(module.pick({ session: 5n }).kept).toEqual([1]);
    module.pods([{}, { waiting: 5 }, {}]);
    expect(module.pick({ session: 5n }).kept).toEqual([0, 1, 2]);
  });

  test("under session-only goes to the same pod in workers that know nothing of it", async () => {
    const pods = [{}, {}, {}, {}];
    const one = await PickModule.create(pods, { profile: "session-only" });
    const other = await PickModule.create(pods, { profile: "session-only" });
    const chosen = Array.from({ length: 100 }, (_, i) => {
      const session = BigInt(i + 1) ** 7n;
      const [first] = one.pick({ session, random: 1n }).chosen;
      expect(other.pick({ session, random: 2n }).chosen[0]).toBe(first);
      return first;
    });
    expect(new Set(chosen).size).toBe(4);
  });
});

describe("a handler", () => {
  const profiles = (handler: object, ...more: object[]) => ({
    plugins: [
      handler,
      ...more,
      { type: "prefill-filter" },
      { type: "decode-filter" },
      { type: "queue-scorer" },
      { type: "active-request-scorer" },
    ],
    schedulingProfiles: [
      { name: "prefill", plugins: [{ pluginRef: "prefill-filter" }, { pluginRef: "queue-scorer" }] },
      { name: "decode", plugins: [{ pluginRef: "decode-filter" }, { pluginRef: "active-request-scorer" }] },
    ],
  });
  const pods: TestPod[] = [
    { role: "prefill", waiting: 3 },
    { role: "prefill", waiting: 1 },
    { role: "decode", requests: 2, cached: 900 },
    { role: "decode", requests: 1, cached: 100 },
  ];

  test("of disaggregation picks each pod by its own profile, and says from how many uncached tokens on", async () => {
    const scheduling = profiles({ type: "pd-profile-handler", parameters: { threshold: 500 } });
    const module = await PickModule.create(pods, scheduling);
    for (const mode of ["gateway", "sidecar"]) {
      module.disaggregation({ mode }, scheduling);
      const { chosen } = module.pick();
      expect(chosen).toEqual([3, 2]);
      expect(module.pair(chosen)).toEqual({ prefills: [1, 0], decode: 3 });
      expect([module.splits(1000, 500), module.splits(1000, 499)]).toEqual([true, false]);
    }
  });

  test("of disaggregation leaves out of its prefill profile the pod that decodes", async () => {
    const scheduling = profiles({ type: "disagg-profile-handler" });
    const module = await PickModule.create([{ role: "both" }, { role: "both", waiting: 5 }], scheduling);
    module.disaggregation({ mode: "gateway", split: "always" }, scheduling);
    module.pick();
    expect(module.pair([0, 1])).toEqual({ prefills: [1], decode: 0 });
    module.pods([{ role: "both" }, { role: "decode" }]);
    module.pick();
    expect(module.pair([0, 1])).toBeNull();
  });

  test.each<[string, object[], boolean[]]>([
    ["never splits at 0", [{ type: "prefix-based-pd-decider" }], [false, false]],
    [
      "splits from its uncached tokens on",
      [{ type: "prefix-based-pd-decider", parameters: { nonCachedTokens: 900 } }],
      [true, false],
    ],
    [
      "leaves short prompts alone",
      [{ type: "prefix-based-pd-decider", parameters: { nonCachedTokens: 1, promptTokens: 1001 } }],
      [false, false],
    ],
    ["always splits", [{ type: "always-disagg-pd-decider" }], [true, true]],
  ])("with a decider that %s", async (_, deciders, wanted) => {
    const { type } = deciders[0] as { type: string };
    const scheduling = profiles(
      { type: "disagg-profile-handler", parameters: { deciders: { prefill: type } } },
      ...deciders,
    );
    const module = await PickModule.create(pods, scheduling);
    // 100 and 900 of 1000 tokens are cached on the two decode pods.
    module.disaggregation({ mode: "gateway" }, scheduling);
    expect([module.splits(1000, 900), module.splits(1000, 100)]).toEqual(wanted);
    module.disaggregation({ mode: "none" }, scheduling);
    expect([module.splits(1000, 900), module.splits(1000, 100)]).toEqual([false, false]);
  });

  test("takes the profile that a header names, and the default one without it", async () => {
    const module = await PickModule.create(pods, profiles({ type: "header-profile-handler" }));
    expect(module.pick().chosen).toEqual([3, 2]);
    expect(module.pick({ headers: ["prefill"] }).chosen).toEqual([1, 0]);
    expect(module.pick({ headers: ["other"] }).chosen).toEqual([3, 2]);
  });
});

describe("a program that is damaged", () => {
  test("is refused whole, and the one before stays", async () => {
    const module = await PickModule.create([{ waiting: 1 }, { requests: 1 }], plugin("queue-scorer"));
    const wire = await newWire({ maxEntries: 1000 });
    const scheduling = schedulingOf(
      plugin("expression-scorer", { expression: "1 - inflightRequests" }, { type: "max-score-picker" }),
    );
    wire.setPolicy({ ...policy, scheduling });
    const frame = wire.drain().at(-1)!;
    const program = 48 + 328;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const profile = program + 16;
    const op = profile + 16;
    const code = op + 2 * 48;
    const damaged: [string, () => void][] = [
      ["length", () => view.setUint32(program, 7, true)],
      ["no profile", () => view.setUint8(program + 4, 0)],
      ["handler", () => view.setUint8(program + 5, 9)],
      ["main profile", () => view.setUint8(program + 6, 1)],
      ["prefill profile", () => view.setUint8(program + 7, 1)],
      ["operations", () => view.setUint16(profile + 10, 3, true)],
      ["no picker", () => view.setUint16(profile + 10, 1, true)],
      ["roles", () => view.setUint8(profile + 12, 0)],
      ["unknown operation", () => view.setUint16(op, 95, true)],
      ["weight", () => view.setFloat64(op + 8, Number.NaN, true)],
      ["expression's end", () => view.setFloat64(op + 16, 60, true)],
      ["expression's start", () => view.setUint32(op + 4, 0xffff_ffff, true)],
      ["instruction", () => view.setUint16(code, 5, true)],
      ["variable", () => view.setUint16(code + 16 + 2, 40, true)],
      ["empty stack", () => view.setUint16(code, 24, true)],
      ["tie", () => view.setUint32(op + 48 + 4, 3, true)],
    ];
    const whole = frame.slice();
    for (const [what, damage] of damaged) {
      frame.set(whole);
      damage();
      expect([what, module.take(frame)]).toEqual([what, false]);
      expect(module.pick().chosen).toEqual([1, 0]);
    }
    expect(module.take(whole)).toBe(true);
    expect(module.pick().chosen).toEqual([0, 1]);
  });
});

describe("while counts of other gateways come late", () => {
  /** llm-d's token-aware profile as the policy has it, with the ties that gateways break alike. */
  const tokenAware = {
    plugins: [
      { type: "prefix-cache-affinity-filter" },
      { type: "token-load-scorer" },
      { type: "max-score-picker", parameters: { tieBreak: "prompt" } },
    ],
    schedulingProfiles: [
      {
        name: "default",
        plugins: [
          { pluginRef: "prefix-cache-affinity-filter" },
          { pluginRef: "token-load-scorer", weight: 1 },
          { pluginRef: "max-score-picker" },
        ],
      },
    ],
  };
  // Load on both sides of the filter's gap of 286,704 tokens, and caches on both sides of its threshold.
  const fleet = (n: number): TestPod[] =>
    Array.from({ length: 6 }, (_, i) => ({
      tokens: ((i * 7919 + n * 104_729) % 13) * 40_000,
      work: ((i * 31 + n) % 5) * 30_000,
      pending: 1,
      cached: ((i * 17 + n * 5) % 7) * 1500,
      requests: (i + n) % 4,
    }));

  test("warm-until-busy decides as llm-d-token-aware, to the last candidate, and by itself again afterwards", async () => {
    const warm = await PickModule.create(fleet(0), {});
    const aware = await PickModule.create(fleet(0), tokenAware);
    let other = 0;
    for (let n = 0; n < 200; n++) {
      warm.pods(fleet(n));
      aware.pods(fleet(n));
      const request = { promptTokens: 10_000, spread: BigInt(n), random: BigInt(n) };
      const own = warm.pick(request);
      expect(warm.stoodIn).toBe(false);
      warm.sharing(true);
      expect(warm.pick(request)).toEqual(aware.pick(request));
      expect(warm.stoodIn).toBe(true);
      warm.sharing(false);
      expect(warm.pick(request)).toEqual(own);
      if (own.chosen[0] !== aware.pick(request).chosen[0]) other++;
    }
    // Else the test would say nothing.
    expect(other).toBeGreaterThan(20);
  });

  test("a policy that asks for more than warm-until-busy runs as it is written", async () => {
    const blend = {
      plugins: [{ type: "warm-until-busy" }, { type: "queue-scorer" }, { type: "max-score-picker" }],
    };
    const module = await PickModule.create(fleet(1), blend);
    const before = module.pick();
    module.sharing(true);
    expect(module.pick()).toEqual(before);
    expect(module.stoodIn).toBe(false);
  });
});
