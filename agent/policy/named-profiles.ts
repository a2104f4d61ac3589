// Profiles that a policy can name instead of listing plugins.
import type { Scheduling } from "./document.js";

type Ref = [type: string, weight?: number, parameters?: Record<string, unknown>];

function scheduling(name: string, refs: Ref[]): Scheduling {
  return {
    plugins: refs.map(([type, , parameters]) => ({ type, ...(parameters ? { parameters } : {}) })),
    schedulingProfiles: [
      {
        name,
        plugins: refs.map(([pluginRef, weight]) => ({
          pluginRef,
          ...(weight === undefined ? {} : { weight }),
        })),
      },
    ],
  };
}

/** The older documents' load score: a short queue and a free cache, 0.6 and 0.4. */
export const OLDER_LOAD = { maxQueueLength: 10, queueLengthWeight: 0.6, gpuUtilWeight: 0.4 };

/** By name; docs/policy.md says what each is for. */
export const NAMED_PROFILES: Readonly<Record<string, Scheduling>> = {
  "warm-until-busy": scheduling("default", [["warm-until-busy"]]),
  "llm-d-token-aware": scheduling("llm-d-token-aware", [
    ["prefix-cache-affinity-filter"],
    ["token-load-scorer", 1],
    ["max-score-picker"],
  ]),
  "llm-d-blend": scheduling("llm-d-blend", [
    ["queue-scorer", 2],
    ["kv-cache-utilization-scorer", 2],
    ["prefix-cache-scorer", 3],
    ["no-hit-lru-scorer", 2],
    ["max-score-picker"],
  ]),
  "seed-blend": scheduling("seed-blend", [
    ["precise-prefix-cache-scorer", 50],
    ["load-aware-scorer", 30, OLDER_LOAD],
    ["active-request-scorer", 15],
    ["session-affinity-scorer", 5],
    ["max-score-picker"],
  ]),
  "load-only": scheduling("load-only", [
    ["queue-scorer", 1],
    ["kv-cache-utilization-scorer", 1],
    ["active-request-scorer", 1],
    ["max-score-picker"],
  ]),
  "session-only": scheduling("session-only", [
    ["session-affinity-scorer", 1],
    ["max-score-picker", undefined, { tieBreak: "session" }],
  ]),
  "round-robin": scheduling("round-robin", [["round-robin-scorer", 1], ["max-score-picker"]]),
};
