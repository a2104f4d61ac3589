// Who decides when a prompt is split: a scheduling configuration that says so, else `disaggregation`.
import { describe, expect, test } from "vitest";
import { pointer } from "../../agent/config/validate.js";
import { checkPolicy } from "../../agent/policy/check.js";

const profiles = [
  { name: "decode", plugins: [{ pluginRef: "decode-filter" }, { pluginRef: "queue-scorer" }] },
  { name: "prefill", plugins: [{ pluginRef: "prefill-filter" }, { pluginRef: "queue-scorer" }] },
];
const common = [{ type: "decode-filter" }, { type: "prefill-filter" }, { type: "queue-scorer" }];
const prefixBased = {
  type: "prefix-based-pd-decider",
  parameters: { nonCachedTokens: 64, promptTokens: 256 },
};
const by = (decider: string) => ({
  type: "disagg-profile-handler",
  parameters: { deciders: { prefill: decider } },
});

function accepted(disaggregation: object, ...plugins: object[]) {
  const checked = checkPolicy({
    disaggregation,
    scheduling: { plugins: [...common, ...plugins], schedulingProfiles: profiles },
  });
  if (!checked.right) throw new Error(JSON.stringify(checked.mistakes));
  return {
    program: checked.program.disaggregation,
    notes: checked.notes.map((note) => `${pointer(note.path)} ${note.message}`),
  };
}

describe("a scheduling configuration that decides when to split", () => {
  const deciding: [string, object[], object, string][] = [
    [
      "by a prefix-based decider",
      [prefixBased, by(prefixBased.type)],
      { mode: "always", threshold: 63, promptTokens: 256 },
      "/scheduling/plugins/3",
    ],
    [
      "always",
      [{ type: "always-disagg-pd-decider" }, by("always-disagg-pd-decider")],
      { mode: "always", threshold: 0, promptTokens: 0 },
      "/scheduling/plugins/3",
    ],
    [
      "never",
      [{ type: "prefix-based-pd-decider" }, by("prefix-based-pd-decider")],
      { mode: "none" },
      "/scheduling/plugins/3",
    ],
    [
      "by its handler's threshold",
      [{ type: "pd-profile-handler", parameters: { threshold: 64 } }],
      { mode: "always", threshold: 63, promptTokens: 0 },
      "/scheduling/plugins/3/parameters/threshold",
    ],
  ];
  test.each(deciding)("%s is what gateways run, by the gateway and by the sidecar", (_, plugins, program) => {
    for (const mode of ["gateway", "sidecar"]) {
      const found = accepted({ mode }, ...plugins);
      expect(found.program).toMatchObject({ by: mode, ...program });
      expect(found.notes).toEqual([]);
    }
  });

  test.each(deciding)("%s is told that it splits nothing in mode none", (_, plugins, __, path) => {
    const { program, notes } = accepted({}, ...plugins);
    expect(program.mode).toBe("none");
    expect(notes).toEqual([`${path} splits nothing while disaggregation.mode is none`]);
  });

  test("leaves no say to disaggregation.threshold and split, and those who wrote them are told", () => {
    const { program, notes } = accepted(
      { mode: "gateway", threshold: 500, split: "always" },
      prefixBased,
      by(prefixBased.type),
    );
    expect(program).toMatchObject({ threshold: 63 });
    expect(notes.map((note) => note.split(" ")[0])).toEqual([
      "/disaggregation/threshold",
      "/disaggregation/split",
    ]);
  });
});

test("without a decider disaggregation says when, also beside a handler", () => {
  for (const handler of [{ type: "disagg-profile-handler" }, { type: "pd-profile-handler" }])
    expect(accepted({ mode: "gateway", threshold: 500 }, handler)).toMatchObject({
      program: { mode: "pays", threshold: 500, promptTokens: 0 },
      notes: [],
    });
});
