// Which prefill pods may be dialled: host AND port, so that a right host does not open its other ports (SSRF).
import { readFileSync } from "node:fs";
import type { Logger } from "pino";
import { ConfigError } from "../agent/errors.js";
import { watchFiles } from "./file-watch.js";
import { parseTarget, type Target } from "./prefiller.js";

/** A list of prefill pods that may be dialled; it may change while the process runs. */
export interface Allowlist {
  allows(target: Target): boolean;
  /** Number of `host:port` entries. */
  readonly size: number;
  /** Why nothing is allowed yet, or null. */
  readonly unsynced?: string | null;
  close(): void;
}

/** Nothing is allowed: what a sidecar does that was told of no pool. */
export const ALLOW_NONE: Allowlist = { allows: () => false, size: 0, close: () => {} };

/** Everything is allowed: SSRF protection off. */
export const ALLOW_ALL: Allowlist = { allows: () => true, size: 0, close: () => {} };

/**
 * One `host:port` per line; empty lines and what follows `#` do not count.
 * @throws ConfigError that names the line.
 */
export function parseAllowlist(text: string, file: string): Set<string> {
  const allowed = new Set<string>();
  text.split(/\r?\n/).forEach((line, i) => {
    const entry = line.replace(/#.*$/, "").trim();
    if (entry === "") return;
    const target = parseTarget(entry);
    if (!target)
      throw new ConfigError(`${file}:${i + 1}: "${entry}" must be host:port, for example 10.0.0.7:8000`);
    allowed.add(target.authority);
  });
  return allowed;
}

/**
 * The list in a file, read again whenever it changes. A change that cannot be read leaves the last good list standing.
 * @throws ConfigError when it cannot be read at the start.
 */
export function fileAllowlist(file: string, log: Logger): Allowlist {
  let allowed: Set<string>;
  const stop = watchFiles([file], () => {
    try {
      allowed = read(file);
      log.info({ file, size: allowed.size }, "the allowlist was read again");
    } catch (error) {
      log.error({ file, why: (error as Error).message }, "the allowlist is not readable; the last one stays");
    }
  });
  try {
    allowed = read(file);
  } catch (error) {
    stop();
    throw error;
  }
  return {
    allows: (target) => allowed.has(target.authority),
    get size() {
      return allowed.size;
    },
    close: stop,
  };
}

function read(file: string): Set<string> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(
      `--allowlist-file ${file}: ${(error as NodeJS.ErrnoException).code}; it must be a readable file`,
    );
  }
  return parseAllowlist(text, file);
}
