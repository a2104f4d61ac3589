// Who decides when a prompt is split: one place, or a mistake that names the other.
import { describe, expect, test } from "vitest";
import { pointer } from "../../agent/config/validate.js";
import { checkPolicy } from "../../agent/policy/check.js";

const profiles = [
  { name: "decode", plugins: [{ pluginRef: "decode-filter" }] },
  { name: "prefill", plugins: [{ pluginRef: "prefill-filter" }] },
];
const filters = [{ type: "decode-filter" }, { type: "prefill-filter" }];
const policy = (mode: string, ...plugins: object[]) => ({
  disaggregation: { mode },
  scheduling: { plugins: [...filters, ...plugins], schedulingProfiles: profiles },
});
const prefixBased = { type: "prefix-based-pd-decider", parameters: { nonCachedTokens: 64 } };
const by = (decider: string) => ({
  type: "disagg-profile-handler",
  parameters: { deciders: { prefill: decider } },
});

describe("a scheduling configuration that decides when to split", () => {
  const deciding: [string, object[], string][] = [
    ["by a prefix-based decider", [prefixBased, by(prefixBased.type)], "/scheduling/plugins/2/type"],
    [
      "always",
      [{ type: "always-disagg-pd-decider" }, by("always-disagg-pd-decider")],
      "/scheduling/plugins/2/type",
    ],
    [
      "by its handler's threshold",
      [{ type: "pd-profile-handler", parameters: { threshold: 64 } }],
      "/scheduling/plugins/2/parameters/threshold",
    ],
  ];
  test.each(deciding)("%s is refused beside mode: gateway, with its path", (_, plugins, path) => {
    const checked = checkPolicy(policy("gateway", ...plugins));
    expect(checked.right ? [] : checked.mistakes.map((m) => pointer(m.path))).toEqual([path]);
    expect(checked.right ? "" : checked.mistakes[0]!.message).toContain("disaggregation.threshold");
  });

  test.each(deciding)("%s is accepted where the gateway does not split", (_, plugins) => {
    expect(checkPolicy(policy("none", ...plugins))).toMatchObject({ right: true });
  });

  test("that names no decider is accepted beside mode: gateway", () => {
    expect(checkPolicy(policy("gateway", { type: "disagg-profile-handler" }))).toMatchObject({ right: true });
  });
});
