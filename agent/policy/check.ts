// A policy as somebody wrote it → the whole document and what gateways run, or every mistake in it.
import { durationMs } from "../config/duration.js";
import { type Mistake, mistakesOf } from "../config/validate.js";
import { compilePolicy, type Note, type PolicyProgram } from "./compile.js";
import {
  DEFAULT_POLICY,
  type Policy,
  type PolicyInput,
  PolicyInputSchema,
  type Scheduling,
} from "./document.js";
import { isObject } from "./merge-patch.js";
import { readOlderSpelling } from "./older-spelling.js";
import { PLUGIN_TYPES, PROFILE_KINDS, REFUSED_SECTIONS, UNUSED_SECTIONS } from "./plugin-catalogue.js";
import { completedRules, ruleMistakes } from "./request-rules.js";
import { expandShortForm } from "./short-form.js";

export interface CheckedPolicy {
  right: true;
  policy: Policy;
  program: PolicyProgram;
  /** What is accepted and does not act as it is written. */
  notes: Note[];
}

export interface RefusedPolicy {
  right: false;
  /** At least one. */
  mistakes: Mistake[];
}

/** Bounds of limits.staleMax, ms: heartbeats come once a second, and the filter counts 32 bits of ms. */
const STALE_MIN_MS = 5000;
const STALE_MAX_MS = 30 * 24 * 3_600_000;

/**
 * Checks and completes a policy; `value` is parsed JSON or YAML. Paths of mistakes begin at the document. `modules`:
 * attributes that plugin modules of the agent provide.
 */
export function checkPolicy(value: unknown, modules: readonly string[] = []): CheckedPolicy | RefusedPolicy {
  const mistakes = mistakesOf(value, PolicyInputSchema);
  // What has the right shape is checked further, so that all mistakes are named at once.
  const shaped = new Set(isObject(value) ? Object.keys(value) : []);
  for (const { path } of mistakes) shaped.delete(String(path[0]));
  const input: PolicyInput = Object.fromEntries(
    Object.entries(value ?? {}).filter(([key]) => shaped.has(key)),
  );
  const contradictions = contradictionsOf(input);
  mistakes.push(...contradictions);
  if (contradictions.some(({ path }) => path[0] === "scheduling")) return { right: false, mistakes };
  const older = input.scheduling?.profiles === undefined ? null : readOlderSpelling(input.scheduling);
  const policy = completed(older ? { ...input, scheduling: older.scheduling } : input);
  const compiled = compilePolicy(policy, modules);
  // What was written in the older spelling is told of where it was written.
  const told = (list: Mistake[]) =>
    older ? list.map(({ path, message }) => ({ path: older.written(path), message })) : list;
  mistakes.push(...told(compiled.mistakes), ...ruleMistakes(policy, policy.trust.callers));
  if (mistakes.length > 0) return { right: false, mistakes };
  return {
    right: true,
    policy,
    program: compiled.program,
    notes: [...(older?.notes ?? []), ...told(compiled.notes)],
  };
}

function contradictionsOf({ scheduling, limits }: PolicyInput): Mistake[] {
  const mistakes: Mistake[] = [];
  const at = (path: string[], message: string) => mistakes.push({ path, message });
  for (const [key, why] of Object.entries(REFUSED_SECTIONS))
    if (scheduling && Object.hasOwn(scheduling, key)) at(["scheduling", key], `is not run: ${why}`);
  if (scheduling) {
    const { profile, weights, plugins, schedulingProfiles, profiles, pluginConfig } = scheduling;
    const older = profiles === undefined ? "pluginConfig" : "profiles";
    if (
      (profiles ?? pluginConfig) !== undefined &&
      (plugins ?? schedulingProfiles ?? profile ?? weights) !== undefined
    )
      at(
        ["scheduling", older],
        "is the older spelling and cannot stand beside plugins, schedulingProfiles or a short form; write one of them",
      );
    else if (pluginConfig !== undefined && profiles === undefined)
      at(
        ["scheduling", "pluginConfig"],
        "has arguments of plugins that profiles enable, but there are no profiles",
      );
    const long = plugins ? "plugins" : "schedulingProfiles";
    const short = profile === undefined ? "weights" : "profile";
    if ((profile ?? weights) !== undefined && (plugins ?? schedulingProfiles) !== undefined)
      at(["scheduling", short], `is a short form and cannot stand beside ${long}; write one of them`);
    else if (weights !== undefined && profile !== "weighted")
      at(
        ["scheduling", "weights"],
        "belongs to the short form profile: weighted; a policy that lists plugins has its weights in schedulingProfiles",
      );
    if (schedulingProfiles !== undefined && plugins === undefined)
      at(
        ["scheduling", "schedulingProfiles"],
        "refers to plugins, but there are none; list them under plugins",
      );
  }
  if (limits?.staleMax !== undefined) {
    const ms = durationMs(limits.staleMax);
    if (ms < STALE_MIN_MS || ms > STALE_MAX_MS)
      at(["limits", "staleMax"], `must be from 5s to 720h, not ${limits.staleMax}`);
  }
  return mistakes;
}

function completed(input: PolicyInput): Policy {
  const d = DEFAULT_POLICY;
  return {
    apiVersion: d.apiVersion,
    scheduling: completedScheduling(input.scheduling ?? {}),
    limits: { ...d.limits, ...input.limits },
    headers: { ...d.headers, ...input.headers },
    sessions: {},
    disaggregation: { ...d.disaggregation, ...input.disaggregation },
    trust: { ...d.trust, ...input.trust, callers: { ...d.trust.callers, ...input.trust?.callers } },
    ...completedRules(input),
  };
}

/** Members in one order, so that equal policies are equal texts. */
function completedScheduling(given: NonNullable<PolicyInput["scheduling"]>): Scheduling {
  const head = {
    ...(given.apiVersion === undefined ? {} : { apiVersion: given.apiVersion }),
    ...(given.kind === undefined ? {} : { kind: given.kind }),
  };
  const unused = Object.fromEntries(
    Object.keys(UNUSED_SECTIONS)
      .filter((key) => Object.hasOwn(given, key))
      .map((key) => [key, given[key as keyof typeof given]]),
  );
  if (given.plugins === undefined) return { ...head, ...expandShortForm(given), ...unused };
  const plugins = given.plugins.map(({ type, name, parameters }) => ({
    type,
    ...(name === undefined ? {} : { name }),
    ...(parameters === undefined ? {} : { parameters }),
  }));
  // Without profiles, everything that a profile can hold is in one: llm-d's loader does so.
  const profiles: Scheduling["schedulingProfiles"] = given.schedulingProfiles ?? [
    {
      name: "default",
      plugins: [...new Set(plugins.filter(fitsProfile).map(({ type, name }) => name ?? type))].map(
        (pluginRef) => ({ pluginRef }),
      ),
    },
  ];
  return {
    ...head,
    plugins,
    schedulingProfiles: profiles.map((profile) => ({
      name: profile.name,
      plugins: profile.plugins.map(({ pluginRef, weight }) => ({
        pluginRef,
        ...(weight === undefined ? {} : { weight }),
      })),
    })),
    ...unused,
  };
}

function fitsProfile({ type }: { type: string }): boolean {
  const kind = PLUGIN_TYPES.get(type)?.kind;
  return kind !== undefined && PROFILE_KINDS.includes(kind);
}
