// Prefill and decode as a pair of running vLLMs did it over NIXL: a client's request must become the two requests that
// these understood.

import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { engineMetrics } from "../../agent/load/engine-metrics.js";
import { fixturePath, type Recorded, recordedHttp } from "../agent/fixtures.js";
import { bodyOf, type Split, send, split } from "./split-host.js";

const recorded = recordedHttp("pd-nixl.json");
const find = (name: string): Recorded => recorded.find((one) => one.name.startsWith(name))!;
let s: Split;
beforeAll(async () => {
  s = await split();
});

/** What limits a prefill to one token; which of them an engine reads depends on its version. */
const LIMITS = { max_completion_tokens: 1, min_tokens: 1 };
/** Null and absent are the same to an engine. */
const withoutNulls = (value: object) =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => v !== null));

describe.each(["chat", "completion"])("a recorded split %s", (kind) => {
  test("comes of the client's request: both legs are what the engines were sent", () => {
    const prefill = find(`${kind}: prefill`);
    const decode = find(`${kind}: decode`);
    const { kv_transfer_params: remote, ...client } = decode.request!;
    const before = s.host.httpCalls.length;
    const { r } = send(s.host, { ...client, model: "m" }, [], decode.path);
    expect(s.host.httpCalls.length).toBe(before + 1);
    const call = s.host.httpCalls.at(-1)!;
    const sent = JSON.parse(call.body);
    expect(withoutNulls(sent.kv_transfer_params)).toEqual(
      withoutNulls(prefill.request!["kv_transfer_params"] as object),
    );
    expect({ ...sent, kv_transfer_params: 0 }).toEqual({
      ...LIMITS,
      ...prefill.request,
      model: "m",
      kv_transfer_params: 0,
    });
    s.host.answerCall(call, 200, JSON.stringify(prefill.response));
    expect(JSON.parse(bodyOf(r))).toEqual({ ...decode.request, model: "m" });
    expect(remote).toEqual(prefill.response.kv_transfer_params);
    r.end();
  });
});

test("a decode pod's metrics tell how many prompt tokens came from other pods", () => {
  const metrics = engineMetrics(readFileSync(fixturePath("metrics-decode-pd.txt"), "utf8"))!;
  expect(metrics.externalTokens).toBe(557);
});
