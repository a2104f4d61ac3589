// Handler and decider types: which profiles are run for a request, and when its prefill goes to another pod.
import type { Mistake, Path } from "../config/validate.js";
import { isObject } from "./merge-patch.js";
import type { ParameterRule, Parameters } from "./parameters.js";
import type { PluginKind, PluginRow } from "./plugin-type.js";
import type { SchedulingProgram } from "./program.js";

/** llm-d's own; where nobody wrote a threshold, disaggregation.threshold is what counts. */
const SPLIT_TOKENS = 10;
const WRITES_HEADERS = "the gateway writes the headers of a split by itself";

const tokens = (value: number): ParameterRule => ({
  is: "number",
  default: value,
  from: 0,
  to: 1e9,
  whole: true,
});

const row = (
  kind: "handler" | "decider",
  type: string,
  parameters: Readonly<Record<string, ParameterRule>>,
): PluginRow => [type, { kind, runs: { as: kind }, parameters }];

export const HANDLERS: PluginRow[] = [
  row("handler", "single-profile-handler", {}),
  row("handler", "header-profile-handler", {
    headerName: { is: "text", default: "EPP-Profile" },
    defaultProfile: { is: "text", default: "decode" },
  }),
  row("handler", "disagg-profile-handler", {
    profiles: { is: "value" },
    deciders: { is: "value" },
    stageOrder: { only: "decode-first" },
  }),
  row("handler", "pd-profile-handler", {
    threshold: tokens(SPLIT_TOKENS),
    decodeProfile: { is: "text", default: "decode" },
    prefillProfile: { is: "text", default: "prefill" },
    deciderPluginName: { is: "text", default: "" },
    hashBlockSize: { unused: "cached prefixes are told in tokens" },
    prefixPluginName: { unused: "cached prefixes are told in tokens" },
    prefixPluginType: { unused: "cached prefixes are told in tokens" },
    primaryPort: { unused: WRITES_HEADERS },
  }),
  row("decider", "prefix-based-pd-decider", { nonCachedTokens: tokens(0), promptTokens: tokens(0) }),
  row("decider", "always-disagg-pd-decider", {}),
];

/** A plugin of a policy, with its parameters read. */
export interface Declared {
  type: string;
  kind: PluginKind;
  parameters: Parameters;
  /** Leads to its parameters. */
  path: Path;
}

/** When a scheduling configuration has prompts prefilled on another pod. */
export interface Decider {
  kind: "never" | "prefix" | "always";
  /** Tokens that the decode pod must lack at least. */
  uncachedTokens: number;
  /** Tokens that the prompt must have at least. */
  promptTokens: number;
  /** Leads to where that is written. */
  path: Path;
}

export interface Handling extends Pick<SchedulingProgram, "handler" | "main" | "prefill"> {
  /** null where the configuration leaves it to `disaggregation`. */
  decider: Decider | null;
}

export const SINGLE: Handling = { handler: "Single", main: 0, prefill: null, decider: null };

/** What a handler makes of the profiles, by name. */
export function handlingOf(
  handler: Declared,
  profiles: readonly string[],
  declared: ReadonlyMap<string, Declared | null>,
  mistakes: Mistake[],
): Handling {
  const { parameters: p, path } = handler;
  const index = (name: string, at: Path): number => {
    const found = profiles.indexOf(name);
    if (found < 0)
      mistakes.push({
        path: at,
        message: `no profile is called ${JSON.stringify(name)}; there are: ${profiles.join(", ")}`,
      });
    return Math.max(0, found);
  };
  if (handler.type === "header-profile-handler")
    return { ...SINGLE, handler: "Header", main: index(p.text("defaultProfile"), path) };
  if (handler.type === "pd-profile-handler") {
    const by = p.text("deciderPluginName");
    return {
      handler: "Disaggregated",
      main: index(p.text("decodeProfile"), path),
      prefill: index(p.text("prefillProfile"), path),
      decider: by
        ? deciderOf(by, [...path, "deciderPluginName"], declared, mistakes)
        : p.has("threshold")
          ? prefixBased(p.number("threshold"), 0, [...path, "threshold"])
          : null,
    };
  }
  if (handler.type === "disagg-profile-handler") {
    const named = isObject(p.value("profiles")) ? (p.value("profiles") as Record<string, unknown>) : {};
    const deciders = isObject(p.value("deciders")) ? (p.value("deciders") as Record<string, unknown>) : {};
    for (const [key, given] of [
      ["profiles", named],
      ["deciders", deciders],
    ] as const)
      if (Object.hasOwn(given, "encode"))
        mistakes.push({ path: [...path, key, "encode"], message: "is known but not run: remove it" });
    return {
      handler: "Disaggregated",
      main: index(String(named["decode"] ?? "decode"), [...path, "profiles"]),
      prefill: index(String(named["prefill"] ?? "prefill"), [...path, "profiles"]),
      decider:
        deciders["prefill"] === undefined
          ? null
          : deciderOf(String(deciders["prefill"]), [...path, "deciders", "prefill"], declared, mistakes),
    };
  }
  return SINGLE;
}

function deciderOf(
  ref: string,
  path: Path,
  declared: ReadonlyMap<string, Declared | null>,
  mistakes: Mistake[],
): Decider | null {
  const plugin = declared.get(ref);
  if (plugin?.kind !== "decider") {
    if (plugin !== null)
      mistakes.push({ path, message: `no decider is called ${JSON.stringify(ref)}; list it under plugins` });
    return null;
  }
  const { type, parameters } = plugin;
  if (type === "always-disagg-pd-decider")
    return { kind: "always", uncachedTokens: 0, promptTokens: 0, path: plugin.path.slice(0, -1) };
  return prefixBased(
    parameters.number("nonCachedTokens"),
    parameters.number("promptTokens"),
    plugin.path.slice(0, -1),
  );
}

/** llm-d: 0 uncached tokens mean never. */
function prefixBased(uncachedTokens: number, promptTokens: number, path: Path): Decider {
  return { kind: uncachedTokens === 0 ? "never" : "prefix", uncachedTokens, promptTokens, path };
}
