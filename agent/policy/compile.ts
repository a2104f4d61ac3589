// A whole policy → the program that gateways run. Pure; the catalogue says what each plugin type is.
import { durationMs } from "../config/duration.js";
import { type Mistake, nearest, type Path } from "../config/validate.js";
import type { Policy, Scheduling, Weights } from "./document.js";
import {
  type ParameterRule,
  PLUGIN_TYPES,
  type PluginKind,
  type PluginType,
  PROFILE_KINDS,
  runningTypes,
} from "./plugin-catalogue.js";

/** What gateways run of a policy. */
export interface PolicyProgram {
  profile: "warm-until-busy" | "weighted";
  /** Of the weighted profile; their sum is 100, or 0 when no scorer has weight. */
  weights: Weights;
  bodyReadBytes: number;
  blockBytes: number;
  maxEntries: number;
  /** How long a filter uses its table without the agent, ms. */
  staleMaxMs: number;
  debugHeaders: "all" | "trusted" | "none";
  reservedFields: "reject" | "allow";
}

/** Something that is accepted and does not act as it is written. */
export type Note = Mistake;

export interface Compiled {
  program: PolicyProgram;
  mistakes: Mistake[];
  notes: Note[];
}

/** The filter's ties are absolute (a hundredth), so weights of every scale are brought to this sum. */
const WEIGHT_SUM = 100;

/** Compiles; the program counts only when there are no mistakes. */
export function compilePolicy(policy: Policy): Compiled {
  const mistakes: Mistake[] = [];
  const notes: Note[] = [];
  const declared = checkPlugins(policy.scheduling, mistakes, notes);
  const order = compileProfile(policy.scheduling, declared, mistakes, notes);
  const { limits } = policy;
  return {
    program: {
      ...order,
      bodyReadBytes: limits.bodyReadBytes,
      blockBytes: limits.blockBytes,
      maxEntries: limits.maxEntries,
      staleMaxMs: durationMs(limits.staleMax),
      debugHeaders: policy.headers.debugHeaders,
      reservedFields: policy.trust.reservedFields,
    },
    mistakes,
    notes,
  };
}

/** By name: the type of each declared plugin, null when the type itself is wrong. */
type Declared = Map<string, PluginType | null>;

function checkPlugins(scheduling: Scheduling, mistakes: Mistake[], notes: Note[]): Declared {
  const declared: Declared = new Map();
  scheduling.plugins.forEach((plugin, i) => {
    const at = (...path: Path) => ["scheduling", "plugins", i, ...path];
    const type = PLUGIN_TYPES.get(plugin.type);
    const name = plugin.name ?? plugin.type;
    if (declared.has(name))
      mistakes.push({
        path: at(plugin.name === undefined ? "type" : "name"),
        message: `another plugin is called ${JSON.stringify(name)}; give one of them another name`,
      });
    if (type?.runs) declared.set(name, type);
    else {
      declared.set(name, null);
      mistakes.push({
        path: at("type"),
        message: type ? notRun(plugin.type, type.kind) : unknownType(plugin.type),
      });
      return;
    }
    for (const [key, value] of Object.entries(plugin.parameters ?? {}))
      checkParameter(plugin.type, type, key, value, at("parameters", key), mistakes, notes);
  });
  return declared;
}

function notRun(type: string, kind: PluginKind): string {
  const running = runningTypes(kind);
  return `${kind} ${JSON.stringify(type)} is known but not run; ${
    running.length > 0 ? `of its kind these are: ${running.join(", ")}` : `none of its kind is: remove it`
  }`;
}

function unknownType(type: string): string {
  const near = nearest(type, [...PLUGIN_TYPES.keys()]);
  return `unknown plugin type ${JSON.stringify(type)}; ${
    near === null
      ? `scorers that run: ${runningTypes("scorer").join(", ")}`
      : `did you mean ${JSON.stringify(near)}?`
  }`;
}

function checkParameter(
  name: string,
  type: PluginType,
  key: string,
  value: unknown,
  path: Path,
  mistakes: Mistake[],
  notes: Note[],
): void {
  const known = type.parameters ?? {};
  const rule: ParameterRule | undefined = Object.hasOwn(known, key) ? known[key] : undefined;
  const refuse = (message: string) => mistakes.push({ path, message });
  if (!rule) {
    const near = nearest(key, Object.keys(known));
    const all = Object.keys(known);
    refuse(
      `unknown parameter ${JSON.stringify(key)} of ${name}; ${
        near !== null
          ? `did you mean ${JSON.stringify(near)}?`
          : all.length > 0
            ? `known ones: ${all.join(", ")}`
            : "it has none"
      }`,
    );
  } else if ("refused" in rule) refuse(`is known but not run: ${rule.refused}; remove it`);
  else if ("only" in rule) {
    if (value !== rule.only) refuse(`must be ${rule.only}, which is what gateways run, not ${shown(value)}`);
  } else {
    const [from, to] = rule.bounds ?? [];
    if (
      from !== undefined &&
      to !== undefined &&
      !(Number(value) >= from && Number(value) <= to && Number.isInteger(value))
    )
      refuse(`must be a whole number from ${from} to ${to}, not ${shown(value)}`);
    else notes.push({ path, message: `is not used: ${rule.unused}` });
  }
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}

function compileProfile(
  scheduling: Scheduling,
  declared: Declared,
  mistakes: Mistake[],
  notes: Note[],
): Pick<PolicyProgram, "profile" | "weights"> {
  const weights: Weights = { prefix: 0, load: 0, inflight: 0 };
  const root = ["scheduling", "schedulingProfiles"];
  scheduling.schedulingProfiles.slice(1).forEach((_, i) => {
    mistakes.push({ path: [...root, i + 1], message: "one profile is run for all requests; keep one" });
  });
  const refs = scheduling.schedulingProfiles[0]!.plugins;
  const scorers: number[] = [];
  let picker: string | null = null;
  let whole: number | null = null;
  const used = new Set<string>();
  refs.forEach(({ pluginRef, weight }, i) => {
    const at = (key: string) => [...root, 0, "plugins", i, key];
    const type = declared.get(pluginRef);
    if (used.has(pluginRef))
      mistakes.push({ path: at("pluginRef"), message: `${JSON.stringify(pluginRef)} is listed twice` });
    used.add(pluginRef);
    if (type === undefined)
      mistakes.push({ path: at("pluginRef"), message: undeclared(pluginRef, declared) });
    if (!type?.runs) return;
    if (!PROFILE_KINDS.includes(type.kind))
      mistakes.push({
        path: at("pluginRef"),
        message: `${JSON.stringify(pluginRef)} is a ${type.kind}; a profile lists filters, scorers and a picker`,
      });
    if (type.kind !== "scorer" && weight !== undefined)
      mistakes.push({
        path: at("weight"),
        message: `only scorers have a weight, this is a ${type.kind}; remove it`,
      });
    if (type.kind === "picker") {
      if (picker !== null)
        mistakes.push({
          path: at("pluginRef"),
          message: `${JSON.stringify(picker)} picks already; keep one picker`,
        });
      picker ??= pluginRef;
    }
    if (type.kind !== "scorer") return;
    scorers.push(i);
    if (type.runs.as === "warm-until-busy") whole ??= i;
    else if (type.runs.as !== "built-in") weights[type.runs.as] += weight ?? 1;
  });
  if (whole !== null && scorers.length > 1)
    mistakes.push({
      path: [...root, 0, "plugins", whole, "pluginRef"],
      message: "warm-until-busy orders pods by itself; no other scorer can stand beside it",
    });
  if (whole === null && weights.prefix + weights.load + weights.inflight === 0)
    notes.push({
      path: [...root, 0, "plugins"],
      message: "no scorer has weight: pods are chosen by a hash of the prompt alone",
    });
  for (const [i, { type, name }] of scheduling.plugins.entries()) {
    const kind = declared.get(name ?? type)?.kind;
    if (kind !== undefined && PROFILE_KINDS.includes(kind) && !used.has(name ?? type))
      notes.push({ path: ["scheduling", "plugins", i], message: "is not used: no profile refers to it" });
  }
  return { profile: whole === null ? "weighted" : "warm-until-busy", weights: scaled(weights) };
}

function undeclared(ref: string, declared: Declared): string {
  const names = [...declared.keys()];
  const near = nearest(ref, names);
  return `no plugin is called ${JSON.stringify(ref)}; ${
    near === null ? `there are: ${names.join(", ")}` : `did you mean ${JSON.stringify(near)}?`
  }`;
}

function scaled({ prefix, load, inflight }: Weights): Weights {
  const sum = prefix + load + inflight;
  if (sum === 0) return { prefix, load, inflight };
  const scale = (w: number) => (w * WEIGHT_SUM) / sum;
  return { prefix: scale(prefix), load: scale(load), inflight: scale(inflight) };
}
