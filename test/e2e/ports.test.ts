// Free ports, as tests that run side by side choose them.
import { once } from "node:events";
import { createServer } from "node:net";
import { expect, test, vi } from "vitest";
import { freePorts } from "../../demo/ports.js";

/** The module as another process has it. */
async function another(): Promise<typeof freePorts> {
  vi.resetModules();
  return (await import("../../demo/ports.js")).freePorts;
}

test("a port that was chosen is chosen by no other process, although nothing listens there yet", async () => {
  const choosers = [freePorts, await another(), await another()];
  const chosen = await Promise.all([...choosers, ...choosers].map((choose) => choose(120)));
  expect(new Set(chosen.flat()).size).toBe(6 * 120);
});

test("a port on which something listens is passed over", async () => {
  const [before] = await freePorts(1);
  const taken = createServer().listen(before + 1, "127.0.0.1");
  await once(taken, "listening");
  const [after] = await freePorts(1);
  expect(after).not.toBe(before + 1);
  taken.close();
});
