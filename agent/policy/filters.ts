// Filter and picker types and their parameters. Formulas and sources: docs/policy.md.
import type { Path } from "../config/validate.js";
import type { Build } from "./build.js";
import { readSelector } from "./label-selector.js";
import { isObject } from "./merge-patch.js";
import { type Parameters, shown } from "./parameters.js";
import { known, type OpParts, operation, type PluginRow } from "./plugin-type.js";
import type { LabelSelector } from "./program.js";
import { session, sessionParameters } from "./scorers.js";

const METRICS = ["active-requests", "running-requests", "waiting-queue", "kv-cache-utilization"];
/** In the order of Comparison in wasm/shared/program-layout.ts, whose numbers stand in an operation's flags. */
const COMPARISONS = ["<", "<=", ">", ">=", "==", "!="];

function selector(p: Parameters, build: Build, path: Path): OpParts {
  const read = readSelector(p.value("matchLabels"), p.value("matchExpressions"), path, build);
  return { op: "FilterLabels", a: build.selector(read, path) };
}

function byLabel(p: Parameters, build: Build, path: Path): OpParts {
  const values = p.value("validValues");
  if (!Array.isArray(values) || values.length === 0) {
    build.refuse([...path, "validValues"], "must be a list of the label's values");
    return { op: "FilterLabels" };
  }
  const key = p.text("label");
  const wanted: LabelSelector = {
    matchLabels: {},
    matchExpressions: [
      {
        key,
        operator: p.flag("allowsNoLabel") ? "AbsentOrIn" : "In",
        values: values.map(String),
      },
    ],
  };
  return { op: "FilterLabels", a: build.selector(wanted, path) };
}

function utilization(p: Parameters, build: Build, path: Path): OpParts {
  const most = [Infinity, Infinity, Infinity, Infinity];
  const conditions = p.value("conditions");
  if (!Array.isArray(conditions) || conditions.length === 0)
    build.refuse([...path, "conditions"], "must be a list of {metric, maxValue}");
  for (const [i, given] of (Array.isArray(conditions) ? conditions : []).entries()) {
    const { metric, maxValue } = isObject(given) ? given : {};
    const which = METRICS.indexOf(String(metric));
    if (which < 0 || typeof maxValue !== "number" || !(maxValue >= 0))
      build.refuse(
        [...path, "conditions", i],
        `needs a metric (${METRICS.join(", ")}) and a maxValue of at least 0`,
      );
    else most[which] = Math.min(most[which]!, maxValue);
  }
  return { op: "FilterUtilization", p: most, flags: p.flag("fallbackOnEmpty") ? 1 : 0 };
}

function attribute(p: Parameters, build: Build, path: Path): OpParts {
  const column = build.attribute(p.text("attribute"), [...path, "attribute"]);
  const { operator, value } = (p.value("algorithm") ?? {}) as { operator?: unknown; value?: unknown };
  const comparison = COMPARISONS.indexOf(String(operator));
  if (comparison < 0 || typeof value !== "number")
    build.refuse(
      [...path, "algorithm"],
      `needs an operator (${COMPARISONS.join(" ")}) and a value, not ${shown(p.value("algorithm"))}`,
    );
  const flags =
    (Math.max(0, comparison) << 4) |
    (p.flag("fallbackOnEmpty") ? 1 : 0) |
    (p.text("onMissing") === "Pass" ? 0 : 2);
  return { op: "FilterAttribute", a: column, p: [Number(value)], flags };
}

export const FILTERS: PluginRow[] = [
  ["decode-filter", { kind: "filter", runs: { as: "role", role: "decode" }, parameters: {} }],
  ["prefill-filter", { kind: "filter", runs: { as: "role", role: "prefill" }, parameters: {} }],
  ...["label-selector-filter", "by-label-selector"].map((type) =>
    operation("filter", type, { matchLabels: { is: "value" }, matchExpressions: { is: "value" } }, selector),
  ),
  operation(
    "filter",
    "by-label",
    {
      label: { is: "text", default: null },
      validValues: { is: "value" },
      allowsNoLabel: { is: "flag", default: false },
    },
    byLabel,
  ),
  operation(
    "filter",
    "prefix-cache-affinity-filter",
    {
      affinityThreshold: { is: "number", default: 0.8, from: 0, to: 1 },
      explorationProbability: { is: "number", default: 0, from: 0, to: 1 },
      maxTTFTPenaltyMs: { is: "number", default: 18_000, from: 0, to: 3_600_000 },
      ttftSource: { only: "prefillThroughput" },
      peakPrefillThroughput: { is: "number", default: 15_928, from: 1, to: 1e9 },
      prefixMatchInfoProducerName: {
        unused: "the agent keeps an index of its own, fed by the pods' KV events",
      },
      inFlightLoadProducerName: { unused: "the gateway counts its own requests in flight" },
    },
    (p) => ({
      op: "FilterPrefixAffinity",
      p: [
        p.number("affinityThreshold"),
        p.number("explorationProbability"),
        p.number("maxTTFTPenaltyMs"),
        p.number("peakPrefillThroughput"),
      ],
    }),
  ),
  operation("filter", "session-affinity-filter", sessionParameters, (p, build, path) => ({
    op: "FilterSession",
    ...session(p, build, path),
  })),
  operation(
    "filter",
    "utilization-filter",
    { conditions: { is: "value" }, fallbackOnEmpty: { is: "flag", default: false } },
    utilization,
  ),
  operation(
    "filter",
    "endpoint-attribute-filter",
    {
      attribute: { is: "text", default: null },
      algorithm: { is: "value" },
      onMissing: { is: "choice", of: ["Pass", "Drop"], default: "Pass" },
      fallbackOnEmpty: { is: "flag", default: false },
      producer: { unused: "attributes are found by their name" },
    },
    attribute,
  ),
  operation(
    "filter",
    "lora-affinity-filter",
    { threshold: { is: "number", default: 0.999, from: 0, to: 1 } },
    (p, build) => {
      build.adapters = true;
      return { op: "FilterLora", p: [p.number("threshold")] };
    },
  ),
  operation(
    "filter",
    "context-length-filter",
    { label: { is: "text", default: "llm-d.ai/context-length-range" } },
    (p, build, path) => ({ op: "FilterContextLength", a: build.range(p.text("label"), path) }),
  ),
  operation(
    "filter",
    "expression-filter",
    { expression: { is: "text", default: null } },
    (p, build, path) => {
      const [first, count] = build.expression(p.text("expression"), [...path, "expression"]);
      return { op: "FilterExpression", a: first, p: [count] };
    },
  ),
  ...known("filter", [
    "encode-filter",
    "topology-affinity-filter",
    "slo-headroom-tier-filter",
    "disaggregatedset-rollout-screener",
    "low-queue-filter",
    "least-queue-filter",
    "least-kv-cache-filter",
    "decision-tree-filter",
  ]),
];

const candidates = {
  maxNumOfEndpoints: {
    bounds: [1, 3] as [number, number],
    unused: "three pods are always named, best first, for retries",
  },
};

export const PICKERS: PluginRow[] = [
  operation(
    "picker",
    "max-score-picker",
    { ...candidates, tieBreak: { is: "choice", of: ["random", "prompt", "session"], default: "random" } },
    (p) => {
      const tie = { random: "Random", prompt: "Prompt", session: "Session" }[p.text("tieBreak")];
      return { op: "MaxScore", a: `Tie.${tie}` };
    },
  ),
  operation("picker", "weighted-random-picker", candidates, () => ({ op: "WeightedRandom" })),
  operation("picker", "random-picker", candidates, () => ({ op: "RandomPick" })),
];
