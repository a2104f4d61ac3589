// The agent's own files: the secret and the checkpoint of the index.
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { StartError } from "../errors.js";

/** Shortest secret file, bytes. */
const MIN_SECRET_BYTES = 32;
const MAGIC = "WGSTATE1";

/** A pod's place in a checkpoint. */
export interface SavedPod {
  name: string;
  address: string;
  model: string;
  slot: number;
  /** Last batch in the index; null when none was seen. */
  sequence: number | null;
  /** Engine's time of that batch, seconds. */
  time: number | null;
  /** Batches were missed before. */
  suspect: boolean;
  /** Prompt tokens that the engine had counted: fewer later means another run. */
  promptTokens: number;
  startTime?: number | null;
}

export interface Checkpoint {
  pods: SavedPod[];
  /** Bytes of `Wire.checkpoint`. */
  index: Uint8Array;
}

/**
 * Secret of this installation, 32 bytes: from `secretFile` when it is set, else made once and kept in the folder.
 * @throws StartError when it cannot be read, is too short, or the folder cannot be written.
 */
export function installationSecret(folder: string, secretFile: string | null): Uint8Array {
  if (secretFile !== null) {
    let bytes: Buffer;
    try {
      bytes = readFileSync(secretFile);
    } catch (error) {
      throw new StartError(
        `secretFile ${secretFile} cannot be read (${(error as NodeJS.ErrnoException).code})`,
      );
    }
    if (bytes.length < MIN_SECRET_BYTES)
      throw new StartError(
        `secretFile ${secretFile} has ${bytes.length} bytes, at least ${MIN_SECRET_BYTES} are needed`,
      );
    // A file may be text of less than 8 bits a byte: all of it counts.
    return createHash("sha256").update(bytes).digest();
  }
  const file = join(folder, "secret");
  try {
    const bytes = readFileSync(file);
    if (bytes.length >= MIN_SECRET_BYTES) return bytes.subarray(0, MIN_SECRET_BYTES);
    throw new StartError(`${file} is damaged; remove it (the index starts anew)`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  try {
    mkdirSync(folder, { recursive: true });
    const secret = randomBytes(MIN_SECRET_BYTES);
    writeFileSync(file, secret, { mode: 0o600, flag: "wx" });
    return secret;
  } catch (error) {
    throw new StartError(
      `state folder ${folder} cannot be written (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}

/** Writes the checkpoint so that a crash at any moment leaves the old or the new one. */
export async function writeCheckpoint(folder: string, checkpoint: Checkpoint): Promise<void> {
  const head = Buffer.from(JSON.stringify({ pods: checkpoint.pods }));
  const lead = Buffer.alloc(12);
  lead.write(MAGIC, "latin1");
  lead.writeUInt32LE(head.length, 8);
  const file = checkpointFile(folder);
  const next = `${file}.next`;
  await mkdir(folder, { recursive: true });
  const handle = await open(next, "w", 0o600);
  try {
    await handle.writev([lead, head, checkpoint.index]);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(next, file);
  const parent = await open(dirname(file), "r");
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

/** The last checkpoint; null when there is none or it cannot be used. */
export async function readCheckpoint(folder: string): Promise<Checkpoint | null> {
  let bytes: Buffer;
  try {
    bytes = await readFile(checkpointFile(folder));
  } catch {
    return null;
  }
  if (bytes.length < 12 || bytes.toString("latin1", 0, 8) !== MAGIC) return null;
  const length = bytes.readUInt32LE(8);
  if (12 + length > bytes.length) return null;
  try {
    const { pods } = JSON.parse(bytes.toString("utf8", 12, 12 + length)) as { pods: SavedPod[] };
    return { pods, index: bytes.subarray(12 + length) };
  } catch {
    return null;
  }
}

function checkpointFile(folder: string): string {
  return join(folder, "checkpoint");
}
