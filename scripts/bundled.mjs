// Benches, fuzzing and the soak: prepares the checkout, bundles test/FOLDER/NAME.ts and runs it with the arguments that
// follow. `npm run` has the names.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { prepare, root } from "./prepare.mjs";

const [folder, name, ...args] = process.argv.slice(2);
const env = prepare();
const { build } = await import("esbuild");
const outfile = join(root, "build", "bundled", `${folder}-${name}.mjs`);
await build({
  entryPoints: [join(root, "test", folder, `${name}.ts`)],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  logLevel: "warning",
});
const child = spawn(process.execPath, [outfile, ...args], { stdio: "inherit", env });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => process.exit(code ?? (signal ? 130 : 1)));
