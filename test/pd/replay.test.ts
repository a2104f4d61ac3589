// `warmgate replay` of splits: pairs of pods that the built filter chose under load, chosen again by pick.wasm.
import { Value } from "typebox/value";
import { expect, test } from "vitest";
import { DecisionLog } from "../../agent/decisions/log.js";
import type { Decision } from "../../agent/decisions/record.js";
import { type ReplayFile, replay } from "../../agent/decisions/replay.js";
import { decisionsView } from "../../agent/decisions/view.js";
import { DecisionsSchema, type ReplayDecision } from "../../agent/schemas/decisions.js";
import type { DisaggregationProgram, Role } from "../../agent/wire.js";
import { seededRandom } from "../../simulate/random.js";
import { DecisionRecorder } from "../wasm/decision-recorder.js";
import { DESTINATION, Host, type Request } from "../wasm/host.js";
import { chat, renderChatml, schedulingOf, TestAgent } from "../wasm/table.js";
import { good, PREFILL_PODS, send, split, splitting } from "./split-host.js";

const plugins = (...types: string[]) => types.map((pluginRef) => ({ pluginRef }));
/** A configuration with a prefill profile of these plugins. */
const prefilling = (...more: { type: string; parameters?: object }[]) => ({
  plugins: [
    { type: "disagg-profile-handler" },
    { type: "prefill-filter" },
    { type: "decode-filter" },
    { type: "active-request-scorer" },
    ...more.filter(({ type }) => type !== "active-request-scorer"),
  ],
  schedulingProfiles: [
    { name: "prefill", plugins: plugins("prefill-filter", ...more.map(({ type }) => type)) },
    { name: "decode", plugins: plugins("decode-filter", "active-request-scorer") },
  ],
});

const POLICIES: [string, object, Partial<DisaggregationProgram>][] = [
  ["where it pays, by predicted time", {}, { mode: "pays" }],
  ["always, by predicted time", {}, {}],
  ["to the sidecar, by predicted time", {}, { mode: "pays", by: "sidecar" }],
  [
    "by a profile with random ties",
    prefilling({ type: "active-request-scorer" }, { type: "max-score-picker" }),
    {},
  ],
  [
    "by a profile of chance",
    prefilling({ type: "prefix-cache-scorer" }, { type: "weighted-random-picker" }),
    {},
  ],
  [
    "by a profile in turn",
    prefilling({ type: "round-robin-scorer" }, { type: "max-score-picker" }),
    { mode: "pays" },
  ],
];
const ROLES: Role[] = ["both", "decode", "both", "prefill", "prefill", "decode", "prefill"];

/** A gateway under load, with pods of each role; every decision is recorded. */
async function recorded(scheduling: object, program: Partial<DisaggregationProgram>): Promise<ReplayFile> {
  const random = seededRandom(7);
  const agent = await TestAgent.create(ROLES.length, { scheduling: schedulingOf(scheduling) });
  agent.pods.forEach((row, i) => {
    row.role = ROLES[i]!;
  });
  agent.wire.setPods(agent.pods);
  agent.wire.setDisaggregation({ ...splitting, maxConcurrent: 64, timeoutMs: 60_000, ...program });
  const host = new Host({
    configuration: { sessionKey: "0123456789abcdef".repeat(4) },
    random: () => random.below(2 ** 32),
  });
  host.receive(agent.snapshot());
  const recorder = new DecisionRecorder(host, agent);
  const open: Request[] = [];
  let answered = 0;
  for (let i = 0; i < 120; i++) {
    const group = random.below(12);
    const body = chat(`${`prefix ${group} `.repeat(5 + group * group * 15)}${i}`);
    if (random.below(5) === 0) {
      agent.cache(random.below(ROLES.length), renderChatml(body.messages));
      host.receive(agent.wire.drain());
    }
    if (random.below(6) === 0)
      host.receive(
        agent.loads(() => ({
          waiting: random.below(4),
          running: random.below(30),
          loadAgeMs: random.below(8) === 0 ? 60_000 : 10,
        })),
      );
    open.push(send(host, body, [["x-session-id", `s${random.below(9)}`]]).r);
    if (random.below(2) === 0 && answered < host.httpCalls.length) {
      // Now and then a pod refuses, and is left out for a while.
      const refuses = random.below(4) === 0;
      host.answerCall(host.httpCalls[answered++]!, refuses ? 503 : 200, refuses ? "" : good);
    }
    if (random.below(3) === 0) {
      const done = open.splice(random.below(open.length), 1)[0]!;
      const address = done.header(DESTINATION)?.split(",")[0];
      if (done.resumed && address) {
        done.onResponse(address);
        done.onResponseBody(10);
      }
      done.end();
    }
    if (i % 3 === 0) recorder.collect(random);
  }
  recorder.collect(random);
  return recorder.file();
}

test.each(POLICIES)("pairs come out the same again: %s", async (_, scheduling, program) => {
  const file = await recorded(scheduling, program);
  const report = await replay(file);
  expect(report.decisions.filter((d) => d.outcome !== "same")).toEqual([]);
  const pairs = report.decisions.flatMap(({ pair }) => (pair ? [pair] : []));
  expect(pairs.length).toBeGreaterThan(60);
  for (const { recorded, again } of pairs) expect(again).toEqual(recorded);
  // Else nothing was chosen.
  const splits = pairs.filter(({ recorded }) => recorded.splits);
  expect(new Set(splits.map(({ recorded }) => recorded.prefills[0])).size).toBeGreaterThan(2);
  expect(new Set(splits.map(({ recorded }) => recorded.decode)).size).toBeGreaterThan(1);
  if (program.mode === "pays") expect(splits.length).toBeLessThan(pairs.length);
});

test("a pair that was tampered with is different, and one that is damaged or cut is skipped", async () => {
  const file = await recorded({}, { mode: "pays" });
  const at = file.decisions.findIndex((d) => (d as ReplayDecision).pair?.splits === true);
  type Pair = NonNullable<ReplayDecision["pair"]>;
  const tampered = async (change: (pair: Pair) => void) => {
    const copy = structuredClone(file);
    change((copy.decisions[at] as ReplayDecision).pair!);
    const { decisions, same } = await replay(copy);
    expect(same).toBe(file.decisions.length - 1);
    return decisions[at]!;
  };
  const prefill = (pair: Pair) => pair.candidates.find(({ prefillRank }) => prefillRank === 1)!;
  const outcomes = await Promise.all([
    tampered((pair) => {
      prefill(pair).pendingWork += 1e9;
    }),
    tampered((pair) => {
      prefill(pair).role = "decode";
    }),
    tampered((pair) => {
      pair.splits = false;
    }),
    tampered((pair) => {
      pair.seconds += 1e-9;
    }),
    tampered((pair) => {
      pair.aloneSeconds += 1e-9;
    }),
    tampered((pair) => {
      pair.complete = false;
    }),
    tampered((pair) => {
      for (const c of pair.candidates) c.rank = 0;
    }),
    tampered((pair) => {
      pair.transferTokensPerSecond = -1;
    }),
  ]);
  expect(outcomes.map(({ outcome }) => outcome)).toEqual([
    "different",
    "different",
    "different",
    "different",
    "different",
    "skipped",
    "skipped",
    "skipped",
  ]);
  expect(outcomes[0]!.why).toContain("chose");
  expect(outcomes[6]!.why).toBe("the record of its prefill is damaged");
});

/** What the agent makes of the records of what `send` sent. */
async function told(sampleRate: number, program: Partial<DisaggregationProgram> = {}) {
  const { agent, host } = await split({ threshold: 100, ...program });
  host.receive(agent.rules({ decisions: { sampleRate } }));
  const before = host.sent.length;
  send(host, chat("short"));
  const { r } = send(host, chat("long ".repeat(8000)), [["x-request-id", "long"]]);
  const destination = r.header(DESTINATION)!.split(",")[0];
  const prefill = host.httpCalls[0]?.headers.find(([name]) => name === DESTINATION)?.[1];
  host.tick();
  const log = new DecisionLog();
  const frames = host.frames().slice(before);
  for (const frame of frames) {
    const up = agent.wire.decodeUp(frame);
    if (up?.kind === "decision") log.take(up as Decision, 0);
  }
  const view = (all: boolean) => decisionsView(log, log.latest(10), (address) => `at ${address}`, all);
  return { destination, prefill, view, calls: host.calls };
}

test("people are shown where a prefill was to run and what that was predicted to take, or that it was in no question", async () => {
  const always = await told(1);
  const [long, short] = always.view(false).decisions;
  expect(short!.prefill).toBeNull();
  expect(long!.prefill).toMatchObject({ splits: true, decode: always.destination, aloneSeconds: null });
  expect(long!.prefill!.pods.map(({ address }) => address).sort()).toEqual(PREFILL_PODS);
  expect(long!.prefill!.pods[0]).toMatchObject({ address: always.prefill, pod: `at ${always.prefill}` });
  const pays = await told(1, { mode: "pays" });
  const { prefill } = pays.view(false).decisions[0]!;
  expect(prefill).toMatchObject({ splits: false, decode: null });
  expect(prefill!.seconds).toBeGreaterThan(prefill!.aloneSeconds!);
  for (const { view } of [always, pays])
    for (const all of [false, true])
      expect([...Value.Errors(DecisionsSchema, JSON.parse(JSON.stringify(view(all))))]).toEqual([]);
});

test("a split costs no host call more when no decision is watched", async () => {
  const [off, on] = [await told(0), await told(1)];
  expect(off.view(true).decisions).toEqual([]);
  const counted = (calls: Map<string, number>) =>
    Object.fromEntries([...calls].filter(([name]) => name !== "proxy_grpc_send" && name !== "random_get"));
  expect(counted(off.calls)).toEqual(counted(on.calls));
});
