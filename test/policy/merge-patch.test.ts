import { describe, expect, test } from "vitest";
import { mergePatch } from "../../agent/policy/merge-patch.js";
import { expandShortForm, patchTarget, shortFormOf } from "../../agent/policy/short-form.js";

describe("a merge patch", () => {
  // The examples of RFC 7396, appendix A.
  test.each<[unknown, unknown, unknown]>([
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])("makes of %j with %j: %j", (target, patch, result) => {
    const before = structuredClone([target, patch]);
    expect(mergePatch(target, patch)).toEqual(result);
    expect([target, patch]).toEqual(before);
  });

  test("reaches no prototype", () => {
    const merged = mergePatch({}, JSON.parse('{"__proto__": {"polluted": true}}')) as object;
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});

describe("the short form", () => {
  test("is found again in what it stands for", () => {
    for (const form of [
      { profile: "warm-until-busy" },
      { profile: "weighted", weights: { prefix: 1, load: 0, inflight: 2.5 } },
    ] as const)
      expect(shortFormOf(expandShortForm(form))).toEqual(form);
  });

  test("does not stand for a policy with plugins of its own", () => {
    const scheduling = expandShortForm({ profile: "weighted" });
    scheduling.plugins[0] = { type: "prefix-cache-scorer" };
    expect(shortFormOf(scheduling)).toBeNull();
  });

  test("of another profile takes no weights along", () => {
    const weighted = expandShortForm({ profile: "weighted", weights: { prefix: 1 } });
    expect(patchTarget(weighted, { weights: { load: 1 } })).toMatchObject({ weights: { prefix: 1 } });
    expect(patchTarget(weighted, { profile: "warm-until-busy" })).toEqual({});
    expect(patchTarget(weighted, { plugins: [] })).toBe(weighted);
  });
});
