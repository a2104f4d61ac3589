// The policy in the state folder: what REST changed outlives the agent, and version numbers go on.
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { isObject } from "./merge-patch.js";

const FORMAT = 1;

export interface SavedPolicy {
  /** Counts changes from 1. */
  version: number;
  source: "file" | "rest";
  /** ISO 8601. */
  changedAt: string;
  /** Of the policy in warmgate.yaml when this was written. */
  fileDigest: string;
  /** A whole document; of another release it may be one that is not understood here. */
  policy: unknown;
}

/** What is saved, null when nothing is. @throws Error, saying why, when it cannot be read or understood. */
export async function readSavedPolicy(folder: string): Promise<SavedPolicy | null> {
  let text: string;
  try {
    text = await readFile(policyFile(folder), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new Error(`${policyFile(folder)} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  let saved: unknown;
  try {
    saved = JSON.parse(text);
  } catch {
    throw new Error(`${policyFile(folder)} is damaged: it is not JSON`);
  }
  if (
    !isObject(saved) ||
    saved["format"] !== FORMAT ||
    !Number.isSafeInteger(saved["version"]) ||
    typeof saved["fileDigest"] !== "string" ||
    typeof saved["changedAt"] !== "string" ||
    (saved["source"] !== "file" && saved["source"] !== "rest")
  )
    throw new Error(`${policyFile(folder)} is damaged or of another release`);
  return saved as unknown as SavedPolicy;
}

/**
 * Writes so that a crash at any moment leaves the old or the new one, and returns when the disk has it.
 * @throws Error naming the file and the system's reason.
 */
export async function writeSavedPolicy(folder: string, saved: SavedPolicy): Promise<void> {
  const file = policyFile(folder);
  try {
    await mkdir(folder, { recursive: true });
    const handle = await open(`${file}.next`, "w", 0o600);
    try {
      await handle.writeFile(`${JSON.stringify({ format: FORMAT, ...saved }, null, 2)}\n`);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(`${file}.next`, file);
    const parent = await open(folder, "r");
    try {
      await parent.sync();
    } finally {
      await parent.close();
    }
  } catch (error) {
    throw new Error(`${file} cannot be written (${(error as NodeJS.ErrnoException).code})`);
  }
}

function policyFile(folder: string): string {
  return join(folder, "policy.json");
}
