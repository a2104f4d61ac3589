// The short form of `scheduling`: a profile's name, and its weights. It is written; what is kept and shown is the
// EndpointPickerConfig that it stands for.
import { DEFAULT_WEIGHTS, type PolicyInput, type Scheduling, type Weights } from "./document.js";
import { isObject } from "./merge-patch.js";
import { NAMED_PROFILES, OLDER_LOAD } from "./named-profiles.js";

export type ShortForm = Pick<NonNullable<PolicyInput["scheduling"]>, "profile" | "weights">;

/** What a short form stands for. */
export function expandShortForm({ profile, weights }: ShortForm): Scheduling {
  if (profile !== "weighted") return structuredClone(NAMED_PROFILES[profile ?? "warm-until-busy"]!);
  const w = { ...DEFAULT_WEIGHTS, ...weights };
  return {
    plugins: [
      { type: "precise-prefix-cache-scorer" },
      { type: "load-aware-scorer", parameters: OLDER_LOAD },
      { type: "active-request-scorer" },
      { type: "max-score-picker", parameters: { tieBreak: "prompt" } },
    ],
    schedulingProfiles: [
      {
        name: "weighted",
        plugins: [
          { pluginRef: "precise-prefix-cache-scorer", weight: w.prefix },
          { pluginRef: "load-aware-scorer", weight: w.load },
          { pluginRef: "active-request-scorer", weight: w.inflight },
          { pluginRef: "max-score-picker" },
        ],
      },
    ],
  };
}

/** The short form that stands for exactly this, null when there is none. */
export function shortFormOf(scheduling: Scheduling): ShortForm | null {
  const refs = scheduling.schedulingProfiles[0]?.plugins ?? [];
  const weight = (ref: string) => refs.find((p) => p.pluginRef === ref)?.weight ?? 1;
  const weights: Weights = {
    prefix: weight("precise-prefix-cache-scorer"),
    load: weight("load-aware-scorer"),
    inflight: weight("active-request-scorer"),
  };
  const named = (Object.keys(NAMED_PROFILES) as NonNullable<ShortForm["profile"]>[]).map((profile) => ({
    profile,
  }));
  const forms: ShortForm[] = [...named, { profile: "weighted", weights }];
  return forms.find((form) => JSON.stringify(expandShortForm(form)) === JSON.stringify(scheduling)) ?? null;
}

/**
 * What a merge patch of `scheduling` is applied to. A patch in the short form meets the short form of what is there;
 * the weights of another profile are left behind.
 */
export function patchTarget(scheduling: Scheduling, patch: unknown): Record<string, unknown> {
  // The older spelling stands for a whole policy, as it is written.
  if (isObject(patch) && Object.hasOwn(patch, "profiles")) return {};
  if (!isObject(patch) || (!Object.hasOwn(patch, "profile") && !Object.hasOwn(patch, "weights")))
    return scheduling;
  const short = shortFormOf(scheduling);
  if (short === null) return {};
  return Object.hasOwn(patch, "profile") && patch["profile"] !== short.profile ? {} : { ...short };
}
