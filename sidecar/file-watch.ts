// Files that Kubernetes mounts change by a swapped symlink, which directory watches report in many ways: polling sees all.
import { statSync } from "node:fs";

/** How often watched files are looked at, in milliseconds. */
const INTERVAL_MS = 1000;

/**
 * Calls `changed` after one of the files is written, replaced or its symlink swapped, seen from this call on: read the
 * files after it, and no change is lost. Returns how to stop.
 */
export function watchFiles(files: readonly string[], changed: () => void): () => void {
  let seen = files.map(signature).join();
  const timer = setInterval(() => {
    const now = files.map(signature).join();
    if (now === seen) return;
    seen = now;
    changed();
  }, INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function signature(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
  return stat ? `${stat.ino}:${stat.mtimeNs}:${stat.ctimeNs}:${stat.size}` : "none";
}
