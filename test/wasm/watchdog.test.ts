// Requests that are held for a body that does not come: Envoy keeps it back without allow_on_headers_stop_iteration, or
// the client is slow.
import { describe, expect, test } from "vitest";
import { CONTINUE, Host, type Request, STOP } from "./host.js";

const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "hello" }] });

function chat(host: Host): Request {
  return host.request([
    [":method", "POST"],
    [":path", "/v1/chat/completions"],
  ]);
}
function held(host: Host, count: number): Request[] {
  return Array.from({ length: count }, () => {
    const r = chat(host);
    expect(r.onHeaders()).toBe(STOP);
    return r;
  });
}
/** A tick finds the held requests, and one a third of a second later resumes them. */
function wait(host: Host): void {
  host.tick(5);
  host.tick(300);
}
/** Lets the watchdog resume all, behind which Envoy brings the bodies that it kept back. */
function resumedWithBodies(host: Host, requests: Request[]): void {
  wait(host);
  for (const r of requests) {
    expect(r.resumed).toBe(1);
    expect(r.onBody(body, true)).toBe(CONTINUE);
  }
}

describe("when Envoy keeps bodies back", () => {
  test("a request is resumed after a quarter of a second, and after three none is held", () => {
    const host = new Host();
    const requests = held(host, 3);
    host.tick(100);
    expect(requests.map((r) => r.resumed)).toEqual([0, 0, 0]);
    resumedWithBodies(host, requests);
    expect(host.logs.join()).toContain("allow_on_headers_stop_iteration");
    for (let i = 0; i < 5; i++) {
      const r = chat(host);
      expect(r.onHeaders()).toBe(CONTINUE);
      expect(r.onBody(body, true)).toBe(CONTINUE);
    }
  });

  test("a request that comes behind the first body is resumed as the first one was", () => {
    const host = new Host();
    for (let round = 0; round < 3; round++) resumedWithBodies(host, held(host, 1));
    expect(chat(host).onHeaders()).toBe(CONTINUE);
  });
});

describe("when clients are slow", () => {
  test("their requests are resumed, and later ones are held for their bodies", () => {
    const host = new Host();
    const slow = held(host, 5);
    wait(host);
    host.tick(5);
    for (const r of slow) {
      expect(r.resumed).toBe(1);
      expect(r.onBody(body, true)).toBe(CONTINUE);
    }
    const [next] = held(host, 1);
    expect(next!.onBody(body, true)).toBe(CONTINUE);
  });

  test("none is resumed once a held request has seen its body", () => {
    const host = new Host();
    const [first] = held(host, 1);
    expect(first!.onBody(body.slice(0, 10), false)).toBe(STOP);
    const [slow] = held(host, 1);
    wait(host);
    host.tick(10_000);
    expect([first!.resumed, slow!.resumed]).toEqual([0, 0]);
  });
});
