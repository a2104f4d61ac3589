// A whole policy → the program that gateways and agent run. Pure; the catalogue says what each plugin type is.
import { durationMs } from "../config/duration.js";
import { type Mistake, nearest, type Path } from "../config/validate.js";
import type { DisaggregationProgram, RulesProgram } from "../wire.js";
import { Build } from "./build.js";
import { disaggregationNotes, disaggregationProgram } from "./disaggregation.js";
import type { Policy, Scheduling } from "./document.js";
import { type Decider, type Declared, type Handling, handlingOf, SINGLE } from "./handlers.js";
import { readParameters } from "./parameters.js";
import { PLUGIN_TYPES, PROFILE_KINDS, runningTypes, UNUSED_SECTIONS } from "./plugin-catalogue.js";
import type { OpParts, PluginKind, PluginType } from "./plugin-type.js";
import type { ProgramOp, ProgramProfile, SchedulingProgram } from "./program.js";
import { compileRules, ruleNotes } from "./request-rules.js";
import { type ScrapeProgram, scrapeProgramOf } from "./scrapers.js";

/** What is run of a policy. */
export interface PolicyProgram {
  scheduling: SchedulingProgram;
  disaggregation: DisaggregationProgram;
  scrape: ScrapeProgram;
  bodyReadBytes: number;
  blockBytes: number;
  maxEntries: number;
  /** How long a filter uses its table without the agent, ms. */
  staleMaxMs: number;
  debugHeaders: "all" | "trusted" | "none";
  reservedFields: "reject" | "allow";
  isolation: "none" | "salt";
  rules: RulesProgram;
}

/** Something that is accepted and does not act as it is written. */
export type Note = Mistake;

export interface Compiled {
  program: PolicyProgram;
  mistakes: Mistake[];
  notes: Note[];
}

/** Filters and scorers of one profile; its picker is one more operation. */
const MAX_OPERATIONS = 31;
/** Of all profiles together, pickers included. */
const MAX_ALL_OPERATIONS = 128;

/**
 * Compiles; the program counts only when there are no mistakes. `modules`: attributes that plugin modules of the agent
 * provide.
 */
export function compilePolicy(policy: Policy, modules: readonly string[] = []): Compiled {
  const mistakes: Mistake[] = [];
  const notes: Note[] = [];
  const { scheduling, limits } = policy;
  for (const [key, why] of Object.entries(UNUSED_SECTIONS))
    if (Object.hasOwn(scheduling, key))
      notes.push({ path: ["scheduling", key], message: `is not used: ${why}` });
  const declared = declare(scheduling, mistakes, notes);
  const plugins = [...declared.values()].filter((d) => d !== null);
  const scrape = scrapeProgramOf(
    plugins.filter(({ type }) => PLUGIN_TYPES.get(type)!.runs?.as === "scraper"),
    mistakes,
  );
  const attributes = new Set(scrape.attributes.flatMap(({ metrics }) => metrics.map((m) => m.attribute)));
  const build = new Build(new Set([...attributes, ...modules]), mistakes);
  const { decider, ...program } = compileScheduling(scheduling, declared, build, mistakes, notes);
  return {
    program: {
      scheduling: program,
      disaggregation: disaggregationProgram(policy.disaggregation, decider),
      scrape,
      bodyReadBytes: limits.bodyReadBytes,
      blockBytes: limits.blockBytes,
      maxEntries: limits.maxEntries,
      staleMaxMs: durationMs(limits.staleMax),
      debugHeaders: policy.headers.debugHeaders,
      reservedFields: policy.trust.reservedFields,
      isolation: policy.trust.isolation,
      rules: compileRules(policy, policy.trust.callers),
    },
    mistakes,
    notes: [...notes, ...disaggregationNotes(policy.disaggregation, decider), ...ruleNotes(policy)],
  };
}

/** By name: each declared plugin, null when there is a mistake in it. */
type Plugins = Map<string, Declared | null>;

function declare(scheduling: Scheduling, mistakes: Mistake[], notes: Note[]): Plugins {
  const declared: Plugins = new Map();
  scheduling.plugins.forEach((plugin, i) => {
    const at = (...path: Path) => ["scheduling", "plugins", i, ...path];
    const type = PLUGIN_TYPES.get(plugin.type);
    const name = plugin.name ?? plugin.type;
    if (declared.has(name))
      mistakes.push({
        path: at(plugin.name === undefined ? "type" : "name"),
        message: `another plugin is called ${JSON.stringify(name)}; give one of them another name`,
      });
    declared.set(name, null);
    if (!type?.runs) {
      mistakes.push({
        path: at("type"),
        message: type ? notRun(plugin.type, type.kind) : unknownType(plugin.type),
      });
      return;
    }
    const path = at("parameters");
    const parameters = readParameters(
      plugin.type,
      type.parameters ?? {},
      plugin.parameters ?? {},
      path,
      mistakes,
      notes,
    );
    if (parameters) declared.set(name, { type: plugin.type, kind: type.kind, parameters, path });
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

const PROFILES = ["scheduling", "schedulingProfiles"];

function compileScheduling(
  scheduling: Scheduling,
  declared: Plugins,
  build: Build,
  mistakes: Mistake[],
  notes: Note[],
): SchedulingProgram & { decider: Decider | null } {
  const { schedulingProfiles: given } = scheduling;
  const handlers = [...declared.values()].filter((d) => d?.kind === "handler");
  const handlings = handlers.filter((d) => PLUGIN_TYPES.get(d!.type)!.runs?.as === "handler").map((d) => d!);
  for (const { path } of handlings.slice(1))
    mistakes.push({ path: path.slice(0, -1), message: "another handler chooses profiles already; keep one" });
  const names = given.map(({ name }) => name);
  names.forEach((name, i) => {
    if (names.indexOf(name) < i)
      mistakes.push({
        path: [...PROFILES, i, "name"],
        message: `another profile is called ${JSON.stringify(name)}`,
      });
  });
  const used = new Set<string>();
  const profiles = given.map((_, i) => compileProfile(scheduling, i, declared, used, build, mistakes, notes));
  const operations = profiles.reduce((n, { ops }) => n + ops.length, 0);
  if (operations > MAX_ALL_OPERATIONS)
    mistakes.push({
      path: PROFILES,
      message: `have ${operations} filters, scorers and pickers together, at most ${MAX_ALL_OPERATIONS} are possible`,
    });
  let handling: Handling = handlings[0] ? handlingOf(handlings[0], names, declared, mistakes) : SINGLE;
  if (handling.handler === "Single") {
    for (let i = 1; i < given.length; i++)
      mistakes.push({
        path: [...PROFILES, i],
        message:
          "one profile is run for all requests; keep one, or list a handler that chooses: disagg-profile-handler, pd-profile-handler, header-profile-handler",
      });
    // One profile with both role filters: the older documents' way to say that it serves both kinds of pods.
    const refs = new Set(given[0]?.plugins.map(({ pluginRef }) => declared.get(pluginRef)?.type));
    if (refs.has("decode-filter") && refs.has("prefill-filter"))
      handling = { ...SINGLE, handler: "Disaggregated", prefill: 0 };
  }
  for (const [i, { type, name }] of scheduling.plugins.entries()) {
    const kind = declared.get(name ?? type)?.kind;
    if (kind !== undefined && PROFILE_KINDS.includes(kind) && !used.has(name ?? type))
      notes.push({ path: ["scheduling", "plugins", i], message: "is not used: no profile refers to it" });
  }
  const named = handling.handler === "Header" ? handlings[0]! : null;
  return {
    ...handling,
    profiles,
    profileHeader: named ? build.header(named.parameters.text("headerName"), named.path) : 0,
    headers: build.headers,
    code: build.code,
    columns: build.columns,
    selectors: build.selectors,
    adapters: build.adapters,
  };
}

function compileProfile(
  scheduling: Scheduling,
  index: number,
  declared: Plugins,
  seen: Set<string>,
  build: Build,
  mistakes: Mistake[],
  notes: Note[],
): ProgramProfile {
  const { name, plugins: refs } = scheduling.schedulingProfiles[index]!;
  const at = (i: number, key: string) => [...PROFILES, index, "plugins", i, key];
  const ops: ProgramOp[] = [];
  const roles = new Set<"decode" | "prefill">();
  const used = new Set<string>();
  let picker: ProgramOp | null = null;
  let scorers = 0;
  refs.forEach(({ pluginRef, weight }, i) => {
    const plugin = declared.get(pluginRef);
    const wrong = (key: string, message: string) => mistakes.push({ path: at(i, key), message });
    if (used.has(pluginRef)) wrong("pluginRef", `${JSON.stringify(pluginRef)} is listed twice`);
    used.add(pluginRef);
    seen.add(pluginRef);
    if (plugin === undefined) wrong("pluginRef", undeclared(pluginRef, declared));
    if (!plugin) return;
    const { kind } = plugin;
    if (!PROFILE_KINDS.includes(kind))
      wrong(
        "pluginRef",
        `${JSON.stringify(pluginRef)} is a ${kind}; a profile lists filters, scorers and a picker`,
      );
    // The older documents write weight 0 at filters.
    if (kind !== "scorer" && weight !== undefined && weight !== 0)
      wrong("weight", `only scorers have a weight, this is a ${kind}; remove it`);
    const runs: PluginType["runs"] = PLUGIN_TYPES.get(plugin.type)!.runs;
    if (runs?.as === "role") roles.add(runs.role);
    if (runs?.as !== "operation") return;
    const parts = runs.of(plugin.parameters, build, plugin.path);
    const op = programOp(parts, pluginRef, kind === "scorer" ? (weight ?? 1) : 0);
    if (kind !== "picker") ops.push(op);
    else if (picker) wrong("pluginRef", `${JSON.stringify(picker.name)} picks already; keep one picker`);
    else picker = op;
    if (kind === "scorer" && op.weight > 0) scorers++;
  });
  if (ops.length > MAX_OPERATIONS)
    mistakes.push({
      path: [...PROFILES, index, "plugins"],
      message: `has ${ops.length} filters and scorers, at most ${MAX_OPERATIONS} are possible`,
    });
  if (scorers === 0)
    notes.push({
      path: [...PROFILES, index, "plugins"],
      message: "no scorer has weight: the picker alone chooses among the pods that pass the filters",
    });
  return {
    name,
    role: roles.has("prefill") && !roles.has("decode") ? "prefill" : "decode",
    ops: [...ops, picker ?? programOp({ op: "MaxScore", a: "Tie.Random" }, "max-score-picker", 0)],
  };
}

function programOp({ op, a = 0, p = [], flags = 0 }: OpParts, name: string, weight: number): ProgramOp {
  return { op, name, weight, a, flags, p: [p[0] ?? 0, p[1] ?? 0, p[2] ?? 0, p[3] ?? 0] };
}

function undeclared(ref: string, declared: Plugins): string {
  const names = [...declared.keys()];
  const near = nearest(ref, names);
  return `no plugin is called ${JSON.stringify(ref)}; ${
    near === null ? `there are: ${names.join(", ")}` : `did you mean ${JSON.stringify(near)}?`
  }`;
}
