// Scraper types: which metrics of pods the agent reads, where and how often.
import { type Mistake, type Path, pointer } from "../config/validate.js";
import type { Declared } from "./handlers.js";
import { isObject } from "./merge-patch.js";
import { type ParameterRule, type Parameters, shown } from "./parameters.js";
import type { PluginRow } from "./plugin-type.js";

/** Where a scrape goes and how often; null = as `scrape` in warmgate.yaml and the pod say. */
export interface ScrapeTarget {
  path: string;
  port: number | null;
  intervalMs: number | null;
  timeoutMs: number | null;
  /** Older values are not used. */
  ttlMs: number | null;
}

/** One metric that becomes a custom column. */
export interface AttributeMetric {
  attribute: string;
  metric: string;
  labels: Record<string, string>;
}

export interface AttributeScrape extends ScrapeTarget {
  metrics: AttributeMetric[];
}

export interface ScrapeProgram {
  /** The engine's own metrics; null = as warmgate.yaml says. */
  engine: ScrapeTarget | null;
  attributes: AttributeScrape[];
}

const target: Readonly<Record<string, ParameterRule>> = {
  endpoint: { is: "text", default: "/metrics" },
  port: { is: "number", default: 0, from: 1, to: 65_535, whole: true },
  interval: { is: "duration", default: "5s", from: 50, to: 3_600_000 },
  timeout: { is: "duration", default: "2s", from: 10, to: 60_000 },
  ttl: { is: "duration", default: "30s", from: 100, to: 3_600_000 },
};

export const SCRAPERS: PluginRow[] = [
  ...["vllm-metric-scraper", "kv-cache-metric-scraper"].map(
    (type): PluginRow => [type, { kind: "scraper", runs: { as: "scraper" }, parameters: target }],
  ),
  [
    "generic-prometheus-scraper",
    { kind: "scraper", runs: { as: "scraper" }, parameters: { ...target, metrics: { is: "value" } } },
  ],
  [
    "core-metrics-extractor",
    {
      kind: "extractor",
      runs: { as: "scraper" },
      parameters: {
        engineConfigs: { is: "value" },
        engineLabelKey: { unused: "an engine is known by the metrics it has" },
        defaultEngine: { unused: "an engine is known by the metrics it has" },
      },
    },
  ],
];

const METRIC = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?$/;
const MATCHER = /^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"?([^",]*)"?\s*$/;

/** Reads `name` or `name{label="value",…}`; null when it is neither. */
export function readMetric(text: string): Pick<AttributeMetric, "metric" | "labels"> | null {
  const found = METRIC.exec(text.trim());
  if (!found) return null;
  const labels: Record<string, string> = {};
  for (const part of (found[2] ?? "").split(",").filter((p) => p.trim() !== "")) {
    const matcher = MATCHER.exec(part);
    if (!matcher) return null;
    labels[matcher[1]!] = matcher[2]!;
  }
  return { metric: found[1]!, labels };
}

/** What the scrapers of a policy ask for together. */
export function scrapeProgramOf(plugins: readonly Declared[], mistakes: Mistake[]): ScrapeProgram {
  const program: ScrapeProgram = { engine: null, attributes: [] };
  const names = new Map<string, Path>();
  const add = (attribute: string, spec: unknown, path: Path): AttributeMetric | null => {
    const before = names.get(attribute);
    const metric = typeof spec === "string" ? readMetric(spec) : null;
    if (!/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(attribute))
      mistakes.push({
        path,
        message: `${JSON.stringify(attribute)} is no name: letters, digits and _ make one`,
      });
    else if (before) mistakes.push({ path, message: `${pointer(before)} is called so too` });
    else if (!metric)
      mistakes.push({
        path,
        message: `must be a metric such as name or name{label="value"}, not ${shown(spec)}`,
      });
    else {
      names.set(attribute, path);
      return { attribute, ...metric };
    }
    return null;
  };
  for (const { type, parameters: p, path } of plugins) {
    if (type === "core-metrics-extractor") {
      const metrics = customMetrics(p, path, add);
      if (metrics.length > 0)
        program.attributes.push({
          path: "/metrics",
          port: null,
          intervalMs: null,
          timeoutMs: null,
          ttlMs: null,
          metrics,
        });
      continue;
    }
    const at: ScrapeTarget = {
      path: p.text("endpoint"),
      port: p.has("port") ? p.number("port") : null,
      intervalMs: p.has("interval") ? p.number("interval") : null,
      timeoutMs: p.has("timeout") ? p.number("timeout") : null,
      ttlMs: p.has("ttl") ? p.number("ttl") : null,
    };
    if (!at.path.startsWith("/"))
      mistakes.push({ path: [...path, "endpoint"], message: 'must be a path on the pod such as "/metrics"' });
    if (type !== "generic-prometheus-scraper") {
      // Both older scrapers read the same page of the engine.
      program.engine ??= at;
      continue;
    }
    const given = p.value("metrics");
    if (!isObject(given) || Object.keys(given).length === 0)
      mistakes.push({ path: [...path, "metrics"], message: "must be a mapping of attributes to metrics" });
    else
      program.attributes.push({
        ...at,
        metrics: Object.entries(given)
          .map(([attribute, spec]) => add(attribute, spec, [...path, "metrics", attribute]))
          .filter((m) => m !== null),
      });
  }
  return program;
}

/** llm-d's engineConfigs[].customMetrics[]{attributeKey, metricSpec}. */
function customMetrics(
  p: Parameters,
  path: Path,
  add: (attribute: string, spec: unknown, path: Path) => AttributeMetric | null,
): AttributeMetric[] {
  const engines = p.value("engineConfigs");
  if (!Array.isArray(engines)) return [];
  return engines.flatMap((engine, i) => {
    const custom = isObject(engine) ? engine["customMetrics"] : undefined;
    if (!Array.isArray(custom)) return [];
    return custom
      .map((m, j) => {
        const { attributeKey, metricSpec } = isObject(m) ? m : {};
        return add(String(attributeKey), metricSpec, [...path, "engineConfigs", i, "customMetrics", j]);
      })
      .filter((m) => m !== null);
  });
}
