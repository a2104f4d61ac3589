// The older spelling, expressions, selectors and scrapers: what they become, and what is said about wrong ones.
import { describe, expect, test } from "vitest";
import { pointer } from "../../agent/config/validate.js";
import { checkPolicy } from "../../agent/policy/check.js";
import { compileExpression } from "../../agent/policy/expression.js";
import { selects } from "../../agent/policy/label-selector.js";
import { typeOfOlderName } from "../../agent/policy/older-spelling.js";
import { schedulingOf } from "../wasm/table.js";

function accepted(scheduling: object, modules: string[] = []) {
  const checked = checkPolicy({ scheduling }, modules);
  if (!checked.right) throw new Error(JSON.stringify(checked.mistakes));
  return checked;
}

function refused(scheduling: object): string[] {
  const checked = checkPolicy({ scheduling });
  if (checked.right) throw new Error("it was accepted");
  return checked.mistakes.map((m) => `${pointer(m.path)}: ${m.message}`);
}

/** One profile of the older spelling that enables these scorers. */
const older = (score: object[], rest: object = {}) => ({
  profiles: [{ name: "default", plugins: { score: { enabled: score } } }],
  ...rest,
});
const plugin = (type: string, parameters: object) => ({ plugins: [{ type, parameters }] });

describe("the older spelling", () => {
  test.each([
    ["PrecisePrefixCacheScorer", "precise-prefix-cache-scorer"],
    ["KVCacheManagerScorer", "kv-cache-manager-scorer"],
    ["NoHitLRUScorer", "no-hit-lru-scorer"],
    ["ByLabelSelector", "by-label-selector"],
    ["SessionAffinity", "session-affinity-scorer"],
    ["VLLMMetricScraper", "vllm-metric-scraper"],
    ["queue-scorer", "queue-scorer"],
  ])("calls %s what is %s now", (name, type) => {
    expect(typeOfOlderName(name)).toBe(type);
  });

  test("becomes the same program as its plugins in llm-d's spelling", () => {
    const { program } = accepted(
      older(
        [
          { name: "LoadAwareScorer", weight: 30 },
          { name: "KVCacheManagerScorer", weight: 60, args: { cache_threshold: 0.4 } },
        ],
        {
          pluginConfig: [{ name: "LoadAwareScorer", args: { maxQueueLength: 20 } }],
        },
      ),
    );
    expect(program.scheduling).toEqual(
      schedulingOf({
        plugins: [
          {
            type: "load-aware-scorer",
            parameters: { maxQueueLength: 20, queueLengthWeight: 0.6, gpuUtilWeight: 0.4 },
          },
          { type: "kv-cache-manager-scorer", parameters: { cache_threshold: 0.4 } },
        ],
        schedulingProfiles: [
          {
            name: "default",
            plugins: [
              { pluginRef: "load-aware-scorer", weight: 30 },
              { pluginRef: "kv-cache-manager-scorer", weight: 60 },
            ],
          },
        ],
      }),
    );
  });

  test("is shown in llm-d's spelling, which means the same", () => {
    const { policy, program } = accepted(
      older([{ name: "QueueScorer" }, { name: "PrecisePrefixCacheScorer" }]),
    );
    expect(policy.scheduling.plugins.map(({ type }) => type)).toEqual([
      "queue-scorer",
      "precise-prefix-cache-scorer",
    ]);
    expect(policy.scheduling.plugins[1]!.parameters).toEqual({ cacheHitThreshold: 0.5 });
    expect(accepted(structuredClone(policy.scheduling)).program).toEqual(program);
  });

  test("with both role filters serves both kinds of pods by one profile", () => {
    const { program } = accepted({
      profiles: [
        {
          name: "default",
          plugins: {
            filter: {
              enabled: [
                { name: "DecodeFilter", weight: 0 },
                { name: "PrefillFilter", weight: 0 },
              ],
            },
          },
        },
      ],
    });
    expect(program.scheduling).toMatchObject({
      handler: "Disaggregated",
      main: 0,
      prefill: 0,
    });
  });

  test.each<[string, object, RegExp]>([
    [
      "an unknown plugin",
      older([{ name: "QueueScorrer" }]),
      /^\/scheduling\/profiles\/0\/plugins\/score\/enabled\/0\/name: unknown plugin type "queue-scorrer"; did you mean "queue-scorer"\?$/,
    ],
    [
      "a wrong argument in pluginConfig",
      older([{ name: "SessionAffinity" }], {
        pluginConfig: [{ name: "SessionAffinity", args: { ttl: "long" } }],
      }),
      /^\/scheduling\/pluginConfig\/0\/args\/ttl: must be a duration/,
    ],
    [
      "a wrong argument beside the plugin",
      older([{ name: "SessionAffinity", args: { stickiness: "none" } }]),
      /^\/scheduling\/profiles\/0\/plugins\/score\/enabled\/0\/args\/stickiness: must be one of low, medium, high, not "none"$/,
    ],
    [
      "an unknown slot",
      { profiles: [{ name: "a", plugins: { scores: {} } }] },
      /^\/scheduling\/profiles\/0\/plugins\/scores: unknown key "scores"; did you mean "score"\?$/,
    ],
    [
      "both spellings at once",
      { ...older([{ name: "QueueScorer" }]), plugins: [{ type: "queue-scorer" }] },
      /^\/scheduling\/profiles: is the older spelling and cannot stand beside plugins/,
    ],
    ["arguments without profiles", { pluginConfig: [{ name: "QueueScorer" }] }, /no profiles$/],
  ])("is refused where it was written: %s", (_, scheduling, reason) => {
    expect(refused(scheduling)).toEqual([expect.stringMatching(reason)]);
  });

  test("says which arguments no profile enables", () => {
    const { notes } = accepted(
      older([{ name: "QueueScorer" }], { pluginConfig: [{ name: "LoadAwareScorer" }] }),
    );
    expect(notes.map((n) => `${pointer(n.path)}: ${n.message}`)).toEqual([
      "/scheduling/pluginConfig/0: is not used: no profile enables LoadAwareScorer",
    ]);
  });
});

describe("llm-d's own sections", () => {
  test("that the agent does by itself are kept, with a note", () => {
    const sections = {
      featureGates: ["flowControl=false"],
      dataLayer: { sources: [] },
      saturationDetector: {},
    };
    const { policy, notes } = accepted({ ...sections, plugins: [{ type: "queue-scorer" }] });
    expect(policy.scheduling).toMatchObject(sections);
    expect(notes.map((n) => pointer(n.path))).toEqual([
      "/scheduling/featureGates",
      "/scheduling/dataLayer",
      "/scheduling/saturationDetector",
    ]);
  });
});

describe("an expression", () => {
  const none = () => null;

  test("becomes instructions in the order of a stack", () => {
    expect(
      compileExpression("waiting > 2 ? -queue : max(1, kvUsage, 3)", (n) => (n === "queue" ? 4 : null)),
    ).toEqual([
      { code: "Constant", argument: 0, constant: 2 },
      { code: "Variable", argument: "Variable.waiting", constant: 0 },
      { code: "Less", argument: 0, constant: 0 },
      { code: "Column", argument: 4, constant: 0 },
      { code: "Negate", argument: 0, constant: 0 },
      { code: "Constant", argument: 0, constant: 1 },
      { code: "Variable", argument: "Variable.kvUsage", constant: 0 },
      { code: "Maximum", argument: 0, constant: 0 },
      { code: "Constant", argument: 0, constant: 3 },
      { code: "Maximum", argument: 0, constant: 0 },
      { code: "Select", argument: 0, constant: 0 },
    ]);
  });

  test.each([
    ["waitin / 2", /nothing is called "waitin"; did you mean "waiting"\?/],
    ["colour", /nothing is called "colour"; there are: waiting, running/],
    ["1 +", /it must be one expression such as/],
    ["waiting; running", /no Compound/],
    ["waiting.constructor", /no MemberExpression/],
    ["'text'", /"text" is not a number/],
    ["constructor(1)", /there is no function constructor; there are: abs/],
    ["sqrt(1, 2)", /sqrt takes 1 values, not 2/],
    ["max(1)", /two values or more/],
    ["1 % 2", /there is no operator %/],
    ["~1", /there is no operator ~/],
    [Array.from({ length: 40 }, () => "waiting").join(" + "), /too long: more than 64/],
    [`${"1 + (".repeat(14)}1${")".repeat(14)}`, /too deeply nested/],
  ])("such as %s is refused with the reason", (text, reason) => {
    expect(() => compileExpression(text, none)).toThrow(reason);
  });

  test("may name what a scraper or a module provides, and nothing else", () => {
    const scorer = { type: "expression-scorer", parameters: { expression: "1 - gpu / 100" } };
    const scraper = {
      type: "generic-prometheus-scraper",
      parameters: { metrics: { gpu: "DCGM_FI_DEV_GPU_UTIL" } },
    };
    expect(accepted({ plugins: [scorer, scraper] }).program.scheduling.columns).toEqual([
      { from: "attribute", name: "gpu" },
    ]);
    expect(accepted({ plugins: [scorer] }, ["gpu"]).program.scheduling.columns).toHaveLength(1);
    expect(refused({ plugins: [scorer] })).toEqual([
      expect.stringMatching(/^\/scheduling\/plugins\/0\/parameters\/expression: nothing is called "gpu"/),
    ]);
  });
});

describe("a label selector", () => {
  const pod = { zone: "a", tier: "gold" };
  test.each<[object, boolean]>([
    [{ matchLabels: { zone: "a" } }, true],
    [{ matchLabels: { zone: "b" } }, false],
    [{ matchExpressions: [{ key: "tier", operator: "In", values: ["gold", "silver"] }] }, true],
    [{ matchExpressions: [{ key: "tier", operator: "NotIn", values: ["gold"] }] }, false],
    [{ matchExpressions: [{ key: "none", operator: "NotIn", values: ["gold"] }] }, true],
    [{ matchExpressions: [{ key: "zone", operator: "Exists" }] }, true],
    [{ matchExpressions: [{ key: "zone", operator: "DoesNotExist" }] }, false],
    [{ matchLabels: { zone: "a" }, matchExpressions: [{ key: "x", operator: "Exists" }] }, false],
    [{}, true],
  ])("%o takes a pod of zone a and tier gold: %s", (parameters, taken) => {
    const { selectors } = schedulingOf(plugin("label-selector-filter", parameters));
    expect(selects(selectors[0]!, pod)).toBe(taken);
  });

  test("by-label takes pods with one of the values, or without the label where that is allowed", () => {
    const by = (allowsNoLabel: boolean) =>
      schedulingOf(plugin("by-label", { label: "tier", validValues: ["gold"], allowsNoLabel })).selectors[0]!;
    const pods: Record<string, string>[] = [{ tier: "gold" }, { tier: "tin" }, {}];
    expect(pods.map((labels) => selects(by(false), labels))).toEqual([true, false, false]);
    expect(pods.map((labels) => selects(by(true), labels))).toEqual([true, false, true]);
  });

  test.each<[object, RegExp]>([
    [{ matchLabels: ["a"] }, /matchLabels: must be a mapping/],
    [{ matchExpressions: {} }, /matchExpressions: must be a list/],
    [{ matchExpressions: [{ key: "a", operator: "Near" }] }, /matchExpressions\/0: needs a key, an operator/],
    [{ matchExpressions: [{ key: "a", operator: "In" }] }, /operator In needs values/],
  ])("%o is refused", (parameters, reason) => {
    expect(refused(plugin("by-label-selector", parameters))).toEqual([expect.stringMatching(reason)]);
  });
});

describe("a scraper", () => {
  test("says where and how often, as the older documents do", () => {
    const { program } = accepted({
      profiles: [
        { name: "a", plugins: { scrape: { enabled: [{ name: "VLLMMetricScraper", interval: "5s" }] } } },
      ],
      pluginConfig: [{ name: "VLLMMetricScraper", args: { endpoint: "/metrics", port: 8001 } }],
    });
    expect(program.scrape.engine).toEqual({
      path: "/metrics",
      port: 8001,
      intervalMs: 5000,
      timeoutMs: null,
      ttlMs: null,
    });
  });

  test("of llm-d's extractor gives its custom metrics", () => {
    const engineConfigs = [
      { name: "vllm", customMetrics: [{ attributeKey: "heat", metricSpec: 'gpu_temp{gpu="0"}' }] },
    ];
    const { program } = accepted({
      plugins: [
        { type: "core-metrics-extractor", parameters: { engineConfigs } },
        { type: "endpoint-attribute-scorer", parameters: { attributeKey: "heat" } },
      ],
    });
    expect(program.scrape.attributes[0]!.metrics).toEqual([
      { attribute: "heat", metric: "gpu_temp", labels: { gpu: "0" } },
    ]);
  });

  test.each<[object, RegExp]>([
    [{}, /parameters\/metrics: must be a mapping/],
    [{ metrics: { "a b": "x" } }, /"a b" is no name/],
    [{ metrics: { a: "x{" } }, /must be a metric such as/],
    [{ metrics: { a: "x" }, endpoint: "http:" }, /endpoint: must be a path/],
    [{ metrics: { a: "x" }, interval: "1ms" }, /interval: must be a duration from 50 ms/],
  ])("%o is refused", (parameters, reason) => {
    expect(refused(plugin("generic-prometheus-scraper", parameters))).toEqual([
      expect.stringMatching(reason),
    ]);
  });
});
