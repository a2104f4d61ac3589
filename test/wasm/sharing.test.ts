// In-flight counts shared between gateways: built filters of two Envoy processes, and the agent's own adding up.
import { afterEach, expect, test } from "vitest";
import { SharedLoad } from "../../agent/table/shared-load.js";
import type { Share } from "../../agent/wire.js";
import { waitFor } from "../../demo/processes.js";
import { DESTINATION, Host, type Request } from "./host.js";
import { chat, TestAgent } from "./table.js";

const pod = (r: Request) => r.header(DESTINATION)!.split(",")[0]!;
let shared: SharedLoad | null = null;
afterEach(() => shared?.stop());

/** Two gateways of one worker each; `share` carries what they have to tell. */
async function gateways(pods: number) {
  const agent = await TestAgent.create(pods);
  const load = new SharedLoad(agent.wire, (address) => agent.pods.find((p) => p.address === address)?.slot);
  shared = load;
  const hosts = [0, 1].map(() => {
    const host = new Host();
    host.receive(agent.snapshot());
    host.receive(agent.rules({ saturation: { detector: "concurrency-detector", maxConcurrency: 4 } }));
    return host;
  });
  const heard = [0, 0];
  const read = [0, 0];
  const share = async () => {
    const before = [...heard];
    hosts.forEach((host, i) => {
      host.tick(10);
      for (const frame of host.frames().slice(read[i]!)) {
        const up = agent.wire.decodeUp(frame);
        const deliver = (f: Uint8Array) => {
          heard[i]!++;
          host.receive([f.slice()]);
        };
        if (up?.kind === "share") load.take(up, { send: deliver, pendingBytes: 0 }, performance.now());
      }
      read[i] = host.sent.length;
    });
    await waitFor("both to hear", async () => heard.every((n, i) => n > before[i]!), undefined, 5000);
  };
  return { agent, hosts: hosts as [Host, Host], share, load };
}

/** One gateway, and an agent that answers its shares when the test says so. */
async function answered(sharing: object = {}) {
  const agent = await TestAgent.create(2);
  const host = new Host();
  host.receive(agent.snapshot());
  host.receive(agent.rules({ sharing, decisions: { sampleRate: 1 } }));
  let read = 0;
  const shares = () => {
    const found = host
      .frames()
      .slice(read)
      .map((f) => agent.wire.decodeUp(f))
      .filter((up): up is Share => up?.kind === "share");
    read = host.sent.length;
    return found;
  };
  let requests = 0;
  return {
    agent,
    host,
    /** A share, answered after `ms`; whether the worker then says that sharing is slow. */
    async round(ms: number, others = 1): Promise<boolean> {
      host.chat(chat(`${requests++}`));
      host.tick(10);
      const [share] = shares();
      host.process.nowNs += BigInt(ms * 1e6);
      host.receive([agent.wire.foreignFrame(share!.stamp, others, [])]);
      host.tick(10);
      host.chat(chat(`${requests++}`));
      host.tick(10);
      return shares().at(-1)!.slow;
    },
    async told(stamp: bigint, others: number) {
      host.receive([agent.wire.foreignFrame(stamp, others, [])]);
    },
    /** The next share after `ms` without a word from the agent. */
    async silent(ms: number): Promise<boolean> {
      for (let passed = 0; passed < ms; passed += 10) host.tick(10);
      host.chat(chat(`${requests++}`));
      host.tick(10);
      return shares().at(-1)!.slow;
    },
  };
}

test("what one gateway has under way counts at the other, and is forgotten when it ends", async () => {
  const { hosts, share, load } = await gateways(1);
  const [one, two] = hosts;
  const low: [string, string][] = [["x-priority", "low"]];
  const running = Array.from({ length: 4 }, (_, i) => one.chat(chat(`${i}`)));
  expect(two.chat(chat("x"), low).reply).toBeNull();
  await share();
  expect(load.gateways).toBe(2);
  expect(two.chat(chat("y"), low).reply?.status).toBe(429);
  // A gateway's own requests are not told back to it: one has four of its own and two's one.
  for (const r of running) r.end();
  await share();
  expect(two.chat(chat("z"), low).reply).toBeNull();
});

test("counts of a gateway that is not heard of any more are dropped", async () => {
  const { hosts, share } = await gateways(1);
  const [one, two] = hosts;
  for (let i = 0; i < 4; i++) one.chat(chat(`${i}`));
  await share();
  const low: [string, string][] = [["x-priority", "low"]];
  expect(two.chat(chat("x"), low).reply?.status).toBe(429);
  shared!.stop();
  two.tick(2500);
  expect(two.chat(chat("x"), low).reply).toBeNull();
});

test("load that one gateway brought keeps the other away from the pod", async () => {
  const { hosts, share } = await gateways(2);
  const [one, two] = hosts;
  const big = "prompt ".repeat(3000);
  const first = one.chat(chat(`a ${big}`));
  await share();
  for (const seed of ["b", "c", "d", "e"]) {
    const r = two.chat(chat(`${seed} ${big}`));
    expect(pod(r)).not.toBe(pod(first));
    r.end();
  }
});

test("the way there and back is measured, and a slow one is counted", async () => {
  const { hosts, share } = await gateways(1);
  const [one] = hosts;
  one.chat(chat("a"));
  await share();
  one.chat(chat("b"));
  await share();
  expect(Number(one.process.metric("warmgate_sharing_delay_us"))).toBeGreaterThan(0);
  one.tick(1100);
  expect(Number(one.process.metric("warmgate_slow_sharing_total"))).toBe(0);
});

test("one late answer makes sharing slow, and three in time make it fast again", async () => {
  const { host, round } = await answered();
  expect(await round(20)).toBe(false);
  expect(await round(150)).toBe(true);
  expect(await round(20)).toBe(true);
  expect(await round(20)).toBe(true);
  expect(await round(20)).toBe(false);
  expect(host.logs.filter((l) => l.includes("come later than sharing.slowAfter"))).toHaveLength(1);
  // The late answer, and the silence of the second after which counters are handed over.
  host.tick(1100);
  expect(Number(host.process.metric("warmgate_slow_sharing_total"))).toBe(2);
});

test("silence is slow, with the stream open or closed, and is forgotten when nobody else is there", async () => {
  const { host, round, silent, told } = await answered();
  expect(await round(20)).toBe(false);
  expect(await silent(200)).toBe(true);
  await told(0n, 0);
  expect(await silent(500)).toBe(false);
  expect(await round(20)).toBe(false);
  host.closeStream();
  host.process.nowNs += 50_000_000n;
  host.tick(10);
  expect(host.logs.filter((l) => l.includes("come in time again"))).toHaveLength(0);
  host.process.nowNs += 200_000_000n;
  host.tick(10);
  host.tick(3000);
  expect(await silent(20)).toBe(true);
});

test.each([
  [{}, true],
  [{ whenSlow: "keep" }, false],
])("under %j token-aware stands in for warm-until-busy: %s, and records say so", async (sharing, stoodIn) => {
  const { agent, host, round } = await answered(sharing);
  expect(await round(150)).toBe(true);
  host.chat(chat("which one"));
  host.tick(10);
  const records = host.frames().map((f) => agent.wire.decodeUp(f));
  const decision = records.filter((up) => up?.kind === "decision").at(-1);
  expect(decision?.pick?.stoodIn).toBe(stoodIn);
});

test("a gateway alone is never slow", async () => {
  const { silent, told } = await answered();
  expect(await silent(3000)).toBe(false);
  await told(0n, 0);
  expect(await silent(3000)).toBe(false);
});

test("a gateway is told when the others are gone, and the agent knows who hears of others too late", async () => {
  const agent = await TestAgent.create(1);
  const load = new SharedLoad(agent.wire, () => 0);
  shared = load;
  /** How many others the gateway was told last; null before the first word. */
  let others: number | null = null;
  const counted = (frame: Uint8Array) => {
    // Behind the frame's head of 48 bytes and the stamp.
    others = new DataView(frame.buffer, frame.byteOffset).getUint32(48 + 8, true);
  };
  const take = (processId: bigint, slow: boolean) =>
    load.take(
      { kind: "share", processId, vmId: 1n, stamp: 1n, whole: true, slow, rows: [] },
      { send: processId === 1n ? counted : () => {}, pendingBytes: 0 },
      performance.now(),
    );
  take(1n, true);
  expect([load.gateways, load.slowGateways]).toEqual([1, 1]);
  take(2n, true);
  await waitFor("the other to be told", async () => others === 1, undefined, 5000);
  expect(load.slowGateways).toBe(2);
  await waitFor(
    "the word that nobody else is there",
    async () => {
      take(1n, false);
      return others === 0;
    },
    undefined,
    20_000,
  );
  expect([load.gateways, load.slowGateways]).toEqual([1, 0]);
}, 30_000);
