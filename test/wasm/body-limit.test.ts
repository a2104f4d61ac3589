// Bodies that do not say how long they are: the limit holds for them too, before and after the decision.
import { expect, test } from "vitest";
import { CONTINUE, Host, type Request, STOP } from "./host.js";
import { policy, TestAgent } from "./table.js";

const READ_BYTES = 4096;
const LIMIT_BYTES = 10_000;
const start = `{"model":"m","messages":[{"role":"user","content":"${"x".repeat(READ_BYTES)}`;

async function gateway() {
  const agent = await TestAgent.create(2, { ...policy, bodyReadBytes: READ_BYTES });
  const host = new Host({
    configuration: { bodyLimitBytes: LIMIT_BYTES },
  });
  host.receive(agent.snapshot());
  return host;
}

function chunked(host: Host): Request {
  const r = host.request([
    [":method", "POST"],
    [":path", "/v1/chat/completions"],
  ]);
  expect(r.onHeaders()).toBe(STOP);
  return r;
}

/** A piece of the body behind the decision: Envoy shows that piece alone. */
const piece = (r: Request, bytes: number, last = false) =>
  r.host.call(r, "proxy_on_request_body", bytes, last ? 1 : 0);

const counts = (host: Host) =>
  [...host.process.metrics].filter(([name]) => name.includes("inflight")).map(([, m]) => m.value);

test("a body that grows over the limit while it is held is refused", async () => {
  const r = chunked(await gateway());
  expect(r.onBody("x".repeat(LIMIT_BYTES + 1), false)).toBe(STOP);
  expect([r.reply?.status, JSON.parse(r.reply!.body).error.code]).toEqual([413, "body_too_large"]);
});

test("a body that grows over the limit on its way to the pod is refused, and what was counted is given back", async () => {
  const host = await gateway();
  const r = chunked(host);
  expect(r.onBody(start, false)).toBe(CONTINUE);
  expect(counts(host).some((n) => n > 0n)).toBe(true);
  expect(piece(r, LIMIT_BYTES - start.length)).toBe(CONTINUE);
  expect(r.reply).toBeNull();
  expect(piece(r, 1)).toBe(STOP);
  expect([r.reply?.status, JSON.parse(r.reply!.body).error.code]).toEqual([413, "body_too_large"]);
  r.end();
  expect(counts(host).every((n) => n === 0n)).toBe(true);
});

test("a body of exactly the limit goes to the pod", async () => {
  const r = chunked(await gateway());
  expect(r.onBody(start, false)).toBe(CONTINUE);
  expect(piece(r, LIMIT_BYTES - start.length, true)).toBe(CONTINUE);
  expect(r.reply).toBeNull();
});

test("a body that is not scheduled by its content has no limit here", async () => {
  const host = await gateway();
  const r = host.request([
    [":method", "POST"],
    [":path", "/v1/files"],
  ]);
  expect(r.onHeaders()).toBe(CONTINUE);
  expect(piece(r, 10 * LIMIT_BYTES)).toBe(CONTINUE);
  expect(piece(r, 10 * LIMIT_BYTES, true)).toBe(CONTINUE);
  expect(r.reply).toBeNull();
});
