import { spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { newStateFolder, startPod, stopPod } from "./agent-for-test.js";
import { stored, until } from "./event-publisher.js";
import { fixturePath } from "./fixtures.js";

const CLI = join(packageRoot(), "dist", "agent", "cli.js");

function run(...args: string[]) {
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const output = { out: "", err: "" };
  child.stdout.on("data", (chunk) => {
    output.out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    output.err += chunk;
  });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { child, output, ended };
}

test("the help names the command, its flags and its exit codes", async () => {
  const { output, ended } = run("agent", "--help");
  expect(await ended).toBe(0);
  expect(output.out).toMatch(/--config <file>/);
  expect(output.out).toMatch(/Exit codes/);
});

test.each([
  ["no configuration", ["agent"], /--config <file>/],
  ["a file that is not there", ["agent", "--config", "/nowhere.yaml"], /cannot be read \(ENOENT\)/],
  ["an unknown command", ["agnet"], /unknown command/],
])("exits with 2 for %s", async (_, args, message) => {
  const { output, ended } = run(...args);
  expect(await ended).toBe(2);
  expect(output.err).toMatch(message);
});

test("exits with 1 when it cannot listen", async () => {
  const folder = newStateFolder();
  const pod = await startPod();
  const file = join(folder, "w.yaml");
  writeFileSync(
    file,
    `listen: {http: "127.0.0.1:${pod.port}", stream: "127.0.0.1:0"}
state: state
pools: [{name: p, model: {name: m, tokenizer: "${fixturePath("model-chatml")}"}, pods: [{name: a, address: "127.0.0.1:1"}]}]`,
  );
  const { output, ended } = run("agent", "--config", file);
  expect(await ended).toBe(1);
  expect(output.err).toMatch(/listen\.http 127\.0\.0\.1:\d+: the address is in use/);
  await stopPod(pod);
});

test("says where it listens, and on SIGTERM writes a checkpoint and exits with 0", async () => {
  const folder = newStateFolder();
  const pod = await startPod();
  await pod.events.publish([stored({ hashes: [1n], parent: null, tokens: [300, 301, 302, 303] })]);
  const file = join(folder, "w.yaml");
  writeFileSync(
    file,
    `listen: {http: "127.0.0.1:0", stream: "127.0.0.1:0"}
state: state
pools:
  - name: p
    model: {name: m, tokenizer: "${fixturePath("model-chatml")}"}
    pods: [{name: a, address: "127.0.0.1:${pod.port}", events: "${pod.events.events}", replay: "${pod.events.replay}"}]`,
  );
  const { child, output, ended } = run("agent", "--config", file);
  await until(() => output.out.includes("\n"), "the ready line is there");
  const line = JSON.parse(output.out);
  expect(line).toMatchObject({ ready: true, pid: child.pid });
  for (let tries = 0; (await fetch(`http://${line.http}/readyz`)).status !== 200; tries++) {
    if (tries === 500) throw new Error(output.err);
    await new Promise((wake) => setTimeout(wake, 10));
  }
  child.kill("SIGTERM");
  expect(await ended).toBe(0);
  expect(existsSync(join(folder, "state", "checkpoint"))).toBe(true);
  await stopPod(pod);
});
