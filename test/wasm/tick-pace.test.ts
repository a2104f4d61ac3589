// How often a VM ticks, and what the first request after a quiet time is decided by.
import { describe, expect, test } from "vitest";
import { DESTINATION, Host, Process } from "./host.js";
import { TestAgent } from "./table.js";

const long = (text: string) => ({ model: "m", messages: [{ role: "user", content: text.repeat(2000) }] });

/** Ticks for `ms`, each as far from the last as the VM asked for; the agent is heard every 100 ms. */
function pass(host: Host, agent: TestAgent, ms: number): void {
  for (let left = ms, heard = 0; left > 0; left -= host.tickMs, heard += host.tickMs) {
    host.tick(host.tickMs);
    if (heard < 100) continue;
    heard = 0;
    host.receive(agent.loads(() => ({})));
  }
}

describe("a VM", () => {
  test("ticks each 5 ms until it has had no request for a second, then each 50 ms until the next", async () => {
    const agent = await TestAgent.create();
    const host = new Host();
    host.receive(agent.snapshot());
    pass(host, agent, 800);
    expect(host.tickMs).toBe(5);
    pass(host, agent, 500);
    expect(host.tickMs).toBe(50);
    const request = host.chat(long("a"));
    expect(host.tickMs).toBe(5);
    pass(host, agent, 3000);
    expect(host.tickMs).toBe(5);
    request.end();
    pass(host, agent, 800);
    expect(host.tickMs).toBe(5);
    pass(host, agent, 500);
    expect(host.tickMs).toBe(50);
  });

  test("ticks each 5 ms for a second after a request that no tick saw", async () => {
    const agent = await TestAgent.create();
    const host = new Host();
    host.receive(agent.snapshot());
    pass(host, agent, 900);
    host.chat(long("a")).end();
    pass(host, agent, 800);
    expect(host.tickMs).toBe(5);
    pass(host, agent, 500);
    expect(host.tickMs).toBe(50);
  });

  test("that hears nothing of its agent goes on to tick each 5 ms", async () => {
    const agent = await TestAgent.create();
    const host = new Host();
    host.receive(agent.snapshot());
    for (let i = 0; i < 1000; i++) host.tick(host.tickMs);
    expect(host.tickMs).toBe(5);
  });

  test("wakes again with the next request when the host refuses to make it tick faster", async () => {
    let refused = false;
    const agent = await TestAgent.create();
    const host = new Host({
      fault: (name) => (refused && name === "proxy_set_tick_period_milliseconds" ? 10 : undefined),
    });
    host.receive(agent.snapshot());
    pass(host, agent, 1500);
    expect(host.tickMs).toBe(50);
    refused = true;
    expect(host.chat(long("a")).header(DESTINATION)).toBeDefined();
    expect(host.tickMs).toBe(50);
    refused = false;
    host.chat(long("b"));
    expect(host.tickMs).toBe(5);
  });

  test("decides the request that wakes it by what other workers have under way at that time", async () => {
    const agent = await TestAgent.create(8);
    const podOf = (host: Host, text: string) => host.chat(long(text)).header(DESTINATION)!.split(",")[0]!;
    for (let i = 0; i < 10; i++) {
      const process = new Process();
      const [quiet, other] = [new Host({ process }), new Host({ process })];
      for (const host of [quiet, other]) host.receive(agent.snapshot());
      pass(quiet, agent, 1500);
      expect(quiet.tickMs).toBe(50);
      const busy = new Set(Array.from({ length: 7 }, (_, k) => podOf(other, `other ${i} ${k} `)));
      expect(busy.size).toBe(7);
      expect(busy).not.toContain(podOf(quiet, `quiet ${i} `));
    }
  });
});
