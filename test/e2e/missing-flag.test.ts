// A wrong installation: the filter waits for bodies, but Envoy was not told to show them to it.
import { afterAll, beforeAll, expect, test } from "vitest";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { envoyStat, waitFor } from "../../demo/processes.js";
import { gaugesAtZero } from "./admin-stats.js";
import { chunks, head, sendHttp1, sendHttp2 } from "./raw-client.js";

const CHAT = "/v1/chat/completions";
const AT_ONCE = 120;
const LATER = 40;

let fleet: Fleet;

beforeAll(async () => {
  fleet = await Fleet.create({ pods: 2, timeScale: 4, envoy: { allowStop: false } });
  await fleet.start();
});
afterAll(async () => {
  await fleet?.stop();
});

/** Short and long ones, with a length, in chunks, and over HTTP/2. */
function ask(i: number) {
  const content = `request ${i} ${"administration ".repeat(i % 5 === 0 ? 7000 : 10)}`;
  const body = Buffer.from(
    JSON.stringify({ model: MODEL, messages: [{ role: "user", content }], max_tokens: 2 }),
  );
  if (i % 3 === 0) return sendHttp2(fleet.gatewayPort, { path: CHAT, body });
  const bytes =
    i % 3 === 1
      ? [head(CHAT, [`content-length: ${body.length}`]), body]
      : [head(CHAT, ["transfer-encoding: chunked"]), chunks(body, 1500)];
  return sendHttp1(fleet.gatewayPort, Buffer.concat(bytes));
}
const asked = async (count: number) => {
  const answers = await Promise.all(Array.from({ length: count }, (_, i) => ask(i)));
  return answers.map((a) => [a.status, /^pod-\d$/.test(a.headers.get("x-sim-pod") ?? "")]);
};
const watchdog = () => envoyStat(fleet.adminPort, "warmgate_watchdog_total");

test("a filter without allow_on_headers_stop_iteration answers every request, and soon makes none of them wait", async () => {
  const first = await asked(AT_ONCE);
  expect(first.filter(([status, byPod]) => status !== 200 || !byPod)).toEqual([]);
  await waitFor("the watchdog to be counted", async () => (await watchdog()) > 0);
  expect(fleet.envoy!.output).toContain("is allow_on_headers_stop_iteration set?");

  // Each worker has met three such requests by now, so it holds no further one back. Workers tell once a second.
  let resumed = await watchdog();
  let since = Date.now();
  await waitFor("the count to stand still", async () => {
    const now = await watchdog();
    if (now !== resumed) since = Date.now();
    resumed = now;
    return Date.now() - since > 3000;
  });
  const later = await asked(LATER);
  expect(later.filter(([status, byPod]) => status !== 200 || !byPod)).toEqual([]);
  await gaugesAtZero(fleet.adminPort);
  expect(await watchdog()).toBe(resumed);
});
