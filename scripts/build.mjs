// Builds everything: the wasm modules with asc into build/, the TypeScript with esbuild, file by file, into dist/.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const entries = {
  filter: "wasm/filter/index.ts",
  "filter-trap": "test/wasm/filter-trap.ts",
  wire: "wasm/shared/wire.ts",
  prompt: "wasm/core/prompt-module.ts",
  pick: "wasm/core/pick-module.ts",
  "pick-test": "test/wasm/pick-entry.ts",
  "core-test": "test/wasm/core-entry.ts",
};

mkdirSync(join(root, "build"), { recursive: true });
for (const [target, entry] of Object.entries(entries)) {
  if (!existsSync(join(root, entry))) continue;
  const asc = join(dirname(require.resolve("assemblyscript/package.json")), "bin", "asc.js");
  const result = spawnSync(process.execPath, [asc, entry, "--config", "asconfig.json", "--target", target], {
    cwd: root,
    stdio: "inherit",
  });
  if (result.status !== 0) process.exit(1);
}

function files(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? files(join(folder, e.name)) : e.name.endsWith(".ts") ? [join(folder, e.name)] : [],
  );
}

const { build } = await import("esbuild");
rmSync(join(root, "dist"), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ["agent", "sidecar", "simulate", "simulator", "demo"]
    .filter((f) => existsSync(join(root, f)))
    .flatMap(files),
  outdir: "dist",
  outbase: ".",
  platform: "node",
  target: "node20",
  format: "esm",
  sourcemap: true,
  logLevel: "warning",
});
cpSync(join(root, "agent", "proto"), join(root, "dist", "agent", "proto"), { recursive: true });
