import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

let found: string | undefined;

/**
 * Folder of the installed package. Sources run from `agent/` under the test runner and from `dist/agent/` when
 * built, so assets are located from here and never relative to the importing file.
 * @throws when no enclosing folder holds this package's package.json.
 */
export function packageRoot(): string {
  if (found !== undefined) return found;
  for (let dir = dirname(fileURLToPath(import.meta.url)); ; dir = dirname(dir)) {
    const manifest = join(dir, "package.json");
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).name === "warmgate") {
      found = dir;
      return dir;
    }
    if (dirname(dir) === dir)
      throw new Error("warmgate: package.json of the installed package was not found");
  }
}

/** Path of a file that the build makes: a WebAssembly module. */
export const built = (file: string) => join(packageRoot(), "build", file);
