// Builds everything: the wasm modules with asc into build/, the TypeScript with esbuild, file by file, into dist/.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
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

const assemblyscript = dirname(require.resolve("assemblyscript/package.json"));
const config = readFileSync(join(root, "asconfig.json"), "utf8");
const version = JSON.parse(readFileSync(join(assemblyscript, "package.json"), "utf8")).version;

/** Adds a module of AssemblyScript and all that it imports to `into`, as paths from the root. */
function inputs(file, into = new Set()) {
  if (into.has(file)) return into;
  into.add(file);
  for (const [, from] of readFileSync(join(root, file), "utf8").matchAll(/ from "(\.[^"]+)"/g))
    inputs(join(dirname(file), `${from}.ts`), into);
  return into;
}

/** What a target is made from, in one hash: the same inputs give the same module, so it need not be made again. */
function inputsHash(target) {
  const hash = createHash("sha256").update(`${version}\n${target}\n${config}`);
  for (const file of [...inputs(entries[target])].sort())
    hash.update(`\n${file}\n`).update(readFileSync(join(root, file)));
  return hash.digest("hex");
}

/** Compiles a target unless its module is there and its inputs are what they were. @throws when asc fails. */
async function compile(target) {
  const module = join(root, JSON.parse(config).targets[target].outFile);
  const stamp = `${module}.inputs`;
  const hash = inputsHash(target);
  if (existsSync(module) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  rmSync(stamp, { force: true });
  const asc = spawn(
    process.execPath,
    [join(assemblyscript, "bin", "asc.js"), entries[target], "--config", "asconfig.json", "--target", target],
    { cwd: root, stdio: "inherit" },
  );
  const [code] = await once(asc, "exit");
  if (code !== 0) process.exit(1);
  writeFileSync(stamp, hash);
}

mkdirSync(join(root, "build"), { recursive: true });
const waiting = Object.keys(entries);
const compileAll = async () => {
  for (let target = waiting.shift(); target; target = waiting.shift()) await compile(target);
};
await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, compileAll));

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
