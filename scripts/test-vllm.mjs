// `npm run test:vllm`: prepares the checkout, installs vLLM once, bundles and runs test/vllm with the same arguments.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { prepare, root, stop } from "./prepare.mjs";

/** What the installed packages take, with room for their download. */
const NEEDED_BYTES = 9e9;

/** Why this machine cannot run vLLM's CPU build; undefined when it can. */
function unable() {
  if (process.platform !== "linux" || process.arch !== "x64")
    return `vLLM's CPU build is for Linux on x86-64, this is ${process.platform} on ${process.arch}`;
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" ") ?? [];
  return flags.includes("avx2") || flags.includes("avx512f")
    ? undefined
    : "vLLM's CPU build needs AVX2 or AVX-512, which this CPU does not have";
}

function python() {
  for (const name of ["python3.12", "python3.11", "python3", "python3.13", "python3.10"]) {
    const found = spawnSync(
      name,
      ["-c", "import sys, venv, ensurepip; print(sys.version_info[0] * 100 + sys.version_info[1])"],
      { encoding: "utf8" },
    );
    const version = Number(found.stdout);
    if (found.status === 0 && version >= 310 && version <= 313) return name;
  }
  return stop(
    "vLLM needs Python 3.10 to 3.13 with venv (on Debian: apt install python3-venv); none was found on PATH.",
  );
}

/** Folder of the installed vLLM; another installer makes another folder. */
function install(onlyFind) {
  const script = join(root, "scripts", "vllm", "install.sh");
  const id = createHash("sha256").update(readFileSync(script)).digest("hex").slice(0, 12);
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "warmgate");
  const folder = join(cache, `vllm-${id}`);
  const stamp = join(folder, "installed");
  if (existsSync(stamp)) return folder;
  if (onlyFind) skip("vLLM is not installed here; npm run test:vllm installs it (6 GB)");
  const interpreter = python();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize < NEEDED_BYTES)
    stop(
      `${cache} has ${(bavail * bsize) / 1e9} GB free; installing vLLM takes ${NEEDED_BYTES / 1e9} GB. Make room or set XDG_CACHE_HOME.`,
    );
  process.stderr.write(`warmgate: installing vLLM for CPU into ${folder} (about 6 GB) ...\n`);
  const result = spawnSync("bash", [script, folder, interpreter], { stdio: ["ignore", 2, 2] });
  if (result.status !== 0) stop("installing vLLM failed; the output above says why.");
  writeFileSync(stamp, "");
  return folder;
}

/** Ends the process: there is nothing to test with. */
function skip(reason) {
  process.stderr.write(`warmgate: skipped: ${reason}\n`);
  process.exit(0);
}

const reason = unable();
if (reason) skip(reason);
const home = install(process.argv.includes("--if-installed"));
const env = { ...prepare(), VLLM_HOME: home };
const { build } = await import("esbuild");
const main = join(root, "build", "test-vllm", "main.mjs");
await build({
  absWorkingDir: root,
  entryPoints: ["test/vllm/main.ts"],
  outfile: main,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  sourcemap: true,
  logLevel: "warning",
});
const child = spawn(process.execPath, ["--enable-source-maps", main, ...process.argv.slice(2)], {
  stdio: "inherit",
  env,
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => process.exit(code ?? (signal ? 130 : 1)));
