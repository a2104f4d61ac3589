// Requests that waited in the gateway's queue and are split when there is room, under the strict mock host.
import { describe, expect, test } from "vitest";
import { DESTINATION, STOP } from "../wasm/host.js";
import { chat } from "../wasm/table.js";
import { bodyOf, good, long, NOTHING, parameters, send, split, underWay } from "./split-host.js";

/** Two decode pods that take one request each at a time, and two prefill pods. */
async function queueing(ttl = "30s") {
  const made = await split({ timeoutMs: 60_000 });
  made.host.receive(
    made.agent.rules({
      saturation: { detector: "concurrency-detector", maxConcurrency: 1 },
      flowControl: { enabled: true, defaultRequestTTL: ttl },
    }),
  );
  made.host.tick(5);
  return made;
}

describe("a request that waits while prefills of others are held", () => {
  test("is let through when one of them is done, and then held for a prefill of its own", async () => {
    const { host, process } = await queueing();
    const [a, b] = [send(host, chat(long("a"))).r, send(host, chat(long("b"))).r];
    expect(host.httpCalls).toHaveLength(2);
    const waiting = send(host, chat(long("c")));
    expect(waiting.action).toBe(STOP);
    for (let i = 0; i < 5; i++) host.tick();
    // Held requests fill their decode pods before they are there.
    expect(host.httpCalls).toHaveLength(2);
    expect(process.metric("warmgate_queue_requests")).toBe(1n);

    host.answerCall(host.httpCalls[0]!, 200, good);
    expect(a.resumed).toBe(1);
    host.tick();
    expect(host.httpCalls).toHaveLength(2);
    a.onResponse(a.header(DESTINATION)!.split(",")[0]!);
    a.onResponseBody(100, true);
    a.end();
    host.tick();
    expect(process.metric("warmgate_queue_requests")).toBe(0n);
    expect(host.httpCalls).toHaveLength(3);
    expect(waiting.r.resumed).toBe(0);
    host.answerCall(host.httpCalls[2]!, 200, good);
    expect(waiting.r.resumed).toBe(1);
    expect(JSON.parse(bodyOf(waiting.r)).kv_transfer_params).toEqual(parameters);
    waiting.r.end();
    host.answerCall(host.httpCalls[1]!, 200, good);
    b.end();
    expect(underWay(process)).toEqual(NOTHING);
  });

  test("is let through when the client of a held one leaves, whose prefill still runs", async () => {
    const { host, process } = await queueing();
    const [a, b] = [send(host, chat(long("a"))).r, send(host, chat(long("b"))).r];
    const { r: waiting } = send(host, chat(long("c")));
    a.end();
    host.tick();
    expect(host.httpCalls).toHaveLength(3);
    host.answerCall(host.httpCalls[2]!, 200, good);
    expect(waiting.resumed).toBe(1);
    for (const call of host.httpCalls.slice(0, 2)) host.answerCall(call, 200, good);
    for (const r of [b, waiting]) r.end();
    expect(underWay(process)).toEqual(NOTHING);
  });

  test("leaves nothing behind when its time is up, or its client leaves while it waits or is held", async () => {
    const { host, process } = await queueing("1s");
    const [a, b] = [send(host, chat(long("a"))).r, send(host, chat(long("b"))).r];
    const { r: late } = send(host, chat(long("late")));
    const { r: gone } = send(host, chat(long("gone")));
    gone.end();
    host.tick(1500);
    expect(late.reply?.status).toBe(429);
    late.end();
    expect(process.metric("warmgate_queue_requests")).toBe(0n);
    const { r: held } = send(host, chat(long("held")));
    a.end();
    host.tick();
    expect(host.httpCalls).toHaveLength(3);
    held.end();
    for (const call of host.httpCalls) host.answerCall(call, 200, good);
    expect(held.resumed).toBe(0);
    b.end();
    expect(underWay(process)).toEqual(NOTHING);
  });
});
