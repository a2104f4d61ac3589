// The older spelling of an EndpointPickerConfig → llm-d's: profiles with plugins by slot (filter, score, scrape, pick),
// plugins by PascalCase names, and their arguments in `pluginConfig` or beside them.
import type { Mistake, Path } from "../config/validate.js";
import type { PolicyInput } from "./document.js";
import { OLDER_LOAD } from "./named-profiles.js";

type Given = NonNullable<PolicyInput["scheduling"]>;
type Plugin = NonNullable<Given["plugins"]>[number];
type Profile = NonNullable<Given["schedulingProfiles"]>[number];

/** Names that are not their type in PascalCase. */
const TYPES: Readonly<Record<string, string>> = {
  SessionAffinity: "session-affinity-scorer",
  LoRAAffinityScorer: "lora-affinity-scorer",
  LoRAAffinityFilter: "lora-affinity-filter",
  VLLMMetricScraper: "vllm-metric-scraper",
};
/** What the older documents say where nothing is written. */
const DEFAULTS: Readonly<Record<string, Record<string, unknown>>> = {
  "precise-prefix-cache-scorer": { cacheHitThreshold: 0.5 },
  "load-aware-scorer": OLDER_LOAD,
};
const SLOTS = ["filter", "score", "scrape", "pick"] as const;

export interface OlderSpelling {
  /** The same in llm-d's spelling. */
  scheduling: Given;
  /** Where something that `scheduling` has was written. */
  written: (path: Path) => Path;
  /** Arguments of plugins that no profile enables. */
  notes: Mistake[];
}

/** `PrecisePrefixCacheScorer` → `precise-prefix-cache-scorer`; other spellings stay. */
export function typeOfOlderName(name: string): string {
  if (Object.hasOwn(TYPES, name)) return TYPES[name]!;
  if (!/^[A-Z][A-Za-z0-9]*$/.test(name)) return name;
  return name
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1-$2")
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .toLowerCase();
}

export function readOlderSpelling({ profiles = [], pluginConfig = [], ...rest }: Given): OlderSpelling {
  const plugins: Plugin[] = [];
  const origins = new Map<string, Path>();
  const root = ["scheduling"];
  const schedulingProfiles = profiles.map(({ name, plugins: slots }, i): Profile => {
    const refs: Profile["plugins"] = [];
    for (const slot of SLOTS)
      for (const [j, given] of (slots[slot]?.enabled ?? []).entries()) {
        const type = typeOfOlderName(given.name);
        const at = [...root, "profiles", i, "plugins", slot, "enabled", j];
        const configured = pluginConfig.findIndex((c) => c.name === given.name);
        const index = plugins.length;
        const ref = i === 0 ? type : `${name}/${type}`;
        plugins.push({
          type,
          ...(ref === type ? {} : { name: ref }),
          parameters: {
            ...DEFAULTS[type],
            ...pluginConfig[configured]?.args,
            ...given.args,
            ...(given.interval === undefined ? {} : { interval: given.interval }),
          },
        });
        const to = (path: Path, from: Path) => origins.set(JSON.stringify(path), from);
        to([...root, "plugins", index], at);
        to([...root, "plugins", index, "type"], [...at, "name"]);
        to(
          [...root, "plugins", index, "parameters"],
          given.args || configured < 0 ? [...at, "args"] : [...root, "pluginConfig", configured, "args"],
        );
        if (slot === "scrape") continue;
        to([...root, "schedulingProfiles", i, "plugins", refs.length], at);
        to([...root, "schedulingProfiles", i, "plugins", refs.length, "pluginRef"], [...at, "name"]);
        refs.push({ pluginRef: ref, ...(given.weight === undefined ? {} : { weight: given.weight }) });
      }
    origins.set(JSON.stringify([...root, "schedulingProfiles", i]), [...root, "profiles", i]);
    return { name, plugins: refs };
  });
  const written = (path: Path): Path => {
    for (let n = path.length; n > 0; n--) {
      const from = origins.get(JSON.stringify(path.slice(0, n)));
      if (from) return [...from, ...path.slice(n)];
    }
    return path;
  };
  const enabled = new Set(
    profiles
      .flatMap(({ plugins: slots }) => SLOTS.flatMap((s) => slots[s]?.enabled ?? []))
      .map((p) => p.name),
  );
  const notes = pluginConfig.flatMap(({ name }, i) =>
    enabled.has(name)
      ? []
      : [{ path: [...root, "pluginConfig", i], message: `is not used: no profile enables ${name}` }],
  );
  return { scheduling: { ...rest, plugins, schedulingProfiles }, written, notes };
}
