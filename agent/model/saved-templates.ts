// Learned templates in the state folder: a restarted agent only checks that they still hold, instead of learning anew.
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TemplateProgram, TokenBytes } from "../wire.js";
import type { ShapeReport } from "./template-prober.js";

/** Another form of a program gets another number: what an older release wrote is then learned anew. */
const FORMAT = 2;

export interface LearnedTemplate {
  program: TemplateProgram;
  /** Conversations that came out byte for byte when it was learned. */
  verified: number;
  shapes: ShapeReport[];
}

export class SavedTemplates {
  readonly #folder: string;

  /** `folder`: the state folder. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** What was learned of a model with this tokenizer; null when nothing is here that can be used. */
  async read(model: string, table: TokenBytes): Promise<LearnedTemplate | null> {
    try {
      const saved = JSON.parse(await readFile(this.#file(model, table), "utf8"), revive);
      return saved.format === FORMAT ? saved.learned : null;
    } catch {
      return null;
    }
  }

  /** @throws Error of the file system. */
  async write(model: string, table: TokenBytes, learned: LearnedTemplate): Promise<void> {
    const file = this.#file(model, table);
    await mkdir(this.#folder, { recursive: true });
    await writeFile(`${file}.next`, JSON.stringify({ format: FORMAT, model, learned }, replace), {
      mode: 0o600,
    });
    await rename(`${file}.next`, file);
  }

  #file(model: string, table: TokenBytes): string {
    const digest = createHash("sha256").update(model).update("\0");
    for (const part of [table.offsets, table.bytes, table.known])
      digest.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    return join(this.#folder, `template-${digest.digest("hex").slice(0, 32)}.json`);
  }
}

function replace(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? { base64: Buffer.from(value).toString("base64") } : value;
}

function revive(_key: string, value: unknown): unknown {
  const bytes = (value as { base64?: unknown } | null)?.base64;
  return typeof bytes === "string" ? new Uint8Array(Buffer.from(bytes, "base64")) : value;
}
