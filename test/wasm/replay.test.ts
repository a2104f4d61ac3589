// `warmgate replay`: decisions that the built filter recorded under load, made again by pick.wasm.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type ReplayFile, replay } from "../../agent/decisions/replay.js";
import { packageRoot } from "../../agent/package-root.js";
import { seededRandom } from "../../simulate/random.js";
import { DecisionRecorder } from "./decision-recorder.js";
import { type Headers, Host, type Request } from "./host.js";
import { chat, renderChatml, schedulingOf, TestAgent } from "./table.js";

const ref = (...types: string[]) => types.map((pluginRef) => ({ pluginRef }));
const profile = (plugins: { type: string; parameters?: object }[], ...more: object[]) => ({
  plugins,
  schedulingProfiles: [{ name: "default", plugins: ref(...plugins.map(({ type }) => type)) }, ...more],
});

/** Every way to break a tie, every filter with chance in it, every memory that a pick has. */
const POLICIES: Record<string, object> = {
  "warm-until-busy": {},
  "llm-d-token-aware": profile([
    { type: "prefix-cache-affinity-filter", parameters: { explorationProbability: 0.3 } },
    { type: "token-load-scorer" },
    { type: "max-score-picker" },
  ]),
  "random ties of all": profile([
    { type: "active-request-scorer", parameters: { idleThreshold: 1000 } },
    { type: "max-score-picker" },
  ]),
  "weighted random": profile([
    { type: "queue-scorer" },
    { type: "prefix-cache-scorer" },
    { type: "weighted-random-picker" },
  ]),
  random: profile([{ type: "random-picker" }]),
  "round robin": profile([{ type: "round-robin-scorer" }, { type: "max-score-picker" }]),
  "no-hit LRU and sessions": profile([
    { type: "session-affinity-scorer" },
    { type: "no-hit-lru-scorer" },
    { type: "kv-cache-utilization-scorer" },
    { type: "max-score-picker" },
  ]),
  "labels, adapters, columns, an expression": profile([
    { type: "label-selector-filter", parameters: { matchLabels: { zone: "a" } } },
    { type: "lora-affinity-scorer" },
    {
      type: "endpoint-attribute-scorer",
      parameters: { attributeKey: "metric", algorithm: { type: "linear_lower_is_better" } },
    },
    { type: "expression-scorer", parameters: { expression: "1 / (1 + inflightRequests + metric)" } },
    { type: "max-score-picker" },
  ]),
};

/** A gateway under load: requests come and go, pods fill, some refuse; every decision is recorded. */
async function recorded(scheduling: object, requests = 150, late = false): Promise<ReplayFile> {
  const random = seededRandom(5);
  const program = schedulingOf(scheduling, ["metric"]);
  const agent = await TestAgent.create(7, { scheduling: program });
  const host = new Host({ random: () => random.below(2 ** 32) });
  agent.wire.setColumns(
    agent.pods.map(({ slot }) => ({
      slot,
      model: agent.model,
      labels: slot % 3 ? 1n : 0n,
      columns: [slot === 4 ? Number.NaN : slot / 8, "zone"],
      activeAdapters: slot % 2 ? ["m"] : [],
      waitingAdapters: slot === 2 ? ["m"] : [],
      maxAdapters: 2,
    })),
  );
  agent.wire.drain();
  host.receive(agent.snapshot());
  const recorder = new DecisionRecorder(host, agent);
  const collect = () =>
    recorder.collect(random, (up) => {
      if (!late || up?.kind !== "share") return;
      host.process.nowNs += 200_000_000n;
      host.receive([
        agent.wire.foreignFrame(up.stamp, 1, [
          { slot: 1, requests: 3, prefills: 1, work: 900.5, tokens: 800 },
        ]),
      ]);
    });
  const open: Request[] = [];
  for (let i = 0; i < requests; i++) {
    const group = random.below(12);
    const body = chat(`${`prefix ${group} `.repeat(40 + group * 60)}${i}`);
    if (random.below(5) === 0) {
      agent.cache(random.below(7), renderChatml(body.messages));
      host.receive(agent.wire.drain());
    }
    if (random.below(6) === 0)
      host.receive(
        agent.loads(() => ({
          waiting: random.below(6),
          running: random.below(20),
          kvUsage: random.below(100) / 100,
          loadAgeMs: random.below(8) === 0 ? 60_000 : 10,
        })),
      );
    const headers: Headers = [["x-session-id", `s${random.below(9)}`]];
    if (random.below(4) === 0) headers.push(["x-cache-policy", random.below(2) ? "ignore" : "balanced"]);
    const r = host.chat(body, headers);
    open.push(r);
    if (random.below(3) === 0) {
      const done = open.splice(random.below(open.length), 1)[0]!;
      const address = done.header("x-gateway-destination-endpoint")?.split(",")[0];
      if (address) {
        // Now and then the pod refuses, and is left out for a while.
        if (random.below(10) === 0) done.end(0x20n);
        else {
          done.onResponse(address);
          done.onResponseBody(10);
          done.end();
        }
      }
    }
    if (i % 3 === 0) collect();
  }
  collect();
  return recorder.file();
}

test.each(Object.keys(POLICIES))("decisions under load come out the same again: %s", async (name) => {
  const file = await recorded(POLICIES[name]!);
  const report = await replay(file);
  expect(report.decisions.filter((d) => d.outcome !== "same")).toEqual([]);
  expect(report.same).toBe(file.decisions.length);
  expect(report.same).toBeGreaterThan(120);
  // Else ties and chance were not tried.
  expect(new Set(report.decisions.map((d) => d.recorded[0])).size).toBeGreaterThan(2);
});

test("decisions that token-aware made because sharing was slow come out the same again, and say so", async () => {
  const file = await recorded({}, 90, true);
  const report = await replay(file);
  expect(report.different + report.skipped).toBe(0);
  const stoodIn = (file.decisions as { stoodIn: boolean }[]).filter((d) => d.stoodIn);
  expect(stoodIn.length).toBeGreaterThan(30);
  expect(stoodIn.length).toBeLessThan(file.decisions.length);
});

test("a record that was tampered with is different, one that is damaged or lacks its program is skipped", async () => {
  const file = await recorded({}, 60);
  type Record = {
    policyVersion: number;
    candidates: { rank: number; cost: number; pendingWork: number; columns: number[] }[];
  };
  const tampered = (change: (d: Record) => void) => {
    const copy = structuredClone(file);
    change(copy.decisions[10] as Record);
    return replay(copy);
  };
  const outcomes = await Promise.all([
    tampered((d) => {
      d.candidates[0]!.pendingWork += 1e6;
    }),
    tampered((d) => {
      d.candidates[0]!.rank = 2;
      d.candidates[1]!.rank = 1;
    }),
    tampered((d) => {
      d.candidates[1]!.cost += 1e-9;
    }),
    tampered((d) => {
      d.policyVersion = 9;
    }),
    tampered((d) => {
      d.candidates[0]!.columns = [1, 2];
    }),
    tampered((d) => {
      (d.candidates[0] as { cost: unknown }).cost = "much";
    }),
  ]);
  expect(outcomes.map((r) => r.decisions[10]!.outcome)).toEqual([
    "different",
    "different",
    "different",
    "skipped",
    "skipped",
    "skipped",
  ]);
  expect(outcomes[3]!.decisions[10]!.why).toContain("policy version 9");
  expect(outcomes[5]!.decisions[10]!.why).toContain("/candidates/0/cost");
  for (const r of outcomes) expect(r.same).toBe(file.decisions.length - 1);
});

test("the command says the same, as text and as JSON, and its exit code tells whether all was the same", async () => {
  const folder = mkdtempSync(join(tmpdir(), "warmgate-replay-"));
  const run = (file: object, ...flags: string[]) => {
    const path = join(folder, "decisions.json");
    writeFileSync(path, JSON.stringify(file));
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(packageRoot(), "dist", "agent", "cli.js"), "replay", path, ...flags],
      { encoding: "utf8" },
    );
    return { status, stdout, stderr };
  };
  const file = await recorded({}, 30);
  expect(run(file)).toMatchObject({
    status: 0,
    stdout: `${file.decisions.length} same, 0 different, 0 skipped\n`,
  });
  (file.decisions[3] as { podsPassed: number }).podsPassed = 1;
  const { status, stdout } = run(file, "--json");
  expect(status).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ same: file.decisions.length - 1, different: 1, skipped: 0 });
  const wrong = run({ decisions: [] });
  expect([wrong.status, wrong.stderr]).toEqual([
    2,
    expect.stringContaining("must have decisions and programs"),
  ]);
  rmSync(folder, { recursive: true });
}, 60_000);
