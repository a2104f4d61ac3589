// What a policy document becomes, and what is said about a wrong one.
import { describe, expect, test } from "vitest";
import { pointer } from "../../agent/config/validate.js";
import { checkPolicy } from "../../agent/policy/check.js";
import { DEFAULT_POLICY } from "../../agent/policy/document.js";
import { NAMED_PROFILES } from "../../agent/policy/named-profiles.js";
import { PLUGIN_TYPES } from "../../agent/policy/plugin-catalogue.js";
import { shortFormOf } from "../../agent/policy/short-form.js";

function accepted(value: unknown) {
  const checked = checkPolicy(value);
  if (!checked.right) throw new Error(JSON.stringify(checked.mistakes));
  return checked;
}

/** `path: reason` of every mistake. */
function refused(value: unknown): string[] {
  const checked = checkPolicy(value);
  if (checked.right) throw new Error("it was accepted");
  return checked.mistakes.map((m) => `${pointer(m.path)}: ${m.message}`);
}

const scheduling = (plugins: object[], refs?: object[]) => ({
  scheduling: {
    plugins,
    ...(refs === undefined ? {} : { schedulingProfiles: [{ name: "default", plugins: refs }] }),
  },
});

describe("a policy that is right", () => {
  test("has a default for every key", () => {
    const { policy, program, notes } = accepted({});
    expect(policy).toEqual(DEFAULT_POLICY);
    expect(program).toEqual({
      scheduling: {
        handler: "Single",
        main: 0,
        prefill: null,
        headers: [],
        profileHeader: 0,
        profiles: [
          {
            name: "default",
            role: "decode",
            ops: [
              { op: "WarmUntilBusy", name: "warm-until-busy", weight: 1, a: 0, p: [0, 0, 0, 0], flags: 0 },
              {
                op: "MaxScore",
                name: "max-score-picker",
                weight: 0,
                a: "Tie.Random",
                p: [0, 0, 0, 0],
                flags: 0,
              },
            ],
          },
        ],
        code: [],
        columns: [],
        selectors: [],
        adapters: false,
      },
      disaggregation: {
        mode: "none",
        by: "gateway",
        threshold: 10,
        promptTokens: 0,
        timeoutMs: 30_000,
        onFailure: "local",
        maxConcurrent: 256,
        maxBodyBytes: 4_194_304,
        blocksExpireMs: 480_000,
        transferTokensPerSecond: 200_000,
        stallWeight: 0.25,
      },
      scrape: { engine: null, attributes: [] },
      bodyReadBytes: 524_288,
      blockBytes: 128,
      maxEntries: 1_000_000,
      staleMaxMs: 600_000,
      debugHeaders: "trusted",
      reservedFields: "reject",
      isolation: "none",
      rules: {
        callers: { principals: [], claim: null, tokens: [] },
        maxTimeoutMs: 600_000,
        maxRetries: 3,
        objectives: [],
        overrides: [],
        rewrites: [],
        saturation: {
          detector: "utilization-detector",
          queueDepthThreshold: 5,
          kvCacheUtilThreshold: 0.8,
          headroom: 0,
          concurrencyMode: "requests",
          maxConcurrency: 100,
          maxTokenConcurrency: 1_000_000,
        },
        queue: {
          enabled: false,
          maxRequests: 512,
          maxBytes: 67_108_864,
          maxBodyBytes: 1_048_576,
          ttlMs: 30_000,
        },
        sampleRate: 0,
        filterState: false,
        slowSharingMs: 100,
        keepWhenSlow: false,
        subsetMetadata: false,
      },
    });
    expect(notes).toEqual([]);
  });

  test("stays the same when what is shown is written back", () => {
    const { policy } = accepted({ scheduling: { profile: "weighted", weights: { prefix: 1.5 } } });
    expect(accepted(structuredClone(policy)).policy).toEqual(policy);
  });

  test.each([
    [
      "the short form with its default weights",
      { scheduling: { profile: "weighted" } },
      "Prefix 50, LoadBlend 30, ActiveRequests 20, MaxScore",
    ],
    [
      "the short form with one weight",
      { scheduling: { profile: "weighted", weights: { prefix: 150 } } },
      "Prefix 150, LoadBlend 30, ActiveRequests 20, MaxScore",
    ],
    [
      "llm-d's blend of prefix, queue and cache use",
      scheduling(
        [
          { type: "prefix-cache-scorer" },
          { type: "queue-scorer" },
          { type: "kv-cache-utilization-scorer" },
          { type: "max-score-picker" },
          { type: "single-profile-handler" },
        ],
        [
          { pluginRef: "prefix-cache-scorer", weight: 3 },
          { pluginRef: "queue-scorer", weight: 2.5 },
          { pluginRef: "kv-cache-utilization-scorer", weight: 0.5 },
          { pluginRef: "max-score-picker" },
        ],
      ),
      "Prefix 3, Queue 2.5, KvUsage 0.5, MaxScore",
    ],
    [
      "plugins by their own names, and weight 1 where none is given",
      scheduling(
        [
          { type: "precise-prefix-cache-scorer", name: "warm" },
          { type: "active-request-scorer", name: "idle" },
        ],
        [{ pluginRef: "warm", weight: 3 }, { pluginRef: "idle" }],
      ),
      "Prefix 3, ActiveRequests 1, MaxScore",
    ],
    [
      "plugins without a profile, which all count once",
      scheduling([{ type: "queue-scorer" }, { type: "active-request-scorer" }, { type: "decode-filter" }]),
      "Queue 1, ActiveRequests 1, MaxScore",
    ],
    ["a profile without scorers", scheduling([{ type: "random-picker" }]), "RandomPick"],
    [
      "llm-d's current default",
      { scheduling: { profile: "llm-d-token-aware" } },
      "FilterPrefixAffinity, TokenLoad 1, MaxScore",
    ],
  ])("compiles %s", (_, value, wanted) => {
    const { profiles } = accepted(value).program.scheduling;
    expect(profiles[0]!.ops.map(({ op, weight }) => (weight ? `${op} ${weight}` : op)).join(", ")).toBe(
      wanted,
    );
  });

  test.each(Object.keys(NAMED_PROFILES))(
    "may name the profile %s, and is shown as what that stands for",
    (name) => {
      const { policy, program, notes } = accepted({ scheduling: { profile: name } });
      expect(policy.scheduling).toEqual(NAMED_PROFILES[name]);
      expect(accepted(structuredClone(policy)).program).toEqual(program);
      expect(shortFormOf(policy.scheduling)).toEqual({ profile: name });
      expect(notes).toEqual([]);
    },
  );

  test("compiles warm-until-busy from its plugin and from its short form", () => {
    const long = accepted(scheduling([{ type: "warm-until-busy" }, { type: "max-score-picker" }]));
    expect(accepted({ scheduling: { profile: "warm-until-busy" } }).program).toEqual(long.program);
  });

  test("says what is accepted and does not act as it is written", () => {
    const { notes } = accepted(
      scheduling(
        [
          { type: "prefix-cache-scorer", parameters: { blockSize: 64 } },
          { type: "queue-scorer" },
          { type: "max-score-picker", parameters: { maxNumOfEndpoints: 2 } },
        ],
        [{ pluginRef: "prefix-cache-scorer" }],
      ),
    );
    expect(notes.map((n) => pointer(n.path))).toEqual([
      "/scheduling/plugins/0/parameters/blockSize",
      "/scheduling/plugins/2/parameters/maxNumOfEndpoints",
      "/scheduling/plugins/1",
      "/scheduling/plugins/2",
    ]);
  });

  test("may carry the head of an EndpointPickerConfig", () => {
    const head = { apiVersion: "llm-d.ai/v1alpha1", kind: "EndpointPickerConfig" };
    const { policy } = accepted({ scheduling: { ...head, plugins: [{ type: "queue-scorer" }] } });
    expect(policy.scheduling).toMatchObject(head);
  });
});

describe("a policy that is wrong is refused with a path and a reason:", () => {
  test.each<[string, unknown, RegExp]>([
    ["no object at all", [1], /^: must be a mapping, not a list$/],
    ["null", null, /^: must be a mapping, but it is empty$/],
    ["an unknown key", { limit: {} }, /^\/limit: unknown key "limit"; did you mean "limits"\?$/],
    [
      "an unknown key far from all",
      { headers: { colour: 1 } },
      /^\/headers\/colour: unknown key "colour"; known keys here: debugHeaders$/,
    ],
    ["a key where none is known", { sessions: { ttl: 5 } }, /^\/sessions\/ttl: .*no keys are known here$/],
    ["a key named like a method", { constructor: 1 }, /^\/constructor: unknown key "constructor"/],
    ["a key with a slash", { "a/b~c": 1 }, /^\/a~1b~0c: unknown key "a\/b~c"/],
    [
      "another version",
      { apiVersion: "warmgate/v2" },
      /^\/apiVersion: must be "warmgate\/v1", not "warmgate\/v2"$/,
    ],
    [
      "a choice that does not exist",
      { headers: { debugHeaders: "some" } },
      /^\/headers\/debugHeaders: must be one of all, trusted, none, not "some"$/,
    ],
    [
      "a number out of range",
      { limits: { bodyReadBytes: 4095 } },
      /^\/limits\/bodyReadBytes: must be a whole number from 4096 to 16777216, not 4095$/,
    ],
    [
      "a text for a number",
      { limits: { maxEntries: "many" } },
      /^\/limits\/maxEntries: must be a whole number/,
    ],
    [
      "a duration without unit",
      { limits: { staleMax: "10" } },
      /^\/limits\/staleMax: must be a text like 30s/,
    ],
    [
      "a duration too short",
      { limits: { staleMax: "4s" } },
      /^\/limits\/staleMax: must be from 5s to 720h, not 4s$/,
    ],
    ["a duration too long", { limits: { staleMax: "721h" } }, /^\/limits\/staleMax: must be from 5s to 720h/],
    [
      "disaggregation",
      { disaggregation: { mode: "both" } },
      /^\/disaggregation\/mode: must be one of none, gateway, sidecar, not "both"$/,
    ],
    [
      "a short form beside plugins",
      { scheduling: { profile: "weighted", plugins: [{ type: "queue-scorer" }] } },
      /^\/scheduling\/profile: is a short form and cannot stand beside plugins/,
    ],
    [
      "weights of no profile",
      { scheduling: { weights: { prefix: 1 } } },
      /^\/scheduling\/weights: belongs to the short form profile: weighted/,
    ],
    [
      "profiles without plugins",
      { scheduling: { schedulingProfiles: [{ name: "a", plugins: [] }] } },
      /^\/scheduling\/schedulingProfiles: refers to plugins, but there are none/,
    ],
    [
      "a part of llm-d's file that is not run",
      { scheduling: { flowControl: {} } },
      /^\/scheduling\/flowControl: is not run: requests are not queued/,
    ],
    [
      "an unknown plugin type, with the nearest known one",
      scheduling([{ type: "queue-scorrer" }]),
      /^\/scheduling\/plugins\/0\/type: unknown plugin type "queue-scorrer"; did you mean "queue-scorer"\?$/,
    ],
    [
      "an unknown plugin type near none",
      scheduling([{ type: "frobnicate" }]),
      /^\/scheduling\/plugins\/0\/type: .*scorers that run: warm-until-busy, precise-prefix-cache-scorer/,
    ],
    [
      "a known scorer that is not run, with those that are",
      scheduling([{ type: "latency-scorer" }]),
      /^\/scheduling\/plugins\/0\/type: scorer "latency-scorer" is known but not run; of its kind these are: warm-until-busy,/,
    ],
    [
      "a known plugin of a kind that is not run",
      scheduling([{ type: "probabilistic-admitter" }]),
      /admitter "probabilistic-admitter" is known but not run; none of its kind is: remove it$/,
    ],
    [
      "two plugins of one name",
      scheduling([{ type: "queue-scorer" }, { type: "queue-scorer" }]),
      /^\/scheduling\/plugins\/1\/type: another plugin is called "queue-scorer"/,
    ],
    [
      "an unknown parameter",
      scheduling([{ type: "load-aware-scorer", parameters: { treshold: 10 } }]),
      /^\/scheduling\/plugins\/0\/parameters\/treshold: unknown parameter .*did you mean "threshold"\?$/,
    ],
    [
      "a parameter of a plugin that has none",
      scheduling([{ type: "queue-scorer", parameters: { max: 10 } }]),
      /parameters\/max: unknown parameter "max" of queue-scorer; it has none$/,
    ],
    [
      "a parameter that cannot be honoured",
      scheduling([{ type: "prefix-cache-affinity-filter", parameters: { ttftSource: "latencyPredictor" } }]),
      /parameters\/ttftSource: must be prefillThroughput, which is what gateways run, not "latencyPredictor"$/,
    ],
    [
      "a parameter out of its bounds",
      scheduling([{ type: "max-score-picker", parameters: { maxNumOfEndpoints: 4 } }]),
      /maxNumOfEndpoints: must be a whole number from 1 to 3, not 4$/,
    ],
    [
      "a reference to no plugin",
      scheduling([{ type: "queue-scorer" }], [{ pluginRef: "queue-score" }]),
      /plugins\/0\/pluginRef: no plugin is called "queue-score"; did you mean "queue-scorer"\?$/,
    ],
    [
      "a reference to a handler",
      scheduling([{ type: "single-profile-handler" }], [{ pluginRef: "single-profile-handler" }]),
      /pluginRef: "single-profile-handler" is a handler; a profile lists filters, scorers and a picker$/,
    ],
    [
      "a plugin referred to twice",
      scheduling([{ type: "queue-scorer" }], [{ pluginRef: "queue-scorer" }, { pluginRef: "queue-scorer" }]),
      /plugins\/1\/pluginRef: "queue-scorer" is listed twice$/,
    ],
    [
      "a negative weight",
      scheduling([{ type: "queue-scorer" }], [{ pluginRef: "queue-scorer", weight: -1 }]),
      /plugins\/0\/weight: must be a number from 0 to 1000000, not -1$/,
    ],
    [
      "an endless weight",
      scheduling(
        [{ type: "queue-scorer" }],
        [{ pluginRef: "queue-scorer", weight: Number.POSITIVE_INFINITY }],
      ),
      /plugins\/0\/weight: must be a number from 0 to 1000000/,
    ],
    [
      "a weight of a picker",
      scheduling([{ type: "max-score-picker" }], [{ pluginRef: "max-score-picker", weight: 1 }]),
      /plugins\/0\/weight: only scorers have a weight, this is a picker; remove it$/,
    ],
    [
      "two pickers",
      scheduling([{ type: "max-score-picker" }, { type: "max-score-picker", name: "b" }]),
      /plugins\/1\/pluginRef: "max-score-picker" picks already; keep one picker$/,
    ],
    [
      "two profiles",
      {
        scheduling: {
          plugins: [{ type: "queue-scorer" }],
          schedulingProfiles: [
            { name: "a", plugins: [{ pluginRef: "queue-scorer" }] },
            { name: "b", plugins: [{ pluginRef: "queue-scorer" }] },
          ],
        },
      },
      /^\/scheduling\/schedulingProfiles\/1: one profile is run for all requests; keep one, or list a handler/,
    ],
  ])("%s", (_, value, reason) => {
    expect(refused(value)).toEqual([expect.stringMatching(reason)]);
  });

  test("more filters and scorers than a program holds are refused, in one profile and in all", () => {
    const plugins = Array.from({ length: 32 }, (_, i) => ({ type: "queue-scorer", name: `q${i}` }));
    const refs = plugins.map(({ name }) => ({ pluginRef: name }));
    const profiles = (n: number, each: number) => ({
      scheduling: {
        plugins: [...plugins, { type: "header-profile-handler", parameters: { defaultProfile: "p0" } }],
        schedulingProfiles: Array.from({ length: n }, (_, i) => ({
          name: `p${i}`,
          plugins: refs.slice(0, each),
        })),
      },
    });
    expect(refused(profiles(1, 32))).toEqual([
      expect.stringMatching(/has 32 filters and scorers, at most 31/),
    ]);
    expect(refused(profiles(8, 16))).toEqual([expect.stringMatching(/have 136 .* together, at most 128/)]);
    expect(checkPolicy(profiles(8, 15)).right).toBe(true);
  });

  test("every mistake is named at once", () => {
    expect(refused({ limits: { bodyReadBytes: 1 }, headers: { debugHeaders: 2 }, trusts: {} })).toHaveLength(
      3,
    );
  });

  test("all that the catalogue does not run is refused as such, and nothing that it runs is", () => {
    for (const [type, { runs }] of PLUGIN_TYPES) {
      const checked = checkPolicy(scheduling([{ type }]));
      const said = checked.right ? "" : checked.mistakes.map(({ message }) => message).join();
      expect([type, said.includes("is known but not run")]).toEqual([type, runs === null]);
    }
  });
});
