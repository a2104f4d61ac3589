import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pino from "pino";
import { describe, expect, test } from "vitest";
import { Checkpointer } from "../../agent/state/checkpointer.js";
import { installationSecret, readCheckpoint, writeCheckpoint } from "../../agent/state/state-folder.js";
import { newStateFolder } from "./agent-for-test.js";

const POD = {
  name: "p",
  address: "a:1",
  model: "m",
  slot: 4,
  sequence: 7,
  time: 1.5,
  suspect: false,
  promptTokens: 10,
};

describe("the state folder", () => {
  test("makes a secret once and keeps it", () => {
    const folder = join(newStateFolder(), "new");
    const secret = installationSecret(folder, null);
    expect(secret).toHaveLength(32);
    expect(Buffer.from(installationSecret(folder, null))).toEqual(Buffer.from(secret));
  });

  test("takes all of a secret file and refuses a short one", () => {
    const folder = newStateFolder();
    const file = join(folder, "s");
    writeFileSync(file, `${"0".repeat(40)}a`);
    const one = installationSecret(folder, file);
    writeFileSync(file, `${"0".repeat(40)}b`);
    expect(Buffer.from(installationSecret(folder, file))).not.toEqual(Buffer.from(one));
    writeFileSync(file, "short");
    expect(() => installationSecret(folder, file)).toThrow(/5 bytes, at least 32/);
    expect(() => installationSecret(folder, join(folder, "none"))).toThrow(/ENOENT/);
  });

  test("gives back a checkpoint and leaves no half-written file", async () => {
    const folder = newStateFolder();
    expect(await readCheckpoint(folder)).toBeNull();
    const index = new Uint8Array([1, 2, 3]);
    await writeCheckpoint(folder, { pods: [POD], index });
    const read = (await readCheckpoint(folder))!;
    expect(read.pods).toEqual([POD]);
    expect([...read.index]).toEqual([1, 2, 3]);
    expect(readdirSync(folder)).toEqual(["checkpoint"]);
  });

  test("has no checkpoint when the file is cut short or of another kind", async () => {
    const folder = newStateFolder();
    await writeCheckpoint(folder, { pods: [POD], index: new Uint8Array(100) });
    const whole = readFileSync(join(folder, "checkpoint"));
    for (const n of [0, 5, 11, 12, 40]) {
      writeFileSync(join(folder, "checkpoint"), whole.subarray(0, n));
      expect(await readCheckpoint(folder)).toBeNull();
    }
    writeFileSync(join(folder, "checkpoint"), Buffer.alloc(500));
    expect(await readCheckpoint(folder)).toBeNull();
  });

  test("has the newest state after the checkpointer stopped, and none when nothing changed", async () => {
    const folder = newStateFolder();
    let n = 0;
    const checkpointer = new Checkpointer(
      folder,
      () => ({ pods: [], index: new Uint8Array([n]) }),
      pino({ level: "silent" }),
    );
    const idle = new Checkpointer(
      newStateFolder(),
      () => ({ pods: [], index: new Uint8Array() }),
      pino({ level: "silent" }),
    );
    await idle.stop();
    expect(idle.counts.written).toBe(0);
    for (n = 1; n < 9; n++) checkpointer.touch();
    await checkpointer.stop();
    expect([...(await readCheckpoint(folder))!.index]).toEqual([9]);
  });
});
